"""`fit`: from a configuration to a trained run folder, going on where an earlier call stopped."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from nlstm_jax import models, settings, tasks
from nlstm_jax.errors import DivergedError, InterruptedRunError
from nlstm_jax.runs import RunFolder, describe_environment
from nlstm_jax.tasks.base import Order
from nlstm_jax.training import optimizer as optimizers
from nlstm_jax.training.checkpoint import Checkpoints
from nlstm_jax.training.evaluation import evaluate
from nlstm_jax.training.interruption import Interruption
from nlstm_jax.training.narrator import Narrator, cell_parameters
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.plan import Plan
from nlstm_jax.training.program import Program, StepReport, TrainState
from nlstm_jax.training.progress import Progress


def fit(
    config: Mapping[str, Any], workdir: Path, *, overwrite: bool = False, console: Console | None = None
) -> dict[str, Any]:
    """Train what a configuration says, in a run folder; the same call again goes on where this one stopped.

    Everything is checked, and the data read, before the folder is made. The test split is not looked at, unless
    `config.eval.test_curve` asks for its curve, and decides nothing.

    Args:
        config: a configuration of `configs/`, or a mapping of the same form.
        workdir: the run folder.
        overwrite: start anew there.
        console: where to say what happens; None: standard output.

    Returns:
        The summary, as written to `summary.json`.

    Raises:
        ConfigError: a setting that does not serve, or a folder of another run.
        DataError: data that are missing or not of their form.
        DivergedError: the loss stopped being finite; the summary says so.
        InterruptedRunError: Ctrl-C or SIGTERM; a checkpoint is written and the same command goes on.
        RunFinishedError, RunFolderInUseError: see `RunFolder`.
    """
    config = json.loads(config.to_json()) if hasattr(config, "to_json") else dict(config)
    settings.check(config)
    task = tasks.build(config)
    mesh = make_mesh({f"{part}.batch_size": config[part]["batch_size"] for part in ("train", "eval")})
    model = models.build(config, task.sizes)
    if config["cell"]["weights"]:
        models.load_cell(model, Path(config["cell"]["weights"]))
    plan = Plan.of(config, task.splits["train"].size)
    learning_rate = optimizers.schedule(config["optimizer"], plan.total_steps, float(plan.steps_per_epoch))
    optimizer = optimizers.build(config["optimizer"], learning_rate, config["penalty"])
    program, state = Program.of(model, task, optimizer, config["seeds"]["dropout"], mesh)
    with (
        RunFolder(workdir, config, overwrite=overwrite) as folder,
        Checkpoints(folder.checkpoints) as checkpoints,
        Narrator(folder.log, console or Console()) as narrator,
        Interruption() as interruption,
    ):
        run = _Run(config, task, plan, learning_rate, program, folder, checkpoints, narrator, interruption)
        return run.go(state)


class _Run:
    """One call of `fit`, once everything is in place."""

    def __init__(
        self,
        config: Mapping[str, Any],
        task: tasks.Task,
        plan: Plan,
        learning_rate: Any,
        program: Program,
        folder: RunFolder,
        checkpoints: Checkpoints,
        narrator: Narrator,
        interruption: Interruption,
    ) -> None:
        self.config, self.task, self.plan = config, task, plan
        self.learning_rate, self.program = learning_rate, program
        self.folder, self.checkpoints = folder, checkpoints
        self.narrator, self.interruption = narrator, interruption
        self.metric = config["eval"]["metric"]
        self.splits = [split for split in ("train", "valid") if split in task.splits]
        if config["eval"]["test_curve"] and "test" in task.splits:
            self.splits.append("test")
        self.examples = {split: replicate(task.splits[split], program.mesh) for split in self.splits}

    def go(self, state: TrainState) -> dict[str, Any]:
        """From the last checkpoint to the end."""
        devices = [device.device_kind for device in self.program.mesh.devices.flat]
        environment = describe_environment(devices, self.task.facts)
        self.folder.write_environment(environment)
        self.parameters = state.parameters
        step = self.checkpoints.steps[-1] if self.checkpoints.steps else 0
        self.lines = self.folder.keep_metrics_until(step)
        self.started = time.monotonic() - (self.lines[-1]["wall_seconds"] if self.lines else 0.0)
        if step:
            state = self.checkpoints.restore(step, state)
            self.narrator.say(f"going on from step {step:,}")
        else:
            self.narrator.introduce(state.parameters)
            for note in self.task.notes:
                self.narrator.say(note)
        return self._train(state, step, environment["command"])

    def _train(self, state: TrainState, step: int, command: str) -> dict[str, Any]:
        order = Order(self.config["seeds"]["data"], self.task.splits["train"].size, self.config["train"]["batch_size"])
        patience, tolerance = self.config["eval"]["patience"], self.config["eval"]["tolerance"]
        self.narrator.begin(step, self.plan.total_steps)
        reason = Progress.of(self.lines, self.metric).reason_to_stop(patience, tolerance)
        pending: tuple[int, StepReport] | None = None
        while step < self.plan.total_steps and reason is None:
            begun, first, evaluation = time.monotonic(), step, self.plan.next_evaluation(step)
            while step < evaluation and not self.interruption.requested:
                stop = self.plan.next_stop(step)
                batches = order.batches(step, stop)
                state, report = self.program.train(state, self.examples["train"], batches, self.plan.steps_per_call)
                # The call before is looked at while this one runs.
                self._look(pending, (step - first) * order.batch_size / (time.monotonic() - begun))
                pending, step = (stop, report), stop
            speed = self._finish(pending, step - first, order.batch_size, begun)
            pending = None
            if step == evaluation:
                self._evaluate(state, step, report, speed)
                reason = Progress.of(self.lines, self.metric).reason_to_stop(patience, tolerance)
            if self.interruption.requested and step < self.plan.total_steps and reason is None:
                if step < evaluation:
                    self.checkpoints.save(step, state, None)
                self._summarise("interrupted", step)
                raise InterruptedRunError(f"interrupted at step {step:,}; to go on: {command}")
        return self._summarise("finished", step)

    def _finish(self, pending: tuple[int, StepReport] | None, steps: int, batch_size: int, begun: float) -> float:
        """Wait for the device; examples a second since `begun`."""
        if pending is None:
            return 0.0
        jax.block_until_ready(pending[1])
        speed = steps * batch_size / (time.monotonic() - begun)
        self._look(pending, speed)
        return speed

    def _look(self, pending: tuple[int, StepReport] | None, examples_per_second: float) -> None:
        """Show a finished call on the bar; end the run if its loss is not finite."""
        if pending is None:
            return
        step, report = pending
        loss = float(report.loss)
        if not math.isfinite(loss):
            self._diverge(step)
        self.narrator.advance(step, loss, examples_per_second)

    def _evaluate(self, state: TrainState, step: int, report: StepReport, examples_per_second: float) -> None:
        """Write every split's line, then the checkpoint: a crash in between makes the lines anew."""
        options = self.config["eval"]
        reports = evaluate(
            self.program,
            state.parameters,
            self.examples,
            options["batch_size"],
            counts={"train": options["train_examples"]},
        )
        if not all(math.isfinite(value) for values in reports.values() for value in values.values()):
            self._diverge(step)
        seconds = time.monotonic() - self.started
        clock = {
            "wall_seconds": round(seconds, 3),
            "examples_per_second": round(examples_per_second, 1),
            "tokens_per_second": round(examples_per_second * self.task.targets_per_example, 1),
        }
        step_report = {
            "gradient_norm": float(report.gradient_norm),
            "learning_rate": float(self.learning_rate(step - 1)),
        }
        lines = [
            {
                **self._where(step),
                "split": split,
                **reports[split],
                **(step_report if split == "train" else {}),
                **clock,
            }
            for split in self.splits
        ]
        self.folder.append_metrics(lines)
        self.lines += lines
        self.checkpoints.save(step, state, reports["valid"][self.metric] if "valid" in reports else None)
        progress = Progress.of(self.lines, self.metric)
        left = seconds / step * (self.plan.total_steps - step)
        self.narrator.evaluated(lines, self.metric, progress.best_step, left)

    def _diverge(self, step: int) -> None:
        line = {**self._where(step), "split": "train", "diverged": True}
        line["wall_seconds"] = round(time.monotonic() - self.started, 3)
        self.folder.append_metrics([line])
        self._summarise("diverged", step)
        raise DivergedError(
            f"diverged: the loss is not finite at step {step:,}; a lower config.optimizer.learning_rate or a "
            "config.optimizer.clip_norm may help"
        )

    def _where(self, step: int) -> dict[str, Any]:
        return {"step": step, "epoch": round(float(step / self.plan.steps_per_epoch), 6)}

    def _summarise(self, status: str, step: int) -> dict[str, Any]:
        """The state of things at the best step."""
        progress = Progress.of(self.lines, self.metric)
        summary: dict[str, Any] = {
            "status": status,
            "steps": step,
            "best_step": progress.best_step,
            "cell_parameters": cell_parameters(self.parameters),
            "parameters": sum(value.size for value in self.parameters.values()),
        }
        clock_free = ("step", "epoch", "split", "wall_seconds", "examples_per_second", "tokens_per_second")
        for line in self.lines:
            if line["step"] == progress.best_step and line["split"] in ("train", "valid"):
                summary[line["split"]] = {key: value for key, value in line.items() if key not in clock_free}
        summary["wall_seconds"] = round(time.monotonic() - self.started, 3)
        self.folder.write_summary(summary)
        if progress.best_step is not None:
            self.narrator.conclude(summary, self.metric)
        return summary
