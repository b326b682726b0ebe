"""Tests of the stocks task: no example reads the future, inputs are standardized on the past, metrics match NumPy."""

import json
from datetime import date, timedelta
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from requirements import requires

from configs import stocks
from nlstm_jax import models, tasks
from nlstm_jax.data.generators.prices import generate_prices
from nlstm_jax.data.prices import Prices, write_prices
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.settings import describe_metrics
from nlstm_jax.tasks.stocks import StocksTask
from nlstm_jax.training import fit
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.steps import CompiledSteps


def data(**changes):
    config = json.loads(stocks.get_config("variant=sequence").to_json())["data"]
    return {**config, "window": 4, "horizon": 3, **changes}


def numbered(rows: int, gap_before: int | None = None) -> Prices:
    """Return prices whose close on day n is e^(n/100) and whose volume is n + 1.

    Dates are one day apart. With `gap_before`, there are 30 more days before that day.
    """
    delays = [0 if gap_before is None or n < gap_before else 30 for n in range(rows)]
    days = [date(2020, 1, 1) + timedelta(days=n + delay) for n, delay in enumerate(delays)]
    close = np.exp(np.arange(rows) / 100)
    values = np.stack([close, close, close, close, np.arange(rows) + 1.0], axis=1)
    return Prices(np.array(days, "datetime64[D]"), values)


def days_read(task: StocksTask, split: str) -> list[tuple[int, int]]:
    """Return the first and the last day that each example reads. The volume is the number of the day plus 1."""
    examples = task.splits[split]
    volumes = np.asarray(examples.gather(jnp.arange(examples.size)).inputs)[..., 4].round().astype(int)
    return list(zip((volumes[0] - 1).tolist(), (volumes[-1] - 1).tolist(), strict=True))


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_parts_follow_each_other_and_no_horizon_reaches_into_the_next(lag: int) -> None:
    task = StocksTask(numbered(100), data(inputs="raw", lag=lag, valid_fraction=0.2, test_fraction=0.1), "mse")
    bounds = {"train": (0, 70), "valid": (70, 90), "test": (90, 100)}
    for split, (low, high) in bounds.items():
        read = days_read(task, split)
        now = [last + lag for _, last in read]
        assert now == list(range(max(low, 3 + lag), high - 3))
        assert all(first == last - 3 for first, last in read)


def test_targets_are_the_moves_of_the_close() -> None:
    close = generate_prices(100, seed=0).values[:, 3]
    for target, move in (("log_return", lambda a, b: 100 * np.log(b / a)), ("change", lambda a, b: b - a)):
        task = StocksTask(generate_prices(100, seed=0), data(inputs="raw", target=target), "mse")
        train = task.splits["train"]
        now = np.asarray(train.ends)
        np.testing.assert_allclose(np.asarray(train.targets) * task.unit, move(close[now], close[now + 3]), rtol=1e-12)
        assert np.std(train.targets) == pytest.approx(1)


def test_nothing_is_read_or_forecast_across_a_gap() -> None:
    task = StocksTask(numbered(100, gap_before=40), data(inputs="raw", lag=1), "mse")
    now = [last + 1 for _, last in days_read(task, "train")]
    # The last horizon before the gap ends on day 39; the first window after it begins on day 40.
    assert now == [*range(4, 37), *range(44, 67)]
    returns = StocksTask(numbered(100, gap_before=40), data(inputs="returns", lag=1), "mse")
    # The change on a window's first day is read too, and is not the one across the gap.
    assert (np.asarray(returns.splits["train"].ends) + 1).tolist() == [*range(5, 37), *range(45, 67)]
    wide = StocksTask(numbered(100, gap_before=40), data(inputs="raw", lag=1, largest_gap=31), "mse")
    assert len(days_read(wide, "train")) == 63


