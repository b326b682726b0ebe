"""Checkpoints, by orbax, each with a manifest: the last one, the one before, and the best one."""

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.options import MultiprocessingOptions

from nlstm_jax.errors import CheckpointError, DamagedCheckpointError, DataError, StorageError, UserError
from nlstm_jax.runs import files
from nlstm_jax.training import hosts
from nlstm_jax.training.manifest import MANIFEST, Manifest, describe_leaves, file_checksums, named_leaves
from nlstm_jax.training.parallel import device_put_global
from nlstm_jax.training.steps import TrainState
from nlstm_jax.types import PyTree

MARKER = "manifests.json"
"""The file in the folder of checkpoints that says from which step on each has a manifest, and names the run."""
_ITEM = "default"
_SAVED_NAMES = {"carry": "memory"}
"""The names in a checkpoint of the fields that have another name there, which is that of version 0.1."""
_SAVING = "saving-"
_DELETING = "deleting-"
_SET_ASIDE = "set_aside-"


class Resumed(NamedTuple):
    """The point from which a run goes on.

    Attributes:
        step: The number of steps made; 0 without a checkpoint.
        state: The state after these steps.
        notes: One line on each checkpoint that was not used, or not verified.
    """

    step: int
    state: TrainState
    notes: list[str]


class Checkpoints:
    """The checkpoints of one run, as a context manager.

    Of several processes the first alone writes and reads them. A checkpoint is written into a folder of another name,
    its manifest last. All of it is on the disk before the folder is renamed, so that a crash or a power cut leaves
    whole checkpoints only. Saving is not in the background: on a CPU the arrays saved would be the very buffers that
    the next call is given to overwrite.

    Raises:
        StorageError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        index = jax.process_index()
        options = MultiprocessingOptions(primary_host=index, active_processes={index})
        self._orbax = ocp.Checkpointer(ocp.StandardCheckpointHandler(), multiprocessing_options=options)
        self._folder = folder
        if read_only:
            return
        with files.writing(folder):
            folder.mkdir(exist_ok=True)
            for path in folder.iterdir():
                is_partial = path.name.startswith((_SAVING, _DELETING)) or ".orbax-checkpoint-tmp" in path.name
                if is_partial:
                    shutil.rmtree(path)

    @property
    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        names = [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdecimal())

    def save(self, step: int, state: TrainState, metric: float | None, rows: int = 0, loop: str | None = None) -> None:
        """Save the state after `step`, and delete the checkpoints that are no longer kept.

        The last one is kept, the one before, and the best of all but the last. If the last is damaged later, what is
        left is as it was before it.

        Args:
            step: The number of steps made.
            state: The state.
            metric: The validation metric, lower is better; None without an evaluation.
            rows: The number of lines of `metrics.jsonl` that belong to these steps.
            loop: The loop over time that trains the run.

        Raises:
            StorageError: the disk is full, or cannot be written for another reason.
        """
        if not hosts.is_first():
            return
        if jax.process_count() > 1:
            state = hosts.device_get(state)
        fields = _without_empty(state)
        target = self._folder / str(step)
        partial = self._folder / f"{_SAVING}{step}"
        with files.writing(target):
            run = self._mark(step)
            partial.mkdir()
            try:
                self._orbax.save(partial.resolve() / _ITEM, args=ocp.args.StandardSave(fields))
            except ValueError as error:
                # Tensorstore reports a disk that cannot be written as a ValueError.
                raise StorageError(f"{target}: cannot be written: {_one_line(error)}") from None
            Manifest(step, run, metric, rows, file_checksums(partial), describe_leaves(fields), loop).write(partial)
            files.sync_tree(partial)
            if target.exists():
                self._delete(step)
            partial.replace(target)
            files.sync(self._folder)
            for old_step in self._superseded():
                self._delete(old_step)

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Return the state after `step`, with the structure, shapes and devices of `like`.

        Raises:
            CheckpointError: there is no such checkpoint, or it is of another model.
            DamagedCheckpointError: it is not as it was saved, or cannot be read.
        """
        if jax.process_count() == 1:
            return self._restore(step, like)
        state = hosts.device_get(like)
        with hosts.raise_everywhere():
            if hosts.is_first():
                on_device = jax.device_put(state, jax.local_devices()[0])
                state = hosts.device_get(self._restore(step, on_device))
        state = hosts.broadcast_from_first(state)
        return jax.tree.map(lambda leaf, array: device_put_global(array, leaf.sharding), like, state)

    def verify(self, step: int, row_steps: Sequence[int]) -> str:
        """Compare the files and arrays of a checkpoint with its manifest, and describe it in a few words.

        Args:
            step: The step of the checkpoint.
            row_steps: The step of every line of `metrics.jsonl`.

        Raises:
            DamagedCheckpointError: it is not as it was saved.
        """
        folder = self._folder / str(step)
        manifest = self._manifest(step)
        if manifest is None:
            return "older than manifests, not verified"
        manifest.check_files(folder)
        item = folder.resolve() / _ITEM
        with _reading(folder):
            described = self._orbax.metadata(item).item_metadata.tree
            like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), described)
            saved = self._orbax.restore(item, args=ocp.args.StandardRestore(like))
        manifest.check_arrays(folder, saved)
        missing = self._missing_rows(step, row_steps)
        return f"whole, but {missing} of its lines of metrics are missing" if missing > 0 else "whole"

    def restore_newest(self, like: TrainState, row_steps: Sequence[int]) -> Resumed:
        """Return the newest checkpoint that is whole and whose lines of metrics are there.

        A newer one that is damaged, or whose lines are missing, is renamed to `set_aside-STEP`. If none has its
        lines, the newest whole one is taken.

        Args:
            like: The state before the first step; see `restore`.
            row_steps: The step of every line of `metrics.jsonl`.

        Raises:
            CheckpointError: there are checkpoints, and none of them is whole.
        """
        notes: list[str] = []
        while True:
            steps, step = hosts.gather((self.steps, self._newest_with_rows(row_steps)))[0]
            if not steps:
                break
            try:
                state = self.restore(step, like)
            except DamagedCheckpointError as error:
                if hosts.is_first():
                    notes.append(f"{error}; it is kept as {self._set_aside(step).name}")
                continue
            if hosts.is_first():
                notes += self._notes(step, row_steps)
                for newer in steps[steps.index(step) + 1 :]:
                    kept = self._set_aside(newer).name
                    notes.append(
                        f"{self._folder / str(newer)}: its lines of metrics are missing; it is kept as {kept}"
                    )
            return Resumed(step, state, notes)
        with hosts.raise_everywhere():
            names = sorted(path.name for path in self._folder.glob(f"{_SET_ASIDE}*"))
            if names:
                raise CheckpointError("; ".join(notes) or f"{self._folder}: no whole checkpoint: {', '.join(names)}")
        return Resumed(0, like, notes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._orbax.close()

    def _restore(self, step: int, like: TrainState) -> TrainState:
        if step not in self.steps:
            raise CheckpointError(
                f"{self._folder}: a checkpoint of step {step} expected, found {self.steps or 'none'}"
            )
        folder = self._folder / str(step)
        item = folder.resolve() / _ITEM
        manifest = self._manifest(step)
        expected = _without_empty(like)
        if manifest is not None:
            manifest.check_files(folder)
            _check_shapes(folder, manifest.shapes, expected)
        with _reading(folder):
            if manifest is None:
                leaves = named_leaves(self._orbax.metadata(item).item_metadata.tree)
                _check_shapes(folder, {name: tuple(leaf.shape) for name, leaf in leaves.items()}, expected)
            abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, expected)
            saved = self._orbax.restore(item, args=ocp.args.StandardRestore(abstract))
        if manifest is not None:
            manifest.check_arrays(folder, saved)
        fields = {name: getattr(like, name) for name in like._fields if _SAVED_NAMES.get(name, name) in saved}
        restored = {name: saved[_SAVED_NAMES.get(name, name)] for name in fields}
        # Arrays of size 0 are not in the checkpoint; those of `like` take their place.
        fields = jax.tree.map(lambda empty, array: empty if array is None else array, fields, restored)
        return like._replace(**fields)

    def _mark(self, step: int) -> str:
        """Return the identity of the run, and write it down with the first checkpoint that has a manifest."""
        marker = self._marker()
        if marker is None:
            marker = {"run": uuid.uuid4().hex, "first_step": step}
            files.write_json(self._folder / MARKER, marker)
        return str(marker["run"])

    def _marker(self) -> files.JsonObject | None:
        """Return what the marker says; None for a run without one, or with one that is damaged."""
        try:
            marker = files.read_json(self._folder / MARKER)
        except DataError:
            return None
        is_valid = isinstance(marker.get("run"), str) and isinstance(marker.get("first_step"), int)
        return marker if is_valid else None

    def _manifest(self, step: int) -> Manifest | None:
        """Return the manifest of a checkpoint; None if it is older than manifests are.

        Raises:
            DamagedCheckpointError: the manifest is missing or damaged, or it is of another run or step.
        """
        folder = self._folder / str(step)
        marker = self._marker()
        is_older = marker is None or step < marker["first_step"]
        if is_older and not (folder / MANIFEST).exists():
            return None
        manifest = Manifest.read(folder)
        if manifest.step != step or (marker is not None and manifest.run != marker["run"]):
            raise DamagedCheckpointError(
                f"{folder}: a checkpoint of this run after step {step} expected, found one of "
                f"{'this' if marker is None or manifest.run == marker['run'] else 'another'} run after step "
                f"{manifest.step}"
            )
        return manifest

    def _metric(self, step: int) -> float | None:
        """Return the metric that a checkpoint was saved with."""
        manifest = self._manifest(step)
        if manifest is not None:
            return manifest.metric
        return _older_metric(self._folder / str(step) / "metrics" / "metrics")

    def _newest_with_rows(self, row_steps: Sequence[int]) -> int:
        """Return the newest step whose lines of metrics are there, else the newest step, else 0."""
        steps = self.steps
        for step in reversed(steps):
            if self._missing_rows(step, row_steps) <= 0:
                return step
        return steps[-1] if steps else 0

    def _missing_rows(self, step: int, row_steps: Sequence[int]) -> int:
        """Return the number of lines of metrics that are missing; 0 where it is not known."""
        try:
            manifest = self._manifest(step)
        except DamagedCheckpointError:
            return 0
        if manifest is None:
            return 0
        return manifest.rows - sum(row_step <= step for row_step in row_steps)

    def _notes(self, step: int, row_steps: Sequence[int]) -> list[str]:
        """Return one line for each doubt about a checkpoint that the run goes on from."""
        if self._manifest(step) is None:
            return [
                f"{self._folder / str(step)}: an older checkpoint, without a manifest; its arrays are not verified"
            ]
        missing = self._missing_rows(step, row_steps)
        if missing > 0:
            return [f"metrics.jsonl: the lines of all evaluations until step {step} expected, {missing} are missing"]
        return []

    def _superseded(self) -> list[int]:
        """Return the steps whose checkpoints are no longer kept. One without a readable manifest is always kept."""
        earlier = self.steps[:-1]
        metrics: dict[int, float | None] = {}
        for step in earlier:
            try:
                metrics[step] = self._metric(step)
            except DamagedCheckpointError:
                continue
        kept = set(earlier[-1:])
        evaluated = [(metric, step) for step, metric in metrics.items() if metric is not None]
        if evaluated:
            kept.add(min(evaluated)[1])
        return [step for step in metrics if step not in kept]

    def _delete(self, step: int) -> None:
        """Delete a checkpoint; it is renamed first, so that a half-deleted one is never taken for a checkpoint."""
        path = self._folder / f"{_DELETING}{step}"
        (self._folder / str(step)).replace(path)
        shutil.rmtree(path)

    def _set_aside(self, step: int) -> Path:
        """Rename a checkpoint so that it is not used, and return its new path."""
        target = self._folder / f"{_SET_ASIDE}{step}"
        number = 1
        while target.exists():
            number += 1
            target = self._folder / f"{_SET_ASIDE}{step}-{number}"
        with files.writing(target):
            (self._folder / str(step)).replace(target)
            files.sync(self._folder)
        return target


