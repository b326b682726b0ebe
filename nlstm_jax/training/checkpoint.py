"""Checkpoints by orbax: the last one to go on from, and the best one to keep."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers
from orbax.checkpoint.options import MultiprocessingOptions

from nlstm_jax.errors import CheckpointError
from nlstm_jax.training import hosts
from nlstm_jax.training.parallel import place


class _LastAndBest(checkpoint_managers.PreservationPolicy):
    """Keep the last checkpoint, and the first of those with the lowest metric."""

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        kept = {checkpoints[-1].step} if checkpoints else set()
        scored = [checkpoint for checkpoint in checkpoints if checkpoint.metrics]
        if scored:
            kept.add(min(scored, key=lambda checkpoint: (checkpoint.metrics["metric"], checkpoint.step)).step)
        return [checkpoint.step in kept for checkpoint in checkpoints]


class Checkpoints:
    """The checkpoints of one run; a context manager. Of several processes the first alone writes and reads them.

    Orbax writes into a temporary folder and renames it, so a crash leaves whole checkpoints only. Saving is not in the
    background: on a CPU the arrays saved would be the very buffers that the next call is given to overwrite.

    Raises:
        CheckpointError: the folder holds checkpoints that are damaged.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        index = jax.process_index()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=None if read_only else _LastAndBest(),
            best_fn=lambda metrics: metrics["metric"],
            best_mode="min",
            enable_async_checkpointing=False,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            create=False,
            multiprocessing_options=MultiprocessingOptions(primary_host=index, active_processes={index}),
        )
        handler = ocp.StandardCheckpointHandler()
        try:
            folder.mkdir(exist_ok=True)
            self._manager = ocp.CheckpointManager(folder.resolve(), options=options, item_handlers=handler)
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{folder}: checkpoints expected, found what cannot be read: {error}") from error
        self._folder = folder

    @property
    def steps(self) -> list[int]:
        """The steps of which there are checkpoints, in order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, metric: float | None) -> None:
        """Save the state after `step`; with the validation metric if there was an evaluation."""
        if not hosts.is_first():
            return
        if jax.process_count() > 1:
            state = hosts.device_get(state)
        metrics = None if metric is None else {"metric": metric}
        self._manager.save(step, args=ocp.args.StandardSave(_without_empty(state)), metrics=metrics, force=True)

    def restore(self, step: int, like: Any) -> Any:
        """The state after `step`, with the structure, shapes and devices of `like`.

        Raises:
            CheckpointError: there is no such checkpoint, it is of another model, or it cannot be read.
        """
        if jax.process_count() == 1:
            return self._restore(step, like)
        found = hosts.device_get(like)
        with hosts.raise_everywhere():
            if hosts.is_first():
                found = hosts.device_get(self._restore(step, jax.device_put(found, jax.local_devices()[0])))
        return jax.tree.map(lambda leaf, array: place(array, leaf.sharding), like, hosts.broadcast_from_first(found))

    def _restore(self, step: int, like: Any) -> Any:
        if step not in self.steps:
            raise CheckpointError(
                f"{self._folder}: a checkpoint of step {step} expected, found {self.steps or 'none'}"
            )
        wanted = _without_empty(like)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, wanted)
        try:
            saved = _shapes(self._manager.item_metadata(step).tree)
            expected = _shapes(wanted)
            for name in sorted(saved.keys() | expected.keys()):
                if saved.get(name) != expected.get(name):
                    raise CheckpointError(
                        f"{self._folder}: checkpoint {step}: {name} of shape {expected.get(name)} expected, found "
                        f"{saved.get(name)}: the code or the data have changed since it was saved"
                    )
            found = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
            filled = {name: getattr(like, name) for name in found}
            filled = jax.tree.map(lambda empty, array: empty if array is None else array, filled, found)
            return like._replace(**filled)
        except (AttributeError, ValueError, KeyError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{self._folder}: checkpoint {step} cannot be read: {reason}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.close()


def _without_empty(state: Any) -> dict[str, Any]:
    """A NamedTuple's fields without those that are `()`; None for arrays of size 0, which orbax refuses to save."""
    fields = {name: value for name, value in state._asdict().items() if not (isinstance(value, tuple) and not value)}
    return jax.tree.map(lambda leaf: leaf if leaf.size else None, fields)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every array by the path of its place."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape) for path, leaf in leaves}
