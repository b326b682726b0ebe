"""Models at their best settings: chosen by some runs, judged by others, at budgets that are told.

A grid is tried with one seed; the best setting of each model is then run with more seeds. What decided must not be
judged too: the best of many noisy values looks better than it is, the more so the more were tried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from nlstm_jax.analysis.comparison import check_keys, facts_of, labels_of
from nlstm_jax.analysis.curves import is_number, run_best
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import Run, higher_is_better

Setting: TypeAlias = tuple[Any, ...]
"""The values of what is tuned, lists as tuples."""


@dataclass(frozen=True)
class Tuning:
    """How a model came by its setting.

    Attributes:
        label: of the model.
        setting: the best one, by key.
        trials: how many settings were tried with the seed that decides, also those that came to nothing.
        steps: of training, in all of these.
        untried: how many settings were run with other seeds alone, and had no say.
        edges: keys whose best value is the lowest or the highest tried, with all values tried.
        runs: of the best setting, with other seeds than the one that decided.
        decided: the run that did.
    """

    label: str
    setting: dict[str, Any]
    trials: int
    steps: int
    untried: int
    edges: dict[str, tuple[Any, ...]]
    runs: tuple[Run, ...]
    decided: Run


def tune(runs: Sequence[Run], keys: Sequence[str], metric: str) -> list[Tuning]:
    """Choose for every model the setting that was best on the validation split, by the runs of one seed.

    That is the seed with which most settings were tried, the lowest of such.

    Args:
        runs: of the grids, and of the chosen settings with further seeds.
        keys: what is tuned, dotted, `optimizer.learning_rate` say; runs that agree in all else are of one model.
        metric: what decides.

    Raises:
        ConfigError: a key that is no setting of the runs, or a model none of whose runs has the metric.
    """
    check_keys(runs, keys, "--tuned")
    models: list[dict[str, Any]] = []
    members: list[list[tuple[Setting, Run]]] = []
    for run in runs:
        fact = facts_of(run)
        model = {key: value for key, value in fact.items() if key not in keys}
        if model not in models:
            models.append(model)
            members.append([])
        members[models.index(model)].append((tuple(_hashable(fact.get(key)) for key in keys), run))
    return [_tuned(label, keys, tried, metric) for label, tried in zip(labels_of(models), members, strict=True)]


def remarks(tunings: Sequence[Tuning]) -> list[str]:
    """What was chosen, and what makes the choice less than fair."""
    told = []
    for tuning in tunings:
        setting = ", ".join(f"{key}={value}" for key, value in tuning.setting.items())
        trials = f"best of {tuning.trials:,} trials" if tuning.trials > 1 else "the only trial,"
        told.append(f"{tuning.label}: tuned to {setting}, {trials} of {tuning.steps:,} steps")
        if tuning.untried:
            told.append(f"{tuning.label}: {tuning.untried:,} more settings were run with other seeds and had no say")
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


def _tuned(label: str, keys: Sequence[str], tried: Sequence[tuple[Setting, Run]], metric: str) -> Tuning:
    by_seed: dict[Setting, dict[Setting, Run]] = {}
    for setting, run in tried:
        # Of one that was run twice, the one that has a result.
        if run_best(run, metric) or setting not in by_seed.get(_seed(run), {}):
            by_seed.setdefault(_seed(run), {})[setting] = run
    seed = min(by_seed, key=lambda each: (-len(by_seed[each]), each))
    deciding = by_seed[seed]
    scored = {setting: best.valid for setting, run in deciding.items() if (best := run_best(run, metric))}
    if not scored:
        raise ConfigError(f"--tuned: {label}: a run with a valid {metric} expected, found none")
    best_setting = (max if higher_is_better(metric) else min)(scored, key=scored.__getitem__)
    edges = {}
    for place, key in enumerate(keys):
        values, value = {setting[place] for setting in deciding}, best_setting[place]
        if all(map(is_number, values)) and len(values) > 1 and value in (min(values), max(values)):
            edges[key] = tuple(sorted(values))
    return Tuning(
        label,
        dict(zip(keys, best_setting, strict=True)),
        len(deciding),
        sum(max((int(line["step"]) for line in run.metrics), default=0) for run in deciding.values()),
        len({setting for setting, _ in tried} - deciding.keys()),
        edges,
        tuple(run for setting, run in tried if setting == best_setting and _seed(run) != seed),
        deciding[best_setting],
    )


def _seed(run: Run) -> Setting:
    seeds: Mapping[str, int] = run.config.get("seeds", {})
    return tuple(seeds[name] for name in sorted(seeds))


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
