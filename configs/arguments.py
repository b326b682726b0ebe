"""The argument of a config file: `cell=nlstm,depth=2,smoke`, typed, bounded, and nothing left over."""

import difflib
from typing import Any

from ml_collections import ConfigDict

from nlstm_jax import settings
from nlstm_jax.errors import ConfigError

ARGUMENTS: dict[str, settings.Setting] = {
    "cell": settings.Setting("lstm", "a cell's name, or package.module:factory"),
    "depth": settings.Setting(2, "nesting levels of an nlstm", low=1, high=64),
    "layers": settings.Setting(1, "stacked layers of the cell", low=1, high=64),
    "features": settings.Setting(0, "hidden units; if not given, the config's own", low=1, high=65_536),
    "params": settings.Setting(0, "the width is chosen so that the cell has as many parameters", low=1),
    "model_params": settings.Setting(0, "widths are chosen so that the whole model has as many parameters", low=1),
    "flops": settings.Setting(0, "the width is chosen so that a step has as many operations", low=1),
    "state": settings.Setting(0, "the width is chosen so that the cell carries as many numbers", low=1),
    "seed": settings.Setting(0, "of initial values, batches and dropout", low=0, high=2**31 - 1),
    "smoke": settings.Setting(False, "seconds on two cores"),
}
BUDGETS = {
    "params": "cell.parameters",
    "model_params": "model.parameters",
    "flops": "cell.operations",
    "state": "cell.state",
}
"""Arguments that decide the width, and the settings that they are."""


def parse(text: str, variants: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values of all arguments, given or not.

    Args:
        text: what stands after the colon.
        variants: of the config, which then has an argument `variant` too; the first is its default.

    Raises:
        ConfigError: an unknown, doubled or leftover argument, or a value that does not serve.

    >>> parse("cell=nlstm,depth=3")["depth"]
    3
    """
    known, given = dict(ARGUMENTS), dict[str, Any]()
    if variants:
        known["variant"] = settings.Setting(variants[0], "what is asked", choices=variants)
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
            raise ConfigError(f"config argument {name!r}: no such argument{hint}")
        if name in given:
            raise ConfigError(f"config argument {name!r}: given twice")
        given[name] = _typed(name, known[name], value if equals else "true")
    values = {name: setting.default for name, setting in known.items()} | given
    if "depth" in given and values["cell"] != "nlstm":
        raise ConfigError(
            f"config argument 'depth': only an nlstm has nesting levels, found cell={values['cell']}; "
            "layers= stacks any cell"
        )
    widths = [name for name in ("features", *BUDGETS) if values[name]]
    if len(widths) > 1:
        raise ConfigError(f"config arguments {' and '.join(map(repr, widths))}: one of them expected, found both")
    return values


def start(task: str, values: dict[str, Any], variants: tuple[str, ...] = ("",)) -> ConfigDict:
    """The task's default configuration with the arguments put in."""
    config = settings.defaults(task, values["cell"])
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
    config.seeds.init = config.seeds.data = config.seeds.dropout = values["seed"]
    return config


def _typed(name: str, setting: settings.Setting, text: str) -> Any:
    value: Any = text
    if isinstance(setting.default, bool):
        value = {"true": True, "false": False}.get(text.lower(), text)
    elif isinstance(setting.default, int):
        value = int(text) if text.removeprefix("-").isdecimal() else text
    validation_error = setting.validation_error(value)
    if validation_error:
        raise ConfigError(f"config argument {name!r}: {validation_error} expected, found {text!r}")
    return value
