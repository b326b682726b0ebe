"""One pass over a series in which every example is forecast first and then learned from, in float64."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from rich.console import Console

from nlstm_jax import models, settings, tasks
from nlstm_jax.errors import ConfigError, DivergedError, InterruptedRunError
from nlstm_jax.process import GracefulShutdown
from nlstm_jax.runs import RunFolder, check_metric_writers, describe_environment
from nlstm_jax.tasks.stocks_2015 import load_example, smoothed_errors
from nlstm_jax.training.initial import initial_model
from nlstm_jax.training.manifest import named_leaves
from nlstm_jax.training.nonfinite import first_nonfinite
from nlstm_jax.training.optimizer import OptimizerFactory, traced_hparams
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.question import check_same_question
from nlstm_jax.training.record import RunRecord
from nlstm_jax.training.setup import as_mapping
from nlstm_jax.training.steps import CompiledSteps
from nlstm_jax.training.unroll_loop import choose_loop, recorded_loop
from nlstm_jax.types import Config, JsonObject

STEPS = 200
"""The number of steps in one compiled call, after which an interruption is heard."""
SECONDS = 10
"""The shortest time between two checkpoints."""


def fit_online(
    config: Config,
    workdir: Path,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    metric_writers: Sequence[str] = (),
) -> JsonObject:
    """Train as `fit` does, for `config.train.online`: one example a step, forecast before it is learned from.

    The metrics have a row for every step. Their split is `valid`, as no row's example has been trained on. Arguments,
    result and errors are those of `fit`.
    """
    config = as_mapping(config)
    settings.check(config)
    _check(config)
    RunFolder.check(workdir, config, overwrite=overwrite, with_defaults=settings.with_defaults)
    check_metric_writers(metric_writers)
    task = tasks.build(config)
    if not overwrite:
        check_same_question(workdir, config, task)
    with jax.enable_x64(True):
        model = draw_model(config, task)
        recorded = None if overwrite else recorded_loop(workdir, config)
        loop = choose_loop(config, [model], recorded, one_device=jax.device_count() == 1)
        with (
            RunRecord.in_folder(
                workdir,
                config,
                task,
                loop,
                overwrite=overwrite,
                console=console or Console(),
                metric_writers=metric_writers,
            ) as record,
            GracefulShutdown(at_once=True) as shutdown,
        ):
            trainer = OnlineTrainer(record, model)
            while trainer.status is None:
                trainer.advance()
                if shutdown.requested and trainer.status is None:
                    trainer.end("interrupted")
    if trainer.status == "interrupted":
        raise InterruptedRunError(f"interrupted at step {trainer.step:,}; the same command goes on")
    if trainer.status == "diverged":
        raise DivergedError(
            f"diverged: {trainer.nonfinite} is not finite at step {trainer.step:,}; a lower "
            "config.optimizer.learning_rate may help"
        )
    assert trainer.record.summary is not None
    return trainer.record.summary


class OnlineTrainer:
    """A run's pass over all examples.

    Attributes:
        record: Its record in the run folder.
        step: The number of examples forecast.
        status: The status that the run ended with; None while it goes on.
        nonfinite: What is not finite; empty for a run that has not diverged.
    """

    def __init__(self, record: RunRecord, model: nnx.Module) -> None:
        """Begin, or go on from the last checkpoint."""
        config = record.config
        examples = record.task.splits["train"]
        self.record = record
        self.status: str | None = None
        self.nonfinite = ""
        self._size = examples.size
        self._delay = config["train"]["learn_after"]
        self._hparams = traced_hparams(config)
        optimizer = OptimizerFactory.from_config(config, record.schedule)
        self._steps = CompiledSteps.from_model(model, record.task, optimizer, make_mesh({}))
        self._examples = replicate(examples, self._steps.mesh)

        devices = [device.device_kind for device in jax.devices()]
        environment = describe_environment(devices, record.task.metadata, 1)
        self.step, self._state = record.open(self._steps.init_state(model, self._hparams), environment)
        horizon = config["data"]["horizon"]
        if not self.step and self._delay < horizon:
            record.logger.log(
                f"what happens in {horizon:,} days is learned after {self._delay:,}, as the "
                "example of 2015 does it: these are no forecaster's errors (config.train.learn_after)"
            )
        self._saved = time.monotonic()
        record.logger.start_progress(self.step, self._size)

    def advance(self) -> None:
        """Forecast and learn from the next examples, and write their metrics; end the run where that is due."""
        stop = min(self.step + STEPS, self._size)
        forecast = np.arange(self.step, stop, dtype=np.int32)[:, None]
        learned = forecast - self._delay
        self._state, step_losses = self._steps.forecast_and_learn(
            self._state, self._hparams, self._examples, forecast, learned
        )
        losses = np.asarray(step_losses).tolist()
        is_finite = [math.isfinite(loss) for loss in losses]
        finite = len(losses) if all(is_finite) else is_finite.index(False)

        rows = self.record.rows
        before = rows[-1]["smoothed_error"] if rows else 1.0
        seconds = self.record.wall_seconds
        speed = round((self.step + len(losses)) / max(seconds, 1e-3), 1)
        clock = {"wall_seconds": seconds, "examples_per_second": speed, "tokens_per_second": speed}
        new_rows = []
        for step, metrics in enumerate(smoothed_errors(losses[:finite], before), start=self.step + 1):
            new_rows.append({**self.record.position(step), "split": "valid", **metrics, **clock})
        self.record.append(new_rows)
        self.step += finite
        self.record.logger.update_progress(self.step, losses[-1], speed)

        if finite < len(losses):
            self.step += 1
            self._diverge("the loss")
        elif self.step == self._size:
            self.end("finished")
        elif time.monotonic() - self._saved > SECONDS:
            self._save()

    def end(self, status: str) -> None:
        """Save the state and write the summary: the means over all steps, and the last smoothed error."""
        if status != "diverged":
            self._save()
        if self.status is not None:
            return
        self.status = status
        rows = self.record.rows
        splits: dict[str, dict[str, float]] = {"valid": {}}
        if rows:
            for name in ("log_loss", "root_loss"):
                splits["valid"][name] = math.fsum(row[name] for row in rows) / len(rows)
            splits["valid"]["smoothed_error"] = rows[-1]["smoothed_error"]
        summary = self.record.close(status, self.step, self.step, self._state, splits)
        if rows:
            self.record.logger.log_summary(summary, "smoothed_error")

    def _diverge(self, nonfinite: str) -> None:
        self.nonfinite = nonfinite
        self.record.logger.log(f"step {self.step:,}: {nonfinite} is not finite")
        self.record.append_divergence(self.step)
        self.end("diverged")

    def _save(self) -> None:
        """Save the state, or end the run if an array of it is not finite."""
        name = first_nonfinite(named_leaves(self._state))
        if name is not None:
            self._diverge(name)
            return
        rows = self.record.rows
        self.record.save(self.step, self._state, rows[-1]["smoothed_error"] if rows else None)
        self._saved = time.monotonic()


def _check(config: Config) -> None:
    """Raise a ConfigError for settings that have no meaning in a pass of one example a step."""
    train = config["train"]
    for name, accepted in (("batch_size", 1), ("epochs", 1.0), ("steps", 0), ("shards", 1), ("nonfinite", "stop")):
        if train[name] != accepted:
            raise ConfigError(
                f"config.train.{name}: {accepted} expected with config.train.online, found {train[name]}"
            )
    if jax.process_count() > 1:
        raise ConfigError(f"config.train.online: one process expected, found {jax.process_count()} of them")


def draw_model(config: Config, task: tasks.AnyTask) -> nnx.Module:
    """Return the model before its first step, in float64."""
    graph, parameters = models.split(initial_model(config, task))
    model = models.merge(graph, {name: value.astype(float) for name, value in parameters.items()})
    if config["model"]["initial_values"] == "example":
        assert isinstance(model, models.Forecaster)
        load_example(model, config["seeds"]["init"])
    return model