@pytest.mark.parametrize("inputs", ["returns", "standard"])
def test_standard_units_are_those_of_the_training_rows_alone(inputs: str) -> None:
    prices = generate_prices(200, seed=1)
    changed = Prices(prices.dates, np.concatenate([prices.values[:140], 3 * prices.values[140:]]))
    first, second = (StocksTask(series, data(inputs=inputs), "mse") for series in (prices, changed))
    rows = np.asarray(first.splits["train"].inputs)[:140]
    np.testing.assert_array_equal(rows, np.asarray(second.splits["train"].inputs)[:140])
    assert first.unit == second.unit
    fitted = rows[inputs == "returns" :]
    np.testing.assert_allclose(fitted.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(fitted.std(0), 1, rtol=1e-9)


def test_returns_are_logarithmic_changes_from_the_close_before() -> None:
    values = generate_prices(200, seed=1).values
    rows = np.asarray(StocksTask(generate_prices(200, seed=1), data(), "mse").splits["train"].inputs)
    changes = np.log(values[1:, :4] / values[:-1, 3:4])
    changes = np.concatenate([changes, np.log1p(values[1:, 4:]) - np.log1p(values[:-1, 4:])], axis=1)
    expected = (changes - changes[:139].mean(0)) / changes[:139].std(0)
    np.testing.assert_allclose(rows[1:], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("likelihood", ["mse", pytest.param("gaussian", marks=pytest.mark.slow)])
def test_the_report_is_numpys_in_the_unit_of_the_targets(likelihood: str) -> None:
    config = json.loads(stocks.get_config("cell=lstm,variant=sequence,smoke").to_json())
    config["model"]["likelihood"] = likelihood
    task = tasks.build(config)
    model = models.build(config, task.model_dims)
    program = CompiledSteps.from_model(model, task, lambda numbers: None, make_mesh({}))
    totals, heads, targets = {}, {}, {}
    for split, examples in task.splits.items():
        totals[split] = program.eval_sums(models.split(model)[1], replicate(examples, program.mesh), 64)[0]
        heads[split] = np.asarray(model(examples.gather(jnp.arange(examples.size)).inputs), np.float64) * task.unit
        targets[split] = np.asarray(examples.targets) * task.unit
    for split, metrics in task.report(totals).items():
        error = targets[split] - heads[split][:, 0]
        if likelihood == "mse":
            variance = np.square(targets["train"] - heads["train"][:, 0]).mean()
        else:
            variance = np.square((np.log1p(np.exp(heads[split][:, 1] / task.unit)) + 1e-2) * task.unit)
        moved = targets[split] != 0
        expected = {
            "log_loss": np.mean(0.5 * np.log(2 * np.pi * variance) + np.square(error) / (2 * variance)),
            "mse": np.square(error).mean(),
            "rmse": np.sqrt(np.square(error).mean()),
            "direction_accuracy": ((heads[split][:, 0] > 0) == (targets[split] > 0))[moved].mean(),
        }
        assert metrics == pytest.approx(expected, rel=1e-4)
        # The bootstrap over examples takes a sum with the name of a metric for the sum of the metric.
        for name in metrics.keys() & totals[split].keys():
            total = totals[split][name]
            assert float(total.sum / total.weight) == pytest.approx(metrics[name], rel=1e-6), name
        assert ("log_loss" in totals[split]) == (likelihood != "mse")


def test_a_close_that_does_not_move_is_refused() -> None:
    still = Prices(numbered(100).dates, np.ones((100, 5)))
    with pytest.raises(DataError, match=r"^stocks: a close that moves expected, found one that does not in the train"):
        StocksTask(still, data(), "mse")


def test_baselines_are_judged_on_the_windows_that_the_networks_see() -> None:
    requires("sklearn")
    prices = generate_prices(600, seed=2)
    task = StocksTask(prices, data(window=5), "mse")
    close = prices.values[:, 3]
    moves = 100 * np.log(close[3:] / close[:-3])
    bounds = {"train": (5, 420), "valid": (420, 510), "test": (510, 600)}
    train, valid, _ = (moves[low : high - 3] for low, high in bounds.values())
    errors = task.baselines("valid")
    assert errors["no change"]["rmse"] == pytest.approx(np.sqrt(np.square(valid).mean()))
    expected = np.sqrt(np.square(valid - train.mean()).mean())
    assert errors["mean change of the training days"]["rmse"] == pytest.approx(expected)
    (ridge,) = (value for name, value in errors.items() if name.startswith("ridge on the last 5 days"))
    assert ridge["mse"] == pytest.approx(ridge["rmse"] ** 2)
    assert abs(ridge["rmse"] / expected - 1) < 0.1


def test_baselines_serve_a_few_examples() -> None:
    requires("sklearn")
    settings = data(window=5, valid_fraction=0.3, test_fraction=0.3)
    task = StocksTask(generate_prices(30, seed=2), settings, "mse")
    assert "ridge on the last 5 days (penalty 1e+06)" in task.baselines("valid")


def test_errors_have_the_unit_of_their_target() -> None:
    config = stocks.get_config("variant=sequence").to_dict()
    assert describe_metrics(config)["rmse"]["unit"] == "percent"
    config["data"]["target"] = "change"
    assert describe_metrics(config)["rmse"]["unit"] == "price units"
    assert describe_metrics(config)["log_loss"]["unit"] == "nats per target"


@pytest.mark.parametrize(
    ("rows", "changes", "online", "validation_error"),
    [
        (
            60,
            {"window": 50},
            False,
            "config.data.window=50 and config.data.horizon=3: longer prices",
        ),
        (
            5,
            {},
            False,
            "config.data.window=4 and config.data.horizon=3: longer prices",
        ),
        (
            2,
            {"inputs": "raw"},
            True,
            "config.data.window=4 and config.data.horizon=3: longer prices",
        ),
        (
            60,
            {"fit_rows": 2},
            True,
            "config.data.fit_rows: 3 or more expected with config.data.inputs=returns, found 2",
        ),
    ],
)
def test_a_series_that_is_too_short_is_told(rows: int, changes: dict, online: bool, validation_error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        StocksTask(numbered(rows), data(**changes), "mse", online=online)
    assert str(caught.value).startswith(validation_error)


def test_a_share_that_does_not_move_has_no_direction(tmp_path: Path) -> None:
    """No forecast has a sign to be right about in the validation days; the run is healthy all the same."""
    prices = generate_prices(200, seed=0)
    values = prices.values.copy()
    values[140:, :4] = values[140, 3]
    write_prices(tmp_path / "flat.csv", Prices(prices.dates, values))
    config = stocks.get_config("cell=lstm,variant=sequence,smoke")
    config.data.path = str(tmp_path / "flat.csv")
    config.train.steps, config.eval.every_steps = 4, 2
    assert fit(config, tmp_path / "run")["status"] == "finished"
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert ["direction_accuracy" in row for row in rows] == [True, False, True, False]
    assert all(np.isfinite(row["log_loss"]) for row in rows)
