"""One pass over a series in which every example is forecast first and then learnt from, in float64."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from nlstm_jax import models, settings, tasks
from nlstm_jax.errors import ConfigError, DivergedError, InterruptedRunError
from nlstm_jax.runs import RunFolder, check_metric_writers, describe_environment
from nlstm_jax.shutdown import GracefulShutdown
from nlstm_jax.training import optimizer as optimizers
from nlstm_jax.training.checkpoint import Checkpoints
from nlstm_jax.training.initial import initial_model
from nlstm_jax.training.logger import RunLogger, cell_parameters
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.run import traced_hparams
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.training.steps import CompiledSteps

STEPS = 200
"""In one compiled call, after which an interruption is heard."""
SECONDS = 10
"""Between two checkpoints, at the least."""
_KEPT = 0.9


def smoothed(losses: Sequence[float], before: float = 1.0) -> list[dict[str, float]]:
    """What is told of every step, from its squared error.

    `root_loss` is |error|; `smoothed_error` e ← 0.9 e + 0.1 |error|, from `before` on; `log_loss` the nats of the
    error under a Gaussian whose mean absolute deviation is the e before it.

    >>> smoothed([4.0])
    [{'log_loss': 2.417..., 'root_loss': 2.0, 'smoothed_error': 1.1}]
    """
    told = []
    for loss in losses:
        variance, root = math.pi / 2 * before**2, math.sqrt(loss)
        nats = 0.5 * math.log(2 * math.pi * variance) + loss / (2 * variance)
        before = _KEPT * before + (1 - _KEPT) * root
        told.append({"log_loss": nats, "root_loss": root, "smoothed_error": before})
    return told


def fit_online(
    config: Mapping[str, Any],
    workdir: Path,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    metric_writers: Sequence[str] = (),
) -> dict[str, Any]:
    """`fit` for `config.train.online`: the metrics have a line a step, of the example before it was learnt from.

    Their split is `valid`, as no line's example has been trained on. Arguments, result and errors are those of `fit`.
    """
    config = json.loads(config.to_json()) if hasattr(config, "to_json") else dict(config)
    settings.check(config)
    _check(config)
    RunFolder.check(workdir, config, overwrite=overwrite, with_defaults=settings.with_defaults)
    check_metric_writers(metric_writers)
    task = tasks.build(config)
    with jax.enable_x64(True):
        model = draw_model(config, task)
        with (
            RunFolder(
                workdir,
                config,
                overwrite=overwrite,
                with_defaults=settings.with_defaults,
                metric_writers=metric_writers,
            ) as folder,
            Checkpoints(folder.checkpoints) as checkpoints,
            RunLogger(folder.log, console or Console()) as narrator,
            GracefulShutdown() as interruption,
        ):
            one = _Pass(config, task, model, folder, checkpoints, narrator)
            while one.status is None:
                one.advance()
                if interruption.requested and one.status is None:
                    one.end("interrupted")
    if one.status == "interrupted":
        raise InterruptedRunError(f"interrupted at step {one.step:,}; the same command goes on")
    if one.status == "diverged":
        raise DivergedError(
            f"diverged: the loss is not finite at step {one.step:,}; a lower config.optimizer.learning_rate may help"
        )
    return one.summary


class _Pass:
    """A run's pass over all examples; `status` is None while it goes on."""

    def __init__(
        self,
        config: Mapping[str, Any],
        task: tasks.Task,
        model: Any,
        folder: RunFolder,
        checkpoints: Checkpoints,
        narrator: RunLogger,
    ) -> None:
        """Begin, or go on from the last checkpoint."""
        self.folder, self.checkpoints, self.narrator = folder, checkpoints, narrator
        self.status: str | None = None
        self.size = task.splits["train"].size
        self._program = CompiledSteps.of(
            model, task, optimizers.maker(config, TrainingSchedule.of(config, self.size)), make_mesh({})
        )
        self._numbers, self._delay = traced_hparams(config), config["train"]["learn_after"]
        self._state = self._program.start(model, self._numbers)
        self._examples = replicate(task.splits["train"], self._program.mesh)
        folder.write_environment(describe_environment([each.device_kind for each in jax.devices()], task.facts, 1))
        self.step = checkpoints.steps[-1] if checkpoints.steps else 0
        self.lines = folder.truncate_metrics(self.step)
        self._saved = time.monotonic()
        self._started = self._saved - (self.lines[-1]["wall_seconds"] if self.lines else 0.0)
        if self.step:
            self._state = checkpoints.restore(self.step, self._state)
            narrator.say(f"going on from step {self.step:,}")
        else:
            narrator.introduce(self._state.parameters, config, task.sizes)
            for note in task.notes:
                narrator.say(note)
            if self._delay < config["data"]["horizon"]:
                narrator.say(
                    f"what happens in {config['data']['horizon']:,} days is learnt after {self._delay:,}, as the "
                    "example of 2015 does it: these are no forecaster's errors (config.train.learn_after)"
                )
        narrator.begin(self.step, self.size)

    def advance(self) -> None:
        """Forecast and learn from the next examples, and write what was seen; perhaps end."""
        asked = np.arange(self.step, min(self.step + STEPS, self.size), dtype=np.int32)[:, None]
        known = asked - self._delay
        self._state, found = self._program.forecast_and_learn(self._state, self._numbers, self._examples, asked, known)
        losses = np.asarray(found).tolist()
        finite = next((place for place, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
        seconds = time.monotonic() - self._started
        speed = round((self.step + len(losses)) / seconds, 1)
        clock = {"wall_seconds": round(seconds, 3), "examples_per_second": speed, "tokens_per_second": speed}
        before = self.lines[-1]["smoothed_error"] if self.lines else 1.0
        told = smoothed(losses[:finite], before)
        lines = [{**self._where(self.step + place), **values, **clock} for place, values in enumerate(told, start=1)]
        self.step += finite
        self.lines += lines
        if finite < len(losses):
            self.step += 1
            lines.append({**self._where(self.step), "split": "train", "diverged": True})
        self.folder.append_metrics(lines)
        self.narrator.advance(self.step, losses[-1], speed)
        if finite < len(losses):
            self.end("diverged")
        elif self.step == self.size:
            self.end("finished")
        elif time.monotonic() - self._saved > SECONDS:
            self._save()

    def end(self, status: str) -> None:
        """Keep what has been reached; the summary has the means over all steps, and the last smoothed error."""
        self.status = status
        if status != "diverged":
            self._save()
        seen = {name: [line[name] for line in self.lines] for name in ("log_loss", "root_loss", "smoothed_error")}
        means = {name: math.fsum(values) / max(len(values), 1) for name, values in seen.items()}
        self.summary: dict[str, Any] = {
            "status": status,
            "steps": self.step,
            "best_step": self.step,
            "cell_parameters": cell_parameters(self._state.parameters),
            "parameters": sum(value.size for value in self._state.parameters.values()),
            "valid": {**means, "smoothed_error": seen["smoothed_error"][-1]} if self.lines else {},
            "wall_seconds": round(time.monotonic() - self._started, 3),
        }
        self.folder.write_summary(self.summary)
        if self.lines:
            self.narrator.conclude(self.summary, "smoothed_error")

    def _save(self) -> None:
        self.checkpoints.save(self.step, self._state, self.lines[-1]["smoothed_error"] if self.lines else None)
        self._saved = time.monotonic()

    def _where(self, step: int) -> dict[str, Any]:
        return {"step": step, "epoch": round(step / self.size, 6), "split": "valid"}


def _check(config: Mapping[str, Any]) -> None:
    """Raise a ConfigError for what has no meaning in a pass of one example a step."""
    train = config["train"]
    for name, only in (("batch_size", 1), ("epochs", 1.0), ("steps", 0), ("shards", 1)):
        if train[name] != only:
            raise ConfigError(f"config.train.{name}: {only} expected with config.train.online, found {train[name]}")
    if jax.process_count() > 1:
        raise ConfigError(f"config.train.online: one process expected, found {jax.process_count()} of them")


def draw_model(config: Mapping[str, Any], task: tasks.Task) -> Any:
    """The model before its first step, in float64."""
    graph, parameters = models.split(initial_model(config, task))
    model = models.merge(graph, {name: value.astype(float) for name, value in parameters.items()})
    if config["model"]["initial_values"] == "example":
        models.load_example(model, config["seeds"]["init"])
    return model
