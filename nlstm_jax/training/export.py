"""Files of a trained model for other programs: functions in StableHLO or ONNX, or the parameters alone."""

from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jax import export

import nlstm_jax
from nlstm_jax.adapters.weights import write_tensors
from nlstm_jax.cells import spec_repr
from nlstm_jax.errors import ConfigError
from nlstm_jax.models import recurrent_layers
from nlstm_jax.models.export import export_model
from nlstm_jax.models.interface import describe_interface
from nlstm_jax.models.onnx import export_onnx
from nlstm_jax.runs import make_folder
from nlstm_jax.runs.files import write_atomically, write_json
from nlstm_jax.tasks.abilities import HasScaling, HasSymbols
from nlstm_jax.training.restore import LoadedRun
from nlstm_jax.types import JsonObject

FORMATS = ("stablehlo", "onnx", "safetensors")
MODEL_JSON = "model.json"


def export_run(run: LoadedRun, folder: Path, file_format: str) -> list[str]:
    """Write the model of a run to a folder, which is made if it is missing.

    Args:
        run: The run.
        folder: The folder.
        file_format: `stablehlo` and `onnx` write the functions of `models.interface.Interface`, each to a file
            `NAME.stablehlo` or `NAME.onnx`. `safetensors` writes `model.safetensors`, all parameters by name. All of
            them write `model.json`, the architecture.

    Returns:
        The names of the files.

    Raises:
        ConfigError: The model is of a class that is not exported, ONNX lacks its cell, or the package that writes the
            format is not installed.
        StorageError: A file cannot be written.
    """
    description = _describe(run)
    functions: dict[str, bytes] = {}
    if file_format == "stablehlo":
        functions = _serialize(export_model(run.model))
    if file_format == "onnx":
        functions = _export_onnx(run.model)

    make_folder(folder, "--out")
    if file_format == "safetensors":
        names = ["model.safetensors"]
        write_tensors(folder / names[0], {name: np.asarray(value) for name, value in run.params.items()})
    else:
        interface = describe_interface(run.model)
        description |= {
            "inputs": interface.inputs,
            "outputs": interface.outputs,
            "carry": [leaf._asdict() for leaf in interface.carry],
        }
        names = [f"{name}.{file_format}" for name in functions]
        for name, content in zip(names, functions.values(), strict=True):
            write_atomically(folder / name, content)
    write_json(folder / MODEL_JSON, description)
    return [*names, MODEL_JSON]


def _serialize(functions: dict[str, export.Exported]) -> dict[str, bytes]:
    """Return exported functions as contents of files.

    Raises:
        ConfigError: flatbuffers is not installed.
    """
    try:
        return {name: bytes(function.serialize()) for name, function in functions.items()}
    except ImportError:
        raise ConfigError("--format=stablehlo: flatbuffers expected: pip install -e '.[export]'") from None


def _export_onnx(model: nnx.Module) -> dict[str, bytes]:
    """Return the graphs of a model as contents of files.

    Raises:
        ConfigError: onnx is not installed, or it has no such cell or option.
    """
    try:
        return export_onnx(model)
    except ValueError as error:
        raise ConfigError(f"--format=onnx: {error}; --format=stablehlo and --format=safetensors serve") from None


def _describe(run: LoadedRun) -> JsonObject:
    """Return the architecture of a run's model, and what its numbers stand for."""
    description: JsonObject = {
        "versions": {"nlstm_jax": nlstm_jax.__version__, "jax": jax.__version__},
        "task": run.config["task"],
        "model": type(run.model).__name__,
        "cell": _describe_cell(run.model),
        "step": run.step,
        "parameters": {name: list(value.shape) for name, value in run.params.items()},
        "config": run.config,
    }
    if isinstance(run.task, HasSymbols):
        description["symbols"] = list(run.task.symbols)
    if isinstance(run.task, HasScaling):
        description["scaling"] = dict(run.task.scaling)
    return description


def _describe_cell(model: nnx.Module) -> str:
    """Return the specification of the cell of a model, or an empty text. Encoder and decoder have the same."""
    layers = recurrent_layers(model)
    return spec_repr(layers[0].cell) if layers else ""
