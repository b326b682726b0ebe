"""What weights do not tell: the options of a converter, given as text, and what a converted layer has of them."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from nlstm_jax.errors import ConfigError


def parse(options: Sequence[str], *converters: Callable[..., Any] | None) -> list[dict[str, Any]]:
    """What NAME=VALUE options say, for each converter; None: there is none.

    An option is a keyword-only argument of a converter.

    Raises:
        ConfigError: no converter has an option of that name, or it is not of that type.
    """
    accepted = [_keywords(converter) if converter else {} for converter in converters]
    given: list[dict[str, Any]] = [{} for _ in converters]
    for option in options:
        name, equals, text = option.partition("=")
        takers = [index for index, names in enumerate(accepted) if equals and name in names]
        if not takers:
            names = ", ".join(f"{each}=…" for names in accepted for each in names) or "none with these --from and --to"
            raise ConfigError(f"--option: {names} expected, found {option!r}")
        expected, read = _READ[accepted[takers[0]][name]]
        try:
            given[takers[0]][name] = read(text)
        except (KeyError, ValueError):
            raise ConfigError(f"--option: {name}: {expected} expected, found {text!r}") from None
    return given


def _keywords(converter: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(converter).parameters.values()
    return {each.name: each.annotation for each in parameters if each.kind is each.KEYWORD_ONLY}


# What is expected, and how it is read, by the type of an option.
_READ: dict[Any, tuple[str, Callable[[str], Any]]] = {
    str: ("text", str),
    str | None: ("text", str),
    float: ("a number", float),
    bool | None: ("true or false", lambda text: {"true": True, "false": False}[text.lower()]),
    Sequence[str]: ("names", lambda text: tuple(text.split(","))),
}


def untold(layer: Any) -> list[str]:
    """What other frameworks' weights do not tell of a layer and the layers in it, each once."""
    if isinstance(layer, tuple):
        return list(dict.fromkeys(told for each in layer for told in untold(each)))
    if not dataclasses.is_dataclass(layer):
        return []
    values = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
    own = [
        f"{name}={value}"
        for name, value in values.items()
        if name.endswith("activation") or name in ("reset_after", "merge")
    ]
    return list(dict.fromkeys([*own, *untold(tuple(values.values()))]))
