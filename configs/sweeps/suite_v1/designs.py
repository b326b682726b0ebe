"""The designs, the drawn settings and the choices of `suite_v1`, see docs/results/suite_v1/protocol.md.

A second block of weights can make one layer wider (W), be a second layer (S), be the memory of the first (N), or be a
second step within each time step (D). All designs of a task have the same number of parameters in the whole model.

The sweep files beside this one read their data in `$NLSTM_JAX_DATA`, or in the current folder if it is not set. The
later stages read the earlier ones in `$NLSTM_JAX_SUITE`, or in `sweeps/suite_v1` if it is not set.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np

from nlstm_jax.cells import LSTM, DeepTransition
from nlstm_jax.cells.build import cell_options
from nlstm_jax.errors import ConfigError
from nlstm_jax.sweeps.progress import ENDED, read_progress

Value: TypeAlias = str | int | float | bool
"""The value of a config argument or a setting."""

Designs: TypeAlias = Mapping[str, Mapping[str, Value]]
"""The arguments of a config file that select each design, by the name of the design."""

DESIGNS: Designs = {
    "W": {"cell": "lstm"},
    "S": {"cell": "lstm", "layers": 2},
    "N": {"cell": "nlstm", "depth": 2},
    "D": {"cell": f"{__name__}:deep_transition"},
}
"""The designs of the protocol."""

CONTRAST = ("nlstm depth=2", "lstm layers=2")
"""The primary contrast, N − S, by the labels of `compare`."""

DRAWS = 8
"""The number of settings that are drawn, unless a task says otherwise. All designs of a task have the same ones."""
FULL = 2
"""The number of best draws of a design that are run in full."""

DRAW_SEED = 0
"""The seed of the short runs."""
FULL_SEED = 1
"""The seed of the full runs that choose among the best draws."""
JUDGING_SEEDS = (10, 11, 12, 13, 14, 15)
"""The seeds of the runs that are compared."""
SOLVING_SEED = 100
"""The seed of the first draw where the steps to solve a task are compared. Each draw has the next seed."""

_DROPOUT = (0.0, 0.5)
_FORGET_BIAS = (0.0, 2.0)
_PRIOR_SEED = 111
"""The seed of the draws. Of 0 … 999 it has the least correlated settings, in 8 and in 20 draws."""


class Draw(NamedTuple):
    """Settings that are drawn from the prior.

    Attributes:
        learning_rate: The peak learning rate, log-uniform.
        dropout: The rate on the input, between layers and on the output, uniform.
        forget_bias: The initial bias of all forget gates, uniform.
    """

    learning_rate: float
    dropout: float
    forget_bias: float


class Suite(NamedTuple):
    """One task of the suite.

    Attributes:
        name: The name with which the folders of its sweeps begin.
        config: The path of the config file.
        model_params: The number of parameters of the whole model.
        learning_rates: The bounds of the prior of the learning rate.
        short_epochs: The epochs of a short run.
        full_epochs: The epochs of a full run.
        dropout_keys: The settings that share the drawn dropout rate.
        settings: Further settings of all runs.
        arguments: Further arguments of the config file.
        draw_count: The number of settings that are drawn.
        prefix: The beginning of the names of the task's trials. It tells tasks apart that share a sweep.
        full_count: The number of best draws of a design that are run in full. If it is 1, the best short run decides.
        judging_seeds: The seeds of the runs that are compared.
    """

    name: str
    config: str
    model_params: int
    learning_rates: tuple[float, float]
    short_epochs: float
    full_epochs: float
    dropout_keys: tuple[str, ...]
    settings: Mapping[str, Value]
    arguments: Mapping[str, Value] = MappingProxyType({})
    draw_count: int = DRAWS
    prefix: str = ""
    full_count: int = FULL
    judging_seeds: tuple[int, ...] = JUDGING_SEEDS


def deep_transition(features: int, forget_bias: float = 1.0, init_scheme: str = "default") -> DeepTransition:
    """Return the cell of design D: two LSTMs that update one carry in each time step. Only the first has an input.

    >>> len(deep_transition(3).cells)
    2
    """
    lstm = LSTM(features, forget_bias=forget_bias, init_scheme=init_scheme)
    return DeepTransition((lstm, lstm))


def draws(learning_rates: tuple[float, float], count: int = DRAWS) -> list[Draw]:
    """Return the settings that are tried, a Latin hypercube of the prior.

    Each setting has one value in each of `count` equally probable parts of its prior. The draws depend on the
    arguments alone, so that all designs have the same ones.

    Args:
        learning_rates: The bounds of the learning rate.
        count: The number of draws.
    """
    random = np.random.Generator(np.random.Philox(_PRIOR_SEED))
    strata = np.stack([random.permutation(count) for _ in Draw._fields], axis=1)
    quantiles = (strata + random.random(strata.shape)) / count
    low, high = learning_rates
    drawn = []
    for rate, dropout, bias in quantiles:
        learning_rate = low * (high / low) ** rate
        drawn.append(Draw(float(f"{learning_rate:.3g}"), _scale(dropout, _DROPOUT), _scale(bias, _FORGET_BIAS)))
    return drawn


def add_draws(add: Callable[..., None], suite: Suite, designs: Designs = DESIGNS) -> None:
    """Add the short runs: every draw with every design. A sweep cut short has all designs on some draws."""
    for index in range(suite.draw_count):
        add_draw(add, suite, index, DRAW_SEED, suite.short_epochs, designs)


def add_draw(
    add: Callable[..., None], suite: Suite, index: int, seed: int, epochs: float, designs: Designs = DESIGNS
) -> None:
    """Add a run of every design with the settings of one draw."""
    for design in designs:
        _add_run(add, suite, designs, design, index, seed, epochs)


def add_full(add: Callable[..., None], suite: Suite, designs: Designs = DESIGNS, folder: Path | None = None) -> None:
    """Add the full runs of each design's best draws.

    Args:
        add: The function that adds a trial.
        suite: The task.
        designs: The designs.
        folder: The folder of the earlier stages. None: see the module.

    Raises:
        ConfigError: The short runs of a design have not all ended.
    """
    for design in designs:
        ranked = _rank(suite, "draws", design, range(suite.draw_count), DRAW_SEED, folder)
        for index in ranked[: suite.full_count]:
            _add_run(add, suite, designs, design, index, FULL_SEED, suite.full_epochs)


def add_seeds(add: Callable[..., None], suite: Suite, designs: Designs = DESIGNS, folder: Path | None = None) -> None:
    """Add the runs that are compared: each design with its best setting and fresh seeds. See `add_full`.

    Raises:
        ConfigError: The short or the full runs of a design have not all ended.
    """
    best = {}
    for design in designs:
        ranked = _rank(suite, "draws", design, range(suite.draw_count), DRAW_SEED, folder)
        candidates = ranked[: suite.full_count]
        if len(candidates) > 1:
            candidates = _rank(suite, "full", design, candidates, FULL_SEED, folder)
        best[design] = candidates[0]
    for seed in suite.judging_seeds:
        for design in designs:
            _add_run(add, suite, designs, design, best[design], seed, suite.full_epochs)


def add_solving(add: Callable[..., None], suite: Suite, designs: Designs = DESIGNS) -> None:
    """Add the runs whose steps to solve the task are compared: every draw with every design, each draw with a seed."""
    for index in range(suite.draw_count):
        add_draw(add, suite, index, SOLVING_SEED + index, suite.full_epochs, designs)


def data_path(name: str) -> str:
    """Return the path of a folder of data in `$NLSTM_JAX_DATA`, or in the current folder if that is not set."""
    return str(Path(os.environ.get("NLSTM_JAX_DATA", ".")) / name)


def _add_run(
    add: Callable[..., None], suite: Suite, designs: Designs, design: str, index: int, seed: int, epochs: float
) -> None:
    """Add one run with the settings of a draw. A cell without a forget bias has none that could be drawn."""
    draw = draws(suite.learning_rates, suite.draw_count)[index]
    settings = dict(suite.settings)
    settings["optimizer.learning_rate"] = draw.learning_rate
    for key in suite.dropout_keys:
        settings[key] = draw.dropout
    if "forget_bias" in _options_of(designs[design]):
        settings["cell.forget_bias"] = draw.forget_bias
    settings["train.epochs"] = epochs
    arguments = {**designs[design], **suite.arguments}
    name = _trial_name(suite, design, index, seed)
    add(suite.config, **arguments, model_params=suite.model_params, seed=seed, settings=settings, name=name)


def _options_of(design: Mapping[str, Value]) -> dict[str, tuple[object, object]]:
    """Return the options of a design's cell, see `cell_options`.

    Raises:
        ConfigError: There is no such cell.
    """
    try:
        return cell_options(str(design["cell"]))
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _rank(
    suite: Suite, stage: str, design: str, indices: Sequence[int], seed: int, folder: Path | None = None
) -> list[int]:
    """Return draws in the order of their best validation values, the lowest first. A diverged run comes last.

    Args:
        suite: The task.
        stage: The stage whose runs decide, `draws` or `full`.
        design: The design.
        indices: The draws.
        seed: The seed of the deciding runs.
        folder: The folder of the stages. None: see the module.

    Raises:
        ConfigError: A run has not ended.
    """
    root = folder or Path(os.environ.get("NLSTM_JAX_SUITE", "sweeps/suite_v1"))
    keys = {}
    for index in indices:
        run_folder = root / f"{suite.name}_{stage}" / "trials" / _trial_name(suite, design, index, seed)
        progress = read_progress(run_folder)
        if not progress.ended:
            raise ConfigError(
                f"{run_folder}: a run with the status {' or '.join(ENDED)} expected, found {progress.status}"
            )
        value = float("inf") if progress.best is None else progress.best
        keys[index] = (progress.status == "diverged", value, index)
    return sorted(keys, key=keys.__getitem__)


def _trial_name(suite: Suite, design: str, index: int, seed: int) -> str:
    """Return the name of a trial, which is that of its run folder, e.g. `N-draw3-seed10`."""
    return f"{suite.prefix}{design}-draw{index}-seed{seed}"


def _scale(quantile: float, bounds: tuple[float, float]) -> float:
    """Return the quantile of a uniform prior, with two decimals."""
    low, high = bounds
    return round(float(low + (high - low) * quantile), 2)
