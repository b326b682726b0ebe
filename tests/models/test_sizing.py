"""A whole model comes as close to its parameter budget as its widths allow, with any cell."""

import dataclasses
import functools
import itertools
import json

import numpy as np
import pytest
import zoo

from configs import echo, poems, sales
from nlstm_jax import models
from nlstm_jax.cells import count_parameters
from nlstm_jax.errors import ConfigError
from nlstm_jax.models.sizing import Widths, fit_widths

VOCABULARY, EMBEDDING = 60, 16
BUDGETS = (10_000, 100_000, 1_000_000)


def widened(layer, width):
    """Return the same layer with `width` in place of every number of units."""
    if isinstance(layer, tuple) and not hasattr(layer, "_fields"):
        return tuple(widened(each, width) for each in layer)
    if not dataclasses.is_dataclass(layer):
        return layer
    values = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
    changed = {name: widened(value, width) for name, value in values.items() if name != "widths"}
    changed |= {name: width for name in ("features", "projection") if values.get(name) is not None}
    return dataclasses.replace(layer, **changed)


def language_model_size(cell, projection):
    """Count the parameters of a language model around a cell from the equations."""
    embedding = VOCABULARY * EMBEDDING
    projected = (cell.out_features + 1) * projection
    softmax = (projection + 1) * VOCABULARY
    return embedding + cell_size(cell) + projected + softmax


@functools.cache
def cell_size(cell):
    return count_parameters(cell, EMBEDDING)


SIZED_BY_DEFAULT = ("lstm", "lstm_options", "gru", "nested_2_multiply", "stack", "bidirectional", "transition_nested")


@zoo.parametrize(default=SIZED_BY_DEFAULT)
def test_a_language_model_of_any_cell_comes_within_two_percent(name):
    """The parameter count of a cell is quadratic in its width, so three widths determine it for all."""

    def size(width, projection):
        return language_model_size(widened(zoo.ENTRIES[name].make(None), width), projection)

    known = np.array([[size(width, projection) for width in (4, 5, 6)] for projection in (1, 2)])
    by_width = [np.rint(np.polyfit((4, 5, 6), row, 2) * 2) / 2 for row in known]

    def count(widths):
        one, two = (int(np.polyval(each, widths.layers[0])) for each in by_width)
        return one + (two - one) * (widths.projection - 1)

    for budget in BUDGETS:
        widths = fit_widths(count, budget, layers=1, projection=EMBEDDING)
        found = size(widths.layers[0], widths.projection)
        assert found == count(widths)
        assert abs(found - budget) <= 0.02 * budget


@pytest.mark.parametrize(
    ("cell", "layers"),
    [
        ("nlstm,depth=2", 1),
        pytest.param("gru", 2, marks=pytest.mark.slow),
        pytest.param("lstm", 3, marks=pytest.mark.slow),
    ],
)
def test_a_configured_model_has_the_size_that_is_told(cell, layers):
    config = json.loads(poems.get_config(f"cell={cell},layers={layers},smoke,model_params=20000").to_json())
    sizes = {"vocabulary": VOCABULARY}
    widths, count = models.fit_budget(config, sizes)
    assert len(widths.layers) == layers
    assert abs(count - 20_000) <= 100
    assert models.count_parameters(models.build(config, sizes)) == count


@pytest.mark.slow
def test_a_classic_case_of_unequal_models_is_mended():
    """With params=40000, the models of a minGRU and an LSTM once had 60,466 and 43,250 parameters."""
    counts = []
    for cell in ("gru", "lstm", "nlstm,depth=2"):
        config = json.loads(poems.get_config(f"cell={cell},smoke,model_params=40000").to_json())
        counts.append(models.fit_budget(config, {"vocabulary": VOCABULARY})[1])
    assert max(counts) <= 1.01 * min(counts)


def test_no_other_widths_come_nearer():
    """The widths equal those of a brute-force search, for two layers and for one with a projection."""

    def two(widths):
        return sum(4 * width * (width + 5) for width in widths.layers)

    def projected(widths):
        (width,) = widths.layers
        return 4 * width * (width + 9) + width * widths.projection + 7 * widths.projection

    for budget in range(200, 4000, 37):
        found = fit_widths(two, budget, layers=2)
        pairs = [Widths((high, low), 0) for low in range(1, 40) for high in (low, low + 1)]
        assert abs(two(found) - budget) == min(abs(two(pair) - budget) for pair in pairs)
        fitted = fit_widths(projected, budget, projection=8)
        every = [Widths((width,), p) for width, p in itertools.product(range(1, 40), range(4, 17))]
        error = abs(projected(fitted) - budget)
        assert error <= 0.005 * budget or error <= min(abs(projected(each) - budget) for each in every) + 0.02 * budget
        assert 4 <= fitted.projection <= 16


def test_the_widths_that_are_tried_first_change_the_speed_alone():
    counted = []

    def count(widths):
        counted.append(widths)
        return sum(4 * width * (width + 5) for width in widths.layers)

    for budget in (300, 1999, 4000):
        expected = fit_widths(count, budget, layers=2)
        for width in range(1, 40):
            assert fit_widths(count, budget, layers=2, start=Widths((width, width), 0)) == expected
        counted.clear()
        assert fit_widths(count, budget, layers=2, start=expected) == expected
        assert len(set(counted)) <= 4


def test_layers_that_are_added_up_keep_one_width():
    config = json.loads(poems.get_config("cell=lstm,layers=2,smoke,model_params=20000").to_json())
    config["cell"]["residual"] = True
    widths, _ = models.fit_budget(config, {"vocabulary": VOCABULARY})
    assert len(set(widths.layers)) == 1


def test_a_tied_softmax_keeps_its_width():
    config = json.loads(poems.get_config("cell=lstm,smoke,model_params=20000").to_json())
    config["model"]["tied"] = True
    widths, count = models.fit_budget(config, {"vocabulary": VOCABULARY})
    assert widths.projection == 0
    model = models.build(config, {"vocabulary": VOCABULARY})
    assert model.projection.kernel.shape[1] == config["model"]["embedding"]
    assert models.count_parameters(model) == count


@pytest.mark.slow
def test_models_without_a_projection_take_the_nearest_width():
    for get_config, sizes in ((sales.get_config, {"channels": 1, "outputs": 1}), (echo.get_config, {"vocabulary": 9})):
        config = json.loads(get_config("cell=lstm,layers=2,model_params=30000").to_json())
        widths, count = models.fit_budget(config, sizes)
        assert widths.projection == 0
        assert abs(count - 30_000) < 0.02 * 30_000
        assert models.count_parameters(models.build(config, sizes)) == count


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (500, "model.parameters: [0-9,]+ parameters or more, those of a cell of width 1, expected, found 500"),
        (10**16, "model.parameters: a cell of at most 65,536 units expected, found a budget of"),
    ],
)
def test_a_budget_that_no_width_serves_is_refused(budget, message):
    config = json.loads(poems.get_config("cell=lstm,smoke").to_json())
    config["model"]["parameters"] = budget
    with pytest.raises(ConfigError, match=message):
        models.build(config, {"vocabulary": VOCABULARY})


def test_two_budgets_are_refused():
    config = json.loads(poems.get_config("cell=lstm,smoke,model_params=20000").to_json())
    config["cell"]["state"] = 10
    with pytest.raises(ConfigError, match=r"config.model.parameters: no config.cell.state beside it expected"):
        models.build(config, {"vocabulary": VOCABULARY})
    with pytest.raises(ConfigError, match="'params' and 'model_params': one of them expected, found both"):
        poems.get_config("cell=lstm,params=1000,model_params=20000")
