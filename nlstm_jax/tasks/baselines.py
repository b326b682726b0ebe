"""What forecasts without a network reach on the same windows: naive ones, and ridge regression."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import TimeSeriesSplit

from nlstm_jax.errors import ConfigError
from nlstm_jax.tasks.sales import LARGEST, SalesTask, Windows
from nlstm_jax.tasks.stocks import StocksTask
from nlstm_jax.types import Float

RIDGE_MONTHS = 12
PENALTIES = np.logspace(0, 6, 13)


def baselines(task: SalesTask | StocksTask, split: str) -> dict[str, dict[str, float]]:
    """The errors of each baseline on a split, by its name.

    Of sales all see counts clipped to [0, 20], as the networks do. Ridge (α = 1, the intercept not penalised) is
    fitted on all months that the networks are trained on, and on the earlier ones that its shorter window allows.
    Of stocks ridge sees the windows that the networks see; its penalty is chosen by cross-validation in time within
    the training examples.

    Raises:
        ConfigError: the task has no such split.
    """
    if split not in task.splits or split == "train":
        raise ConfigError(f"baselines: a task with {split} expected, which validates or tests; found one without")
    return _of_sales(task, split) if isinstance(task, SalesTask) else _of_stocks(task, split)


def _of_sales(task: SalesTask, split: str) -> dict[str, dict[str, float]]:
    train, asked = task.splits["train"], task.splits[split]
    learnt = range(RIDGE_MONTHS, train.first + train.months)
    ridge = Ridge(alpha=1.0).fit(*_table(train, learnt))
    forecasts: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "always zero": lambda months: np.zeros(len(months)),
        "last month repeated": lambda months: months[:, -1],
        "mean of the last three months": lambda months: months[:, -3:].mean(1),
        f"ridge on the last {RIDGE_MONTHS} months": ridge.predict,
    }
    months, target = _table(asked, range(asked.first, asked.first + asked.months))
    return {name: _errors(forecast(months), target) for name, forecast in forecasts.items()}


def _of_stocks(task: StocksTask, split: str) -> dict[str, dict[str, float]]:
    windows, targets = {}, {}
    for name in ("train", split):
        batch = task.splits[name].gather(jnp.arange(task.splits[name].size))
        windows[name] = np.moveaxis(np.asarray(batch.inputs, np.float64), 1, 0).reshape(len(batch.targets), -1)
        targets[name] = np.asarray(batch.targets, np.float64) * task.unit
    folds = TimeSeriesSplit(5, gap=task.horizon)
    ridge = RidgeCV(PENALTIES, cv=folds, scoring="neg_mean_squared_error").fit(windows["train"], targets["train"])
    forecasts = {
        "no change": np.zeros(len(targets[split])),
        "mean change of the training days": np.full(len(targets[split]), targets["train"].mean()),
        f"ridge on the last {task.splits['train'].window} days (penalty {ridge.alpha_:g})": ridge.predict(
            windows[split]
        ),
    }
    errors = {name: float(np.square(forecast - targets[split]).mean()) for name, forecast in forecasts.items()}
    return {name: {"mse": mse, "rmse": mse**0.5} for name, mse in errors.items()}


def _table(windows: Windows, asked: range) -> tuple[Float[np.ndarray, "n T"], Float[np.ndarray, "n"]]:
    """Of every pair and every month asked for: the counts of the months before it, and its own."""
    counts = np.asarray(windows.targets, np.float64)
    return (
        np.concatenate([counts[:, month - RIDGE_MONTHS : month] for month in asked]),
        np.concatenate([counts[:, month] for month in asked]),
    )


def _errors(forecast: Float[np.ndarray, "n"], target: Float[np.ndarray, "n"]) -> dict[str, float]:
    clipped = np.clip(forecast, 0, LARGEST) - np.clip(target, 0, LARGEST)
    return {
        "mse": float(np.square(forecast - target).mean()),
        "rmse_clipped": float(np.sqrt(np.square(clipped).mean())),
    }
