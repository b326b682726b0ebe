"""Options of the converters that weights do not tell, parsed from text; and those that a converted layer has."""

import dataclasses
import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeAlias

from nlstm_jax.cells import Nested
from nlstm_jax.errors import ConfigError

Converter: TypeAlias = Callable[..., Any]
"""A function such as `from_keras` or `to_flax`. Its keyword-only arguments are its options."""

_BOOLEANS = {"true": True, "false": False}

_PARSERS: dict[object, tuple[str, Callable[[str], object]]] = {
    str: ("text", str),
    str | None: ("text", str),
    float | None: ("a number", float),
    bool | None: ("true or false", lambda text: _BOOLEANS[text.lower()]),
    Sequence[str]: ("names", lambda text: tuple(text.split(","))),
}
"""For each type of an option: its description in error messages, and the function that parses it."""

_OPTIONS_OF_FIELDS = {
    "activation": ("activation", "nonlinearity"),
    "candidate_activation": ("activation",),
    "forget_bias": ("forget_bias",),
    "gate_activation": ("gate_activation", "recurrent_activation"),
    "merge": ("merge_mode",),
    "output_activation": ("activation",),
    "reset_after": ("reset_after",),
}
"""For each field of a layer, the options of the converters that decide it."""


def parse_options(options: Sequence[str], *converters: Converter | None) -> list[dict[str, Any]]:
    """Parse NAME=VALUE options, and return the keyword arguments of each converter.

    An option that several converters have goes to the first of them.

    Args:
        options: The options, each of the form NAME=VALUE.
        *converters: The converters; None stands for a conversion that has no options.

    Raises:
        ConfigError: No converter has an option of that name, or the value does not have the option's type.
    """
    accepted = [_option_types(converter) for converter in converters]
    arguments: list[dict[str, Any]] = [{} for _ in converters]
    for option in options:
        name, equals, text = option.partition("=")
        matches = [index for index, types in enumerate(accepted) if equals and name in types]
        if not matches:
            raise ConfigError(f"--option: {_list_options(accepted)} expected, found {option!r}")
        index = matches[0]
        description, parse = _PARSERS[accepted[index][name]]
        try:
            arguments[index][name] = parse(text)
        except (KeyError, ValueError):
            raise ConfigError(f"--option: {name}: {description} expected, found {text!r}") from None
    return arguments


def option_names(converter: Converter) -> set[str]:
    """Return the names of a converter's options."""
    return set(_option_types(converter))


def assumed_fields(layer: object, options: Collection[str]) -> list[str]:
    """List the fields of a layer, and of the layers in it, whose values stand for options that no one has told.

    Args:
        layer: A converted layer, or a tuple of layers.
        options: The names of the converter's options that neither the caller nor the file has told.

    Returns:
        The fields as `name=value`, each once.
    """
    if isinstance(layer, tuple):
        nested = [assumed_fields(item, options) for item in layer]
        return _without_duplicates([field for fields in nested for field in fields])
    if not dataclasses.is_dataclass(layer):
        return []
    values = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
    fields = [f"{name}={value}" for name, value in values.items() if _is_assumed(layer, name, options)]
    return _without_duplicates([*fields, *assumed_fields(tuple(values.values()), options)])


def _option_types(converter: Converter | None) -> dict[str, object]:
    """Return the types of a converter's options by name; without a converter there are none."""
    if converter is None:
        return {}
    parameters = inspect.signature(converter).parameters.values()
    return {
        parameter.name: parameter.annotation for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY
    }


def _list_options(accepted: Sequence[dict[str, object]]) -> str:
    """Return the names of all options, for an error message."""
    names = [f"{name}=…" for types in accepted for name in types]
    return ", ".join(names) or "none with these --from and --to"


def _is_assumed(layer: Any, field: str, options: Collection[str]) -> bool:
    """Return True if one of the options decides a layer's field, which the weights do not tell."""
    if field == "reset_after" and layer.use_bias:
        # The shape of the bias tells it.
        return False
    if field == "candidate_activation" and isinstance(layer, Nested):
        return "cell_activation" in options
    return any(option in options for option in _OPTIONS_OF_FIELDS.get(field, ()))


def _without_duplicates(texts: list[str]) -> list[str]:
    """Return the texts in their order, each once."""
    return list(dict.fromkeys(texts))
