"""The runs that one compiled call serves."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from nlstm_jax.tasks import Examples
from nlstm_jax.training.evaluation import evaluate
from nlstm_jax.training.run import TrainingRun, traced_hparams
from nlstm_jax.training.steps import CompiledSteps, StepReport, TrainState


@dataclass
class RunGroup:
    """A program, and the members that it trains: one, or as many at once as it was made for.

    Attributes:
        program: compiled functions.
        members: runs, not ended ones among them.
        examples: by split, on the program's devices.
    """

    program: CompiledSteps
    members: list[TrainingRun]
    examples: Mapping[str, Examples]

    @property
    def behind(self) -> list[TrainingRun]:
        """Those that go on and are furthest behind; after a crash some may be ahead."""
        going = [member for member in self.members if member.summary is None]
        step = min((member.step for member in going), default=0)
        return [member for member in going if member.step == step]

    def load(self) -> None:
        """Take the states of the members that are furthest behind."""
        self._group = self.behind
        # One compiled program serves to the end: in the place of runs that have ended the first is trained once more.
        self._places = self._group + [self._group[0]] * (self.program.runs - len(self._group))
        self._state: TrainState = self.program.joined([member.state for member in self._places])
        self._numbers = self.program.joined([traced_hparams(member.config) for member in self._places])
        self._pending: tuple[int, StepReport] | None = None

    def train(self, step: int, stop: int, size: int) -> list[float]:
        """Dispatch a call, and look at the one before while it runs: its losses, and whether any run diverges."""
        batches = [member.order.batches(step, stop) for member in self._places]
        together = np.stack(batches, axis=1) if self.program.runs else batches[0]
        self._state, report = self.program.train(self._state, self._numbers, self.examples["train"], together, size)
        losses = self.look()
        self._pending = stop, report
        return losses

    def wait(self) -> None:
        """Until all calls are done."""
        jax.block_until_ready(self._state)

    def look(self) -> list[float]:
        """The finite losses of the last call looked at; runs whose loss is not finite end."""
        if self._pending is None:
            return []
        step, report = self._pending
        losses = np.atleast_1d(report.loss)[: len(self._group)].tolist()
        for member, loss in zip(self._group, losses, strict=True):
            if not math.isfinite(loss) and member.summary is None:
                member.diverge(step)
        return [loss for loss in losses if math.isfinite(loss)]

    def unload(self, step: int) -> None:
        """Give the members the states that they have reached."""
        for member, state in zip(self._group, self.program.parted(self._state), strict=False):
            if member.summary is None:
                member.state, member.step = state, step

    def evaluate(self, options: Mapping[str, Any], examples_per_second: float) -> list[TrainingRun]:
        """Evaluate the members that are still there, and have them write it; they are returned."""
        there = [member for member in self._group if member.summary is None]
        if not there:
            return []
        counts = {"train": options["train_examples"]}
        reports = evaluate(self.program, self._state.parameters, self.examples, options["batch_size"], counts)
        assert self._pending is not None
        norms = np.atleast_1d(jax.device_get(self._pending[1].gradient_norm)).tolist()
        for member, report, norm in zip(self._group, reports, norms, strict=False):
            if member in there:
                member.evaluated(report, {"gradient_norm": norm}, examples_per_second)
        return there
