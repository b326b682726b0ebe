"""How a share's price moves over the next days, from the days before."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.generators.prices import generate_prices
from nlstm_jax.data.prices import VALUES, Prices, read_prices
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.tasks.base import ShuffledExamples, StatelessTask, WeightedSum, to_means
from nlstm_jax.tasks.likelihoods import LIKELIHOODS, SquaredError, residual_log_loss
from nlstm_jax.types import AnyArray, Array, Float, Int, PRNGKeyArray

CLOSE = VALUES.index("close")


class StockBatch(NamedTuple):
    """Windows of days, time-major, and what comes after each."""

    inputs: Float[Array, "T B C"]
    targets: Float[Array, "B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Days(ShuffledExamples):
    """Windows of one series, in the order of time.

    Attributes:
        inputs: channel values by day.
        targets: by window.
        ends: the last day that each window reads.
        window: T, days in a window.
    """

    inputs: Float[AnyArray, "N C"]
    targets: Float[AnyArray, "n"]
    ends: Int[AnyArray, "n"]
    window: int = field(metadata={"static": True})

    @property
    def size(self) -> int:
        """Windows."""
        return self.targets.shape[0]

    def gather(self, indices: Int[Array, "B"]) -> StockBatch:
        """These windows."""
        days = jnp.asarray(self.ends)[indices] + jnp.arange(1 - self.window, 1)[:, None]
        return StockBatch(jnp.asarray(self.inputs)[days], jnp.asarray(self.targets)[indices])


class StocksTask(StatelessTask):
    """The change of the close over some days. See `tasks.base.Task`.

    The example of day t reads `window` days, the last of which is t − `lag`, and looks from t to t + `horizon`. Train,
    valid and test follow each other in time: an example whose horizon reaches into the next part is left out, and
    standard units are those of the training rows. Online there is but one part, all days in order; standard units are
    those of the first `fit_rows` rows, which no example reads.

    Attributes:
        likelihood: what the head's outputs mean, in units of the training targets' standard deviation.
        unit: that deviation, in the unit of the targets; 1 online.
        horizon: days ahead.
    """

    metrics: tuple[str, ...] = ("log_loss", "mse", "rmse", "direction_accuracy")
    targets_per_example = 1.0

    def __init__(self, prices: Prices, data: Mapping[str, Any], likelihood: str, *, online: bool = False) -> None:
        """Make the splits.

        Args:
            prices: the series.
            data: the section of a configuration.
            likelihood: `mse` or `gaussian`.
            online: whether there is one part.

        Raises:
            ConfigError: settings that do not go together, or that the series is too short for.
            DataError: a close that does not move.
        """
        self.likelihood = LIKELIHOODS[likelihood]
        self.model_dims = {"channels": len(VALUES), "outputs": self.likelihood.outputs}
        channels = _channels(prices.values, data["inputs"])
        self.horizon = horizon = data["horizon"]
        whole, bounds = _parts(prices, data, online)
        days = {split: whole[(whole >= low) & (whole + horizon < high)] for split, (low, high) in bounds.items()}
        for split, chosen in days.items():
            if not len(chosen):
                raise ConfigError(
                    f"config.data.window={data['window']} and config.data.horizon={horizon}: more than "
                    f"{len(prices.dates):,} rows, or fewer days, expected for an example to {split}; none goes across "
                    f"more than config.data.largest_gap={data['largest_gap']} days without a row"
                )
        if data["inputs"] != "raw":
            first = int(data["inputs"] == "returns")
            fitted = channels[first : data["fit_rows"] if online else bounds["train"][1]]
            if len(fitted) < 2:
                raise ConfigError(
                    f"config.data.fit_rows: 3 or more expected with config.data.inputs={data['inputs']}, found "
                    f"{data['fit_rows']}"
                )
            deviations = fitted.std(0)
            channels = (channels - fitted.mean(0)) / np.where(deviations > 0, deviations, 1)
        targets = _targets(prices.values[:, CLOSE], data["target"], horizon)
        self.unit = 1.0 if online else float(targets[days["train"]].std())
        if not self.unit:
            raise DataError("stocks: a close that moves expected, found one that does not in the training days")
        self.splits = {
            split: Days(channels, targets[chosen] / self.unit, (chosen - data["lag"]).astype(np.int32), data["window"])
            for split, chosen in days.items()
        }
        self.metadata: dict[str, Any] = {"name": "stocks", "checksums": prices.checksums}
        rows, (begin, end) = len(prices.dates), prices.dates[[0, -1]]
        self.log_lines = (
            *prices.notes,
            f"{rows:,} days from {begin} to {end}; {rows - len(whole):,} have no window and horizon without a gap",
            "examples: "
            + ", ".join(f"{split} {len(chosen):,} ({prices.dates[chosen[0]]} on)" for split, chosen in days.items()),
        )

    def loss(self, model: Any, batch: StockBatch, key: PRNGKeyArray | None) -> WeightedSum:
        """The likelihood's loss over the batch."""
        losses = self.likelihood.loss(model(batch.inputs, key=key), batch.targets)
        return WeightedSum(losses.sum(), jnp.asarray(losses.size, losses.dtype))

    def measure(self, model: Any, batch: StockBatch, weight: Float[Array, "B"]) -> dict[str, WeightedSum]:
        """The likelihood's loss, squared errors, and whether the sign is right (of days on which the price moves)."""
        head = model(batch.inputs)
        mean, target = self.likelihood.mean(head), batch.targets
        moves = weight * (target != 0)
        return {
            "loss": WeightedSum((self.likelihood.loss(head, target) * weight).sum(), weight.sum()),
            "mse": WeightedSum((jnp.square(mean - target) * weight).sum(), weight.sum()),
            "direction": WeightedSum(((mean > 0) == (target > 0)).astype(weight.dtype) @ moves, moves.sum()),
        }

    def report(self, totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
        """Log-loss in nats per target and errors, in the unit of the targets.

        Trained by squared error, the forecast is a Gaussian of the training residuals' variance.
        """
        means, reports = to_means(totals), {}
        for split, values in means.items():
            log_loss = values["loss"]
            if isinstance(self.likelihood, SquaredError):
                log_loss = residual_log_loss(values["mse"], means["train"]["mse"])
            mse = values["mse"] * self.unit**2
            reports[split] = {
                "log_loss": log_loss + float(np.log(self.unit)),
                "mse": mse,
                "rmse": mse**0.5,
                "direction_accuracy": values["direction"],
            }
        return reports


def build_stocks(data: Mapping[str, Any], likelihood: str, online: bool) -> StocksTask:
    """The task on the file that a configuration's `data` section names, or on generated prices.

    Raises:
        DataError: see `read_prices`.
        ConfigError: see `read_prices` and `StocksTask`.
    """
    if data["path"]:
        prices = read_prices(Path(data["path"]), data["columns"], data["date_format"])
    else:
        prices = generate_prices(data["days"], data["seed"])
    return StocksTask(prices, data, likelihood, online=online)


def _channels(values: Float[np.ndarray, "N 5"], inputs: str) -> Float[np.ndarray, "N 5"]:
    """What a day looks like: its values, or their logarithmic changes from the close and the volume before."""
    if inputs != "returns":
        return values
    volume = np.log1p(values[:, 4:])
    logarithms = np.concatenate([np.log(values[:, :4]), volume], axis=1)
    before = np.concatenate([np.repeat(logarithms[:, CLOSE : CLOSE + 1], 4, axis=1), volume], axis=1)
    return np.concatenate([np.zeros((1, 5)), logarithms[1:] - before[:-1]])


def _targets(close: Float[np.ndarray, "N"], target: str, horizon: int) -> Float[np.ndarray, "N"]:
    """From each day over the horizon; 0 where the series ends before."""
    later, now = close[horizon:], close[:-horizon]
    moves = 100 * np.log(later / now) if target == "log_return" else later - now
    return np.concatenate([moves, np.zeros(min(horizon, len(close)))])[: len(close)]


def _parts(
    prices: Prices, data: Mapping[str, Any], online: bool
) -> tuple[Int[np.ndarray, "n"], dict[str, tuple[int, int]]]:
    """The days t with a whole window and horizon, no gap in them; and the bounds in time of each part."""
    rows, horizon = len(prices.dates), data["horizon"]
    of_returns = int(data["inputs"] == "returns")
    first_row = max(of_returns, data["fit_rows"] if online else 0)
    days = np.arange(first_row + data["window"] + data["lag"] - 1, rows - horizon)
    gaps = np.diff(prices.dates).astype(int) > data["largest_gap"]
    before = np.concatenate([[0], np.cumsum(gaps)])
    first_read = days - data["lag"] - data["window"] + 1 - of_returns
    days = days[before[days + horizon] == before[first_read]]
    if online:
        return days, {"train": (0, rows)}
    test = rows - round(rows * data["test_fraction"])
    valid = test - round(rows * data["valid_fraction"])
    return days, {"train": (0, valid), "valid": (valid, test), "test": (test, rows)}
