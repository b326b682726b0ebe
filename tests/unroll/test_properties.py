"""What is true of every cell and wrapper, with and without noise, in both directions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    DeepOutput,
    DeepTransition,
    Elman,
    LSTMCarry,
    Nested,
    NestedCarry,
    SequenceDropout,
    Stack,
    Zoneout,
    draws_noise,
    nested_lstm,
)
from nlstm_jax.unroll import unroll

T, B, D, H = 5, 3, 2, 3
KEY = jax.random.key(3)


def cells(dtype=None):
    """Every cell and wrapper by name, its products in `dtype`."""
    lstm, gru = functools.partial(LSTM, dtype=dtype), functools.partial(GRU, dtype=dtype)
    elman, nested = functools.partial(Elman, dtype=dtype), functools.partial(nested_lstm, dtype=dtype)
    dropped = SequenceDropout(lstm(H), inputs=0.4, recurrent=0.4, weights=0.4)
    return {
        "elman": elman(H),
        "gru": gru(H),
        "gru_reset_before": gru(H, reset_after=False),
        "lstm": lstm(H),
        "lstm_peephole": lstm(H, peephole=True),
        "lstm_projection": lstm(H, projection=2),
        "lstm_layer_norm": lstm(H, layer_norm=True),
        "lstm_no_bias": lstm(H, use_bias=False),
        **{f"nested_{n}_{gating}": nested(H, n, gating) for n in (1, 2, 3, 4) for gating in ("multiply", "add")},
        "nested_gru": Nested(H, inner=gru(H), dtype=dtype),
        "stack": Stack((Zoneout(lstm(H), 0.3), nested(H, 2)), skip=True, residual=True, dropout=0.4),
        "dropped_inputs": SequenceDropout(lstm(H), inputs=0.4),
        "dropped_recurrent": SequenceDropout(lstm(H), recurrent=0.4),
        "dropped_weights": SequenceDropout(lstm(H), weights=0.4),
        "dropped": dropped,
        "zoneout": Zoneout(gru(H), 0.4),
        "zoneout_rates": Zoneout(lstm(H), LSTMCarry(c=0.5, h=0.2)),
        "nested_around_dropped": Nested(H, inner=dropped, dtype=dtype),
        "zoneout_dropped_nested": Zoneout(
            SequenceDropout(nested(H, 2), inputs=0.3, recurrent=0.3),
            NestedCarry(h=0.2, inner=LSTMCarry(c=0.4, h=0.0)),
        ),
        "deep_transition": DeepTransition((gru(H), SequenceDropout(gru(H), recurrent=0.4))),
        "deep_output": DeepOutput(Zoneout(lstm(H), 0.4), widths=(4, 2)),
        "bidirectional": Bidirectional(lstm(H), SequenceDropout(gru(2), recurrent=0.4)),
        "bidirectional_sum": Bidirectional(elman(H), nested(H, 2), merge="sum"),
        "stack_of_bidirectional": Stack(
            (Bidirectional(gru(2), gru(2)), Bidirectional(gru(2), gru(2)), elman(H)), residual=True, dropout=0.4
        ),
    }


CELLS = cells()
# Depth 4 holds every level of the others.
SLOW = {f"nested_{depth}_add": pytest.mark.slow for depth in (1, 2, 3)}
BOTH_WAYS = ("bidirectional", "bidirectional_sum", "stack_of_bidirectional")
NOISY = [name for name, cell in CELLS.items() if draws_noise(cell, D)]


def draws_once(name):
    """Whether a cell's noise is drawn once a sequence, and not for every step anew."""
    cell = CELLS[name]
    shapes = jax.eval_shape(lambda: cell.prepare(cell.init(KEY, D), KEY, (T, B, D)))
    return not jax.tree.leaves(shapes[1])


def over(names, keyed):
    """A parametrisation by name and key: every name without noise, those of `keyed` with noise too."""
    pairs = [pytest.param(name, None, id=name, marks=SLOW.get(name, ())) for name in names]
    pairs += [pytest.param(name, KEY, id=f"{name}-noise") for name in names if name in keyed]
    return pytest.mark.parametrize(("name", "key"), pairs)


