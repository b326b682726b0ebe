"""Noise from a configuration: every rate applies to its level in every layer; an invalid rate is refused by name."""

import json
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from ml_collections import ConfigDict

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Elman,
    ElmanCarry,
    GRUCarry,
    LSTMCarry,
    Nested,
    NestedCarry,
    Stack,
    VariationalDropout,
    Zoneout,
    build,
    count_parameters,
    is_stochastic,
    nested_lstm,
    with_regularizers,
)
from nlstm_jax.cells.build import NOISE
from nlstm_jax.errors import ConfigError
from nlstm_jax.models import LanguageModel, split
from nlstm_jax.settings import check, defaults

KEY = jax.random.key(3)
NLSTM = {"name": "nlstm", "features": 4, "depth": 2}
NONE = dict.fromkeys(NOISE, (0.0,))
RATES = {
    "input_dropout": [0.1, 0.2],
    "recurrent_dropout": [0.0, 0.3],
    "weight_drop": [0.4, 0.0],
    "zoneout": [0.05, 0.5, 0.25],
}
BY_HAND = Zoneout(
    VariationalDropout(
        Nested(4, VariationalDropout(LSTM(4), inputs=0.2, recurrent=0.3)),
        inputs=0.1,
        weights=0.4,
    ),
    NestedCarry(h=0.05, inner=LSTMCarry(h=0.5, c=0.25)),
)


def as_tuples(options):
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


WRITTEN = {
    "lists": lambda options: options,
    "tuples": as_tuples,
    "json": lambda options: json.loads(json.dumps(options)),
    "config": lambda options: ConfigDict(as_tuples(options)).to_dict(),
    "json_of_a_config": lambda options: json.loads(ConfigDict(as_tuples(options)).to_json()),
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_every_rate_goes_to_its_level_however_it_is_written(written):
    assert build(written(NLSTM | RATES), in_features=3) == BY_HAND


def test_what_a_command_line_says_is_what_is_built():
    config = defaults("poems", "nlstm")
    config.update({"cell": {"features": 4, "depth": 2, **as_tuples(RATES)}})
    config = json.loads(config.to_json())
    check(config)
    assert build(config["cell"], in_features=3) == BY_HAND


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"name": "elman", "zoneout": [0.1]}, Zoneout(Elman(4), ElmanCarry(h=0.1))),
        ({"name": "gru", "recurrent_dropout": [0.1]}, VariationalDropout(GRU(4), recurrent=0.1)),
        ({"name": "gru", "zoneout": [0.3]}, Zoneout(GRU(4), GRUCarry(h=0.3))),
        ({"name": "lstm", "zoneout": [0.05, 0.5]}, Zoneout(LSTM(4), LSTMCarry(h=0.05, c=0.5))),
        ({"name": "peephole", "weight_drop": [0.5]}, VariationalDropout(LSTM(4, peephole=True), weights=0.5)),
        ({"name": "nlstm", "depth": 1, "input_dropout": [0.5]}, VariationalDropout(nested_lstm(4, 1), inputs=0.5)),
        (
            {"name": "nlstm", "depth": 3, "zoneout": [0.1, 0.2, 0.3, 0.4]},
            Zoneout(nested_lstm(4, 3), NestedCarry(0.1, NestedCarry(0.2, LSTMCarry(h=0.3, c=0.4)))),
        ),
        (
            {"name": "nlstm", "depth": 3, "recurrent_dropout": [0.0, 0.5, 0.0]},
            Nested(4, VariationalDropout(nested_lstm(4, 3).inner, recurrent=0.5)),
        ),
    ],
)
def test_every_cell_takes_noise(options, expected):
    cell = build({"features": 4, **options}, in_features=3)
    assert cell == expected
    assert is_stochastic(cell, 3)


def test_one_rate_is_every_levels():
    one = build(NLSTM | {"depth": 3, "recurrent_dropout": [0.25], "zoneout": [0.5]}, 3)
    assert one == build(NLSTM | {"depth": 3, "recurrent_dropout": [0.25] * 3, "zoneout": [0.5] * 4}, 3)


@pytest.mark.parametrize("options", [NLSTM, NLSTM | {"layers": 3}, {"name": "gru", "features": 4}])
def test_where_all_rates_are_0_there_is_no_wrapper(options):
    bare = build(options, in_features=3)
    assert build(options | NONE, in_features=3) == bare
    assert not is_stochastic(bare, 3)


def test_every_layer_is_wrapped_by_itself_and_draws_noise_of_its_own():
    stack = build(NLSTM | RATES | {"layers": 3}, in_features=4, dropout=0.5)
    assert stack == Stack((BY_HAND,) * 3, dropout=0.5)
    params = stack.init(KEY, 4)
    prepared, noise = references.compiled(lambda: stack.sample_noise(params, KEY, (5, 50, 4)))()
    layers = [(own.inputs, own.cell.inner.inputs, own.cell.inner.recurrent) for own in prepared.layers]
    layers = [(*masks, *zoned.kept) for masks, zoned in zip(layers, noise.layers, strict=True)]
    for kind in zip(*layers, strict=True):
        assert len({np.asarray(mask).tobytes() for mask in kind}) == 3
    assert len({np.asarray(mask).tobytes() for mask in noise.dropout}) == 2


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("noise", [{"weight_drop": [0.5]}, RATES], ids=["weights", "all"])
def test_noise_changes_no_parameters_name_or_value(noise, layers):
    plain, noisy = (
        split(LanguageModel(7, 3, build(NLSTM | {"layers": layers} | rates, 3), key=KEY))[1] for rates in ({}, noise)
    )
    assert list(noisy) == list(plain)
    jax.tree.map(np.testing.assert_array_equal, noisy, plain)


