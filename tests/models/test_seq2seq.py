"""Encoder and decoder equal a NumPy loop, and both of them count against a budget."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import echo
from nlstm_jax import cells, models
from nlstm_jax.cells import LSTM, Elman
from nlstm_jax.cells.budget import count_flops, count_parameters, count_state
from nlstm_jax.models import Seq2Seq, is_recurrent, merge, split

KEY = jax.random.key(0)
V, S = 7, 3


def redrawn(model) -> tuple[Seq2Seq, dict[str, np.ndarray]]:
    """Return the model with normally distributed parameters, and these parameters in float64."""
    graph, drawn = split(model)
    rng = np.random.default_rng(0)
    parameters = {name: jnp.asarray(rng.normal(size=value.shape), jnp.float32) for name, value in drawn.items()}
    return merge(graph, parameters), {name: np.asarray(value, np.float64) for name, value in parameters.items()}


def elman(p, name, h, x):
    return np.tanh(x @ p[f"{name}/params/w_x"] + h @ p[f"{name}/params/w_h"] + p[f"{name}/params/b"])


def by_hand(p, vectors, given, fed, feed):
    """Compute the logits sequence by sequence. With the feed `previous`, the decoder reads the symbols `fed`."""
    rows = []
    for column, read in zip(given.T, fed.T, strict=True):
        h = np.zeros(5)
        for number in column:
            h = elman(p, "encoder", h, vectors[number])
        last, logits = h, []
        for number in read:
            h = elman(p, "decoder", h, last if feed == "context" else vectors[number])
            logits.append(h @ p["softmax/kernel"] + p["softmax/bias"])
        rows.append(logits)
    return np.moveaxis(np.array(rows), 0, 1)


@pytest.mark.parametrize("embedding", [None, 4])
@pytest.mark.parametrize("feed", ["context", "previous"])
def test_logits_and_what_is_written_freely_are_those_of_numpy(feed: str, embedding: int | None) -> None:
    model, p = redrawn(Seq2Seq(V, Elman(5), embedding=embedding, feed=feed, key=KEY))
    table = np.eye(V) if embedding is None else p["symbols/embedding/embedding"]
    vectors = np.concatenate([table, np.zeros((1, table.shape[1]))])  # number −1: a blank
    rng = np.random.default_rng(1)
    given, targets = rng.integers(-1, V, (6, 4)), rng.integers(0, V, (S, 4))
    begin = np.full((1, 4), -1)
    forced = by_hand(p, vectors, given, np.concatenate([begin, targets[:-1]]), feed)
    np.testing.assert_allclose(model(jnp.asarray(given), jnp.asarray(targets)), forced, rtol=1e-4, atol=1e-4)

    written = begin
    for _ in range(S):
        written = np.concatenate([written, by_hand(p, vectors, given, written, feed)[-1:].argmax(-1)])
    np.testing.assert_array_equal(model.write(jnp.asarray(given), S), written[1:])


def test_only_the_symbol_before_reaches_a_decoder_that_is_fed_with_it() -> None:
    given, targets = jnp.zeros((4, 1), jnp.int32), jnp.array([[1], [2], [3]])
    changed = targets.at[1].set(5)
    for feed, differing in (("previous", [False, False, True]), ("context", [False] * 3)):
        model = Seq2Seq(V, LSTM(5), feed=feed, key=KEY)
        same = np.isclose(model(given, targets), model(given, changed), rtol=1e-6).all((1, 2))
        assert (~same).tolist() == differing


def test_noise_comes_from_the_key_alone() -> None:
    cell = cells.with_regularizers(LSTM(8), recurrent_dropout=(0.5,))
    model = Seq2Seq(V, cell, key=KEY)
    given, targets = jnp.ones((4, 2), jnp.int32), jnp.ones((S, 2), jnp.int32)
    one, two = (model(given, targets, key=jax.random.key(number)) for number in (1, 2))
    np.testing.assert_array_equal(one, model(given, targets, key=jax.random.key(1)))
    assert np.abs(one - two).max() > 1e-3
    np.testing.assert_array_equal(model(given, targets), model(given, targets))


# Each budget, cell and feed by default.
BUDGETS_BY_DEFAULT = (
    ("parameters", "lstm", "context"),
    ("operations", "nlstm", "previous"),
    ("state", "gru", "previous"),
)


@pytest.mark.parametrize(
    ("budget", "cell", "feed"),
    [
        pytest.param(*case, marks=() if case in BUDGETS_BY_DEFAULT else pytest.mark.slow)
        for case in itertools.product(
            ("parameters", "operations", "state"), ("lstm", "gru", "nlstm"), ("context", "previous")
        )
    ],
)
def test_a_budget_is_that_of_encoder_and_decoder(budget: str, cell: str, feed: str) -> None:
    wanted = {"parameters": 200_000, "operations": 400_000, "state": 900}[budget]
    config = json.loads(echo.get_config(f"cell={cell},smoke").to_json())
    config["cell"][budget], config["model"]["feed"] = wanted, feed
    # Shapes alone: drawing orthogonal matrices of hundreds of rows is most of the time.
    model = nnx.eval_shape(lambda: models.build(config, {"vocabulary": V}))
    encoder, decoder = model.encoder, model.decoder
    assert (encoder.in_features, decoder.in_features) == (V, V if feed == "previous" else encoder.cell.out_features)
    count = {"parameters": count_parameters, "operations": count_flops}.get(budget)
    found = count_state(encoder.cell)
    if count:
        found = count(encoder.cell, encoder.in_features) + count(decoder.cell, decoder.in_features)
    assert abs(found - wanted) <= 0.01 * wanted
    if budget == "parameters":
        parameters = jax.eval_shape(lambda: split(models.build(config, {"vocabulary": V}))[1])
        assert found == sum(value.size for name, value in parameters.items() if is_recurrent(name))


def test_another_feed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^feed: one of context, previous expected, found 'next'$"):
        Seq2Seq(V, LSTM(4), feed="next", key=KEY)
