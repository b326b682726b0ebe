"""Properties of every cell and wrapper, with and without noise, in both directions.

Nearly all of the time here is spent on compiling. Therefore every mask is always given, as an array: a cell has one
program for each direction, with values and gradients, and all properties share it. The default run takes the `core` of
the zoo, noisy cells with their noise. `slow` has every cell of the zoo, noisy cells with noise and without.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import zoo
from zoo import D

from nlstm_jax.unroll import unroll

T, B = 5, 3
KEY = jax.random.key(3)
# What `weighed` takes are vectors; the counter of the user's own cell is none.
CELLS = zoo.cells(without="own")
NOISY = zoo.names("noisy")
ONCE = zoo.names("once")
STEPPED = zoo.names("stepped", without="own")
CORE = zoo.names("core")
# The directions of a stack of bidirectional layers matter more than its noise, and without it more properties hold.
WITH_NOISE = set(NOISY) - {"stack_of_bidirectional"}


def is_default(name, key):
    """Return True if the default run has a cell with this key."""
    return name in CORE and (key is not None) == (name in WITH_NOISE)


def over(names, keyed=()):
    """Parametrize by name and key: every name without noise, and those of `keyed` with noise too.

    The default run has only the core, and each of its cells once: those of `WITH_NOISE` with noise.
    """
    cases = []
    for name in names:
        for key in (None, KEY) if name in keyed else (None,):
            quick = is_default(name, key)
            case = name if key is None else f"{name}-noise"
            cases.append(pytest.param(name, key, id=case, marks=() if quick else pytest.mark.slow))
    return pytest.mark.parametrize(("name", "key"), cases)


every = over(CELLS, NOISY)
in_both_directions = pytest.mark.parametrize(
    "reverse", [pytest.param(False, id="forward"), pytest.param(True, id="reverse", marks=pytest.mark.slow)]
)

FULL, LENGTHS = np.full(B, T), np.array([5, 4, 0])
ALL, NONE = np.ones((T, B), bool), np.zeros((T, B), bool)
MASK = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]], bool)
RESETS = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], bool)
MARKS = {"lengths": LENGTHS, "mask": MASK, "resets": RESETS}


@functools.cache
def example(name, seed=0):
    return jax.tree.map(jnp.asarray, references.example(CELLS[name], D, T, B, seed))


def weighed(carry, ys):
    """Return a scalar that depends on all results, and in the same way at every step."""
    generator = np.random.default_rng(7)
    weights = references.normal_like(jax.tree.map(lambda leaf: leaf[..., 0, :], (carry, ys[0])), generator)
    return references.weigh(weights, (carry, ys))


def unrolled(cell, params, xs, carry, **over_time):
    """Return ((last carry, outputs, all carries), gradients of a weighted sum by params, xs and carry)."""

    def loss(params, xs, carry):
        last, ys, carries = unroll(cell, params, xs, carry, **over_time, return_carries=True)
        return weighed(last, ys), (last, ys, carries)

    (_, results), gradients = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(params, xs, carry)
    return results, gradients


compiled = references.compiled(unrolled, static_argnames=("cell", "reverse"))


def run(name, key=None, params=None, xs=None, carry=None, **over_time):
    """Run `unrolled`, compiled once for each cell, key or none, and direction, as every mask is always given."""
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
def test_padding_of_nan_changes_no_value_and_no_gradient(name, key, reverse):
    """Outputs and gradients of padded steps are zero; without noise those of all other steps are not."""
    valid = (np.arange(T)[:, None] < LENGTHS) & MASK
    xs = example(name)[1]
    dirty = jnp.where(valid[..., None], xs, jnp.nan)
    clean, spoilt = (run(name, key, xs=inputs, **MARKS, reverse=reverse) for inputs in (xs, dirty))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(spoilt))
    close(spoilt, clean, 0.0)
    (_, ys, _), (_, xs_gradient, _) = spoilt
    assert not ys[~valid].any()
    assert not xs_gradient[~valid].any()
    # Past its bend a piecewise linear activation has no gradient.
    if key is None and not any(word in name for word in ("relu", "hard_sigmoid", "activations")):
        assert np.asarray(ys)[valid].all()
        assert np.asarray(xs_gradient)[valid].all()


@in_both_directions
@over(CELLS, ONCE)
def test_the_place_of_the_padding_does_not_matter(name, key, reverse):
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


@pytest.mark.parametrize(
    ("name", "key"),
    [
        pytest.param(
            name,
            key,
            id=name if key is None else f"{name}-noise",
            marks=()
            if (name, key) in (("bidirectional", KEY), ("stack_of_bidirectional", None))
            else pytest.mark.slow,
        )
        for name in CELLS
        for key in ((None, KEY) if name in ONCE else (None,))
    ],
)
def test_a_padded_sequence_is_the_short_one(name, key):
    """Slow, as for a cell that can be stepped this follows from its equality to a loop of steps with lengths."""
    params, xs, start = example(name)
    (last, ys, _), _ = run(name, key, lengths=LENGTHS)
    for b, length in enumerate(LENGTHS):
        short_last, short = start, ys[:0]
        if length:
            short_last, short = references.run(CELLS[name], params, xs[:length], start, key=key)
        own, short_own = jax.tree.map(lambda leaf, b=b: leaf[b], (last, short_last))
        close((own, ys[:length, b]), (short_own, short[:, b]))


@in_both_directions
@over(STEPPED, ONCE)
def test_two_windows_with_the_carry_passed_on_are_one(name, key, reverse):
    xs = example(name)[1]
    (last, ys, _), _ = run(name, key, reverse=reverse)
    for cut in (1, 3):
        early = {"xs": xs, "lengths": np.full(B, cut)}
        late = {"xs": jnp.roll(xs, -cut, 0), "lengths": np.full(B, T - cut)}
        first, second = (late, early) if reverse else (early, late)
        (middle, ys_first, _), _ = run(name, key, reverse=reverse, **first)
        (end, ys_second, _), _ = run(name, key, reverse=reverse, carry=middle, **second)
        ys_early, ys_late = (ys_second, ys_first) if reverse else (ys_first, ys_second)
        close((end, np.concatenate([ys_early[:cut], ys_late[: T - cut]])), (last, ys))


@over(CELLS, ONCE)
def test_reversed_inputs_run_in_reverse_have_mirrored_outputs_and_gradients(name, key):
    place = np.arange(T)[:, None]
    mirror = np.where(place < LENGTHS, LENGTHS - 1 - place, place)

    def reversed_in_time(array):
        array = np.asarray(array)
        return np.take_along_axis(array, mirror if array.ndim == 2 else mirror[..., None], 0)

    (last, ys, _), (by_params, by_xs, by_start) = run(name, key, **MARKS)
    (last_, ys_, _), (by_params_, by_xs_, by_start_) = run(
        name,
        key,
        xs=reversed_in_time(example(name)[1]),
        lengths=LENGTHS,
        mask=reversed_in_time(MASK),
        resets=reversed_in_time(RESETS),
        reverse=True,
    )
    close((last_, by_params_, by_start_), (last, by_params, by_start))
    close((ys_, by_xs_), (reversed_in_time(ys), reversed_in_time(by_xs)))


@over(CELLS, ONCE)
def test_a_reset_is_the_start_of_a_new_sequence(name, key):
    both_ways = name not in STEPPED
    xs, start = example(name)[1:]
    nothing = jax.tree.map(jnp.zeros_like, start)
    start = nothing if both_ways else start
    resets = NONE | (np.arange(T) == 2)[:, None]
    (last, ys, _), _ = run(name, key, carry=start, resets=resets)
    (_, before, _), _ = run(name, key, carry=start, lengths=np.full(B, 2))
    (end, after, _), _ = run(name, key, xs=jnp.roll(xs, -2, 0), carry=nothing, lengths=np.full(B, 3))
    close(ys, np.concatenate([before[:2], after[:3]]))
    if not both_ways:
        close(last, end)


@functools.partial(references.compiled, static_argnames="cell")
def stepped(cell, params, key, xs, carry, t, lengths, mask, resets):
    """Take the step at time t of a loop in Python, with all masks, and return (carry, output)."""
    prepared, noise = cell.sample_noise(params, key, xs.shape)
    x, now = jax.tree.map(lambda leaf: leaf[t], (xs, noise))
    within, valid, reset = (marks[:, None] for marks in (t < lengths, (t < lengths) & mask[t], resets[t]))
    cleared = jax.tree.map(lambda leaf: jnp.where(reset & within, 0, leaf), carry)
    after, y = cell.step(prepared, cleared, cell.project(prepared, x), now)
    return jax.tree.map(lambda new, old: jnp.where(valid, new, old), after, cleared), jnp.where(valid, y, 0)


@in_both_directions
@over(STEPPED, NOISY)
def test_it_is_a_loop_of_steps(name, key, reverse):
    """Compare the last carry, the carry after every step, and the outputs."""
    params, xs, start = example(name)
    carry, ys, carries = start, [None] * T, [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        carries[t], ys[t] = carry, _ = stepped(CELLS[name], params, key, xs, carry, t, LENGTHS, MASK, RESETS)
    found, _ = run(name, key, **MARKS, reverse=reverse)
    close(found, (carry, jnp.stack(ys), jax.tree.map(lambda *steps: jnp.stack(steps), *carries)))


def sets_of_params(name):
    """Return two sets of parameters, and both stacked in one tree."""
    sets = [example(name, seed)[0] for seed in (0, 1)]
    return sets, jax.tree.map(lambda *leaves: jnp.stack(leaves), *sets)


@pytest.mark.parametrize("name", zoo.marked(CELLS, ["bidirectional"]))
def test_many_parameter_sets_at_once_are_each_by_itself(name):
    """The default run has one layer of each structure; gradients of one cell are tested below."""
    key = KEY if name in NOISY else None
    (_, xs, start), (sets, together) = example(name), sets_of_params(name)

    @references.compiled
    def for_many(params, marks):
        return jax.vmap(lambda own: unroll(CELLS[name], own, xs, start, key=key, **marks))(params)

    found = for_many(together, MARKS)
    for index, params in enumerate(sets):
        own = jax.tree.map(lambda leaf, index=index: leaf[index], found)
        close(own, references.run(CELLS[name], params, xs, start, key=key, **MARKS))


def test_gradients_of_many_parameter_sets_at_once_are_those_of_each_by_itself():
    name = "zoneout_dropped_nested"
    (_, xs, start), (sets, together) = example(name), sets_of_params(name)

    @references.compiled
    def for_many(params, marks):
        return jax.vmap(lambda own: unrolled(CELLS[name], own, xs, start, key=KEY, **marks))(params)

    found = for_many(together, MARKS)
    for index, params in enumerate(sets):
        close(jax.tree.map(lambda leaf, index=index: leaf[index], found), run(name, KEY, params=params, **MARKS))


@every
def test_without_marks_and_carry_it_is_the_same_and_without_a_key_nothing_is_drawn(name, key):
    """All-valid masks without resets, and the zero carry, are the defaults; a run is the same every time."""
    cell, (params, xs, start) = CELLS[name], example(name)
    nothing = jax.tree.map(jnp.zeros_like, start)
    traced = references.compiled(lambda params, xs: unroll(cell, params, xs, key=key, return_carries=True)).trace(
        params, xs
    )
    found = traced.lower().compile(compiler_options=references.COMPILER_OPTIONS)(params, xs)
    close(found, run(name, key, carry=nothing)[0])
    assert (key is not None) == ("random_bits" in str(traced.jaxpr))
    close(run(name, key), run(name, key), 0.0)


@pytest.mark.parametrize("name", zoo.marked(CELLS, ["gru", "nested_3_add", "stack", "bidirectional"]))
def test_carries_outputs_and_gradients_of_bfloat16_products_are_float32(name):
    key = KEY if name in NOISY else None
    params, xs, start = example(name)
    cell = zoo.build(name, "bfloat16")
    lowered = jax.jit(lambda *given: unrolled(cell, *given, key=key)).lower(params, xs, start)
    assert {leaf.dtype for leaf in jax.tree.leaves(lowered.out_info)} == {jnp.dtype("float32")}
    assert "bf16" in references.dtypes_of_products(lowered.as_text())


@every
def test_enormous_inputs_and_saturated_gates_leave_values_and_gradients_finite(name, key):
    params, xs, _ = example(name)
    for bias in (-50.0, 0.0, 50.0):

        def saturated(path, leaf, bias=bias):
            return leaf + bias if jax.tree_util.keystr(path).endswith((".b", ".b_n", ".shift")) else leaf

        extreme = jax.tree_util.tree_map_with_path(saturated, params)
        for inputs in (xs, 1e4 * jnp.sign(xs), jnp.full_like(xs, 1e4), jnp.full_like(xs, -1e4)):
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run(name, key, extreme, inputs)))


@pytest.mark.parametrize(
    "name", zoo.marked(["dropped_inputs", "dropped_recurrent", "dropped_weights", "dropped"], ["dropped"])
)
def test_without_a_key_a_dropped_cell_is_the_cell(name):
    found, expected = (references.run(CELLS[cell], *example(cell), **MARKS) for cell in (name, "lstm"))
    close(found, expected, 0.0)


@pytest.mark.parametrize("name", zoo.marked(NOISY, WITH_NOISE.intersection(CORE)))
def test_a_key_is_one_noise_and_another_key_another(name):
    keys = [KEY, KEY, *jax.random.split(KEY, 4)]
    (_, one, _), (_, same, _), *others = (run(name, key)[0] for key in keys)
    np.testing.assert_array_equal(one, same)
    assert differ(one, references.run(CELLS[name], *example(name))[1])
    assert any(differ(one, ys) for _, ys, _ in others)


@pytest.mark.parametrize("name", zoo.marked(zoo.names(without=["noisy", "own"]), ["gru"]))
def test_where_nothing_is_drawn_a_key_changes_nothing(name):
    """The tests of the cells check that `sample_noise` of such a cell returns its parameters, key or not."""
    given = (CELLS[name], *example(name))
    close(references.run(*given, key=KEY), references.run(*given), 0.0)
