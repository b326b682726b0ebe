"""Weights of recurrent layers from one framework's names and layout to another's, in .safetensors files.

    python -m experiments.convert --input=lstm.safetensors --from=torch --output=ours.safetensors
    python -m experiments.convert --input=runs/lstm --to=keras --output=keras.safetensors     a run's best checkpoint
    python -m experiments.convert --input=tf1.safetensors --from=tensorflow1 --to=torch --output=torch.safetensors
    python -m experiments.convert --input=r.safetensors --from=torch --option=nonlinearity=relu --output=o.safetensors

`ours.safetensors` starts a run: `experiments.train … --config.cell.weights=ours.safetensors`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags
from rich.console import Console

from experiments import command
from nlstm_jax.adapters import weights
from nlstm_jax.cells import spelled
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
    "NAME=VALUE, what the weights do not tell, an argument of from_torch, from_keras, … or to_flax: e.g. "
    "nonlinearity=relu, or layers=gru,lstm; may be given several times",
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "whether to replace the output if it is there")


def main(arguments: list[str]) -> None:
    """Read, convert, write, and say what the layer is."""
    command.no_positional(arguments)
    output = Path(_OUTPUT.value)
    if output.exists() and not _OVERWRITE.value:
        raise ConfigError(f"--output: {output} is there already; --overwrite replaces it")
    source, target = _SOURCES.get(_FROM.value), _TARGETS.get(_TO.value)
    given = _given(_OPTIONS.value, _open_to(source) | _open_to(target))
    try:
        layer, params = _read(Path(_INPUT.value), {name: given[name] for name in _open_to(source) if name in given})
        if target is None:
            weights.save(output, layer, params)
        else:
            options = {name: given[name] for name in _open_to(target) if name in given}
            weights.write_tensors(output, target(layer, params, **options))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    _say(spelled(layer))
    if source is not None:
        _say(f"taken to have, as weights do not tell (--option=… says otherwise): {', '.join(_untold(layer))}")
    _say(f"{count:,} parameters for {_TO.value} in {output}")


def _say(text: str) -> None:
    Console().print(text, highlight=False, soft_wrap=True)


def _open_to(converter: Callable[..., Any] | None) -> dict[str, Any]:
    """The options of a converter, its keyword-only parameters, with their types."""
    if converter is None:
        return {}
    parameters = inspect.signature(converter).parameters.values()
    return {each.name: each.annotation for each in parameters if each.kind is each.KEYWORD_ONLY}


def _given(options: Sequence[str], accepted: dict[str, Any]) -> dict[str, Any]:
    """What `--option` says."""
    given: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or name not in accepted:
            names = ", ".join(f"{each}=…" for each in accepted) or "none with these --from and --to"
            raise ConfigError(f"--option: {names} expected, found {option!r}")
        expected, read = _READ[accepted[name]]
        try:
            given[name] = read(text)
        except (KeyError, ValueError):
            raise ConfigError(f"--option: {name}: {expected} expected, found {text!r}") from None
    return given


# What is expected, and how it is read, by the type of an option.
_READ: dict[Any, tuple[str, Callable[[str], Any]]] = {
    str: ("text", str),
    str | None: ("text", str),
    float: ("a number", float),
    bool | None: ("true or false", lambda text: {"true": True, "false": False}[text.lower()]),
    Sequence[str]: ("names", lambda text: tuple(text.split(","))),
}


def _untold(layer: Any) -> list[str]:
    """What other frameworks' weights do not tell of a layer and the layers in it, each once."""
    if isinstance(layer, tuple):
        return list(dict.fromkeys(told for each in layer for told in _untold(each)))
    if not dataclasses.is_dataclass(layer):
        return []
    values = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
    own = [
        f"{name}={value}"
        for name, value in values.items()
        if name.endswith("activation") or name in ("reset_after", "merge")
    ]
    return list(dict.fromkeys([*own, *_untold(tuple(values.values()))]))


def _read(path: Path, options: dict[str, Any]) -> Any:
    if path.is_dir():
        if _FROM.value != "nlstm_jax":
            raise ConfigError(f"--from: no framework expected with a run folder, found {_FROM.value}")
        recurrent = restore(path).model.cell
        return recurrent.cell, recurrent.values
    if _FROM.value == "nlstm_jax":
        return weights.load(path)
    tensors = weights.read_tensors(path)
    if _FROM.value == "keras" and not options.get("layers"):
        names = weights.keras_layers(tensors, _PREFIX.value)
        if len({name.rstrip("_0123456789") for name in names}) > 1:
            raise ConfigError(
                "--option: layers=…, the names of a stack's layers, lowest first, expected, as a file keeps no order; "
                f"found in {path}: {', '.join(names)}"
            )
    return _SOURCES[_FROM.value](tensors, _PREFIX.value, **options)


if __name__ == "__main__":
    command.run(main)
