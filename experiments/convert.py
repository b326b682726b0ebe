"""Weights of recurrent layers from one framework's files, names and layout to another's, in .safetensors files.

    python -m experiments.convert --input=lstm.pt --from=torch --output=ours.safetensors
    python -m experiments.convert --input=model.keras --from=keras --output=ours.safetensors
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

from nlstm_jax import command
from nlstm_jax.adapters import weights
from nlstm_jax.adapters.weights import conversion, options
from nlstm_jax.cells import spec_repr
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.training import load_run

_TARGETS: dict[str, options.Converter] = {
    "torch": weights.to_torch,
    "keras": weights.to_keras,
    "flax": weights.to_flax,
}

_INPUT = command.define_path("input", None, "a file of weights of a framework, or a run folder", required=True)
_OUTPUT = command.define_path("output", None, "the .safetensors file to write", required=True)
_FROM = flags.DEFINE_enum("from", "nlstm_jax", ["nlstm_jax", *conversion.SOURCES], "whose weights a file holds")
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

    read_weights = conversion.SOURCES.get(_FROM.value)
    write_weights = _TARGETS.get(_TO.value)
    read_options, write_options = options.parse_options(_OPTIONS.value, read_weights, write_weights)
    try:
        converted = _read(Path(_INPUT.value), read_options)
        layer = converted.layer
        params = converted.params
        if write_weights is None:
            weights.save(output, layer, params)
        else:
            weights.write_tensors(output, write_weights(layer, params, **write_options))
    except ValueError as error:
        raise ConfigError(str(error)) from error

    lines = [spec_repr(layer)]
    if converted.told:
        lines.append(f"as the file says: {', '.join(converted.told)}")
    if converted.assumed:
        assumed = ", ".join(converted.assumed)
        lines.append(f"taken to have, as weights do not tell (--option=… says otherwise): {assumed}")
    lines.extend(converted.notes)
    parameter_count = sum(leaf.size for leaf in jax.tree.leaves(params))
    lines.append(f"{parameter_count:,} parameters for {_TO.value} in {output}")
    Console().print("\n".join(lines), highlight=False, soft_wrap=True)


def _read(path: Path, read_options: dict[str, Any]) -> conversion.Conversion:
    """Return the layer and the parameters of a run folder or of a file of weights."""
    is_run = path.is_dir() and (path / "config.json").is_file()
    if _FROM.value != "nlstm_jax":
        if is_run:
            raise ConfigError(f"--from: no framework expected with a run folder, found {_FROM.value}")
        return conversion.convert_file(path, _FROM.value, _PREFIX.value, read_options)
    if path.is_dir():
        recurrent = load_run(path).model.cell
        layer = recurrent.cell
        params = recurrent.values
    elif not path.suffix and not path.exists():
        raise DataError(f"{path}: a run folder or a file of weights expected, none found")
    else:
        layer, params = weights.load(path)
    return conversion.Conversion(layer, params, told=[], assumed=[], notes=[])


if __name__ == "__main__":
    command.run(main)
