"""The sales task: forecast the next monthly count of each (shop, item) pair from its previous months."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from nlstm_jax.data.generators.shop_world import ShopWorld, shop_world_history
from nlstm_jax.data.sales import JoinedPairs, SalesHistory, TestPairs, join_pairs, read_sales, write_submission
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.models import Forecaster, build_forecaster
from nlstm_jax.process import cache_folder
from nlstm_jax.runs.files import RANKING
from nlstm_jax.settings import Metric, Question, Setting
from nlstm_jax.settings.setting import rate, seed
from nlstm_jax.tasks import sales_windows
from nlstm_jax.tasks.base import StatelessTask, eval_batches
from nlstm_jax.tasks.baselines import RIDGE_MONTHS, monthly_baselines
from nlstm_jax.tasks.likelihoods import LIKELIHOODS, SquaredError, residual_log_loss
from nlstm_jax.tasks.ranking import rank_items, ranking_table, write_ranking
from nlstm_jax.tasks.sales_windows import SalesBatch, SalesWindows
from nlstm_jax.tasks.sums import WeightedSum, to_means
from nlstm_jax.types import Array, Bool, Config, Float, Int, PRNGKeyArray

_BATCH = 4096
"""The number of pairs in a batch of forecasts."""


class SalesTask(StatelessTask[Forecaster, SalesBatch]):
    """A task that forecasts the count of the next month. See `tasks.base.Task`.

    Let T be the last month with data. The two protocols split the data as follows.

    - `honest`: Months up to T−1−`origins` are training targets. The `origins` months before T are validation targets.
      Month T is the test target. Counts are clipped to [0, `data.clip`].
    - `notebook`: The pairs are those of `test.csv`. Month T is the training target, and all months before it are
      inputs. Counts are not clipped. There is no validation or test split.

    Forecasts are clipped to [0, `data.clip`] too. With `data.clip` = 0 nothing is clipped.

    Attributes:
        history: The monthly counts and prices.
        likelihood: The likelihood that interprets the outputs of the head.
        window: The number of months in a window.
        splits: The windows of each split.
        bounds: The smallest and the largest count.
    """

    settings: ClassVar = {
        "data.path": Setting("", "a folder with Kaggle's files; empty: a generated shop world"),
        "data.protocol": Setting("honest", "the split", choices=("honest", "notebook")),
        "data.window": Setting(24, "honest: months read", low=1, high=120),
        "data.origins": Setting(1, "honest: months validated on, each from the months before it", low=1, high=24),
        "data.clip": Setting(
            20, "counts and forecasts are cut to 0 … clip, as in Kaggle's score; 0: not cut", low=0, high=1_000_000_000
        ),
        "data.price": Setting(False, "the item's price as a second channel"),
        "data.scale": Setting("log1p", "how counts enter the cell", choices=("raw", "log1p")),
        "data.rows": Setting(40_000, "generated: rows of sales_train.csv", low=1000, high=10_000_000),
        "data.shops": Setting(10, "generated: shops", low=1, high=10_000),
        "data.items": Setting(300, "generated: items", low=1, high=1_000_000),
        "data.pairs": Setting(600, "generated: pairs of test.csv", low=1, high=1_000_000),
        "data.seed": seed("generated: of the shop world"),
        "model.likelihood": Setting("mse", "what is minimized", choices=("mse", "gaussian", "negative_binomial")),
        "model.dropout_output": rate(0.0, "rate on the cell's last output"),
        "model.dropout_between": rate(0.0, "rate between the layers of a stack"),
    }
    metrics = (
        Metric("log_loss", "nats per target"),
        Metric("mse", "counts²"),
        Metric("rmse_clipped", "counts"),
    )
    # Version 2: with the likelihood `mse`, the variance of the log-loss is that of all training residuals.
    question = Question(
        version=2,
        settings=("data.protocol", "data.origins", "data.clip"),
        generated=("data.rows", "data.shops", "data.items", "data.pairs", "data.seed"),
    )
    baseline_metric = "rmse_clipped"

    splits: dict[str, SalesWindows]

    def __init__(self, history: SalesHistory, data: Config, likelihood: str) -> None:
        """Make the splits.

        Args:
            history: The monthly counts and prices.
            data: The settings `protocol`, `window`, `origins`, `clip`, `price` and `scale`.
            likelihood: The name of the likelihood, a key of `LIKELIHOODS`.

        Raises:
            ConfigError: The settings contradict each other, or the history is too short for them.
            DataError: The protocol is `notebook`, and the data have no `test.csv`; or a channel of prices is asked
                for, and the data have no prices.
        """
        if data["price"] and not history.has_prices:
            raise DataError("config.data.price=True: a column item_price of sales_train.csv expected, found none")
        self.history = history
        self.bounds = (0.0, float(data["clip"])) if data["clip"] else (-math.inf, math.inf)
        self.likelihood = LIKELIHOODS[likelihood]
        self.evaluates_all_of_train = isinstance(self.likelihood, SquaredError)
        self._log1p = data["scale"] == "log1p"
        self._price = data["price"]
        self._honest = data["protocol"] == "honest"
        self.model_dims = {"channels": 2 if self._price else 1, "outputs": self.likelihood.outputs}

        last_month = history.counts.shape[1] - 1
        if self._honest:
            self.window = data["window"]
            self.splits = self._make_honest_splits(last_month, data["origins"])
        else:
            self.window = last_month
            self.splits = self._make_notebook_splits(last_month)

        self.metadata = {
            "name": "sales",
            "checksums": history.checksums or {"generated": _fingerprint(history)},
        }
        sizes = ", ".join(f"{split} {windows.size:,}" for split, windows in self.splits.items())
        self.log_lines = (
            *history.notes,
            sales_windows.describe_months(history),
            *self._note_on_clipping(),
            f"{data['protocol']} protocol, last month with data {last_month}; windows: {sizes}",
        )

    @classmethod
    def from_config(cls, config: Config) -> "SalesTask":
        """Build the task from the folder `data.path`, or from a generated shop world if the path is empty.

        Raises:
            DataError: See `read_sales` and `SalesTask`.
            ConfigError: The shop world cannot be generated. See also `SalesTask`.
        """
        data = config["data"]
        if data["path"]:
            history = read_sales(Path(data["path"]).expanduser(), cache_folder())
        else:
            history = _generate(data)
        return cls(history, data, config["model"]["likelihood"])

    @staticmethod
    def build_model(config: Config, dims: Mapping[str, int]) -> Forecaster:
        """Build the forecaster over the channels, with the outputs that the likelihood needs."""
        return build_forecaster(config, dims["channels"], dims["outputs"])

    def loss(self, model: Forecaster, batch: SalesBatch, key: PRNGKeyArray | None) -> WeightedSum:
        """Return the sum of the likelihood's losses over the batch, with the number of targets."""
        losses = self.likelihood.loss(model(batch.inputs, key=key), batch.targets)
        return WeightedSum(losses.sum(), jnp.float32(losses.size))

    def measure(self, model: Forecaster, batch: SalesBatch, weight: Float[Array, "B"]) -> dict[str, WeightedSum]:
        """Return weighted sums of the log-loss, of the squared errors, and of the squared errors of clipped counts.

        With the likelihood `mse`, the log-loss is no sum over targets, and is left out.
        """
        head = model(batch.inputs)
        mean = self.likelihood.mean(head)
        target = batch.targets
        errors = {
            "mse": jnp.square(mean - target),
            "mse_clipped": jnp.square(jnp.clip(mean, *self.bounds) - jnp.clip(target, *self.bounds)),
        }
        if not isinstance(self.likelihood, SquaredError):
            errors["log_loss"] = self.likelihood.loss(head, target)
        return {name: WeightedSum((error * weight).sum(), weight.sum()) for name, error in errors.items()}

    def report(self, totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
        """Return the log-loss in nats per target, the MSE, and the RMSE of clipped forecasts and counts.

        With the likelihood `mse`, the log-loss is that of a Gaussian with the variance of all training residuals.
        """
        means = to_means(totals)
        reports = {}
        for split, values in means.items():
            if isinstance(self.likelihood, SquaredError):
                log_loss = residual_log_loss(values["mse"], means["train"]["mse"])
            else:
                log_loss = values["log_loss"]
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
            DataError: The data have no `test.csv`.
        """
        if self.history.test is None:
            raise DataError("sales: test.csv expected, as its pairs are asked for; the data have none")
        return self.history.test

    def queries(self) -> tuple[SalesWindows, Bool[np.ndarray, "n"]]:
        """Return the windows to forecast from: the last months with data of every pair in `test.csv`.

        Returns:
            One window for each pair, in the order of `test.csv`, whose target is the month after the data. The
            targets are unknown and set to 0.
            True for each pair that has a history.

        Raises:
            DataError: The data have no `test.csv`.
        """
        joined = self._join_test_pairs()
        unknown_month = np.zeros((len(joined.counts), 1), np.float32)
        counts = np.hstack([joined.counts, unknown_month])
        prices = np.hstack([joined.prices, unknown_month])

        make_windows = self._window_factory(counts, prices)
        return make_windows(joined.counts.shape[1], 1), joined.has_history

    def predict(
        self, model: Forecaster, inputs: Sequence[str] | None = None, names: Sequence[str] = ()
    ) -> Float[np.ndarray, "n"]:
        """Return the expected count of every pair, in the order of `test.csv`, clipped to `bounds`.

        All pairs without a history get the same value: the forecast for months without sales.

        Args:
            model: The trained model.
            inputs: None, as the pairs are those of `test.csv`.
            names: Not used, as there are no inputs.

        Raises:
            ConfigError: There are inputs.
            DataError: The data have no `test.csv`.
        """
        if inputs is not None:
            raise ConfigError("predict: no inputs expected, as a run of sales predicts the pairs of test.csv")
        queries, has_history = self.queries()

        @jax.jit
        def expected(indices: Int[Array, "B"]) -> Float[Array, "B"]:
            return self.likelihood.mean(model(queries.gather(indices).inputs))

        indices, weights = eval_batches(queries.size, _BATCH)
        padded_means = np.concatenate([np.asarray(expected(batch)) for batch in indices])
        mask = weights.reshape(-1) > 0
        means = padded_means[mask]

        without_history = np.flatnonzero(~has_history)
        if without_history.size:
            # Equal inputs at different positions of a batch may give results that differ in the last bit.
            means[without_history] = means[without_history[0]]
        return np.clip(means, *self.bounds)

    def forecast(self, model: Forecaster, out: Path) -> tuple[Table, str]:
        """Write a submission and, beside it, the ranking of the items. See `abilities.Forecasts`.

        Raises:
            DataError: The data have no `test.csv`.
        """
        predictions = self.predict(model)
        write_submission(out, self.test_pairs.ids, predictions, self.bounds)
        names = self.history.item_names
        ranking = rank_items(self.test_pairs.item_ids, names, predictions, self.history.text_item_ids)
        write_ranking(out.with_name(RANKING), ranking)
        line = f"{len(predictions):,} rows in {out}, all items in {out.with_name(RANKING)}"
        return ranking_table(ranking), line

    def example_lines(self, split: str, count: int) -> list[str]:
        """Return the first windows with their pairs and targets. See `abilities.ShowsExamples`."""
        pairs = self.history if self._honest else self.test_pairs
        return sales_windows.describe_windows(self.splits[split], pairs.shop_ids, pairs.item_ids, count)

    def baselines(self, split: str) -> dict[str, dict[str, float]]:
        """Return the errors of each baseline on a split. See `abilities.Baselines`.

        All baselines see clipped counts, as the networks do. Ridge regression has α = 1, and its intercept is not
        penalized. It reads `RIDGE_MONTHS` months, or the months that the networks read if no training target has so
        many months before it. It is fitted on all training targets that have enough months before them.
        """
        train = self.splits["train"]
        windows = self.splits[split]
        end = train.first + train.months
        length = RIDGE_MONTHS if end > RIDGE_MONTHS else train.window
        train_arrays = sales_windows.collect_months(train, range(length, end), length)
        months = range(windows.first, windows.first + windows.months)
        arrays = sales_windows.collect_months(windows, months, length)
        return monthly_baselines(train_arrays, arrays, self.bounds)

    def _note_on_clipping(self) -> list[str]:
        """Return a note on the counts that are clipped, if there are any."""
        counts = self.history.counts
        low, high = self.bounds
        too_large = int((counts > high).sum())
        too_small = int((counts < low).sum())
        if not self._honest or not too_large + too_small:
            return []
        return [
            f"of {counts.size:,} monthly counts {too_large:,} above {high:g} are read as {high:g} and {too_small:,} "
            f"below 0 as 0 (config.data.clip)"
        ]

    def _make_honest_splits(self, last_month: int, origins: int) -> dict[str, SalesWindows]:
        """Return the training, validation and test windows of the protocol `honest`.

        Raises:
            ConfigError: The history is too short for the window and the validation months. Or the likelihood accepts
                no negative counts, and counts are not clipped.
        """
        first_valid = last_month - origins
        if self.window >= first_valid:
            raise ConfigError(
                f"config.data.window={self.window} and config.data.origins={origins}: at most "
                f"{first_valid - 1} months read expected, as the data end with month {last_month} (counted from 0), "
                f"{origins} of them validate and one tests"
            )
        smallest = self.history.counts.min()
        if self.likelihood.whole_counts and np.clip(smallest, *self.bounds) < 0:
            raise ConfigError(
                "config.model.likelihood=negative_binomial: config.data.clip above 0 expected, as the data have a "
                f"monthly count of {smallest:g}; found 0"
            )
        make_windows = self._window_factory(self.history.counts, self.history.prices)
        return {
            "train": make_windows(self.window, first_valid - self.window),
            "valid": make_windows(first_valid, origins),
            "test": make_windows(last_month, 1),
        }

    def _make_notebook_splits(self, last_month: int) -> dict[str, SalesWindows]:
        """Return the training windows of the protocol `notebook`, which has no other split.

        Raises:
            ConfigError: The likelihood accepts whole counts only.
            DataError: The data have no `test.csv`.
        """
        if self.likelihood.whole_counts:
            raise ConfigError(
                "config.model.likelihood=negative_binomial: mse or gaussian expected with "
                "config.data.protocol=notebook, whose targets are raw and may be negative"
            )
        joined = self._join_test_pairs()
        make_windows = self._window_factory(joined.counts, joined.prices)
        return {"train": make_windows(last_month, 1)}

    def _join_test_pairs(self) -> JoinedPairs:
        """Return the history of each pair in `test.csv`, in its order."""
        return join_pairs(self.history, self.test_pairs.shop_ids, self.test_pairs.item_ids)

    def _window_factory(
        self, counts: Float[np.ndarray, "P M"], prices: Float[np.ndarray, "P M"]
    ) -> Callable[[int, int], SalesWindows]:
        """Return a function that makes windows over these pairs.

        The function takes the first target month and the number of target months. All windows share their inputs.
        """
        targets = np.clip(counts, *self.bounds) if self._honest else counts
        count_channel = np.log1p(np.maximum(targets, 0)) if self._log1p else targets
        channels = [count_channel]
        if self._price:
            channels.append(np.log10(1 + np.maximum(prices, 0)))
        inputs = np.stack(channels, axis=-1).astype(np.float32)

        def make_windows(first: int, months: int) -> SalesWindows:
            return SalesWindows(inputs, targets.astype(np.float32), self.window, first, months)

        return make_windows


def _generate(data: Config) -> SalesHistory:
    """Generate the history of a shop world.

    Raises:
        ConfigError: The shop world cannot be generated.
    """
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
    return shop_world_history(world)


def _fingerprint(history: SalesHistory) -> str:
    """Return the SHA-256 checksum of a table that was not read from a file."""
    return hashlib.sha256(history.counts.tobytes() + history.prices.tobytes()).hexdigest()
