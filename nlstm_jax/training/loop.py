"""The training loop: the events of training in their order, for a single run or for several at once.

A single run is a group of one, see `group.RunGroup`.
"""

from collections.abc import Callable, Sequence

import jax

from nlstm_jax.errors import DivergedError, InterruptedRunError
from nlstm_jax.process import GracefulShutdown
from nlstm_jax.runs import describe_environment
from nlstm_jax.training import hosts
from nlstm_jax.training.group import RunGroup
from nlstm_jax.training.logger import RunLogger, Throughput
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.types import JsonObject


def train(groups: Sequence[RunGroup], logger: RunLogger, shutdown: GracefulShutdown) -> list[JsonObject]:
    """Train all runs from their last checkpoints to their ends.

    Args:
        groups: The runs, by the program that trains them.
        logger: The log of all runs; a single run's own.
        shutdown: The signals that this process has had.

    Returns:
        The summaries, in the order of the runs.

    Raises:
        DivergedError, InterruptedRunError: see `fit.fit_together`.
    """
    runs = [run for group in groups for run in group.runs]
    record = runs[0].record
    is_group = len(runs) > 1

    devices = [device.device_kind for device in jax.devices()]
    environment = describe_environment(devices, record.task.metadata, jax.process_count())
    if is_group:
        environment |= {"trained_together": len(runs), "alone": False}
        logger.log_parameters(runs[0].state.parameters, record.config, record.task.model_dims)
        logger.log(f"{len(runs)} runs together, {', '.join(run.name for run in runs)}")
    for run in runs:
        run.resume_or_start(environment)
    logger.start_progress(min(run.step for run in runs), record.schedule.total_steps)

    def is_interrupted() -> bool:
        """Return True if any process has had a signal."""
        return any(hosts.gather(shutdown.requested))

    throughput = Throughput(record.config["train"]["batch_size"])
    while lagging_groups := _lagging_groups(groups):
        speed = _train_to_evaluation(lagging_groups, record.schedule, throughput, logger, is_interrupted)
        if speed is not None:
            evaluated = [run for group in lagging_groups for run in group.evaluate(record.config["eval"], speed)]
            if is_group and evaluated:
                logger.log_group_evaluation([run.last_rows for run in evaluated], evaluated[0].metric)
        if is_interrupted() and _lagging_groups(groups):
            last_step = max(run.step for run in runs)
            for run in runs:
                run.record_interruption()
            if all(run.divergence for run in runs):
                break
            raise InterruptedRunError(f"interrupted at step {last_step:,}; to go on: {environment['command']}")

    summaries = []
    diverged = []
    for run in runs:
        assert run.summary is not None
        summaries.append(run.summary)
        prefix = f"{run.name}: " if is_group else ""
        if is_group:
            logger.log_summary(run.summary, run.metric, prefix)
        if run.summary["status"] == "diverged":
            diverged.append(f"{prefix}{run.divergence}")
    if diverged:
        raise DivergedError(
            f"diverged: {', '.join(diverged)}; a lower config.optimizer.learning_rate or a config.optimizer.clip_norm "
            "may help"
        )
    return summaries


def _train_to_evaluation(
    groups: Sequence[RunGroup],
    schedule: TrainingSchedule,
    throughput: Throughput,
    logger: RunLogger,
    is_interrupted: Callable[[], bool],
) -> float | None:
    """Train lagging groups to their next evaluation, or to an interruption.

    Returns:
        The examples per second of a run; None where the evaluation is not reached.
    """
    step = first_step = groups[0].lagging_runs[0].step
    evaluation = schedule.next_evaluation(step)
    for group in groups:
        group.stack_states()
    throughput.start(step)
    while step < evaluation and not is_interrupted() and any(group.lagging_runs for group in groups):
        stop = schedule.next_stop(step)
        losses = []
        for group in groups:
            batches = group.batches(step, stop)
            group.state, report = group.steps.train(
                group.state, group.hparams, group.examples["train"], batches, schedule.steps_per_call
            )
            losses += group.exchange_reports(stop, report)
        _show_progress(logger, step, losses, throughput)
        step = stop
        if not throughput.has_compiled and step < evaluation:
            for group in groups:
                group.block_until_ready()
            throughput.has_compiled = True
            throughput.start(step)
    if step == first_step:
        return None
    losses = [loss for group in groups for loss in group.check_losses()]
    speed = throughput.examples_per_second(step)
    _show_progress(logger, step, losses, throughput)
    for group in groups:
        group.unstack_states(step)
    return speed if step == evaluation else None


def _lagging_groups(groups: Sequence[RunGroup]) -> list[RunGroup]:
    """Return the groups with unfinished runs that have made the fewest steps."""
    unfinished = [group for group in groups if group.lagging_runs]
    steps = [group.lagging_runs[0].step for group in unfinished]
    return [group for group, step in zip(unfinished, steps, strict=True) if step == min(steps)]


def _show_progress(logger: RunLogger, step: int, losses: Sequence[float], throughput: Throughput) -> None:
    """Show the mean of the runs' finite losses on the progress bar."""
    if losses:
        logger.update_progress(step, sum(losses) / len(losses), throughput.examples_per_second(step))
