import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    DeepTransition,
    Elman,
    Nested,
    Stack,
    VariationalDropout,
    Zoneout,
    nested_lstm,
)
from nlstm_jax.unroll import unroll

KEY = jax.random.key(0)
LENGTHS = np.array([5, 3, 0])
RESETS = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], bool)
MERGED = {
    "concat": lambda there, back: np.concatenate([there, back], -1),
    "sum": lambda there, back: there + back,
    "mul": lambda there, back: there * back,
    "ave": lambda there, back: (there + back) / 2,
}
PAIRS = {
    "alike": (LSTM(3), LSTM(3)),
    "different": (nested_lstm(3, 2), GRU(3)),
    "stacks": (Stack((LSTM(2), Elman(3))), Stack((GRU(2), LSTM(4, projection=3)))),
}


def example(layer):
    return references.example(layer, in_features=2, steps=5, batch=3)


# Every merge, and every pair of cells.
MERGES_BY_DEFAULT = (("alike", "mul"), ("different", "concat"), ("different", "ave"), ("stacks", "sum"))


@pytest.mark.parametrize(
    ("pair", "merge"),
    [
        pytest.param(*case, marks=() if case in MERGES_BY_DEFAULT else pytest.mark.slow)
        for case in itertools.product(PAIRS, MERGED)
    ],
)
def test_it_is_two_runs_one_of_them_in_reverse(pair, merge):
    pair = PAIRS[pair]
    layer = Bidirectional(*pair, merge=merge)
    params, xs, start = example(layer)
    last, ys, carries = references.run(layer, params, xs, start, lengths=LENGTHS, return_carries=True)
    there, back = (
        references.run(cell, own, xs, carry, lengths=LENGTHS, reverse=reverse, return_carries=True)
        for cell, own, carry, reverse in zip(pair, params, start, (False, True), strict=True)
    )
    references.assert_trees_close(tuple(last), (there[0], back[0]), 1e-6)
    references.assert_trees_close(tuple(carries), (there[2], back[2]), 1e-6)
    np.testing.assert_allclose(ys, MERGED[merge](there[1], back[1]), 1e-6, 1e-6)
    assert ys.shape[-1] == layer.out_features


def test_run_backwards_the_cells_change_directions():
    layer = Bidirectional(*PAIRS["different"])
    params, xs, start = example(layer)
    last, ys = references.run(layer, params, xs, start, lengths=LENGTHS, reverse=True)
    there, back = (
        references.run(cell, own, xs, carry, lengths=LENGTHS, reverse=reverse, return_carries=True)
        for cell, own, carry, reverse in zip(PAIRS["different"], params, start, (True, False), strict=True)
    )
    references.assert_trees_close(tuple(last), (there[0], back[0]), 1e-6)
    np.testing.assert_allclose(ys, MERGED["concat"](there[1], back[1]), 1e-6, 1e-6)


def test_a_sequence_of_no_steps_returns_the_carries_that_it_was_given():
    layer = Bidirectional(*PAIRS["alike"])
    params, xs, start = example(layer)
    last, ys = references.run(layer, params, xs, start, lengths=np.array([5, 3, 0]))
    for found, given in zip(jax.tree.leaves(last), jax.tree.leaves(start), strict=True):
        np.testing.assert_array_equal(found[2], given[2].astype(np.float32))
    assert not ys[:, 2].any()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("where", ["within", "before_the_first_step_that_is_run"])
def test_padding_changes_nothing_whatever_is_reset(where, reverse):
    layer = Bidirectional(Elman(3), GRU(3))
    params, xs, start = example(layer)
    resets = np.zeros((5, 3), bool)
    resets[1 if where == "within" else (2 if reverse else 0)] = True
    short = references.run(layer, params, xs[:3], start, resets=resets[:3], reverse=reverse)
    last, ys = references.run(layer, params, xs, start, lengths=np.full(3, 3), resets=resets, reverse=reverse)
    references.assert_trees_close((last, ys[:3]), short, 1e-6)


