"""Weights of recurrent layers from one framework's names and layout to another's, in .safetensors files.

    python -m experiments.convert --input=lstm.safetensors --from=torch --output=ours.safetensors
    python -m experiments.convert --input=runs/lstm --to=keras --output=keras.safetensors     a run's best checkpoint
    python -m experiments.convert --input=tf1.safetensors --from=tensorflow1 --to=torch --output=torch.safetensors
    python -m experiments.convert --input=r.safetensors --from=torch --option=nonlinearity=relu --output=o.safetensors

`ours.safetensors` starts a run: `experiments.train … --config.cell.weights=ours.safetensors`.
"""

from pathlib import Path
from typing import Any

import jax
from absl import flags
from rich.console import Console

from experiments import command
from nlstm_jax.adapters import weights
from nlstm_jax.adapters.weights import options
from nlstm_jax.adapters.weights.tensors import Converted
from nlstm_jax.cells import spec_repr
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.training import restore

_SOURCES: dict[str, options.Converter] = {
    "torch": weights.from_torch,
    "keras": weights.from_keras,
    "tensorflow1": weights.from_tensorflow1,
    "flax": weights.from_flax,
}
_TARGETS: dict[str, options.Converter] = {
    "torch": weights.to_torch,
    "keras": weights.to_keras,
    "flax": weights.to_flax,
}

_INPUT = command.define_path("input", None, "a .safetensors file, or a run folder", required=True)
_OUTPUT = command.define_path("output", None, "the .safetensors file to write", required=True)
_FROM = flags.DEFINE_enum("from", "nlstm_jax", ["nlstm_jax", *_SOURCES], "whose weights a file holds")
_TO = flags.DEFINE_enum("to", "nlstm_jax", ["nlstm_jax", *_TARGETS], "whose weights to write")
_PREFIX = flags.DEFINE_string("prefix", "", "what the names of the layer's tensors begin with in a whole model's file")
_OPTIONS = flags.DEFINE_multi_string(
    "option",
    [],
    "NAME=VALUE, what weights do not tell, an argument of from_torch, from_keras, …: layers=gru,lstm for one",
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "whether to replace the output if it is there")


def main(arguments: list[str]) -> None:
    """Read a layer, write it for another framework, and print its specification."""
    command.reject_positional(arguments)
    output = Path(_OUTPUT.value)
    if output.exists() and not _OVERWRITE.value:
        raise ConfigError(f"--output: {output} is there already; --overwrite replaces it")

    read_weights = _SOURCES.get(_FROM.value)
    write_weights = _TARGETS.get(_TO.value)
    read_options, write_options = options.parse_options(_OPTIONS.value, read_weights, write_weights)
    try:
        layer, params = _read(Path(_INPUT.value), read_options)
        if write_weights is None:
            weights.save(output, layer, params)
        else:
            weights.write_tensors(output, write_weights(layer, params, **write_options))
    except ValueError as error:
        raise ConfigError(str(error)) from error

    lines = [spec_repr(layer)]
    if read_weights is not None:
        assumed = ", ".join(options.unspecified_options(layer))
        lines.append(f"taken to have, as weights do not tell (--option=… says otherwise): {assumed}")
    parameter_count = sum(leaf.size for leaf in jax.tree.leaves(params))
    lines.append(f"{parameter_count:,} parameters for {_TO.value} in {output}")
    Console().print("\n".join(lines), highlight=False, soft_wrap=True)


def _read(path: Path, read_options: dict[str, Any]) -> Converted:
    """Return the layer and the parameters of a run folder or of a file of weights."""
    if path.is_dir():
        if _FROM.value != "nlstm_jax":
            raise ConfigError(f"--from: no framework expected with a run folder, found {_FROM.value}")
        recurrent = restore(path).model.cell
        return recurrent.cell, recurrent.values
    if not path.suffix and not path.exists():
        raise DataError(f"{path}: a run folder or a file of weights expected, none found")
    if _FROM.value == "nlstm_jax":
        return weights.load(path)
    tensors = weights.read_tensors(path)
    if _FROM.value == "keras" and "layers" not in read_options:
        weights.check_order(tensors, _PREFIX.value)
    return _SOURCES[_FROM.value](tensors, _PREFIX.value, **read_options)


if __name__ == "__main__":
    command.run(main)