STEPPED = [name for name in CELLS if name not in BOTH_WAYS]
ONCE = [name for name in NOISY if draws_once(name)]
every = over(CELLS, NOISY)
each = pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in CELLS])
in_both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])

FULL, LENGTHS = np.full(B, T), np.array([5, 4, 0])
ALL, NONE = np.ones((T, B), bool), np.zeros((T, B), bool)
MASK = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]], bool)
RESETS = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], bool)


@functools.cache
def example(name, seed=0):
    return jax.tree.map(jnp.asarray, references.example(CELLS[name], D, T, B, seed))


def weighed(carry, ys):
    """A scalar that depends on everything, and in the same way at every step."""
    weights = references.normal_like(jax.tree.map(lambda leaf: leaf[..., 0, :], (carry, ys[0])), WEIGHTS())
    return references.weigh(weights, (carry, ys))


WEIGHTS = functools.partial(np.random.default_rng, 7)


def unrolled(cell, params, xs, carry, **over_time):
    """((last carry, outputs, all carries), gradients of a weighed sum by params, xs and carry)."""

    def loss(params, xs, carry):
        last, ys, carries = unroll(cell, params, xs, carry, **over_time, return_carries=True)
        return weighed(last, ys), (last, ys, carries)

    (_, results), gradients = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(params, xs, carry)
    return results, gradients


compiled = references.compiled(unrolled, static_argnames=("cell", "reverse"))


def run(name, key=None, params=None, xs=None, carry=None, **over_time):
    """`unrolled`, compiled once a cell, key or none, and direction, because every mark is always given."""
    own_params, own_xs, start = example(name)
    marks = {"lengths": FULL, "mask": ALL, "resets": NONE, "reverse": False} | over_time
    given = [own if other is None else other for own, other in ((own_params, params), (own_xs, xs), (start, carry))]
    return compiled(CELLS[name], *given, key=key, **marks)


def close(found, expected, tolerance=2e-5):
    references.assert_trees_close(found, expected, tolerance)


def differ(one, other):
    return not np.allclose(one, other, atol=1e-4)


@in_both_directions
@every
def test_what_stands_in_the_padding_changes_no_value_and_no_gradient(name, key, reverse):
    valid = (np.arange(T)[:, None] < LENGTHS) & MASK
    xs = example(name)[1]
    dirty = jnp.where(valid[..., None], xs, jnp.nan)
    marks = {"lengths": LENGTHS, "mask": MASK, "resets": RESETS, "reverse": reverse}
    clean, spoilt = (run(name, key, xs=inputs, **marks) for inputs in (xs, dirty))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(spoilt))
    close(spoilt, clean, 0.0)
    (_, ys, _), (_, xs_gradient, _) = spoilt
    assert not ys[~valid].any()
    assert not xs_gradient[~valid].any()


@in_both_directions
@over(CELLS, ONCE)
def test_it_is_the_same_wherever_the_padding_stands(name, key, reverse):
    xs, resets = example(name)[1], RESETS & MASK
    order = np.argsort(~MASK, axis=0, kind="stable")
    resets_together = np.take_along_axis(resets, order, 0)

    def gathered(array):
        return np.take_along_axis(np.asarray(array), order[..., None], 0)

    (last, ys, _), (by_params, by_xs, by_start) = run(name, key, mask=MASK, resets=resets, reverse=reverse)
    (last_, ys_, _), (by_params_, by_xs_, by_start_) = run(
        name, key, xs=gathered(xs), lengths=MASK.sum(0), resets=resets_together, reverse=reverse
    )
    close((last_, by_params_, by_start_), (last, by_params, by_start))
    close((ys_, by_xs_), (gathered(ys), gathered(by_xs)))


@over(CELLS, ONCE)
def test_a_padded_sequence_is_the_short_one(name, key):
    params, xs, start = example(name)
    (last, ys, _), _ = run(name, key, lengths=LENGTHS)
    for b, length in enumerate(LENGTHS):
        short_last, short = start, ys[:0]
        if length:
            with jax.disable_jit():
                short_last, short = unroll(CELLS[name], params, xs[:length], start, key=key)
        own, short_own = jax.tree.map(lambda leaf, b=b: leaf[b], (last, short_last))
        close((own, ys[:length, b]), (short_own, short[:, b]))