def _without_empty(state: TrainState) -> dict[str, PyTree]:
    """Return a NamedTuple's fields, by their names in a checkpoint, without those that are `()`.

    Arrays of size 0, which orbax refuses, are None.
    """
    fields = {}
    for name, value in state._asdict().items():
        if not (isinstance(value, tuple) and not value):
            fields[_SAVED_NAMES.get(name, name)] = value
    return jax.tree.map(lambda leaf: leaf if leaf.size else None, fields)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Raise a DamagedCheckpointError for what orbax raises while it reads a checkpoint."""
    try:
        yield
    except UserError:
        raise
    # Orbax raises a bare Exception for an array that cannot be read.
    except Exception as error:
        raise DamagedCheckpointError(f"{folder}: the checkpoint cannot be read: {_one_line(error)}") from error


def _check_shapes(folder: Path, saved: dict[str, tuple[int, ...]], like: PyTree) -> None:
    """Raise a CheckpointError that names the first array whose shape differs."""
    expected = {name: tuple(leaf.shape) for name, leaf in named_leaves(like).items()}
    for name in sorted(saved.keys() | expected.keys()):
        if saved.get(name) != expected.get(name):
            raise CheckpointError(
                f"{folder}: {name} of shape {expected.get(name)} expected, found {saved.get(name)}: the code or the "
                "data have changed since it was saved"
            )


def _older_metric(path: Path) -> float | None:
    """Return the metric in a file that orbax's manager wrote for older versions; None if there is none."""
    try:
        content = files.parse_json(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    metric = content.get("metric") if isinstance(content, dict) else None
    return float(metric) if isinstance(metric, int | float) else None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
