import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlstm_jax.cells import LSTM, Elman
from nlstm_jax.models import LanguageModel, count_parameters, merge, split

TOKENS = np.array([[0, 3, 1], [4, 4, 2], [1, 0, 0], [2, 2, 4]], np.int32)
KEY = jax.random.key(1)


def logits_by_numpy(parameters, tokens):
    """Compute the logits of an Elman language model in float64, step by step."""
    p = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
    h, logits = np.zeros((tokens.shape[1], p["cell/params/w_h"].shape[0])), []
    for symbols in tokens:
        x = p["embedding/embedding"][symbols]
        h = np.tanh(x @ p["cell/params/w_x"] + h @ p["cell/params/w_h"] + p["cell/params/b"])
        y = h @ p["projection/kernel"] + p["projection/bias"] if "projection/kernel" in p else h
        if "tied_bias" in p:
            logits.append(y @ p["embedding/embedding"].T + p["tied_bias"])
        else:
            logits.append(y @ p["softmax/kernel"] + p["softmax/bias"])
    return np.array(logits)


@pytest.mark.parametrize(
    ("features", "options"),
    [
        (4, {}),
        (4, {"projection": 2}),
        (4, {"projection": 3, "tied": True}),
        (3, {"tied": True}),
    ],
    ids=["plain", "projection", "projection tied", "tied"],
)
def test_logits_are_those_of_numpy_with_the_same_weights(features, options):
    graph, drawn = split(LanguageModel(5, 3, Elman(features), key=KEY, **options))
    rng = np.random.default_rng(0)
    # Drawn anew, so that no bias is zero.
    parameters = {name: jnp.asarray(rng.normal(size=value.shape), jnp.float32) for name, value in drawn.items()}
    carry, logits = merge(graph, parameters)(jnp.asarray(TOKENS))
    expected = logits_by_numpy(parameters, TOKENS)
    assert logits.shape == (4, 3, 5)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert carry.h.shape == (3, features)


def test_a_tied_model_has_no_softmax_matrix_of_its_own():
    untied, tied = (LanguageModel(50, 8, LSTM(8), tied=tied, key=KEY) for tied in (False, True))
    assert count_parameters(untied) - count_parameters(tied) == 50 * 8
    cell = {f"cell/params/{name}" for name in ("w_x", "w_h", "b")}
    assert set(split(tied)[1]) == {"embedding/embedding", "tied_bias", *cell}


def test_tying_needs_the_embeddings_width():
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        LanguageModel(50, 8, LSTM(6), tied=True, key=KEY)
    assert str(caught.value) == (
        "tied embedding: an input of the embedding's width 8 to the softmax expected, found 6; a projection to that "
        "width serves"
    )


def test_going_on_with_the_carry_is_reading_in_one_go():
    model = LanguageModel(5, 3, LSTM(4), key=KEY)
    carry, whole = model(jnp.asarray(TOKENS))
    first_carry, first = model(jnp.asarray(TOKENS[:1]))
    last_carry, last = model(jnp.asarray(TOKENS[1:]), first_carry)
    np.testing.assert_allclose(jnp.concatenate([first, last]), whole, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), last_carry, carry)


def test_what_stands_past_the_end_changes_no_logit_before_it():
    model = LanguageModel(5, 3, LSTM(4), key=KEY)
    lengths = jnp.asarray([4, 2, 1], jnp.int32)
    changed = TOKENS.copy()
    changed[2:, 1], changed[1:, 2] = 3, 3
    (carry, logits), (other_carry, other) = (model(jnp.asarray(t), lengths=lengths) for t in (TOKENS, changed))
    for column, length in enumerate(lengths):
        np.testing.assert_array_equal(logits[:length, column], other[:length, column])
    jax.tree.map(np.testing.assert_array_equal, carry, other_carry)


def transparent(**dropout) -> LanguageModel:
    """A model whose logits are the embedded symbols, except for the dropout."""
    width = 24
    model = LanguageModel(width, width, Elman(width, activation="identity"), key=KEY, **dropout)
    graph, parameters = split(model)
    eye, nothing = jnp.eye(width), jnp.zeros((width, width))
    put = {"cell/params/w_x": eye, "cell/params/w_h": nothing, "softmax/kernel": eye}
    put |= {name: jnp.zeros(width) for name in ("cell/params/b", "softmax/bias")}
    return merge(graph, {**parameters, **put})


@pytest.mark.parametrize("door", ["dropout_input", "dropout_output"])
@pytest.mark.parametrize("rate", [0.25, 0.6])
def test_dropout_drops_at_its_rate_and_scales_what_is_left(door, rate):
    model = transparent(**{door: rate})
    tokens = jnp.asarray(np.random.default_rng(2).integers(0, 24, (40, 30)), jnp.int32)
    _, plain = model(tokens)
    _, noisy = model(tokens, key=jax.random.key(7))
    np.testing.assert_allclose(plain, split(model)[1]["embedding/embedding"][tokens], rtol=1e-6)
    dropped = np.asarray(noisy) == 0
    # 28,800 draws: five standard deviations.
    assert abs(dropped.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / dropped.size)
    np.testing.assert_allclose(noisy[~dropped], plain[~dropped] / (1 - rate), rtol=1e-5)
    # Drawn for every step, sequence and unit.
    assert all(0 < dropped.mean(axis).min() < dropped.mean(axis).max() < 1 for axis in ((1, 2), (0, 2), (0, 1)))
    assert (dropped[0] != dropped[1]).any()
    assert (dropped[:, 0] != dropped[:, 1]).any()


def test_the_two_dropouts_are_drawn_apart():
    tokens = jnp.asarray(np.random.default_rng(2).integers(0, 24, (20, 20)), jnp.int32)
    masks = [
        np.asarray(transparent(**{door: 0.5})(tokens, key=jax.random.key(7))[1]) == 0
        for door in ("dropout_input", "dropout_output")
    ]
    assert abs((masks[0] == masks[1]).mean() - 0.5) < 0.05


def test_dropout_is_a_function_of_its_key_and_absent_without_one():
    model = LanguageModel(5, 8, LSTM(8), dropout_input=0.5, dropout_output=0.5, key=KEY)
    still = LanguageModel(5, 8, LSTM(8), key=KEY)
    tokens = jnp.asarray(TOKENS)
    np.testing.assert_array_equal(model(tokens)[1], still(tokens)[1])
    np.testing.assert_array_equal(still(tokens, key=KEY)[1], still(tokens)[1])
    once, again, other = (model(tokens, key=jax.random.key(seed))[1] for seed in (3, 3, 4))
    np.testing.assert_array_equal(once, again)
    assert (np.asarray(once) != np.asarray(other)).any()


def test_initial_values_depend_on_the_key_and_the_name_alone():
    plain, projected, other = (
        split(LanguageModel(50, 16, LSTM(12), key=key, **options))[1]
        for key, options in ((KEY, {}), (KEY, {"projection": 12}), (jax.random.key(2), {}))
    )
    for name, value in plain.items():
        np.testing.assert_array_equal(projected[name], value)
    assert (np.asarray(plain["softmax/kernel"]) != np.asarray(other["softmax/kernel"])).any()
    assert abs(float(plain["embedding/embedding"].std()) * 4 - 1) < 0.1
    assert not np.asarray(plain["softmax/bias"]).any()
