"""Files of a trained model for other programs: StableHLO functions, or the parameters alone."""

from pathlib import Path

import jax
import numpy as np
from jax import export

import nlstm_jax
from nlstm_jax.adapters.weights import write_tensors
from nlstm_jax.cells import spec_repr
from nlstm_jax.errors import ConfigError
from nlstm_jax.models.export import export_model
from nlstm_jax.runs import make_folder
from nlstm_jax.runs.files import write_atomically, write_json
from nlstm_jax.tasks.abilities import HasSymbols
from nlstm_jax.training.restore import LoadedRun
from nlstm_jax.types import JsonObject

FORMATS = ("stablehlo", "safetensors")
MODEL_JSON = "model.json"


def export_run(run: LoadedRun, folder: Path, file_format: str) -> list[str]:
    """Write the model of a run to a folder, which is made if it is missing.

    Args:
        run: The run.
        folder: The folder.
        file_format: `stablehlo` writes `sequence.stablehlo` and `step.stablehlo`, the functions of
            `models.export.ExportedModel`, which `jax.export.deserialize` reads. `safetensors` writes
            `model.safetensors`, all parameters by name. Both write `model.json`, the architecture.

    Returns:
        The names of the files.

    Raises:
        ConfigError: The model is of a class that is not exported, or safetensors or flatbuffers is not installed.
        StorageError: A file cannot be written.
    """
    description = _describe(run)
    make_folder(folder, "--out")
    if file_format == "safetensors":
        names = ["model.safetensors"]
        write_tensors(folder / names[0], {name: np.asarray(value) for name, value in run.params.items()})
    else:
        exported = export_model(run.model)
        description |= {
            "inputs": exported.inputs,
            "outputs": exported.outputs,
            "carry": [leaf._asdict() for leaf in exported.carry],
        }
        functions = {"sequence.stablehlo": exported.sequence, "step.stablehlo": exported.step}
        for name, function in functions.items():
            write_atomically(folder / name, _serialize(function))
        names = list(functions)
    write_json(folder / MODEL_JSON, description)
    return [*names, MODEL_JSON]


def _serialize(function: export.Exported) -> bytes:
    """Return an exported function as the content of a file.

    Raises:
        ConfigError: flatbuffers is not installed.
    """
    try:
        return bytes(function.serialize())
    except ImportError:
        raise ConfigError("--format=stablehlo: flatbuffers expected: pip install -e '.[export]'") from None


def _describe(run: LoadedRun) -> JsonObject:
    """Return the architecture of a run's model, and what its numbers stand for."""
    description: JsonObject = {
        "versions": {"nlstm_jax": nlstm_jax.__version__, "jax": jax.__version__},
        "task": run.config["task"],
        "model": type(run.model).__name__,
        "cell": spec_repr(run.model.cell.cell) if hasattr(run.model, "cell") else "",
        "step": run.step,
        "parameters": {name: list(value.shape) for name, value in run.params.items()},
        "config": run.config,
    }
    if isinstance(run.task, HasSymbols):
        description["symbols"] = list(run.task.symbols)
    return description
