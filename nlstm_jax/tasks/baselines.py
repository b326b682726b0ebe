"""Baselines without a network, on the same windows: naive forecasts and ridge regression."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import TimeSeriesSplit

from nlstm_jax.errors import ConfigError
from nlstm_jax.tasks.sales import LARGEST, SalesTask, SalesWindows
from nlstm_jax.tasks.stocks import PriceWindows, StocksTask
from nlstm_jax.types import Float

RIDGE_MONTHS = 12
"""The number of months that ridge regression reads in the sales task."""

PENALTIES = np.logspace(0, 6, 13)
"""The penalties that cross-validation chooses from in the stocks task."""


def baselines(task: SalesTask | StocksTask, split: str) -> dict[str, dict[str, float]]:
    """Return the errors of each baseline on a split, by the name of the baseline.

    In the sales task, all baselines see counts clipped to [0, 20], as the networks do. Ridge regression has α = 1, and
    its intercept is not penalized. It is fitted on all months that the networks are trained on, and on the earlier
    months that its shorter window allows.

    In the stocks task, ridge regression sees the windows that the networks see. Its penalty is chosen by
    cross-validation in chronological order within the training examples.

    Args:
        task: The task.
        split: The name of a validation or test split.

    Raises:
        ConfigError: The task has no such split, or it is the training split.
    """
    if split not in task.splits or split == "train":
        raise ConfigError(f"baselines: a task with {split} expected, which validates or tests; found one without")
    if isinstance(task, SalesTask):
        return _evaluate_sales_baselines(task, split)
    return _evaluate_stock_baselines(task, split)


def _evaluate_sales_baselines(task: SalesTask, split: str) -> dict[str, dict[str, float]]:
    """Return the MSE and the clipped RMSE of each baseline of the sales task."""
    train = task.splits["train"]
    train_inputs, train_targets = _collect_months(train, range(RIDGE_MONTHS, train.first + train.months))
    ridge = Ridge(alpha=1.0).fit(train_inputs, train_targets)
    forecasters: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "always zero": lambda months: np.zeros(len(months)),
        "last month repeated": lambda months: months[:, -1],
        "mean of the last three months": lambda months: months[:, -3:].mean(1),
        f"ridge on the last {RIDGE_MONTHS} months": ridge.predict,
    }
    windows = task.splits[split]
    inputs, targets = _collect_months(windows, range(windows.first, windows.first + windows.months))
    return {name: _compute_errors(forecaster(inputs), targets) for name, forecaster in forecasters.items()}


def _evaluate_stock_baselines(task: StocksTask, split: str) -> dict[str, dict[str, float]]:
    """Return the MSE and the RMSE of each baseline of the stocks task, in the unit of the targets."""
    train_inputs, train_targets = _collect_days(task.splits["train"], task.unit)
    inputs, targets = _collect_days(task.splits[split], task.unit)

    folds = TimeSeriesSplit(5, gap=task.horizon)
    ridge = RidgeCV(PENALTIES, cv=folds, scoring="neg_mean_squared_error").fit(train_inputs, train_targets)
    window = task.splits["train"].window
    forecasts = {
        "no change": np.zeros(len(targets)),
        "mean change of the training days": np.full(len(targets), train_targets.mean()),
        f"ridge on the last {window} days (penalty {ridge.alpha_:g})": ridge.predict(inputs),
    }

    errors = {}
    for name, forecast in forecasts.items():
        mse = float(np.square(forecast - targets).mean())
        errors[name] = {"mse": mse, "rmse": mse**0.5}
    return errors


def _collect_months(
    windows: SalesWindows, target_months: range
) -> tuple[Float[np.ndarray, "n T"], Float[np.ndarray, "n"]]:
    """Return the inputs and targets of all pairs in all target months.

    The inputs are the counts of the `RIDGE_MONTHS` months before the target month.
    """
    counts = np.asarray(windows.targets, np.float64)
    inputs = np.concatenate([counts[:, month - RIDGE_MONTHS : month] for month in target_months])
    targets = np.concatenate([counts[:, month] for month in target_months])
    return inputs, targets


def _collect_days(windows: PriceWindows, unit: float) -> tuple[Float[np.ndarray, "n F"], Float[np.ndarray, "n"]]:
    """Return the flattened inputs of all windows, and their targets multiplied by `unit`."""
    batch = windows.gather(jnp.arange(windows.size))
    inputs = np.moveaxis(np.asarray(batch.inputs, np.float64), 1, 0).reshape(len(batch.targets), -1)
    targets = np.asarray(batch.targets, np.float64) * unit
    return inputs, targets


def _compute_errors(forecast: Float[np.ndarray, "n"], target: Float[np.ndarray, "n"]) -> dict[str, float]:
    """Return the MSE, and the RMSE of counts clipped to [0, 20]."""
    clipped = np.clip(forecast, 0, LARGEST) - np.clip(target, 0, LARGEST)
    return {
        "mse": float(np.square(forecast - target).mean()),
        "rmse_clipped": float(np.sqrt(np.square(clipped).mean())),
    }
