"""Checkpoints, by orbax: the last one, to go on from, and the best one."""

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
from nlstm_jax.training.parallel import device_put_global


class _LastAndBest(checkpoint_managers.PreservationPolicy):
    """A policy that keeps the last checkpoint, and the first of those with the lowest metric."""

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        preserved = {checkpoints[-1].step} if checkpoints else set()
        evaluated = [checkpoint for checkpoint in checkpoints if checkpoint.metrics]
        if evaluated:
            best = min(evaluated, key=lambda checkpoint: (checkpoint.metrics["metric"], checkpoint.step))
            preserved.add(best.step)
        return [checkpoint.step in preserved for checkpoint in checkpoints]


class Checkpoints:
    """The checkpoints of one run, as a context manager.

    Of several processes the first alone writes and reads them. Orbax writes into a temporary folder and renames it, so
    that a crash leaves whole checkpoints only. Saving is not in the background: on a CPU the arrays saved would be the
    very buffers that the next call is given to overwrite.

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
        """The steps that have a checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, metric: float | None) -> None:
        """Save the state after `step`.

        Args:
            step: The number of steps made.
            state: The state.
            metric: The validation metric, lower is better; None without an evaluation.
        """
        if not hosts.is_first():
            return
        if jax.process_count() > 1:
            state = hosts.device_get(state)
        metrics = None if metric is None else {"metric": metric}
        self._manager.save(step, args=ocp.args.StandardSave(_without_empty(state)), metrics=metrics, force=True)

    def restore(self, step: int, like: Any) -> Any:
        """Return the state after `step`, with the structure, shapes and devices of `like`.

        Raises:
            CheckpointError: there is no such checkpoint, it is of another model, or it cannot be read.
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

    def _restore(self, step: int, like: Any) -> Any:
        if step not in self.steps:
            raise CheckpointError(
                f"{self._folder}: a checkpoint of step {step} expected, found {self.steps or 'none'}"
            )
        expected = _without_empty(like)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, expected)
        try:
            saved_shapes = _shapes(self._manager.item_metadata(step).tree)
            expected_shapes = _shapes(expected)
            for name in sorted(saved_shapes.keys() | expected_shapes.keys()):
                if saved_shapes.get(name) != expected_shapes.get(name):
                    raise CheckpointError(
                        f"{self._folder}: checkpoint {step}: {name} of shape {expected_shapes.get(name)} expected, "
                        f"found {saved_shapes.get(name)}: the code or the data have changed since it was saved"
                    )
            saved = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
            fields = {name: getattr(like, name) for name in saved}
            # Arrays of size 0 are not in the checkpoint; those of `like` take their place.
            fields = jax.tree.map(lambda empty, array: empty if array is None else array, fields, saved)
            return like._replace(**fields)
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
    """Return a NamedTuple's fields without those that are `()`; arrays of size 0, which orbax refuses, are None."""
    fields = {name: value for name, value in state._asdict().items() if not (isinstance(value, tuple) and not value)}
    return jax.tree.map(lambda leaf: leaf if leaf.size else None, fields)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array by its path in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape) for path, leaf in leaves}
