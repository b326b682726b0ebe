"""Sales forecasting: a (shop, item) pair's next month, from its months before."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.generators.shop_world import ShopWorld, shop_world_history
from nlstm_jax.data.sales import JoinedPairs, SalesHistory, TestPairs, join_pairs, read_sales
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.process import cache_folder
from nlstm_jax.tasks.base import ShuffledExamples, StatelessTask, WeightedSum, to_means
from nlstm_jax.tasks.likelihoods import LIKELIHOODS, SquaredError, residual_log_loss
from nlstm_jax.types import AnyArray, Array, Bool, Float, Int, PRNGKeyArray

LARGEST = 20.0
"""Kaggle clips counts to [0, 20] when it scores."""


class SalesBatch(NamedTuple):
    """Windows of months, time-major, and the month after each."""

    inputs: Float[Array, "T B C"]
    targets: Float[Array, "B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Windows(ShuffledExamples):
    """Every pair's windows that end just before one of the months `first` … `first + months − 1`.

    Attributes:
        inputs: channel values by pair and month.
        targets: counts by pair and month.
        window: T, months in a window.
        first: the first month that is a target.
        months: how many are.
    """

    inputs: Float[AnyArray, "P M C"]
    targets: Float[AnyArray, "P M"]
    window: int = field(metadata={"static": True})
    first: int = field(metadata={"static": True})
    months: int = field(metadata={"static": True})

    @property
    def size(self) -> int:
        """The number of windows."""
        return self.inputs.shape[0] * self.months

    def gather(self, indices: Int[Array, "B"]) -> SalesBatch:
        """These windows as a batch: pair by pair, in each pair month by month."""
        pairs, months = indices // self.months, self.first + indices % self.months
        window = months[:, None] + jnp.arange(-self.window, 0)
        inputs = jnp.asarray(self.inputs)[pairs[:, None], window]
        return SalesBatch(jnp.moveaxis(inputs, 1, 0), jnp.asarray(self.targets)[pairs, months])


class SalesTask(StatelessTask):
    """Counts of the next month. See `tasks.base.Task`.

    With the honest protocol, T the last month with data: targets up to T−1−`origins` are trained on, the `origins`
    months before T validate, T tests; counts are clipped to [0, 20]. With the notebook's, all pairs of `test.csv` are
    trained on T from all months before, raw; nothing validates.

    Attributes:
        history: the monthly table.
        likelihood: what the head's outputs mean.
    """

    metrics = ("log_loss", "mse", "rmse_clipped")
    targets_per_example = 1.0

    def __init__(self, history: SalesHistory, data: Mapping[str, Any], likelihood: str) -> None:
        """Make the splits.

        Args:
            history: the monthly table.
            data: `protocol`, `window`, `origins`, `price`, `scale`.
            likelihood: by name.

        Raises:
            ConfigError: settings that do not go together, or that the history is too short for.
        """
        self.history = history
        self.likelihood = LIKELIHOODS[likelihood]
        self._log1p, self._price = data["scale"] == "log1p", data["price"]
        self._honest = data["protocol"] == "honest"
        self.model_dims = {"channels": 2 if self._price else 1, "outputs": self.likelihood.outputs}
        last = history.counts.shape[1] - 1
        if self._honest:
            self.window = data["window"]
            pairs = self._windows(history.counts, history.prices)
            first_valid = last - data["origins"]
            if self.window >= first_valid:
                raise ConfigError(
                    f"config.data.window={self.window} and config.data.origins={data['origins']}: at most "
                    f"{first_valid - 1} months read expected, as the data end with month {last} (counted from 0), "
                    f"{data['origins']} of them validate and one tests"
                )
            self.splits = {
                "train": pairs(self.window, first_valid - self.window),
                "valid": pairs(first_valid, data["origins"]),
                "test": pairs(last, 1),
            }
        else:
            if self.likelihood.whole_counts:
                raise ConfigError(
                    "config.model.likelihood=negative_binomial: mse or gaussian expected with "
                    "config.data.protocol=notebook, whose targets are raw and may be negative"
                )
            self.window = last
            joined = self._join_test_pairs()
            self.splits = {"train": self._windows(joined.counts, joined.prices)(last, 1)}
        self.metadata: dict[str, Any] = {
            "name": "sales",
            "checksums": history.checksums or {"generated": _fingerprint(history)},
        }
        sizes = ", ".join(f"{split} {examples.size:,}" for split, examples in self.splits.items())
        self.log_lines = (
            *history.notes,
            f"{data['protocol']} protocol, last month with data {last}; windows: {sizes}",
        )

    def loss(self, model: Any, batch: SalesBatch, key: PRNGKeyArray | None) -> WeightedSum:
        """The likelihood's loss over the batch."""
        losses = self.likelihood.loss(model(batch.inputs, key=key), batch.targets)
        return WeightedSum(losses.sum(), jnp.float32(losses.size))

    def measure(self, model: Any, batch: SalesBatch, weight: Float[Array, "B"]) -> dict[str, WeightedSum]:
        """The likelihood's loss, squared errors as they are and clipped."""
        head = model(batch.inputs)
        mean, target = self.likelihood.mean(head), batch.targets
        errors = {
            "loss": self.likelihood.loss(head, target),
            "mse": jnp.square(mean - target),
            "mse_clipped": jnp.square(jnp.clip(mean, 0, LARGEST) - jnp.clip(target, 0, LARGEST)),
        }
        return {name: WeightedSum((error * weight).sum(), weight.sum()) for name, error in errors.items()}

    def report(self, totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
        """Log-loss in nats per target, MSE, and RMSE of clipped forecasts and counts.

        Trained by squared error, the forecast is a Gaussian of the training residuals' variance.
        """
        means = to_means(totals)
        reports = {}
        for split, values in means.items():
            log_loss = values["loss"]
            if isinstance(self.likelihood, SquaredError):
                log_loss = residual_log_loss(values["mse"], means["train"]["mse"])
            reports[split] = {
                "log_loss": log_loss,
                "mse": values["mse"],
                "rmse_clipped": math.sqrt(values["mse_clipped"]),
            }
        return reports

    @property
    def test_pairs(self) -> TestPairs:
        """The pairs of `test.csv`.

        Raises:
            DataError: the data have no `test.csv`.
        """
        if self.history.test is None:
            raise DataError("sales: test.csv expected, as its pairs are asked for; the data have none")
        return self.history.test

    def questions(self) -> tuple[Windows, Bool[np.ndarray, "n"]]:
        """Of every pair in `test.csv`'s order, the window before the month after the data: what is to be forecast.

        Returns:
            The windows (their targets are not known: 0), and which pairs have a history.

        Raises:
            DataError: the data have no `test.csv`.
        """
        joined = self._join_test_pairs()
        ahead = np.zeros((len(joined.counts), 1), np.float32)
        counts, prices = np.hstack([joined.counts, ahead]), np.hstack([joined.prices, ahead])
        return self._windows(counts, prices)(joined.counts.shape[1], 1), joined.has_history

    def _join_test_pairs(self) -> JoinedPairs:
        return join_pairs(self.history, self.test_pairs.shop_ids, self.test_pairs.item_ids)

    def _windows(self, counts: np.ndarray, prices: np.ndarray) -> Any:
        """Makes `Windows` over these pairs from (first target month, number of target months)."""
        targets = np.clip(counts, 0, LARGEST) if self._honest else counts
        channels = [np.log1p(np.maximum(targets, 0)) if self._log1p else targets]
        if self._price:
            channels.append(np.log10(1 + np.maximum(prices, 0)))
        inputs = np.stack(channels, axis=-1).astype(np.float32)
        return lambda first, months: Windows(inputs, targets.astype(np.float32), self.window, first, months)


def build_sales(data: Mapping[str, Any], likelihood: str) -> SalesTask:
    """The task on the folder that a configuration's `data` section names, or on a generated shop world.

    Raises:
        DataError: see `read_sales`.
        ConfigError: see `SalesTask`.
    """
    if data["path"]:
        history = read_sales(Path(data["path"]), cache_folder())
    else:
        try:
            world = ShopWorld(
                shops=data["shops"],
                items=data["items"],
                rows=data["rows"],
                test_pairs=data["pairs"],
                seed=data["seed"],
            )
        except ValueError as error:
            raise ConfigError(f"config.data: {error}") from None
        history = shop_world_history(world)
    return SalesTask(history, data, likelihood)


def _fingerprint(history: SalesHistory) -> str:
    """Of a table that comes from no file."""
    return hashlib.sha256(history.counts.tobytes() + history.prices.tobytes()).hexdigest()
