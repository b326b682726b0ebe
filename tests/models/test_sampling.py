import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from nlstm_jax.cells import LSTM
from nlstm_jax.models import LanguageModel, merge, split
from nlstm_jax.models.sampling import _draw_symbols, draw

VOCABULARY, COUNT = 5, 4000
FREE = np.full(3, -1, np.int32)


@pytest.fixture(scope="module")
def model():
    """A model whose predictions are far from uniform."""
    graph, parameters = split(LanguageModel(VOCABULARY, 4, LSTM(6), key=jax.random.key(0)))
    return merge(graph, {name: 3 * value for name, value in parameters.items()})


def sample(model, forced=FREE, allowed=None, seed=0, count=COUNT, temperature=1.0, top_k=0):
    if allowed is None:
        allowed = np.ones((len(forced), VOCABULARY), bool)
    key = jax.random.key(seed)
    drawn = draw(
        model, 0, jnp.asarray(forced), jnp.asarray(allowed), key, count=count, temperature=temperature, top_k=top_k
    )
    return np.asarray(drawn)


def after(model, prefix, temperature=1.0):
    """Compute the probabilities of the symbol after `<bos>` and a prefix, in float64."""
    _, logits = model(jnp.asarray([0, *prefix], jnp.int32)[:, None])
    weights = np.exp(np.asarray(logits[-1, 0], np.float64) / temperature)
    return weights / weights.sum()


def assert_follows(symbols, probabilities):
    """Apply a chi-square test that a correct sampler fails for one seed in 10,000. The seed is fixed."""
    counts = np.bincount(symbols, minlength=VOCABULARY)
    assert not counts[probabilities == 0].any()
    here = probabilities > 0
    assert stats.chisquare(counts[here], len(symbols) * probabilities[here]).pvalue > 1e-4


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_draws_follow_the_models_softmax_symbol_by_symbol(model, temperature):
    drawn = sample(model, temperature=temperature)
    assert drawn.shape == (COUNT, 3)
    assert drawn.dtype == np.int32
    assert_follows(drawn[:, 0], after(model, [], temperature))
    first = int(np.bincount(drawn[:, 0]).argmax())
    rest = drawn[drawn[:, 0] == first]
    assert_follows(rest[:, 1], after(model, [first], temperature))
    second = int(np.bincount(rest[:, 1]).argmax())
    assert_follows(rest[rest[:, 1] == second, 2], after(model, [first, second], temperature))


def test_top_k_draws_from_the_most_probable_alone(model):
    probabilities = after(model, [])
    best = np.argsort(-probabilities)[:2]
    expected = np.zeros(VOCABULARY)
    expected[best] = probabilities[best] / probabilities[best].sum()
    assert_follows(sample(model, top_k=2)[:, 0], expected)
    np.testing.assert_array_equal(sample(model, top_k=1), sample(model, temperature=0.0))
    np.testing.assert_array_equal(sample(model, top_k=VOCABULARY + 3), sample(model))


def test_top_k_draws_no_more_symbols_where_several_are_equally_probable():
    logits = jnp.array([0.0, 1.0, 1.0, 1.0, 1.0])
    keys = jax.random.split(jax.random.key(0), 200)
    drawn = [int(_draw_symbols(logits[None], jnp.ones(5, bool), key, 1.0, 2)[0]) for key in keys]
    assert set(drawn) == {1, 2}


def test_top_k_chooses_among_what_may_stand(model):
    probabilities = after(model, [])
    allowed = np.ones((3, VOCABULARY), bool)
    allowed[:, probabilities.argmax()] = False
    second = np.argsort(-probabilities)[1]
    assert set(sample(model, allowed=allowed, top_k=1, count=50)[:, 0].tolist()) == {second}


def test_temperature_nothing_takes_the_most_probable(model):
    prefix: list[int] = []
    for _ in range(3):
        prefix.append(int(after(model, prefix).argmax()))
    for seed in (0, 1):
        assert sample(model, temperature=0.0, seed=seed, count=4).tolist() == [prefix] * 4


def test_a_forced_beginning_is_kept_and_gone_on_from(model):
    drawn = sample(model, forced=np.array([3, 1, -1], np.int32))
    assert set(map(tuple, drawn[:, :2].tolist())) == {(3, 1)}
    assert_follows(drawn[:, 2], after(model, [3, 1]))


def test_only_what_may_stand_at_a_place_is_drawn(model):
    allowed = np.zeros((3, VOCABULARY), bool)
    allowed[0, [1, 2]] = allowed[1, 4] = allowed[2, [0, 3]] = True
    probabilities = np.where(allowed[0], after(model, []), 0)
    drawn = sample(model, allowed=allowed)
    assert_follows(drawn[:, 0], probabilities / probabilities.sum())
    assert set(drawn[:, 1].tolist()) == {4}
    assert set(drawn[:, 2].tolist()) <= {0, 3}
    greedy = sample(model, allowed=allowed, temperature=0.0, count=1)[0]
    assert greedy[0] == probabilities.argmax()


def test_the_same_key_draws_the_same(model):
    np.testing.assert_array_equal(sample(model, seed=5), sample(model, seed=5))
    assert (sample(model, seed=5) != sample(model, seed=6)).any()
