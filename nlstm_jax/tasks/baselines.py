"""Baselines without a network, on the same windows: naive forecasts and ridge regression.

scikit-learn is imported where it is used, as it is an optional package.
"""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import TypeAlias

import numpy as np

from nlstm_jax.errors import ConfigError
from nlstm_jax.types import Float

RIDGE_MONTHS = 12
"""The number of months that ridge regression reads in the sales task, unless the data are too short."""

PENALTIES = np.logspace(0, 6, 13)
"""The penalties that cross-validation chooses from in the stocks task."""

FOLDS = 5
"""The number of folds of the cross-validation."""

Arrays: TypeAlias = tuple[Float[np.ndarray, "n F"], Float[np.ndarray, "n"]]
"""The inputs and the targets of examples."""


def monthly_baselines(train: Arrays, evaluated: Arrays, bounds: tuple[float, float]) -> dict[str, dict[str, float]]:
    """Return the MSE and the clipped RMSE of each baseline of the sales task.

    Args:
        train: The counts of the months before each training target, and the targets.
        evaluated: The same of the evaluated split.
        bounds: The range that forecasts and targets are clipped to for the clipped RMSE.
    """
    linear_model = _import_linear_model()
    ridge = linear_model.Ridge(alpha=1.0).fit(*train)
    inputs, targets = evaluated
    length = inputs.shape[1]
    forecasters: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "always zero": lambda months: np.zeros(len(months)),
        "last month repeated": lambda months: months[:, -1],
        "mean of the last three months": lambda months: months[:, -3:].mean(1),
        f"ridge on the last {length} months": ridge.predict,
    }

    errors = {}
    for name, forecaster in forecasters.items():
        forecast = forecaster(inputs)
        clipped = np.clip(forecast, *bounds) - np.clip(targets, *bounds)
        errors[name] = {
            "mse": float(np.square(forecast - targets).mean()),
            "rmse_clipped": float(np.sqrt(np.square(clipped).mean())),
        }
    return errors


def price_baselines(train: Arrays, evaluated: Arrays, *, window: int, horizon: int) -> dict[str, dict[str, float]]:
    """Return the MSE and the RMSE of each baseline of the stocks task, in the unit of the targets.

    Ridge regression sees the windows that the networks see. Its penalty is chosen by cross-validation in chronological
    order within the training examples. It is the largest one if there are too few examples for that.

    Args:
        train: The flattened windows of the training split, and their targets.
        evaluated: The same of the evaluated split.
        window: The number of days in a window.
        horizon: The number of days from a window's end to its target, which is left out between the folds.
    """
    train_inputs, train_targets = train
    inputs, targets = evaluated
    penalty = _choose_penalty(train, horizon)
    ridge = _import_linear_model().Ridge(penalty).fit(train_inputs, train_targets)
    forecasts = {
        "no change": np.zeros(len(targets)),
        "mean change of the training days": np.full(len(targets), train_targets.mean()),
        f"ridge on the last {window} days (penalty {penalty:g})": ridge.predict(inputs),
    }

    errors = {}
    for name, forecast in forecasts.items():
        mse = float(np.square(forecast - targets).mean())
        errors[name] = {"mse": mse, "rmse": mse**0.5}
    return errors


def _choose_penalty(train: Arrays, horizon: int) -> float:
    """Return the penalty of ridge regression that is best in cross-validation in chronological order."""
    linear_model = _import_linear_model()
    from sklearn.model_selection import TimeSeriesSplit

    inputs, targets = train
    fold_size = len(targets) // (FOLDS + 1)
    first_fold_size = len(targets) - horizon - FOLDS * fold_size
    if min(fold_size, first_fold_size) < 1:
        return float(PENALTIES[-1])
    folds = TimeSeriesSplit(FOLDS, gap=horizon)
    ridge = linear_model.RidgeCV(PENALTIES, cv=folds, scoring="neg_mean_squared_error").fit(inputs, targets)
    return float(ridge.alpha_)


def _import_linear_model() -> ModuleType:
    """Return `sklearn.linear_model`.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        return importlib.import_module("sklearn.linear_model")
    except ImportError:
        raise ConfigError('baselines: scikit-learn expected; pip install -e ".[report]" brings it') from None
