"""Models at their best settings: chosen by some runs, judged by others, at budgets that are told.

A grid is tried with one seed; the best setting of each model is then run with more seeds. What decided must not be
judged too: the best of many noisy values looks better than it is, the more so the more were tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nlstm_jax.analysis.comparison import check_keys, facts_of, labels_of
from nlstm_jax.analysis.curves import run_best
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import Run, higher_is_better


@dataclass(frozen=True)
class Tuning:
    """How a model came by its setting.

    Attributes:
        label: of the model.
        setting: the best one, by key.
        trials: how many settings were tried.
        steps: of training, in all trials.
        edges: keys whose best value is the lowest or the highest tried, with all values tried.
        runs: of the best setting, those that did not decide.
        decided: the run that did.
    """

    label: str
    setting: dict[str, Any]
    trials: int
    steps: int
    edges: dict[str, tuple[Any, ...]]
    runs: tuple[Run, ...]
    decided: Run


def tune(runs: Sequence[Run], keys: Sequence[str], metric: str) -> list[Tuning]:
    """Choose for every model the setting that was best on the validation split with the lowest seed.

    Args:
        runs: of the grids, and of the chosen settings with further seeds.
        keys: what is tuned, dotted, `optimizer.learning_rate` say; runs that agree in all else are of one model.
        metric: what decides.

    Raises:
        ConfigError: a key that is no setting of the runs, or a model none of whose runs has the metric.
    """
    facts = [facts_of(run) for run in runs]
    check_keys(runs, keys, "--tuned")
    models: list[dict[str, Any]] = []
    members: list[list[tuple[dict[str, Any], Run]]] = []
    for run, fact in zip(runs, facts, strict=True):
        model = {key: value for key, value in fact.items() if key not in keys}
        if model not in models:
            models.append(model)
            members.append([])
        members[models.index(model)].append(({key: fact.get(key) for key in keys}, run))
    return [_tuned(label, tried, metric) for label, tried in zip(labels_of(models), members, strict=True)]


def remarks(tunings: Sequence[Tuning]) -> list[str]:
    """What was chosen, and what makes the choice less than fair."""
    told = []
    for tuning in tunings:
        setting = ", ".join(f"{key}={value}" for key, value in tuning.setting.items())
        told.append(f"{tuning.label}: tuned to {setting}, best of {tuning.trials:,} trials of {tuning.steps:,} steps")
        for key, values in tuning.edges.items():
            edge = "lowest" if tuning.setting[key] == values[0] else "highest"
            tried = f"{values[0]} to {values[-1]}"
            told.append(f"{tuning.label}: the best {key} is the {edge} of those tried, {tried}: try beyond it")
        if not tuning.runs:
            told.append(f"{tuning.label}: judged by the run that decided, which is optimistic: run it with more seeds")
    budgets = {(tuning.trials, tuning.steps) for tuning in tunings}
    if len(budgets) > 1:
        spent = "; ".join(f"{each.label} {each.trials:,} trials, {each.steps:,} steps" for each in tunings)
        told.append(f"unequal tuning budgets: {spent}")
    return told


def _tuned(label: str, tried: Sequence[tuple[dict[str, Any], Run]], metric: str) -> Tuning:
    scored = [(setting, run, best.valid) for setting, run in tried if (best := run_best(run, metric))]
    if not scored:
        raise ConfigError(f"--tuned: {label}: a run with a valid {metric} expected, found none")
    lowest = min(_seed(run) for _, run, _ in scored)
    deciding = [(setting, run, value) for setting, run, value in scored if _seed(run) == lowest]
    choose = max if higher_is_better(metric) else min
    setting, decided, _ = choose(deciding, key=lambda each: each[2])
    steps = sum(max((int(line["step"]) for line in run.metrics), default=0) for _, run, _ in deciding)
    edges = {}
    for key, value in setting.items():
        values = {other[key] for other, _, _ in deciding}
        numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)
        if numbers and len(values) > 1 and value in (min(values), max(values)):
            edges[key] = tuple(sorted(values))
    others = tuple(run for other, run in tried if other == setting and run is not decided)
    return Tuning(label, setting, len(deciding), steps, edges, others, decided)


def _seed(run: Run) -> tuple[int, ...]:
    seeds = run.config.get("seeds", {})
    return tuple(seeds[name] for name in sorted(seeds))
