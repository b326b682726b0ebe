"""The stocks task: forecast the change of a share's price over the next days from the previous days."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.generators.prices import generate_prices
from nlstm_jax.data.prices import VALUES, Prices, read_prices
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.models import Forecaster, build_forecaster
from nlstm_jax.settings import Metric, Question, Setting, UnitBySetting
from nlstm_jax.settings.setting import rate, seed
from nlstm_jax.tasks.base import StatelessTask
from nlstm_jax.tasks.baselines import price_baselines
from nlstm_jax.tasks.likelihoods import LIKELIHOODS, SquaredError, residual_log_loss
from nlstm_jax.tasks.price_windows import PriceWindows, StockBatch, describe_gaps
from nlstm_jax.tasks.sums import WeightedSum, to_means
from nlstm_jax.types import Array, Config, Float, Int, PRNGKeyArray

CLOSE = VALUES.index("close")
"""The column of the closing price."""


class StocksTask(StatelessTask[Forecaster, StockBatch]):
    """A task that forecasts the change of the close over the next days. See `tasks.base.Task`.

    The example of day t reads `window` days, the last of which is day t − `lag`. Its target is the change of the close
    from day t to day t + `horizon`.

    The splits `train`, `valid` and `test` follow each other in time. An example whose horizon reaches into the next
    split is left out. Inputs are standardized with the mean and standard deviation of the training rows, unless
    `inputs` is `raw`.

    Online training has one split: all days in order. Inputs are standardized with the first `fit_rows` rows, which no
    example reads.

    Attributes:
        likelihood: The likelihood that interprets the outputs of the head, in multiples of `unit`.
        unit: The standard deviation of the training targets, in the unit of the targets. It is 1 online.
        horizon: The number of days from day t to the day that is forecast.
        splits: The windows of each split.
    """

    settings: ClassVar = {
        "data.path": Setting("", "a CSV file of daily open, high, low, close, volume; empty: generated prices"),
        "data.columns": Setting(
            "", "of a header: close=Last,adjusted=Adj Close,…; without one: all names in order; empty: the usual"
        ),
        "data.date_format": Setting("", "as of strptime; empty: %Y-%m-%d or %Y%m%d"),
        "data.window": Setting(20, "T, days read", low=1, high=10_000),
        "data.horizon": Setting(5, "days ahead", low=1, high=1000),
        "data.lag": Setting(
            0, "days between the last one read and the one that is looked ahead from", low=0, high=1000
        ),
        "data.inputs": Setting(
            "returns",
            "logarithmic changes in standard units, values in standard units, or values",
            choices=("returns", "standard", "raw"),
        ),
        "data.target": Setting(
            "log_return",
            "of the close over the horizon: 100 log(ratio), or the difference",
            choices=("log_return", "change"),
        ),
        "data.largest_gap": Setting(
            14, "days without a row beyond which nothing is read or forecast across", low=1, high=10_000
        ),
        "data.fit_rows": Setting(
            0, "online: first rows that only the standard units are fitted on", low=0, high=1_000_000
        ),
        "data.valid_fraction": Setting(0.15, "of the rows, before the test rows", above=0, below=0.5),
        "data.test_fraction": Setting(0.15, "of the rows, the last", above=0, below=0.5),
        "data.days": Setting(3000, "generated: days", low=50, high=1_000_000),
        "data.seed": seed("generated: of the prices"),
        "train.online": Setting(False, "every example is forecast, then learned from, in order and once; in float64"),
        "train.learn_after": Setting(
            0, "online: steps from a forecast to learning from it; the horizon is honest", low=0
        ),
        "model.likelihood": Setting("mse", "what is minimized", choices=("mse", "gaussian")),
        "model.initial_values": Setting(
            "drawn", "drawn, or an LSTM's of the 2015 example, by NumPy's RandomState", choices=("drawn", "example")
        ),
        "model.dropout_output": rate(0.0, "rate on the cell's last output"),
        "model.dropout_between": rate(0.0, "rate between the layers of a stack"),
    }
    metrics = (
        Metric("log_loss", "nats per target"),
        Metric("mse", UnitBySetting("data.target", {"log_return": "percent²", "change": "squared price units"})),
        Metric("rmse", UnitBySetting("data.target", {"log_return": "percent", "change": "price units"})),
        Metric("direction_accuracy", higher_is_better=True),
    )
    # Version 2: with the likelihood `mse`, the variance of the log-loss is that of all training residuals.
    question = Question(
        version=2,
        settings=(
            "data.columns",
            "data.date_format",
            "data.window",
            "data.inputs",
            "data.horizon",
            "data.target",
            "data.lag",
            "data.largest_gap",
            "data.fit_rows",
            "data.valid_fraction",
            "data.test_fraction",
            "train.online",
        ),
        generated=("data.days", "data.seed"),
    )
    baseline_metric = "rmse"

    splits: dict[str, PriceWindows]

    def __init__(self, prices: Prices, data: Config, likelihood: str, *, online: bool = False) -> None:
        """Make the splits.

        Args:
            prices: The price series.
            data: The `data` section of a configuration.
            likelihood: The name of the likelihood, `mse` or `gaussian`.
            online: True if training is online, in which case there is one split.

        Raises:
            ConfigError: The settings contradict each other, or the series is too short for them.
            DataError: All training targets are equal, as when the close does not move.
        """
        self.likelihood = LIKELIHOODS[likelihood]
        self.evaluates_all_of_train = isinstance(self.likelihood, SquaredError)
        self.model_dims = {"channels": len(VALUES), "outputs": self.likelihood.outputs}
        self.horizon = data["horizon"]

        bounds = _split_bounds(len(prices.dates), data, online)
        days = _usable_days(prices, data, online)
        days_by_split = {}
        for split, (low, high) in bounds.items():
            days_by_split[split] = days[(days >= low) & (days + self.horizon < high)]
        for split, split_days in days_by_split.items():
            if not len(split_days):
                raise ConfigError(
                    f"config.data.window={data['window']} and config.data.horizon={self.horizon}: longer prices or a "
                    f"shorter window and horizon expected, found {len(prices.dates):,} days, which have no example to "
                    f"{split}; no example extends over more than config.data.largest_gap={data['largest_gap']} days "
                    "without a row"
                )

        channels = _make_channels(prices.values, data["inputs"])
        if data["inputs"] != "raw":
            fit_rows = data["fit_rows"] if online else bounds["train"][1]
            channels = _standardize(channels, fit_rows, data)

        targets = _compute_targets(prices.values[:, CLOSE], data["target"], self.horizon)
        self.unit = 1.0 if online else float(targets[days_by_split["train"]].std())
        if not self.unit:
            raise DataError("stocks: a close that moves expected, found one that does not in the training days")

        self.splits = {}
        for split, split_days in days_by_split.items():
            ends = (split_days - data["lag"]).astype(np.int32)
            self.splits[split] = PriceWindows(channels, targets[split_days] / self.unit, ends, data["window"])

        self.metadata = {"name": "stocks", "checksums": prices.checksums}
        self._prices = prices
        self._lag = data["lag"]
        rows = len(prices.dates)
        begin, end = prices.dates[[0, -1]]
        sizes = ", ".join(
            f"{split} {len(split_days):,} ({prices.dates[split_days[0]]} on)"
            for split, split_days in days_by_split.items()
        )
        self.log_lines = (
            *prices.notes,
            f"{rows:,} days from {begin} to {end}; {rows - len(days):,} have no window and horizon without a gap",
            describe_gaps(prices.dates, data["largest_gap"]),
            f"examples: {sizes}",
        )

    @classmethod
    def from_config(cls, config: Config) -> "StocksTask":
        """Build the task from the file `data.path`, or from generated prices if the path is empty.

        Raises:
            DataError: See `read_prices` and `StocksTask`.
            ConfigError: See `read_prices` and `StocksTask`.
        """
        data = config["data"]
        if data["path"]:
            prices = read_prices(Path(data["path"]).expanduser(), data["columns"], data["date_format"])
        else:
            prices = generate_prices(data["days"], data["seed"])
        return cls(prices, data, config["model"]["likelihood"], online=config["train"]["online"])

    @staticmethod
    def build_model(config: Config, dims: Mapping[str, int]) -> Forecaster:
        """Build the forecaster over the channels, with the outputs that the likelihood needs."""
        return build_forecaster(config, dims["channels"], dims["outputs"])

    def loss(self, model: Forecaster, batch: StockBatch, key: PRNGKeyArray | None) -> WeightedSum:
        """Return the sum of the likelihood's losses over the batch, with the number of targets."""
        losses = self.likelihood.loss(model(batch.inputs, key=key), batch.targets)
        return WeightedSum(losses.sum(), jnp.asarray(losses.size, losses.dtype))

    def measure(self, model: Forecaster, batch: StockBatch, weight: Float[Array, "B"]) -> dict[str, WeightedSum]:
        """Return weighted sums of the log-loss, of the squared errors, and of the forecasts with the correct sign.

        The log-loss and the errors refer to targets in their own unit, not in multiples of `unit`. With the likelihood
        `mse`, the log-loss is no sum over targets, and is left out. Only targets other than 0 count toward the sign.
        """
        head = model(batch.inputs)
        mean = self.likelihood.mean(head)
        target = batch.targets
        moves = weight * (target != 0)
        errors = jnp.square(self.unit * (mean - target))
        sums = {
            "mse": WeightedSum((errors * weight).sum(), weight.sum()),
            "direction_accuracy": WeightedSum(((mean > 0) == (target > 0)).astype(weight.dtype) @ moves, moves.sum()),
        }
        if not isinstance(self.likelihood, SquaredError):
            losses = self.likelihood.loss(head, target) + math.log(self.unit)
            sums["log_loss"] = WeightedSum((losses * weight).sum(), weight.sum())
        return sums

    def report(self, totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
        """Return the log-loss in nats per target, the errors, and the share of forecasts with the correct sign.

        With the likelihood `mse`, the log-loss is that of a Gaussian with the variance of all training residuals.
        """
        means = to_means(totals)
        variance = self.unit**2
        reports = {}
        for split, values in means.items():
            if isinstance(self.likelihood, SquaredError):
                log_loss = residual_log_loss(values["mse"] / variance, means["train"]["mse"] / variance)
                log_loss += math.log(self.unit)
            else:
                log_loss = values["log_loss"]
            reports[split] = {
                "log_loss": log_loss,
                "mse": values["mse"],
                "rmse": math.sqrt(values["mse"]),
            }
            # Where no price moves, no forecast has a sign to be right about.
            if "direction_accuracy" in values:
                reports[split]["direction_accuracy"] = values["direction_accuracy"]
        return reports

    def example_lines(self, split: str, count: int) -> list[str]:
        """Return the first windows: days, closes and target. See `abilities.ShowsExamples`."""
        windows = self.splits[split]
        dates = self._prices.dates
        close = self._prices.values[:, CLOSE]
        lines = []
        for end, target in zip(windows.ends[:count], windows.targets[:count], strict=True):
            first = end + 1 - windows.window
            last = end + self._lag + self.horizon
            lines.append(
                f"{dates[first]} to {dates[end]}, close {close[first]:g} to {close[end]:g} → "
                f"{target * self.unit:+.4g} until {dates[last]}, close {close[last]:g}"
            )
        return lines

    def baselines(self, split: str) -> dict[str, dict[str, float]]:
        """Return the errors of each baseline on a split. See `abilities.Baselines`."""
        train = self.splits["train"]
        return price_baselines(
            _collect_days(train, self.unit),
            _collect_days(self.splits[split], self.unit),
            window=train.window,
            horizon=self.horizon,
        )


def _make_channels(values: Float[np.ndarray, "N 5"], inputs: str) -> Float[np.ndarray, "N 5"]:
    """Return the input channels of each day, before they are standardized.

    With `inputs` = `returns`, the channels are logarithmic changes: of each price relative to the previous close, and
    of log(1 + volume) relative to the previous day. The first day, which has no previous one, is 0. With any other
    value of `inputs`, the channels are the values themselves.
    """
    if inputs != "returns":
        return values

    log_prices = np.log(values[:, :4])
    log_volume = np.log1p(values[:, 4:])
    log_values = np.concatenate([log_prices, log_volume], axis=1)
    log_close = log_values[:, CLOSE : CLOSE + 1]
    references = np.concatenate([np.repeat(log_close, 4, axis=1), log_volume], axis=1)
    return np.concatenate([np.zeros((1, 5)), log_values[1:] - references[:-1]])


def _standardize(channels: Float[np.ndarray, "N 5"], fit_rows: int, data: Config) -> Float[np.ndarray, "N 5"]:
    """Return the channels minus their mean, divided by their standard deviation.

    Mean and standard deviation are those of the first `fit_rows` rows. With returns, the first row is not among them.
    A channel that is constant over these rows is not divided.

    Raises:
        ConfigError: Fewer than two rows are left to compute the standard deviation from.
    """
    first_row = int(data["inputs"] == "returns")
    fitted = channels[first_row:fit_rows]
    if len(fitted) < 2:
        raise ConfigError(
            f"config.data.fit_rows: 3 or more expected with config.data.inputs={data['inputs']}, found "
            f"{data['fit_rows']}"
        )
    deviations = fitted.std(0)
    return (channels - fitted.mean(0)) / np.where(deviations > 0, deviations, 1)


def _compute_targets(close: Float[np.ndarray, "N"], target: str, horizon: int) -> Float[np.ndarray, "N"]:
    """Return the change of the close from each day over the horizon, or 0 if the series ends before.

    With `target` = `log_return`, the change is 100 log(later / now). Otherwise it is later − now.
    """
    later = close[horizon:]
    now = close[:-horizon]
    moves = 100 * np.log(later / now) if target == "log_return" else later - now
    return np.concatenate([moves, np.zeros(min(horizon, len(close)))])[: len(close)]


def _usable_days(prices: Prices, data: Config, online: bool) -> Int[np.ndarray, "n"]:
    """Return the days t that have a complete window before them and a complete horizon after them, without a gap.

    A gap is more than `largest_gap` days without a row. With returns, the day before the window must exist too, as the
    first change is computed from it. Online, windows begin after the first `fit_rows` rows.
    """
    extra_rows = int(data["inputs"] == "returns")
    fit_rows = data["fit_rows"] if online else 0
    first_row = max(extra_rows, fit_rows)
    days = np.arange(first_row + data["window"] + data["lag"] - 1, len(prices.dates) - data["horizon"])

    is_gap = np.diff(prices.dates).astype(int) > data["largest_gap"]
    gaps_before = np.concatenate([[0], np.cumsum(is_gap)])
    first_read = days - data["lag"] - data["window"] + 1 - extra_rows
    has_no_gap = gaps_before[days + data["horizon"]] == gaps_before[first_read]
    return days[has_no_gap]


def _split_bounds(rows: int, data: Config, online: bool) -> dict[str, tuple[int, int]]:
    """Return the first row of each split and the row after its last one."""
    if online:
        return {"train": (0, rows)}
    test = rows - round(rows * data["test_fraction"])
    valid = test - round(rows * data["valid_fraction"])
    return {"train": (0, valid), "valid": (valid, test), "test": (test, rows)}


def _collect_days(windows: PriceWindows, unit: float) -> tuple[Float[np.ndarray, "n F"], Float[np.ndarray, "n"]]:
    """Return the flattened inputs of all windows, and their targets multiplied by `unit`."""
    batch = windows.gather(jnp.arange(windows.size))
    inputs = np.moveaxis(np.asarray(batch.inputs, np.float64), 1, 0).reshape(len(batch.targets), -1)
    targets = np.asarray(batch.targets, np.float64) * unit
    return inputs, targets
