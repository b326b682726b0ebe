"""Two configurations side by side: which keys differ, and how."""

from collections.abc import Mapping
from typing import Any

ABSENT = "(absent)"


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested configuration as one level of dotted keys.

    >>> flatten({"cell": {"name": "lstm", "depth": 1}, "task": "poems"})
    {'cell.name': 'lstm', 'cell.depth': 1, 'task': 'poems'}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, each with its (old, new) value; `"(absent)"` where one lacks the key.

    >>> differences({"seeds": {"init": 0}}, {"seeds": {"init": 1}})
    {'seeds.init': (0, 1)}
    """
    left, right = flatten(old), flatten(new)
    keys = [*left, *(key for key in right if key not in left)]
    pairs = {key: (left.get(key, ABSENT), right.get(key, ABSENT)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
