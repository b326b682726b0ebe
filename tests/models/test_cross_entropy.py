"""Cross-entropy in chunks equals optax' cross-entropy of all logits at once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references

from nlstm_jax.models import cross_entropy as module
from nlstm_jax.models.cross_entropy import cross_entropy

SHAPES = {"one chunk": (2, 3, 4, 5), "chunks with padding": (7, 3, 4, 11), "a step a chunk": (3, 20, 4, 6)}


def example(steps, batch, features, symbols):
    rng = np.random.default_rng(0)
    draw = rng.normal
    arrays = draw(size=(steps, batch, features)), draw(size=(features, symbols)), draw(size=symbols)
    weights = rng.random((steps, batch)) * (rng.random((steps, batch)) < 0.8)
    targets = rng.integers(0, symbols, (steps, batch), np.int32)
    return [jnp.asarray(array) for array in (*arrays, targets, weights)]


def plain(ys, w, b, targets, weights):
    nats = optax.softmax_cross_entropy_with_integer_labels(ys @ w + b, targets)
    return (weights * nats).sum(), nats


@pytest.fixture
def _small_chunks(monkeypatch):
    monkeypatch.setattr(module, "TARGETS", 6)
    monkeypatch.setattr(module, "LOGITS", 1)


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_it_equals_the_plain_form(shape):
    """The sum, the nats, and the first and second derivatives agree up to rounding in float64."""
    with jax.enable_x64(True):
        *given, targets, weights = example(*shape)

        def bent(function, ys, w, b, weights):
            total, nats = function(ys, w, b, targets, weights)
            return jnp.sin(total), nats

        def outcome(function):
            def first(*arguments):
                gradients, nats = jax.grad(bent, (1, 2, 3, 4), has_aux=True)(function, *arguments)
                return sum(jnp.sin(leaf).sum() for leaf in gradients), (gradients, nats)

            @references.compiled
            def both(*arguments):
                second, (gradients, nats) = jax.grad(first, (0, 1, 2, 3), has_aux=True)(*arguments)
                return bent(function, *arguments)[0], nats, gradients, second

            return both(*given, weights)

        for found, expected in zip(
            jax.tree.leaves(outcome(cross_entropy)), jax.tree.leaves(outcome(plain)), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.usefixtures("_small_chunks")
def test_it_may_be_batched():
    with jax.enable_x64(True):
        each = [example(7, 3, 4, 11), [1 + leaf if leaf.ndim == 1 else leaf for leaf in example(7, 3, 4, 11)]]
        together = [jnp.stack(leaves) for leaves in zip(*each, strict=True)]
        gradient = jax.grad(lambda *arguments: cross_entropy(*arguments)[0], (0, 1, 2))
        found_of_all = references.compiled(jax.vmap(gradient))(*together)
        gradient = references.compiled(gradient)
        for index, arguments in enumerate(each):
            found = [leaf[index] for leaf in found_of_all]
            for ours, theirs in zip(found, gradient(*arguments), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_large_logits_do_not_overflow():
    ys, w = jnp.full((1, 2, 1), 1e4), jnp.array([[1.0, -1.0, 0.0]])
    targets, weights = jnp.array([[0, 1]]), jnp.ones((1, 2))
    total, nats = cross_entropy(ys, w, jnp.zeros(3), targets, weights)
    np.testing.assert_allclose(nats, [[0.0, 2e4]])
    assert total == 2e4


def test_the_nats_are_constants():
    ys, w, b, targets, weights = example(2, 3, 4, 5)
    gradient = jax.grad(lambda ys: cross_entropy(ys, w, b, targets, weights)[1].sum())(ys)
    np.testing.assert_array_equal(gradient, 0)


def test_products_of_bfloat16_are_near_and_their_sums_float32():
    ys, w, b, targets, weights = (
        leaf.astype(jnp.float32) if leaf.dtype != jnp.int32 else leaf for leaf in example(7, 8, 64, 30)
    )
    run = jax.value_and_grad(lambda ys, w, dtype: cross_entropy(ys, w, b, targets, weights, dtype)[0], (0, 1))
    (found, found_bars), (expected, expected_bars) = run(ys, w, jnp.bfloat16), run(ys, w, None)
    assert found != expected
    np.testing.assert_allclose(found, expected, rtol=1e-2)
    for ours, theirs in zip(found_bars, expected_bars, strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, theirs, atol=0.02 * float(jnp.abs(theirs).max()))


def test_at_50_000_symbols_a_quarter_of_the_memory_is_enough():
    steps, batch, features, symbols = 32, 64, 128, 50_000
    shapes = [
        jax.ShapeDtypeStruct(shape, kind)
        for shape, kind in (
            ((steps, batch, features), jnp.float32),
            ((features, symbols), jnp.float32),
            ((symbols,), jnp.float32),
            ((steps, batch), jnp.int32),
            ((steps, batch), jnp.float32),
        )
    ]

    def peak(function):
        gradient = jax.jit(jax.grad(lambda *arguments: function(*arguments)[0], (0, 1, 2)))
        memory = gradient.lower(*shapes).compile().memory_analysis()
        return memory.temp_size_in_bytes + memory.output_size_in_bytes + memory.argument_size_in_bytes

    assert peak(cross_entropy) <= peak(plain) / 4


def test_a_jitted_function_of_the_targets_can_be_differentiated():
    ys, w, b, targets, weights = example(2, 3, 4, 5)

    def total(ys, targets):
        return cross_entropy(ys, w, b, targets, weights)[0]

    expected = jax.grad(lambda ys: plain(ys, w, b, targets, weights)[0])(ys)
    np.testing.assert_allclose(jax.grad(jax.jit(total))(ys, targets), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("left_out", [-1, 5, 2**31 - 1])
def test_a_target_without_weight_may_be_no_symbol(left_out):
    """Padding of any value does not change the sum or any gradient."""
    ys, w, b, targets, _ = example(4, 3, 4, 5)
    weights = jnp.ones((4, 3)).at[1:3, 1].set(0.0)

    def outcome(targets):
        def total(ys, w, b):
            return cross_entropy(ys, w, b, targets, weights)[0]

        return jax.value_and_grad(total, (0, 1, 2))(ys, w, b)

    found = outcome(jnp.where(weights == 0, left_out, targets))
    references.assert_trees_close(found, outcome(targets), 0.0)
    assert np.isfinite(found[0])
