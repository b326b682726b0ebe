"""Models at their best settings, where some runs choose the setting and other runs judge it.

Each setting of a grid is run with one seed. The best setting of each model is then run with more seeds. The run that
chose the setting must not also judge it: the best of many noisy values looks better than it is, and more so the more
settings were tried. The remarks tell the tuning budget of each model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from nlstm_jax.analysis.curves import run_best
from nlstm_jax.analysis.facts import Facts, check_keys, facts_of, labels_of
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import Run, is_number
from nlstm_jax.wording import count_of

Setting: TypeAlias = tuple[object, ...]
"""The values of the tuned settings, in the order of their keys. Lists are stored as tuples."""


@dataclass(frozen=True)
class Tuning:
    """A model's best setting, and the search that found it.

    Attributes:
        label: The label of the model.
        setting: The best setting, by key.
        trials: The number of settings that were tried with the deciding seed, including those without a result.
        steps: The number of training steps in all of these trials.
        untried: The number of settings that were run only with other seeds. They could not be chosen.
        edges: The keys whose best value is the lowest or the highest tried, each with all values tried.
        runs: The runs of the best setting with other seeds than the deciding one.
        decided: The run that decided.
    """

    label: str
    setting: Facts
    trials: int
    steps: int
    untried: int
    edges: dict[str, tuple[float, ...]]
    runs: tuple[Run, ...]
    decided: Run


class _Trial(NamedTuple):
    """A run together with its values of the tuned settings."""

    setting: Setting
    run: Run


def tune(runs: Sequence[Run], keys: Sequence[str], metric: str) -> list[Tuning]:
    """Choose for every model the setting that was best on the validation split, by the runs of one seed.

    That seed is the one with which most settings were tried. If there are several such seeds, it is the lowest.

    Args:
        runs: The runs of the grids, and the runs of the chosen settings with further seeds.
        keys: The tuned settings as dotted keys, for example `optimizer.learning_rate`. Runs that agree in all other
            settings are of one model.
        metric: The metric that decides.

    Raises:
        ConfigError: A key is no setting of the runs, or a model has no run with the metric.
    """
    check_keys(runs, keys, "--tuned")
    models: list[Facts] = []
    trials: list[list[_Trial]] = []
    for run in runs:
        facts = facts_of(run)
        model = {key: value for key, value in facts.items() if key not in keys}
        if model not in models:
            models.append(model)
            trials.append([])
        setting = tuple(_hashable(facts.get(key)) for key in keys)
        trials[models.index(model)].append(_Trial(setting, run))

    labels = labels_of(models)
    return [_tune_model(label, keys, tried, metric) for label, tried in zip(labels, trials, strict=True)]


def remarks(tunings: Sequence[Tuning]) -> list[str]:
    """Return lines on the chosen settings, and on what makes the choice less than fair."""
    lines = []
    for tuning in tunings:
        lines += _remarks_on_model(tuning)
    budgets = {(tuning.trials, tuning.steps) for tuning in tunings}
    if len(budgets) > 1:
        spent = [
            f"{tuning.label} {count_of(tuning.trials, 'trial')}, {count_of(tuning.steps, 'step')}"
            for tuning in tunings
        ]
        lines.append(f"unequal tuning budgets: {'; '.join(spent)}")
    return lines


def _remarks_on_model(tuning: Tuning) -> list[str]:
    """Return the lines on one model."""
    setting = ", ".join(f"{key}={value}" for key, value in tuning.setting.items())
    steps = count_of(tuning.steps, "step")
    trials = f"the only trial, of {steps}"
    if tuning.trials > 1:
        trials = f"best of {tuning.trials:,} trials of {steps} in all"
    lines = [f"{tuning.label}: tuned to {setting}, {trials}"]
    if tuning.untried:
        lines.append(f"{tuning.label}: {tuning.untried:,} more settings were run with other seeds and had no say")
    for key, values in tuning.edges.items():
        edge = "lowest" if tuning.setting[key] == values[0] else "highest"
        tried = f"{values[0]} to {values[-1]}"
        lines.append(f"{tuning.label}: the best {key} is the {edge} of those tried, {tried}: try beyond it")
    if not tuning.runs:
        lines.append(f"{tuning.label}: judged by the run that decided, which is optimistic: run it with more seeds")
    return lines


def _tune_model(label: str, keys: Sequence[str], trials: Sequence[_Trial], metric: str) -> Tuning:
    """Choose the best setting of one model."""
    seed, deciding = _deciding_runs(trials, metric)

    bests = {setting: run_best(run, metric) for setting, run in deciding.items()}
    values = {setting: best.valid for setting, best in bests.items() if best}
    if not values:
        raise ConfigError(f"--tuned: {label}: a run with a valid {metric} expected, found none")
    choose = max if trials[0].run.higher_is_better(metric) else min
    best_setting = choose(values, key=values.__getitem__)

    others = [trial.run for trial in trials if trial.setting == best_setting and _seed(trial.run) != seed]
    return Tuning(
        label=label,
        setting=dict(zip(keys, best_setting, strict=True)),
        trials=len(deciding),
        steps=sum(_last_step(run) for run in deciding.values()),
        untried=len({trial.setting for trial in trials} - deciding.keys()),
        edges=_edges(keys, best_setting, deciding),
        runs=tuple(others),
        decided=deciding[best_setting],
    )


def _deciding_runs(trials: Sequence[_Trial], metric: str) -> tuple[Setting, dict[Setting, Run]]:
    """Return the seed with the most settings, the lowest of several, and its run of each setting."""
    by_seed: dict[Setting, dict[Setting, Run]] = {}
    for setting, run in trials:
        runs = by_seed.setdefault(_seed(run), {})
        # If a setting was run twice with one seed, a run that has a result replaces one that may not.
        if run_best(run, metric) or setting not in runs:
            runs[setting] = run
    seed = min(by_seed, key=lambda seed: (-len(by_seed[seed]), seed))
    return seed, by_seed[seed]


def _edges(keys: Sequence[str], best_setting: Setting, tried: Mapping[Setting, Run]) -> dict[str, tuple[float, ...]]:
    """Return the keys whose best value is the lowest or the highest number tried, with all values in order."""
    edges = {}
    for index, key in enumerate(keys):
        values = {setting[index] for setting in tried}
        numbers = sorted(value for value in values if is_number(value))
        if len(values) == 1 or len(numbers) < len(values):
            continue
        if best_setting[index] in (numbers[0], numbers[-1]):
            edges[key] = tuple(numbers)
    return edges


def _last_step(run: Run) -> int:
    """Return the last step of a run's metric lines, or 0 if it has none."""
    return max((int(line["step"]) for line in run.metrics), default=0)


def _seed(run: Run) -> Setting:
    """Return all seeds of a run, in the order of their names."""
    seeds: Mapping[str, int] = run.config.get("seeds", {})
    return tuple(seeds[name] for name in sorted(seeds))


def _hashable(value: object) -> object:
    """Return a list as a tuple, and any other value as it is."""
    return tuple(value) if isinstance(value, list) else value
