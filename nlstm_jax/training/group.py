"""A group of runs that one compiled program serves, and what the training loop does with it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np

from nlstm_jax.tasks import Examples
from nlstm_jax.training.evaluation import evaluate, train_count
from nlstm_jax.training.nonfinite import NONE
from nlstm_jax.training.optimizer import TracedHparams, traced_hparams
from nlstm_jax.training.run import TrainingRun
from nlstm_jax.training.steps import CompiledSteps, StepReport, TrainState
from nlstm_jax.types import Config, Int


@dataclass
class RunGroup:
    """Runs that share one compiled program: a single run, or as many at once as the program was compiled for.

    Attributes:
        steps: The compiled functions.
        runs: The runs, ended ones among them.
        examples: The examples by split, on the program's devices.
        state: The states of the lagging runs, from `stack_states` to `unstack_states`.
        hparams: The numbers of the lagging runs.
    """

    steps: CompiledSteps
    runs: list[TrainingRun]
    examples: Mapping[str, Examples]

    @property
    def lagging_runs(self) -> list[TrainingRun]:
        """The unfinished runs with the fewest steps; after a crash some may be ahead of others."""
        unfinished = [run for run in self.runs if run.summary is None]
        fewest_steps = min((run.step for run in unfinished), default=0)
        return [run for run in unfinished if run.step == fewest_steps]

    def stack_states(self) -> None:
        """Take the states of the lagging runs, which are trained until `unstack_states`."""
        self._active = self.lagging_runs
        # The program is compiled for a fixed number of runs. Finished runs are replaced by copies of the first, whose
        # results are ignored.
        copies = self.steps.runs - len(self._active)
        self._slots = self._active + [self._active[0]] * copies
        self.state: TrainState = self.steps.stack_runs([run.state for run in self._slots])
        self.hparams: TracedHparams = self.steps.stack_runs([traced_hparams(run.config) for run in self._slots])
        self._last_call: tuple[int, StepReport] | None = None

    def batches(self, start: int, stop: int) -> Int[np.ndarray, "n *M B"]:
        """Return the indices of the examples of the steps `start` to `stop`, of all runs."""
        batches = [run.sampler.batches(start, stop) for run in self._slots]
        return np.stack(batches, axis=1) if self.steps.runs else batches[0]

    def exchange_reports(self, step: int, report: StepReport) -> list[float]:
        """Keep the report of the call that ends at `step`, and return the losses of the call before.

        A call runs while the losses of the one before are read back, see `check_losses`.
        """
        losses = self.check_losses()
        self._last_call = step, report
        return losses

    def block_until_ready(self) -> None:
        """Wait until all calls are done."""
        jax.block_until_ready(self.state)

    def check_losses(self) -> list[float]:
        """Return the finite losses of the last call; tell the runs of their steps that are not finite."""
        if self._last_call is None:
            return []
        report = jax.device_get(self._last_call[1])
        bad_steps = jax.tree.map(lambda part: np.atleast_1d(part).tolist(), report.nonfinite)
        for run, *bad in zip(self._active, *bad_steps, strict=False):
            if bad[0] != NONE and run.summary is None:
                run.record_nonfinite(*bad)
        losses = np.atleast_1d(report.loss)[: len(self._active)].tolist()
        return [loss for loss in losses if math.isfinite(loss)]

    def unstack_states(self, step: int) -> None:
        """Give the active runs the states that they have reached."""
        for run, state in zip(self._active, self.steps.unstack_runs(self.state), strict=False):
            if run.summary is None:
                run.state = state
                run.step = step

    def evaluate(self, options: Config, examples_per_second: float) -> list[TrainingRun]:
        """Evaluate the active runs that have not ended, and record it.

        Args:
            options: The section `eval` of the configuration.
            examples_per_second: The speed of training since the evaluation before.

        Returns:
            The runs that were evaluated.
        """
        unfinished = [run for run in self._active if run.summary is None]
        if not unfinished:
            return []
        counts = train_count(self.steps.task, options["train_examples"])
        reports = evaluate(self.steps, self.state.parameters, self.examples, options["batch_size"], counts)
        assert self._last_call is not None
        norms = np.atleast_1d(jax.device_get(self._last_call[1].gradient_norm)).tolist()
        for run, report, norm in zip(self._active, reports, norms, strict=False):
            if run in unfinished:
                run.record_evaluation(report, {"gradient_norm": norm}, examples_per_second)
        return unfinished
