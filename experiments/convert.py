"""Weights of recurrent layers from one framework's names and layout to another's, in .safetensors files.

    python -m experiments.convert --input=lstm.safetensors --from=torch --output=ours.safetensors
    python -m experiments.convert --input=runs/lstm --to=keras --output=keras.safetensors     a run's best checkpoint
    python -m experiments.convert --input=tf1.safetensors --from=tensorflow1 --to=torch --output=torch.safetensors
    python -m experiments.convert --input=r.safetensors --from=torch --option=nonlinearity=relu --output=o.safetensors

`ours.safetensors` starts a run: `experiments.train … --config.cell.weights=ours.safetensors`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import flags
from rich.console import Console

from experiments import command
from nlstm_jax.adapters import weights
from nlstm_jax.adapters.weights import options
from nlstm_jax.cells import spec_repr
from nlstm_jax.errors import ConfigError
from nlstm_jax.training import restore

_SOURCES: dict[str, Callable[..., Any]] = {
    "torch": weights.from_torch,
    "keras": weights.from_keras,
    "tensorflow1": weights.from_tensorflow1,
    "flax": weights.from_flax,
}
_TARGETS: dict[str, Callable[..., Any]] = {
    "torch": weights.to_torch,
    "keras": weights.to_keras,
    "flax": weights.to_flax,
}

_INPUT = flags.DEFINE_string("input", None, "a .safetensors file, or a run folder", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "the .safetensors file to write", required=True)
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
    """Read, convert, write, and say what the layer is."""
    command.no_positional(arguments)
    output = Path(_OUTPUT.value)
    if output.exists() and not _OVERWRITE.value:
        raise ConfigError(f"--output: {output} is there already; --overwrite replaces it")
    source, target = _SOURCES.get(_FROM.value), _TARGETS.get(_TO.value)
    reading, writing = options.parse(_OPTIONS.value, source, target)
    try:
        layer, params = _read(Path(_INPUT.value), reading)
        if target is None:
            weights.save(output, layer, params)
        else:
            weights.write_tensors(output, target(layer, params, **writing))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    lines = [spec_repr(layer), f"{count:,} parameters for {_TO.value} in {output}"]
    if source is not None:
        untold = ", ".join(options.untold(layer))
        lines.insert(1, f"taken to have, as weights do not tell (--option=… says otherwise): {untold}")
    Console().print("\n".join(lines), highlight=False, soft_wrap=True)


def _read(path: Path, told: dict[str, Any]) -> Any:
    if path.is_dir():
        if _FROM.value != "nlstm_jax":
            raise ConfigError(f"--from: no framework expected with a run folder, found {_FROM.value}")
        recurrent = restore(path).model.cell
        return recurrent.cell, recurrent.values
    if _FROM.value == "nlstm_jax":
        return weights.load(path)
    tensors = weights.read_tensors(path)
    if _FROM.value == "keras" and "layers" not in told:
        weights.check_order(tensors, _PREFIX.value)
    return _SOURCES[_FROM.value](tensors, _PREFIX.value, **told)


if __name__ == "__main__":
    command.run(main)
