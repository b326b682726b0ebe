"""`fit`: from a configuration to a trained run folder, going on where an earlier call stopped; or from several."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
from jax.sharding import Mesh
from rich.console import Console

from nlstm_jax import settings, tasks
from nlstm_jax.errors import ConfigError, DivergedError, InterruptedRunError, RunFinishedError
from nlstm_jax.runs import RunFolder, check_metric_writers, describe_environment, differences, flatten
from nlstm_jax.shutdown import GracefulShutdown
from nlstm_jax.training import hosts
from nlstm_jax.training import optimizer as optimizers
from nlstm_jax.training.checkpoint import Checkpoints
from nlstm_jax.training.group import RunGroup
from nlstm_jax.training.initial import initial_model
from nlstm_jax.training.logger import RunLogger
from nlstm_jax.training.online import fit_online
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.run import TrainingRun, traced_hparams
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.training.shards import check_shards
from nlstm_jax.training.steps import CompiledSteps


def fit(
    config: Mapping[str, Any],
    workdir: Path,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    metric_writers: Sequence[str] = (),
) -> dict[str, Any]:
    """Train what a configuration says, in a run folder; the same call again goes on where this one stopped.

    Everything is checked, and the data read, before the folder is made. Of several processes
    (`process.initialize_distributed`) the first has the folder, and all share every batch. The test split is not
    looked at, unless `config.eval.test_curve` asks for its curve, and decides nothing.

    Args:
        config: a configuration of `configs/`, or a mapping of the same form.
        workdir: the run folder.
        overwrite: start anew there.
        console: where to say what happens; None: standard output.
        mirrors: where the metrics are also shown: `tensorboard`, `wandb`.

    Returns:
        The summary, as written to `summary.json`.

    Raises:
        ConfigError: a setting that does not serve, or a folder of another run.
        DataError: data that are missing or not of their form.
        DivergedError: the loss stopped being finite; the summary says so.
        InterruptedRunError: Ctrl-C or SIGTERM; a checkpoint is written and the same command goes on.
        RunFinishedError, RunFolderInUseError: see `RunFolder`.
    """
    if config["train"].get("online"):
        return fit_online(config, workdir, overwrite=overwrite, console=console, metric_writers=metric_writers)
    return fit_together([config], [workdir], overwrite=overwrite, console=console, metric_writers=metric_writers)[0]


def fit_together(
    configs: Sequence[Mapping[str, Any]],
    workdirs: Sequence[Path],
    *,
    overwrite: bool = False,
    console: Console | None = None,
    vmap: bool | None = None,
    metric_writers: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """`fit` for several configurations at once, in one process: data are read and steps compiled once for all.

    Each has its own run folder, the same as if it had been trained alone: a call for one goes on from what a call for
    several left there, and the reverse. Runs that have finished are left out; one that diverges or stops early does
    not disturb the others.

    On accelerators all of them are one program, `jax.vmap` of a run's, in which several devices share the runs, or the
    batches if their number is no multiple of the devices'. On CPU devices every run has one device to itself, and
    equals a run alone bit for bit; a step of eight small models at once would take longer there than eight steps.

    Args:
        configs: they may differ in `seeds`, in `name`, and in the numbers `optimizer.learning_rate`, `weight_decay`,
            `epsilon` and `clip_norm` (in all of them 0, or in none).
        workdirs: the run folders.
        overwrite, console, mirrors: as in `fit`.
        vmap: whether to make one program of all runs; None: on accelerators.

    Returns:
        The summaries of the runs trained, in order.

    Raises:
        ConfigError: also configurations that differ in something else.
        DivergedError, InterruptedRunError, RunFinishedError: some have diverged; all were interrupted; there is none
            left to train.
    """
    plain = [json.loads(config.to_json()) if hasattr(config, "to_json") else dict(config) for config in configs]
    with ExitStack() as stack:
        folders, console = list(workdirs), console or Console()
        if not hosts.is_first():
            scratch = Path(stack.enter_context(TemporaryDirectory()))
            folders, console, metric_writers = (
                [scratch / str(index) for index in range(len(plain))],
                Console(quiet=True),
                (),
            )
        told = {f"config.{key}": value for key, value in flatten(plain[0]).items() if key != "data.path"}
        hosts.assert_equal_across_processes({**told, "number of devices": jax.local_device_count()})
        with hosts.raise_everywhere():
            going = _going(plain, folders, overwrite)
            check_metric_writers(metric_writers)
            task = tasks.build(going[0][0])
            plan = TrainingSchedule.of(going[0][0], task.splits["train"].size)
            drawn = [initial_model(config, task) for config, _ in going]
            # What is left of several runs goes on as it began, though it be one.
            together = jax.default_backend() != "cpu" if vmap is None else vmap
            lanes = _lanes(going[0][0], task, plan, drawn, apart=len(plain) > 1 and not together)
        hosts.assert_equal_across_processes(
            {f"sha256 of {name}": digest for name, digest in task.facts["checksums"].items()}
        )
        with hosts.raise_everywhere():
            for index, ((config, workdir), model) in enumerate(zip(going, drawn, strict=True)):
                folder = stack.enter_context(
                    RunFolder(
                        workdir,
                        config,
                        overwrite=overwrite,
                        with_defaults=settings.with_defaults,
                        metric_writers=metric_writers,
                    )
                )
                checkpoints = stack.enter_context(Checkpoints(folder.checkpoints))
                shown = console if len(going) == 1 else Console(quiet=True)
                narrator = stack.enter_context(RunLogger(folder.log, shown))
                lane = lanes[index % len(lanes)]
                state = lane.program.start(model, traced_hparams(config), config["train"]["batch_size"])
                lane.members.append(TrainingRun(config, task, plan, folder, checkpoints, narrator, state))
        if len(going) > 1:
            narrator = stack.enter_context(RunLogger(None, console))
        return _Loop(lanes, narrator, stack.enter_context(GracefulShutdown())).go()


def _going(
    configs: Sequence[Mapping[str, Any]], workdirs: Sequence[Path], overwrite: bool
) -> list[tuple[Mapping[str, Any], Path]]:
    """The runs that have not ended; all are checked."""
    for config in configs:
        settings.check(config)
        check_shards(config)
        if config["train"].get("online"):
            raise ConfigError("config.train.online: False expected of several runs at once, found True")
    _check_alike(configs)
    if len(configs) > 1 and jax.process_count() > 1:
        raise ConfigError(f"several runs at once: one process expected, found {jax.process_count()} of them")
    going = []
    for config, workdir in zip(configs, workdirs, strict=True):
        try:
            RunFolder.check(workdir, config, overwrite=overwrite, with_defaults=settings.with_defaults)
        except RunFinishedError:
            if len(configs) == 1:
                raise
        else:
            going.append((config, workdir))
    if not going:
        raise RunFinishedError(f"all {len(configs)} runs have already ended; --overwrite starts them anew")
    return going


def _lanes(
    config: Mapping[str, Any], task: tasks.Task, plan: TrainingSchedule, drawn: Sequence[Any], *, apart: bool
) -> list[RunGroup]:
    """Lanes without members yet: one of all devices for all runs drawn, or, `apart`, one with a device for each."""
    devices = [[device] for device in jax.devices()[: len(drawn)]]
    meshes = [make_mesh({}, each) for each in devices] if apart else [_mesh(config, len(drawn))]
    optimizer, runs = optimizers.maker(config, plan), 0 if apart or len(drawn) == 1 else len(drawn)
    programs = [CompiledSteps.of(drawn[0], task, optimizer, mesh, runs, config["train"]["shards"]) for mesh in meshes]
    examples = [{split: replicate(task.splits[split], mesh) for split in _splits(config, task)} for mesh in meshes]
    places = [index % len(meshes) for index in range(len(drawn) if apart else 1)]
    return [RunGroup(programs[place], [], examples[place]) for place in places]


def _mesh(config: Mapping[str, Any], runs: int) -> Mesh:
    """All devices, for one program of so many runs."""
    runs_are_split = runs > 1 and runs % jax.device_count() == 0
    batches = {f"{part}.batch_size": config[part]["batch_size"] for part in ("train", "eval")}
    if config["train"]["shards"] > 1:
        batches = {"train.shards": config["train"]["shards"]}
    return make_mesh({} if runs_are_split else batches)


def _splits(config: Mapping[str, Any], task: tasks.Task) -> list[str]:
    """What is evaluated."""
    wanted = ("train", "valid", "test") if config["eval"]["test_curve"] else ("train", "valid")
    return [split for split in wanted if split in task.splits]


def _check_alike(configs: Sequence[Mapping[str, Any]]) -> None:
    """Raise a ConfigError that names a setting in which runs that are to be trained together may not differ."""
    first = settings.compile_key(configs[0])
    for other in configs[1:]:
        for key in differences(first, settings.compile_key(other)):
            one, two = (flatten(config).get(key) for config in (configs[0], other))
            raise ConfigError(
                f"config.{key}: one value for all runs trained together expected, found {one!r} and {two!r}"
            )


class _Loop:
    """One call of `fit_together`, once everything is in place."""

    def __init__(self, lanes: list[RunGroup], narrator: RunLogger, interruption: GracefulShutdown) -> None:
        self.lanes, self.narrator, self.interruption = lanes, narrator, interruption
        self.members = [member for lane in lanes for member in lane.members]
        self.config, self.plan = self.members[0].config, self.members[0].plan
        self.together = len(self.members) > 1
        self.compiled = False

    def go(self) -> list[dict[str, Any]]:
        """From the last checkpoints to the end."""
        devices = [device.device_kind for device in jax.devices()]
        environment = describe_environment(devices, self.members[0].task.facts, jax.process_count())
        if self.together:
            environment |= {"trained_together": len(self.members), "alone": False}
            first = self.members[0]
            self.narrator.introduce(first.state.parameters, first.config, first.task.sizes)
            self.narrator.say(f"{len(self.members)} runs together, {', '.join(each.name for each in self.members)}")
        for member in self.members:
            member.begin(environment)
        self.narrator.begin(min(member.step for member in self.members), self.plan.total_steps)
        while lanes := self._next():
            self._advance(lanes)
            if self._is_interrupted() and (lanes := self._next()):
                step = max(member.step for member in self.members)
                for member in self.members:
                    member.interrupt()
                raise InterruptedRunError(f"interrupted at step {step:,}; to go on: {environment['command']}")
        for member in self.members if self.together else ():
            assert member.summary is not None
            self.narrator.conclude(member.summary, member.metric, f"{member.name}: ")
        diverged = [member for member in self.members if member.summary and member.summary["status"] == "diverged"]
        if diverged:
            raise DivergedError(self._lament(diverged))
        return [member.summary for member in self.members if member.summary]

    def _next(self) -> list[RunGroup]:
        """The lanes with runs that go on and are furthest behind."""
        steps = {index: group[0].step for index, lane in enumerate(self.lanes) if (group := lane.behind)}
        return [self.lanes[index] for index, step in steps.items() if step == min(steps.values())]

    def _advance(self, lanes: list[RunGroup]) -> None:
        """Train to the next evaluation and evaluate, or to an interruption."""
        first = lanes[0].behind[0].step
        step, evaluation = first, self.plan.next_evaluation(first)
        for lane in lanes:
            lane.load()
        begun, timed = time.monotonic(), first
        while step < evaluation and not self._is_interrupted() and any(lane.behind for lane in lanes):
            stop = self.plan.next_stop(step)
            losses = [lane.train(step, stop, self.plan.steps_per_call) for lane in lanes]
            self._show(step, losses, self._speed(step - timed, begun))
            step = stop
            if not self.compiled and step < evaluation:
                # The first call's time is the compiler's.
                for lane in lanes:
                    lane.wait()
                begun, timed, self.compiled = time.monotonic(), step, True
        if step == first:
            return
        losses = [lane.look() for lane in lanes]
        speed = self._speed(step - timed, begun)
        self._show(step, losses, speed)
        for lane in lanes:
            lane.unload(step)
        if step == evaluation:
            evaluated = [member for lane in lanes for member in lane.evaluate(self.config["eval"], speed)]
            if self.together and evaluated:
                self.narrator.evaluated_together([member.last_lines for member in evaluated], evaluated[0].metric)

    def _is_interrupted(self) -> bool:
        """Whether any process has had a signal."""
        return any(hosts.gather(self.interruption.requested))

    def _speed(self, steps: int, begun: float) -> float:
        """A run's examples a second since `begun`."""
        return steps * self.config["train"]["batch_size"] / (time.monotonic() - begun)

    def _show(self, step: int, losses: list[list[float]], speed: float) -> None:
        """The mean of the runs' losses on the bar."""
        finite = [loss for of_lane in losses for loss in of_lane]
        if finite:
            self.narrator.advance(step, sum(finite) / len(finite), speed)

    def _lament(self, diverged: list[TrainingRun]) -> str:
        places = ", ".join(
            f"{f'{member.name}: ' if self.together else ''}the loss is not finite at step {member.step:,}"
            for member in diverged
        )
        return f"diverged: {places}; a lower config.optimizer.learning_rate or a config.optimizer.clip_norm may help"
