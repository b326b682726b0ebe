"""Options of the converters that weights do not tell, parsed from text; and those that a converted layer has."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from nlstm_jax.errors import ConfigError

Converter: TypeAlias = Callable[..., Any]
"""A function such as `from_keras` or `to_flax`. Its keyword-only arguments are its options."""

_BOOLEANS = {"true": True, "false": False}

_PARSERS: dict[object, tuple[str, Callable[[str], object]]] = {
    str: ("text", str),
    str | None: ("text", str),
    float: ("a number", float),
    bool | None: ("true or false", lambda text: _BOOLEANS[text.lower()]),
    Sequence[str]: ("names", lambda text: tuple(text.split(","))),
}
"""For each type of an option: its description in error messages, and the function that parses it."""


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


def unspecified_options(layer: object) -> list[str]:
    """List the options of a layer, and of the layers in it, that the weights of other frameworks do not tell.

    Returns:
        The options as `name=value`, each once.
    """
    if isinstance(layer, tuple):
        nested = [unspecified_options(item) for item in layer]
        return _without_duplicates([option for options in nested for option in options])
    if not dataclasses.is_dataclass(layer):
        return []
    values = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
    options = [f"{name}={value}" for name, value in values.items() if _is_untold(name)]
    return _without_duplicates([*options, *unspecified_options(tuple(values.values()))])


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


def _is_untold(field: str) -> bool:
    """Return True if a layer's field cannot be read off the weights of another framework."""
    return field.endswith("activation") or field in ("reset_after", "merge")


def _without_duplicates(texts: list[str]) -> list[str]:
    """Return the texts in their order, each once."""
    return list(dict.fromkeys(texts))