@pytest.mark.parametrize("cut", [1, 3])
@in_both_directions
@over(STEPPED, ONCE)
def test_two_windows_with_the_carry_passed_on_are_one(name, key, reverse, cut):
    xs = example(name)[1]
    early = {"xs": xs, "lengths": np.full(B, cut)}
    late = {"xs": jnp.roll(xs, -cut, 0), "lengths": np.full(B, T - cut)}
    (last, ys, _), _ = run(name, key, reverse=reverse)
    first, second = (late, early) if reverse else (early, late)
    (middle, ys_first, _), _ = run(name, key, reverse=reverse, **first)
    (end, ys_second, _), _ = run(name, key, reverse=reverse, carry=middle, **second)
    ys_early, ys_late = (ys_second, ys_first) if reverse else (ys_first, ys_second)
    close((end, np.concatenate([ys_early[:cut], ys_late[: T - cut]])), (last, ys))


@over(CELLS, ONCE)
def test_reversing_the_inputs_and_the_run_mirrors_outputs_and_gradients(name, key):
    place = np.arange(T)[:, None]
    mirror = np.where(place < LENGTHS, LENGTHS - 1 - place, place)

    def mirrored(array):
        array = np.asarray(array)
        return np.take_along_axis(array, mirror if array.ndim == 2 else mirror[..., None], 0)

    (last, ys, _), (by_params, by_xs, by_start) = run(name, key, lengths=LENGTHS, mask=MASK, resets=RESETS)
    (last_, ys_, _), (by_params_, by_xs_, by_start_) = run(
        name,
        key,
        xs=mirrored(example(name)[1]),
        lengths=LENGTHS,
        mask=mirrored(MASK),
        resets=mirrored(RESETS),
        reverse=True,
    )
    close((last_, by_params_, by_start_), (last, by_params, by_start))
    close((ys_, by_xs_), (mirrored(ys), mirrored(by_xs)))


@over(CELLS, ONCE)
def test_a_reset_is_the_start_of_a_new_sequence(name, key):
    xs, start = example(name)[1:]
    nothing = jax.tree.map(jnp.zeros_like, start)
    start = nothing if name in BOTH_WAYS else start
    resets = NONE | (np.arange(T) == 2)[:, None]
    (last, ys, _), _ = run(name, key, carry=start, resets=resets)
    (_, before, _), _ = run(name, key, carry=start, lengths=np.full(B, 2))
    (end, after, _), _ = run(name, key, xs=jnp.roll(xs, -2, 0), carry=nothing, lengths=np.full(B, 3))
    close(ys, np.concatenate([before[:2], after[:3]]))
    if name not in BOTH_WAYS:
        close(last, end)


@in_both_directions
@over(STEPPED, NOISY)
def test_it_is_a_loop_of_steps(name, key, reverse):
    cell, (params, xs, start) = CELLS[name], example(name)
    marks = {"lengths": LENGTHS, "mask": MASK, "resets": RESETS}
    with jax.disable_jit():
        prepared, noise = cell.prepare(params, key, xs.shape)
        carry, ys = start, [None] * T
        for t in reversed(range(T)) if reverse else range(T):
            within = t < LENGTHS
            cleared = jax.tree.map(lambda leaf, t=t: jnp.where((RESETS[t] & (t < LENGTHS))[:, None], 0, leaf), carry)
            now = jax.tree.map(lambda leaf, t=t: leaf[t], noise)
            after, y = cell.step(prepared, cleared, cell.project(prepared, xs[t]), now)
            valid = (within & MASK[t])[:, None]
            carry = jax.tree.map(lambda new, old, valid=valid: jnp.where(valid, new, old), after, cleared)
            ys[t] = jnp.where(valid, y, 0)
    (last, found, _), _ = run(name, key, **marks, reverse=reverse)
    close((last, found), (carry, jnp.stack(ys)))


