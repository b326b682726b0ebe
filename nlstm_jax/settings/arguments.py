"""Parser of a config file's argument, e.g. `cell=nlstm,depth=2,smoke`, with checked names, types and bounds."""

import difflib
from typing import Any

from ml_collections import ConfigDict

from nlstm_jax.errors import ConfigError
from nlstm_jax.settings.common import COMMON
from nlstm_jax.settings.setting import Setting
from nlstm_jax.settings.suggestions import similar_setting
from nlstm_jax.settings.table import defaults

ARGUMENTS: dict[str, Setting] = {
    "cell": Setting("lstm", "a cell's name, or package.module:factory"),
    "depth": Setting(2, "nesting levels of an nlstm", low=1, high=64),
    "layers": Setting(1, "stacked layers of the cell", low=1, high=64),
    "features": Setting(0, "hidden units; if not given, the config's own", low=1, high=65_536),
    "params": Setting(0, "the width is chosen so that the cell has as many parameters", low=1),
    "model_params": Setting(0, "widths are chosen so that the whole model has as many parameters", low=1),
    "flops": Setting(0, "the width is chosen so that a step has as many operations", low=1),
    "state": Setting(0, "the width is chosen so that the cell carries as many numbers", low=1),
    "seed": Setting(0, "of initial values, batches and dropout", low=0, high=2**31 - 1),
    "smoke": Setting(False, "seconds on two cores"),
}
BUDGETS = {
    "params": "cell.parameters",
    "model_params": "model.parameters",
    "flops": "cell.operations",
    "state": "cell.state",
}
"""The arguments that choose the width of the cell by a budget, and the settings in which the budgets are kept."""


def parse(text: str, variants: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the values of all arguments; those that the text lacks have their defaults.

    Args:
        text: The part of the --config flag after the colon.
        variants: The variants of the config file. If there are any, `variant` is an argument too, and the first
            variant is its default.

    Returns:
        The values by the arguments' names.

    Raises:
        ConfigError: An argument is unknown, is repeated, has an invalid value, or contradicts another one.

    >>> parse("cell=nlstm,depth=3")["depth"]
    3
    """
    known = dict(ARGUMENTS)
    if variants:
        known["variant"] = Setting(variants[0], "what is asked", choices=variants)

    parsed: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if name not in known:
            raise ConfigError(f"config argument {name!r}: no such argument; {_hint(name, list(known))}")
        if name in parsed:
            raise ConfigError(f"config argument {name!r}: given twice")
        parsed[name] = _parse_value(name, known[name], value if equals else "true")
    values = {name: setting.default for name, setting in known.items()} | parsed

    if "depth" in parsed and values["cell"] != "nlstm":
        raise ConfigError(
            f"config argument 'depth': only an nlstm has nesting levels, found cell={values['cell']}; "
            "layers= stacks any cell"
        )
    widths = [name for name in ("features", *BUDGETS) if values[name]]
    if len(widths) > 1:
        raise ConfigError(f"config arguments {' and '.join(map(repr, widths))}: one of them expected, found both")
    return values


def _hint(name: str, known: list[str]) -> str:
    """Return what an unknown argument may mean: another argument, a setting, or else all arguments."""
    is_setting = any(key.rpartition(".")[2] == name for key in COMMON)
    similar_names = difflib.get_close_matches(name, known, n=1)
    if similar_names and not is_setting:
        return f"did you mean {similar_names[0]!r}?"
    similar = similar_setting(name, list(COMMON))
    if similar:
        return f"did you mean the setting {similar}?"
    return f"there are {', '.join(known)}"


def start(task: str, values: dict[str, Any], variants: tuple[str, ...] = ("",)) -> ConfigDict:
    """Return the task's default configuration, changed by the arguments.

    Args:
        task: The name of the task.
        values: The values of the arguments, from `parse`.
        variants: The variants of the config file. The configuration's name ends in the variant unless it is the first.
    """
    config = defaults(task, values["cell"])
    config.name = values["cell"].rpartition(":")[2]
    if values["cell"] == "nlstm":
        config.cell.depth = values["depth"]
        config.name += f" depth={values['depth']}"
    config.cell.layers = values["layers"]
    if values["layers"] > 1:
        config.name += f" layers={values['layers']}"
    if values.get("variant", variants[0]) != variants[0]:
        config.name += f" {values['variant']}"
    if values["features"]:
        config.cell.features = values["features"]
    for name, setting in BUDGETS.items():
        section, _, key = setting.partition(".")
        config[section][key] = values[name]
    for name in ("init", "data", "dropout"):
        config.seeds[name] = values["seed"]
    return config


def has_budget(values: dict[str, Any]) -> bool:
    """Return True if an argument chooses the width of the cell by a budget."""
    return any(values[name] for name in BUDGETS)


def _parse_value(name: str, setting: Setting, text: str) -> Any:
    """Return the value of an argument in the type of its default.

    Raises:
        ConfigError: The text is not a value of the setting.
    """
    value: Any = text
    if isinstance(setting.default, bool):
        value = {"true": True, "false": False}.get(text.lower(), text)
    elif isinstance(setting.default, int) and text.removeprefix("-").isdecimal():
        value = int(text)
    validation_error = setting.validation_error(value)
    if validation_error:
        raise ConfigError(f"config argument {name!r}: {validation_error} expected, found {text!r}")
    return value