@pytest.mark.parametrize("name", ["gru", "lstm", "nlstm"])
def test_without_a_key_a_model_under_dropout_is_the_model_without(name):
    noise = {"input_dropout": [0.5], "recurrent_dropout": [0.5], "weight_drop": [0.5]}
    plain, noisy = (build({"name": name, "features": 4} | rates, 3) for rates in ({}, noise))
    params, xs, start = jax.tree.map(jnp.asarray, references.example(plain))
    found, expected = (references.run(cell, params, xs, start) for cell in (noisy, plain))
    references.assert_trees_close(found, expected, 0.0)


@pytest.mark.slow
def test_noise_does_not_count_where_a_number_of_parameters_is_asked_for():
    asked = {"name": "nlstm", "parameters": 50_568, "layers": 2}
    plain, noisy = build(asked, 3), build(asked | {"zoneout": [0.1], "input_dropout": [0.1]}, 3)
    assert noisy.features == plain.features == 42
    assert count_parameters(noisy, 3) == count_parameters(plain, 3)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"input_dropout": [0.1, 0.2, 0.3]}, "input_dropout: 1 rate, or 2 for the 2 levels of nesting, .* 0.3"),
        ({"recurrent_dropout": [0.1] * 4}, "recurrent_dropout: 1 rate, or 2 for the 2 levels of nesting"),
        ({"weight_drop": []}, r"weight_drop: 1 rate, or 2 for the 2 levels of nesting, .* found \(\)"),
        ({"zoneout": [0.1, 0.2]}, "zoneout: 1 rate, or 3 for the 3 vectors of the carry: h, then the memories"),
        ({"zoneout": [0.1, 0.2, 0.3, 0.4]}, "zoneout: 1 rate, or 3 for the 3 vectors of the carry"),
        ({"zoneout": [0.0, 0.0]}, "zoneout: 1 rate, or 3 for the 3 vectors of the carry"),
    ],
)
@pytest.mark.parametrize("layers", [1, 2])
def test_another_number_of_rates_than_levels_or_vectors_is_refused_by_name(noise, message, layers):
    with pytest.raises(ValueError, match=message):
        build(NLSTM | noise | {"layers": layers}, in_features=3)


@pytest.mark.parametrize("rate", [1.0, -0.25, 7.0])
@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("input_dropout", "VariationalDropout: inputs"),
        ("recurrent_dropout", "VariationalDropout: recurrent"),
        ("weight_drop", "VariationalDropout: weights"),
        ("zoneout", "Zoneout: rates"),
    ],
)
def test_a_rate_that_is_no_probability_below_1_is_refused_by_name_from_both_sides(name, named, rate):
    with pytest.raises(ValueError, match=rf"{named}: a rate in \[0, 1\) expected, found {rate}"):
        build(NLSTM | {name: [rate]}, in_features=3)
    config = defaults("poems", "nlstm")
    for value in ((rate,), (0.1, rate)):
        config.cell[name] = value
        with pytest.raises(ConfigError, match=rf"config\.cell\.{name}: a finite number ≥ 0 and < 1 .*expected"):
            check(json.loads(config.to_json()))


@pytest.fixture
def own(monkeypatch):
    """Install a module of factories of the user, which are then named `own:name`."""
    module = types.ModuleType("own")
    module.stack = lambda features, rate=0.5: Stack(
        (with_regularizers(LSTM(features), recurrent_dropout=(rate,)),) * 2
    )
    module.around = lambda features: Nested(features, GRU(features))
    monkeypatch.setitem(sys.modules, "own", module)


def test_a_users_cell_is_given_noise_as_ours_are(own):
    found = build({"name": "own:around", "features": 4, "input_dropout": [0.0, 0.5], "zoneout": [0.1, 0.2]}, 3)
    expected = Zoneout(Nested(4, VariationalDropout(GRU(4), inputs=0.5)), NestedCarry(0.1, GRUCarry(0.2)))
    assert found == expected


def test_layers_of_a_users_stack_draw_noise_of_their_own(own):
    stack = build({"name": "own:stack", "features": 4} | NONE, 4)
    assert stack == Stack((VariationalDropout(LSTM(4), recurrent=0.5),) * 2)
    prepared, _ = stack.sample_noise(stack.init(KEY, 4), KEY, (5, 50, 4))
    first, second = (layer.recurrent for layer in prepared.layers)
    assert not np.array_equal(first, second)
    twice = build({"name": "own:stack", "features": 4, "layers": 2} | NONE, 4)
    prepared, _ = twice.sample_noise(twice.init(KEY, 4), KEY, (5, 50, 4))
    masks = [layer.recurrent for inner in prepared.layers for layer in inner.layers]
    assert len({np.asarray(mask).tobytes() for mask in masks}) == 4


@pytest.mark.parametrize(
    ("name", "named"),
    [("input_dropout", "VariationalDropout"), ("weight_drop", "VariationalDropout"), ("zoneout", "Zoneout")],
)
def test_a_stack_is_no_single_cell_to_put_noise_around(own, name, named):
    with pytest.raises(ValueError, match=f"{named}: cell: a single cell, .* expected, found Stack"):
        build({"name": "own:stack", "features": 4, name: [0.5]}, in_features=3)
