"""Comparison of two configurations: the keys that differ, with both values."""

from collections.abc import Mapping

from nlstm_jax.types import Config, JsonObject

ABSENT = "(absent)"
"""The value that `differences` reports for a key that one configuration lacks."""


def flatten(config: Config, prefix: str = "") -> JsonObject:
    """Return a nested configuration as one dict with dotted keys.

    Args:
        config: The nested configuration.
        prefix: The text that is put before every key.

    >>> flatten({"cell": {"name": "lstm", "depth": 1}, "task": "poems"})
    {'cell.name': 'lstm', 'cell.depth': 1, 'task': 'poems'}
    """
    flat: JsonObject = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def differences(old: Config, new: Config) -> dict[str, tuple[object, object]]:
    """Return the dotted keys whose values differ, each with its old and its new value.

    Args:
        old: The one configuration.
        new: The other one. The value of a key that one of them lacks is `"(absent)"`.

    >>> differences({"seeds": {"init": 0}}, {"seeds": {"init": 1}})
    {'seeds.init': (0, 1)}
    """
    old_values = flatten(old)
    new_values = flatten(new)
    # A dict keeps the order: the old keys first, then the keys that only the new configuration has.
    keys = dict.fromkeys([*old_values, *new_values])

    pairs = {key: (old_values.get(key, ABSENT), new_values.get(key, ABSENT)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