@each
def test_many_parameter_sets_at_once_are_each_by_itself(name):
    key = KEY if name in NOISY else None
    _, xs, start = example(name)
    sets = [example(name, seed)[0] for seed in (0, 1)]
    marks = {"lengths": jnp.array(LENGTHS), "mask": jnp.array(MASK), "resets": jnp.array(RESETS)}
    with jax.disable_jit():
        found = jax.vmap(lambda params: unroll(CELLS[name], params, xs, start, key=key, **marks))(
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *sets)
        )
    for index, params in enumerate(sets):
        own = jax.tree.map(lambda leaf, index=index: leaf[index], found)
        close(own, run(name, key, params=params, **marks)[0][:2])


def test_gradients_of_many_parameter_sets_at_once_are_those_of_each_by_itself():
    name, marks = "zoneout_dropped_nested", {"key": KEY, "lengths": LENGTHS, "mask": MASK, "resets": RESETS}
    _, xs, start = example(name)
    sets = [example(name, seed)[0] for seed in (0, 1)]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *sets)

    @references.compiled
    def for_many(params, marks):
        return jax.vmap(lambda own: unrolled(CELLS[name], own, xs, start, **marks))(params)

    found = for_many(together, marks)
    for index, params in enumerate(sets):
        close(jax.tree.map(lambda leaf, index=index: leaf[index], found), run(name, params=params, **marks))


@every
def test_compiled_or_not_with_idle_marks_or_none_it_is_the_same(name, key):
    cell, (params, xs, start) = CELLS[name], example(name)
    nothing = jax.tree.map(jnp.zeros_like, start)
    with jax.disable_jit():
        found = unroll(cell, params, xs, key=key, return_carries=True)
    close(found, run(name, key, carry=nothing)[0])


@every
def test_carries_outputs_and_gradients_of_bfloat16_products_are_float32(name, key):
    params, xs, start = example(name)
    cell = cells("bfloat16")[name]
    results = jax.eval_shape(lambda *given: unrolled(cell, *given, key=key), params, xs, start)
    assert {leaf.dtype for leaf in jax.tree.leaves(results)} == {jnp.dtype("float32")}
    lowered = references.product_dtypes(lambda *given: unroll(cell, *given, key=key), params, xs, start)
    assert "bf16" in lowered


@pytest.mark.parametrize("bias", [-50.0, 0.0, 50.0])
@every
def test_enormous_inputs_and_saturated_gates_leave_values_and_gradients_finite(name, key, bias):
    params, xs, _ = example(name)

    def saturated(path, leaf):
        return leaf + bias if jax.tree_util.keystr(path).endswith((".b", ".b_n", ".shift")) else leaf

    extreme = jax.tree_util.tree_map_with_path(saturated, params)
    for inputs in (xs, 1e4 * jnp.sign(xs), jnp.full_like(xs, 1e4), jnp.full_like(xs, -1e4)):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run(name, key, extreme, inputs)))


@each
def test_without_a_key_nothing_is_drawn(name):
    params, xs, start = example(name)
    assert "random_bits" not in str(jax.make_jaxpr(functools.partial(unroll, CELLS[name]))(params, xs, start))
    close(run(name), run(name), 0.0)


@pytest.mark.parametrize("name", ["dropped_inputs", "dropped_recurrent", "dropped_weights", "dropped"])
def test_without_a_key_a_dropped_cell_is_the_cell(name):
    close(run(name), run("lstm"), 0.0)


@pytest.mark.parametrize("name", NOISY)
def test_a_key_is_one_noise_and_another_key_another(name):
    keys = [KEY, KEY, *jax.random.split(KEY, 4)]
    (_, one, _), (_, same, _), *others = (run(name, key)[0] for key in keys)
    np.testing.assert_array_equal(one, same)
    assert differ(one, run(name)[0][1])
    assert any(differ(one, ys) for _, ys, _ in others)


def test_where_nothing_is_drawn_a_key_changes_nothing():
    quiet = [name for name in CELLS if name not in NOISY]
    assert len(quiet) == 18
    for name in quiet:
        cell, (params, xs, start) = CELLS[name], example(name)
        with jax.disable_jit():
            close(unroll(cell, params, xs, start, key=KEY), unroll(cell, params, xs, start), 0.0)
