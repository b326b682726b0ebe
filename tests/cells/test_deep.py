import jax
import numpy as np
import pytest
import references
import zoo
from zoo import D

from nlstm_jax.cells import (
    GRU,
    LSTM,
    DeepOutput,
    DeepTransition,
    Elman,
    Nested,
    Stack,
    VariationalDropout,
    Zoneout,
    count_parameters,
    nested_lstm,
)

KEY = jax.random.key(0)


# A transition of three cells, with both forms of a GRU, nested; an output over each kind, twice, and in a stack.
BY_DEFAULT = (
    "transition_elman",
    "transition_options",
    "transition_nested",
    "output_projection",
    "output_transition",
    "output_output",
    "stack_of_deep",
)


@zoo.parametrize("deep", "reference", default=BY_DEFAULT)
def test_values_and_gradients_equal_the_reference(name):
    references.assert_equals_reference(zoo.build(name), zoo.ENTRIES[name].reference, in_features=D, steps=3, batch=1)


TRANSITIONS = {name: cell for name, cell in zoo.cells("deep").items() if name.startswith("transition_")}


def test_only_the_first_cell_of_a_transition_has_input_weights():
    for cell in TRANSITIONS.values():
        first, *later = cell.init(KEY, 2).cells
        assert first.w_x.shape[0] == 2
        assert {own.w_x.shape[0] for own in later} == {0}
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(later))


def test_a_transition_has_the_parameters_that_it_says():
    assert count_parameters(DeepTransition((Elman(4),) * 3), 3) == 4 * (3 + 4 + 1) + 2 * 4 * (4 + 1)
    assert count_parameters(DeepOutput(Elman(4), widths=(5, 2)), 3) == 4 * (3 + 4 + 1) + 5 * (4 + 1) + 2 * (5 + 1)


@pytest.mark.parametrize("scheme", ["default", "keras", "keras_inner", "torch", "normal(0.1)"])
def test_every_scheme_draws_cells_without_inputs(scheme):
    params = DeepTransition((LSTM(3, init_scheme=scheme), LSTM(3, init_scheme=scheme))).init(KEY, 2)
    assert params.cells[1].w_x.shape == (0, 12)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    assert not np.allclose(params.cells[0].w_h, params.cells[1].w_h)


@pytest.mark.parametrize("cell", [GRU(3), nested_lstm(3, 2)], ids=["gru", "nested"])
def test_a_transition_of_a_single_cell_is_that_cell(cell):
    single = DeepTransition((cell,))
    params, xs, start = references.example(single, in_features=2)
    found, expected = references.run(single, params, xs, start), references.run(cell, params.cells[0], xs, start)
    references.assert_trees_close(found, expected, 0.0)


def test_only_the_first_cell_of_a_transition_reads_what_is_given_in_place_of_the_memory():
    cell = DeepTransition((GRU(3), GRU(3)))
    params, xs, start = references.example(cell, in_features=2, steps=1)
    params, xs, start = jax.tree.map(jax.numpy.asarray, (params, xs, start))
    first, later = cell.cells
    recurrent_input = start.h + 1.0
    middle, _ = first.step(
        params.cells[0], start, first.project(params.cells[0], xs[0]), recurrent_input=recurrent_input
    )
    expected = later.step(params.cells[1], middle, later.project(params.cells[1], xs[0, :, :0]))
    found = cell.step(params, start, cell.project(params, xs[0]), recurrent_input=recurrent_input)
    references.assert_trees_close(found, expected, 1e-6)


def test_every_cell_of_a_transition_has_its_own_noise():
    dropped = VariationalDropout(GRU(3), recurrent=0.5)
    cell = DeepTransition((dropped, dropped))
    prepared, _ = cell.sample_noise(cell.init(KEY, 2), KEY, (4, 40, 2))
    first, later = (own.recurrent for own in prepared.cells)
    assert not np.array_equal(first, later)


def test_the_output_of_a_deep_output_is_not_its_memory():
    cell = DeepOutput(LSTM(3), widths=(4, 2))
    params, xs, start = references.example(cell, in_features=2)
    (last, ys), (inner, _) = (
        references.run(cell, params, xs, start),
        references.run(LSTM(3), params.cell, xs, start),
    )
    references.assert_trees_close(last, inner, 0.0)
    assert ys.shape[-1] == cell.out_features == 2


REFUSED = {
    "no_cells": (lambda: DeepTransition(()), ("DeepTransition", "cells", "at least one")),
    "carries_of_two_kinds": (lambda: DeepTransition((GRU(3), LSTM(3))), ("DeepTransition", "one type and", "LSTM")),
    "carries_of_two_widths": (lambda: DeepTransition((GRU(3), GRU(4))), ("DeepTransition", "one type and", "GRU")),
    "no_widths": (lambda: DeepOutput(GRU(3), ()), ("DeepOutput", "widths", "at least one")),
    "a_width_of_nothing": (lambda: DeepOutput(GRU(3), (4, 0)), ("DeepOutput", "widths", "≥ 1", "found 0")),
    "an_unknown_activation": (lambda: DeepOutput(GRU(3), (4,), "tahn"), ("DeepOutput", "activation", "tanh", "tahn")),
    "a_stack_under_an_output": (lambda: DeepOutput(Stack((GRU(3),)), (4,)), ("DeepOutput", "single cell", "Stack")),
    "zoneout_in_nested": (lambda: Nested(3, inner=Zoneout(GRU(3), 0.1)), ("Nested", "inner", "Zoneout")),
    "zoneout_in_dropout": (
        lambda: VariationalDropout(Zoneout(GRU(3), 0.1), inputs=0.1),
        ("VariationalDropout", "cell", "Zoneout"),
    ),
    "zoneout_in_zoneout": (lambda: Zoneout(Zoneout(GRU(3), 0.1), 0.1), ("Zoneout", "cell", "not inside it")),
    "zoneout_in_transition": (
        lambda: DeepTransition((GRU(3), Zoneout(GRU(3), 0.1))),
        ("DeepTransition", "cells", "Zoneout"),
    ),
    "output_in_nested": (lambda: Nested(3, inner=DeepOutput(GRU(3), (3,))), ("Nested", "inner", "DeepOutput")),
    "output_in_zoneout": (lambda: Zoneout(DeepOutput(GRU(3), (3,)), 0.1), ("Zoneout", "cell", "DeepOutput")),
    "output_in_dropout": (
        lambda: VariationalDropout(DeepOutput(GRU(3), (3,)), inputs=0.1),
        ("VariationalDropout", "cell", "DeepOutput"),
    ),
    "output_in_transition": (
        lambda: DeepTransition((DeepOutput(GRU(3), (3,)),)),
        ("DeepTransition", "cells", "DeepOutput"),
    ),
}


@pytest.mark.parametrize(("make", "named"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_by_name(make, named):
    with pytest.raises(ValueError, match="".join(f"(?=.*{word})" for word in named)):
        make()
