"""Seconds to save and to restore a checkpoint: with manifests, and by orbax's own manager without them.

python -m benchmarks.checkpoints                   the state of the default poem model, 21 rounds of each
python -m benchmarks.checkpoints --cell=cell=lstm,layers=2,params=2000000

Both alternate in one process, and the folder is opened anew for each restoring. What is saved is on the disk
when the save with manifests returns.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from configs import poems
from nlstm_jax import process, settings, tasks
from nlstm_jax.training.checkpoint import Checkpoints
from nlstm_jax.training.initial import initial_model
from nlstm_jax.training.optimizer import OptimizerFactory, traced_hparams
from nlstm_jax.training.parallel import make_mesh
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.training.steps import CompiledSteps, TrainState
from nlstm_jax.types import PyTree

INTERVAL = 30.0
"""The seconds of training between two checkpoints that the share of saving is stated for."""


def poem_state(cell: str) -> TrainState:
    """Return the state before the first step of a poem model, with its optimizer.

    Args:
        cell: The argument of `configs/poems.py`.
    """
    config = poems.get_config(cell).to_dict()
    settings.check(config)
    task = tasks.build(config)
    model = initial_model(config, task)
    schedule = TrainingSchedule.from_config(config, task.splits["train"].size)
    optimizer = OptimizerFactory.from_config(config, schedule)
    steps = CompiledSteps.from_model(model, task, optimizer, make_mesh({}))
    return steps.init_state(model, traced_hparams(config), config["train"]["batch_size"])


def open_manager(folder: Path) -> ocp.CheckpointManager:
    """Return orbax's manager of a folder, as it was used before there were manifests."""
    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
    return ocp.CheckpointManager(folder, options=options, item_handlers=ocp.StandardCheckpointHandler())


def save_by_manager(folder: Path, step: int, state: TrainState) -> None:
    """Save the fields of a state that are not empty."""
    with open_manager(folder) as manager:
        manager.save(step, args=ocp.args.StandardSave(_fields(state)), force=True)


def restore_by_manager(folder: Path, step: int, state: TrainState) -> dict[str, PyTree]:
    """Restore the fields of a state."""
    with open_manager(folder) as manager:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _fields(state))
        jax.tree.leaves(manager.item_metadata(step).tree)
        fields: dict[str, PyTree] = jax.block_until_ready(
            manager.restore(step, args=ocp.args.StandardRestore(abstract))
        )
        return fields


def save_with_manifest(folder: Path, step: int, state: TrainState) -> None:
    """Save a state as training does."""
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(step, state, 1.0)


def restore_with_manifest(folder: Path, step: int, state: TrainState) -> TrainState:
    """Restore a state as a resumed run does."""
    with Checkpoints(folder) as checkpoints:
        restored: TrainState = jax.block_until_ready(checkpoints.restore(step, state))
        return restored


def _fields(state: TrainState) -> dict[str, PyTree]:
    return {name: value for name, value in state._asdict().items() if jax.tree.leaves(value)}


def _seconds(function: Callable[[Path, int, TrainState], object], folder: Path, step: int, state: TrainState) -> float:
    started = time.perf_counter()
    function(folder, step, state)
    return time.perf_counter() - started


def main() -> None:
    """Measure, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", default="cell=nlstm,depth=2", help="the argument of configs/poems.py")
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    process.silence_orbax()

    state = poem_state(options.cell)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    functions = {
        "save, manager alone": save_by_manager,
        "save, with manifest": save_with_manifest,
        "restore, manager alone": restore_by_manager,
        "restore, with manifest": restore_with_manifest,
    }
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    with tempfile.TemporaryDirectory() as folder:
        for step in range(1, options.rounds + 2):
            for name, function in functions.items():
                path = Path(folder) / name.rpartition(", ")[2].replace(" ", "_")
                path.mkdir(exist_ok=True)
                measured = _seconds(function, path, step, state)
                # The first round compiles and imports.
                if step > 1:
                    seconds[name].append(measured)

    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{options.cell}: a state of {size / 1e6:.1f} MB, medians of {options.rounds} rounds")
    for name, values in seconds.items():
        extremes = f"{1e3 * min(values):.1f} to {1e3 * max(values):.1f} ms"
        print(f"{name:24} {1e3 * medians[name]:7.1f} ms, {extremes}")
    ratio = medians["restore, with manifest"] / medians["restore, manager alone"]
    share = medians["save, with manifest"] / INTERVAL
    print(f"restoring: {ratio:.2f} times the manager's")
    print(f"saving: {share:.2%} of the time at one checkpoint per {INTERVAL:g} s")


if __name__ == "__main__":
    main()
