"""Runs of a suite with made-up values, as an archive or a test of verdicts reads them."""

from collections.abc import Sequence
from pathlib import Path

from nlstm_jax.analysis.curves import Group
from nlstm_jax.runs import Run
from nlstm_jax.suite.results import TaskResult
from nlstm_jax.suite.spec import SuiteSpec, SuiteTask

LOSSES = SuiteTask("words", "words", "log_loss", "nats", 0.1, 3, 1.0)
EXCESS = SuiteTask("gates", "gates", "excess", "nats", 0.1, 3, 1.0, optimum=0.0, chance=3.0)
STEPS = SuiteTask("s5", "S5", "token_accuracy", "log₂ of steps", 0.5, 3, 1.0, level=0.99)
SPEC = SuiteSpec("suite_v0", {"S": "a stack", "N": "a nested one"}, "N", "S", (LOSSES, EXCESS, STEPS))


def loss_run(name: str, test: float, metric: str = "log_loss", *, folder: str = "trials", status="finished") -> Run:
    """Return a run with one validation value, and this value on the test split. Its optimum is a log-loss of 1."""
    seed = int(name.rpartition("seed")[2])
    config = {"name": name.split("-")[-3], "task": "text", "seeds": {"init": seed}, "cell": {"name": "lstm"}}
    config |= {"eval": {"metric": metric}}
    question = {"task": "text", "version": 1, "settings": {}, "checksums": {"a": "b"}}
    environment = {"alone": True, "question": question, "data": {"checksums": {}}}
    values = {metric: test} | ({"log_loss": test + 1} if metric == "excess" else {})
    line = {"step": 100, "split": "valid", "wall_seconds": 5.0, metric: test}
    summary = {"status": status, "parameters": 1000, "test": values, "test_looks": 1}
    return Run(Path(folder) / name, config, environment, [line], summary)


def solving_run(name: str, step: int | None, last: int = 600) -> Run:
    """Return a run that is evaluated every 100 steps and solves its task at a step, or never."""
    run = loss_run(name, 0.0, "token_accuracy")
    metrics = []
    for at in range(100, (step or last) + 100, 100):
        metrics.append({"step": at, "split": "valid", "token_accuracy": 1.0 if at == step else 0.1})
    environment = run.environment | {"metrics": {"token_accuracy": {"higher_is_better": True, "unit": ""}}}
    return Run(run.path, run.config, environment, metrics, run.summary)


def loss_group(design: str, values: Sequence[float], metric: str = "log_loss", **options) -> Group:
    """Return the runs of a design with these values on the test split."""
    runs = [loss_run(f"{design}-draw0-seed{seed}", value, metric, **options) for seed, value in enumerate(values)]
    return Group(design, tuple(runs))


def solving_group(design: str, steps: Sequence[int | None]) -> Group:
    """Return the runs of a design that solve their task at these steps."""
    runs = [solving_run(f"s5-{design}-draw{index}-seed{index}", step) for index, step in enumerate(steps)]
    return Group(design, tuple(runs))


def result(task: SuiteTask, *groups: Group, chance: float | None = None) -> TaskResult:
    """Return the result of a task."""
    return TaskResult(task, {group.label: group for group in groups}, chance, {})