def test_a_reset_parts_the_sequence_for_both_cells():
    layer = Bidirectional(LSTM(3), LSTM(3))
    params, xs, start = example(layer)
    mirrored = np.concatenate([RESETS[1:], np.zeros_like(RESETS[:1])])
    _, ys = references.run(layer, params, xs, start, resets=RESETS)
    there, back = (
        references.run(LSTM(3), own, xs, carry, resets=marks, reverse=reverse)[1]
        for own, carry, marks, reverse in zip(params, start, (RESETS, mirrored), (False, True), strict=True)
    )
    np.testing.assert_allclose(ys, np.concatenate([there, back], -1), 1e-6, 1e-6)


def test_each_cell_draws_its_own_parameters_and_noise():
    dropped = VariationalDropout(LSTM(3), recurrent=0.5)
    layer = Bidirectional(dropped, dropped)
    params = layer.init(KEY, 2)
    assert not np.allclose(params.forward.w_x, params.backward.w_x)
    prepared, _ = layer.sample_noise(params, KEY, (5, 40, 2))
    assert not np.array_equal(prepared.forward.recurrent, prepared.backward.recurrent)


def test_layers_on_both_ways_see_the_whole_sequence():
    layer = Stack((Bidirectional(GRU(2), GRU(2)), LSTM(3)))
    params, xs, start = jax.tree.map(jnp.asarray, example(layer))
    first = references.compiled(jax.grad(lambda xs: unroll(layer, params, xs, start)[1][0, 0].sum()))
    assert np.asarray(first(xs))[:, 0].all()


def test_an_unknown_merge_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match="Bidirectional: merge: one of concat, sum, mul, ave expected, found 'max'"):
        Bidirectional(LSTM(3), LSTM(3), merge="max")


@pytest.mark.parametrize("merge", ["sum", "mul", "ave"])
def test_widths_that_differ_can_only_be_concatenated(merge):
    with pytest.raises(
        ValueError, match=rf"(?s)(?=.*Bidirectional)(?=.*{merge})(?=.*one width)(?=.*\b2\b)(?=.*\b5\b)"
    ):
        Bidirectional(LSTM(5, projection=2), GRU(5), merge=merge)
    assert Bidirectional(LSTM(5, projection=2), GRU(5)).out_features == 7


def test_a_stack_with_a_layer_of_both_directions_cannot_be_stepped():
    stack = Stack((LSTM(3), Bidirectional(LSTM(3), LSTM(3))))
    params, xs, start = jax.tree.map(jnp.asarray, example(stack))
    refused = functools.partial(pytest.raises, ValueError, match=r"(?=.*Stack)(?=.*cells expected)(?=.*Bidirectional)")
    with refused():
        stack.project(params, xs[0])
    with refused():
        Stack((stack, LSTM(3))).project(params._replace(layers=(params, None)), xs[0])
    z = Stack((LSTM(3),)).project(params, xs[0])
    with refused():
        stack.step(params, start, z)


WRAPPERS = {
    "nested": lambda cell: Nested(6, inner=cell),
    "dropout": lambda cell: VariationalDropout(cell, inputs=0.1),
    "zoneout": lambda cell: Zoneout(cell, 0.1),
    "transition": lambda cell: DeepTransition((cell, cell)),
}


@pytest.mark.parametrize(
    "layer",
    [Stack((LSTM(6), LSTM(6))), Stack((Bidirectional(LSTM(3), LSTM(3)), LSTM(6)))],
    ids=["stack", "stack_of_bidirectional"],
)
@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapper_goes_around_single_cells_only(wrapper, layer):
    names = rf"(?=.*(Nested|VariationalDropout|Zoneout|DeepTransition))(?=.*a single cell)(?=.*{type(layer).__name__})"
    with pytest.raises(ValueError, match=names):
        wrapper(layer)


def test_one_inside_another_is_parted_by_resets_as_it_is_alone():
    inner = Bidirectional(GRU(2), GRU(3))
    layer = Bidirectional(inner, inner)
    params, xs, start = example(layer)
    mirrored = np.concatenate([RESETS[1:], np.zeros_like(RESETS[:1])])
    _, ys = references.run(layer, params, xs, start, resets=RESETS)
    _, there = references.run(inner, params.forward, xs, start.forward, resets=RESETS)
    _, back = references.run(inner, params.backward, xs, start.backward, resets=mirrored, reverse=True)
    np.testing.assert_allclose(ys, np.concatenate([there, back], -1), 1e-6, 1e-6)
