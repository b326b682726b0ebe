"""What docs/results/suite_v1/protocol.md says about the results of `suite_v1`: metrics, margins, seeds and hours."""

import math
from functools import partial
from pathlib import Path

from configs.sweeps.suite_v1.designs import (
    JUDGING_SEEDS,
    Designs,
    Suite,
    add_draws,
    add_full,
    add_seeds,
    add_solving,
)
from configs.sweeps.suite_v1.tasks import PTB, QUATRAINS, SALES, STATE_TRACKING, TIMESCALES
from nlstm_jax.suite.spec import Published, Stage, SuiteSpec, SuiteTask

_SEEDS = len(JUDGING_SEEDS)
_SOLVING_RUNS = STATE_TRACKING[0].draw_count
_ABOVE_OPTIMUM = "nats per symbol"
_CHANCE = math.log(14)
"""The log-loss of a uniform guess among the 14 symbols of gates and feeds, in nats."""

SPEC = SuiteSpec(
    name="suite_v1",
    designs={
        "W": "one wider LSTM",
        "S": "a second layer",
        "N": "a Nested LSTM of depth 2",
        "D": "a second LSTM step, without input, in each time step",
    },
    subject="N",
    primary="S",
    tasks=(
        SuiteTask("ptb", "Penn Treebank", "log_loss", "nats per word", 0.02, _SEEDS, 14.7, data="ptb"),
        SuiteTask(
            "quatrains",
            "quatrains",
            "log_loss",
            "nats per target",
            0.02,
            _SEEDS,
            5.9,
            data="poems",
            has_bootstrap=True,
        ),
        SuiteTask("gates", "gates", "excess", _ABOVE_OPTIMUM, 0.01, _SEEDS, 0.7, optimum=0.0, chance=_CHANCE),
        SuiteTask("feeds", "feeds", "excess", _ABOVE_OPTIMUM, 0.01, _SEEDS, 0.7, optimum=0.0, chance=_CHANCE),
        SuiteTask("recall", "delayed recall", "token_accuracy", "log₂ of steps", 0.5, _SOLVING_RUNS, 2.0, level=0.99),
        SuiteTask("s5", "word problem of S5", "token_accuracy", "log₂ of steps", 0.5, _SOLVING_RUNS, 2.0, level=0.99),
        SuiteTask("sales", "sales", "log_loss", "nats per count", 0.01, _SEEDS, 0.4, data="sales", has_bootstrap=True),
    ),
    published=Published(
        "ptb_published",
        "Penn Treebank, two layers by the published schedule",
        "perplexity",
        {"train": 37.99, "valid": 121.39, "test": 115.91},
        3,
    ),
)
"""The tasks in the order of the protocol. It gives gates and feeds, and recall and S5, their hours together."""

FAST = ("gates", "feeds", "quatrains")
"""The tasks of a first look at a cell, about half an hour of one core each, or less."""

SUITES: dict[str, Suite] = {
    "ptb": PTB,
    "quatrains": QUATRAINS,
    "gates": TIMESCALES[0],
    "feeds": TIMESCALES[1],
    "recall": STATE_TRACKING[0],
    "s5": STATE_TRACKING[1],
    "sales": SALES,
}
"""The runs of each task."""

_SMOKE_GATES = TIMESCALES[0]._replace(
    model_params=2_000,
    short_epochs=2.0,
    full_epochs=4.0,
    arguments={"variant": "gates", "smoke": True},
    draw_count=1,
    full_count=1,
    judging_seeds=JUDGING_SEEDS[:2],
)
SMOKE_SUITES: dict[str, Suite] = {"gates": _SMOKE_GATES}
"""Tiny runs of one task, whose results mean nothing."""
SMOKE_TOGETHER = 2
"""The number of smoke runs that share a process."""
_SMOKE_TASKS = tuple(task for task in SPEC.tasks if task.name in SMOKE_SUITES)
SMOKE_SPEC = SPEC._replace(tasks=tuple(task._replace(runs=2, hours=0.02) for task in _SMOKE_TASKS), published=None)


def stages(task: SuiteTask, suite: Suite, designs: Designs, folder: Path) -> list[Stage]:
    """Return the sweeps of a task, the last one of which has the runs that are compared.

    Args:
        task: The task.
        suite: Its runs.
        designs: The designs.
        folder: The folder of the sweeps.
    """
    designs_count = len(designs)
    if task.level is not None:
        add_all = partial(add_solving, suite=suite, designs=designs)
        return [Stage(suite.name, add_all, suite.draw_count * designs_count)]
    short = Stage(
        f"{suite.name}_draws", partial(add_draws, suite=suite, designs=designs), suite.draw_count * designs_count
    )
    full = Stage(
        f"{suite.name}_full",
        partial(add_full, suite=suite, designs=designs, folder=folder),
        suite.full_count * designs_count,
    )
    judging = Stage(
        f"{suite.name}_seeds",
        partial(add_seeds, suite=suite, designs=designs, folder=folder),
        len(suite.judging_seeds) * designs_count,
    )
    return [short, full, judging] if suite.full_count > 1 else [short, judging]
