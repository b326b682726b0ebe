"""The specification of a suite: its designs, and what is compared on each of its tasks."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from nlstm_jax.errors import ConfigError


class SuiteTask(NamedTuple):
    """A task of a suite, as its results are reported.

    Attributes:
        name: The name of the task and of the folder of its results.
        title: The name in tables.
        metric: The metric that is compared, on the test split at the best step on validation.
        unit: The unit of a difference and of the margin.
        margin: The largest difference that does not matter, in this unit.
        runs: The number of judging runs of each design.
        hours: The estimated hours of one core for all runs of all designs.
        level: The level of the metric that solves the task, if the steps to solve it are compared. Otherwise None.
        optimum: The least possible value of the metric. None if it is unknown.
        chance: The log-loss of chance in nats, if the protocol states it. Otherwise it is read from `CHANCE`.
        data: The name of the folder of real data. Empty if the data are generated.
        has_bootstrap: True if an interval over seeds and examples is reported too.
    """

    name: str
    title: str
    metric: str
    unit: str
    margin: float
    runs: int
    hours: float
    level: float | None = None
    optimum: float | None = None
    chance: float | None = None
    data: str = ""
    has_bootstrap: bool = False


class Published(NamedTuple):
    """Published figures of a model that is trained again.

    Attributes:
        folder: The folder of the runs in the suite.
        title: The name in tables.
        metric: The metric of the figures.
        values: The published values, by split.
        runs: The number of recent runs.
    """

    folder: str
    title: str
    metric: str
    values: Mapping[str, float]
    runs: int


class SuiteSpec(NamedTuple):
    """A suite of tasks.

    Attributes:
        name: The name of the suite and its version.
        designs: A description of each design, by its name. The first one of each contrast is `subject`.
        subject: The design that is compared with the others.
        primary: The design of the primary contrast, `subject` − `primary`.
        tasks: The tasks, in the order of the tables.
        published: Published figures beside which recent runs stand. None if there are none.
    """

    name: str
    designs: Mapping[str, str]
    subject: str
    primary: str
    tasks: Sequence[SuiteTask]
    published: Published | None = None

    @property
    def others(self) -> list[str]:
        """The designs that the subject is compared with, the primary one first."""
        rest = [design for design in self.designs if design not in (self.subject, self.primary)]
        return [self.primary, *rest]

    def choose(self, names: Sequence[str]) -> list[SuiteTask]:
        """Return the tasks of these names in the order of the suite, or all tasks if there are no names.

        Raises:
            ConfigError: There is no such task.
        """
        known = [task.name for task in self.tasks]
        for name in names:
            if name not in known:
                raise ConfigError(f"--tasks: one of {', '.join(known)} expected, found {name!r}")
        return [task for task in self.tasks if not names or task.name in names]


class Stage(NamedTuple):
    """One sweep of a task.

    Attributes:
        folder: The name of the folder of the sweep. Tasks may share one.
        add_trials: The function that adds the trials with the function `add` of a sweep file. It raises a ConfigError
            if an earlier stage has not ended.
        trials: The number of trials.
    """

    folder: str
    add_trials: Callable[[Callable[..., None]], None]
    trials: int


def describe_stages(task: SuiteTask, stages: Sequence[Stage], share: float) -> str:
    """Return a line on the runs of a task and their hours.

    Args:
        task: The task.
        stages: The sweeps of the task.
        share: The part of the suite's designs that is trained.
    """
    counts = ", ".join(f"{stage.trials:,} in {stage.folder}" for stage in stages)
    return f"{task.name}: runs {counts}; about {task.hours * share:.1f} hours of one core, by the protocol's estimate"
