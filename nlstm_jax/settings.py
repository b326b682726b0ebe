"""Every setting of an experiment: its default, its bounds and what it means, in one table.

Configurations are made from it, checked against it, and documented by it. The settings of a cell are the cell's own
options (`cells.build.cell_options`).
"""

import difflib
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ml_collections import ConfigDict, config_dict

from nlstm_jax.cells.build import FACTORIES, cell_options
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs.configuration import flatten


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        default: its value where nothing is said; its type is the type accepted. A tuple: one value, or several in a
            row, each within the bounds.
        meaning: one line for the documentation.
        low, high: bounds, inclusive.
        above: a bound below, exclusive.
        below: a bound above, exclusive.
        choices: the values accepted, where they are few.
    """

    default: Any
    meaning: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    def complaint(self, value: Any) -> str | None:
        """What would be accepted, if `value` is not."""
        if isinstance(self.default, tuple):
            one = replace(self, default=self.default[0])
            several = isinstance(value, tuple | list) and len(value) > 0
            complaints = [one.complaint(part) for part in value] if several else [one.complaint(None)]
            complaint = next(filter(None, complaints), None)
            return complaint and f"{complaint} (or several, with commas between them)"
        if isinstance(self.default, bool):
            return None if isinstance(value, bool) else "True or False"
        if isinstance(self.default, str):
            accepted = isinstance(value, str) and (not self.choices or value in self.choices)
            return None if accepted else (f"one of {', '.join(self.choices)}" if self.choices else "text")
        whole = isinstance(self.default, int)
        fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        fits = fits and math.isfinite(value)
        fits = fits and (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        fits = fits and (self.above is None or value > self.above) and (self.below is None or value < self.below)
        return None if fits else f"{'a whole number' if whole else 'a finite number'} {self.bounds}".rstrip()

    @property
    def bounds(self) -> str:
        """In words, e.g. `≥ 0 and < 1`; the choices where there are some."""
        if self.choices:
            return ", ".join(self.choices)
        signs = {"≥": self.low, ">": self.above, "≤": self.high, "<": self.below}
        return " and ".join(f"{sign} {bound:,}" for sign, bound in signs.items() if bound is not None)


def _rate(default: float, meaning: str) -> Setting:
    return Setting(default, meaning, low=0, below=1)


def _by_level(meaning: str, below: float | None = 1) -> Setting:
    return Setting((0.0,), meaning, low=0, below=below)


def _penalties() -> dict[str, Setting]:
    """One setting for each kind of penalty and group of parameters."""
    kinds = {
        "l1": "λ of λ Σ abs(w)",
        "l2": "λ of λ Σ w²",
        "max_norm": "largest norm of the weights into a unit (0: any)",
    }
    groups = {"input_kernel": "W_x", "recurrent_kernel": "W_h", "bias": "b"}
    return {
        f"penalty.{kind}_{group}": _by_level(f"{meaning}, on the cell's {symbol}; by level", below=None)
        for kind, meaning in kinds.items()
        for group, symbol in groups.items()
    }


def _seed(meaning: str) -> Setting:
    return Setting(0, meaning, low=0, high=2**31 - 1)


COMMON: dict[str, Setting] = {
    "name": Setting("", "what tables and curves call the run"),
    "task": Setting("", "the question", choices=("poems", "sales", "text")),
    "cell.name": Setting("lstm", f"{', '.join(FACTORIES)}, or package.module:factory"),
    "cell.features": Setting(256, "H, hidden units; each layer's", low=1, high=65_536),
    "cell.parameters": Setting(0, "if > 0: the width is chosen so that the cell has as many, within 1 %", low=0),
    "cell.operations": Setting(0, "the same for operations of its products, forward, a step and sequence", low=0),
    "cell.state": Setting(0, "the same for numbers that it carries from step to step", low=0),
    "cell.layers": Setting(1, "stacked layers of the cell", low=1, high=64),
    "cell.skip": Setting(False, "every layer of a stack also reads its input"),
    "cell.residual": Setting(False, "a layer's output is added to the one above"),
    "cell.weights": Setting("", "a file from experiments.convert, in place of drawn initial values"),
    "cell.input_dropout": _by_level("rate on a level's input, one mask a sequence; by level"),
    "cell.recurrent_dropout": _by_level("rate on what W_h reads, one mask a sequence; by level"),
    "cell.weight_drop": _by_level("rate on W_h itself, one mask a batch; by level"),
    "cell.zoneout": _by_level("rate of units that keep their old value; of h, then of the memories outside in"),
    "unroll.mode": Setting("auto", "the loop over time", choices=("auto", "scan", "fused", "cudnn")),
    "unroll.remat": Setting(False, "store carries √T steps apart alone, and compute the rest anew"),
    "unroll.truncate": Setting(0, "if > 0: the gradient does not leave blocks of so many steps", low=0),
    "optimizer.name": Setting("adam", "", choices=("adam", "adamw", "sgd", "rmsprop")),
    "optimizer.learning_rate": Setting(2e-3, "its peak", above=0),
    "optimizer.schedule": Setting("constant", "", choices=("constant", "cosine", "halving")),
    "optimizer.warmup_steps": Setting(0, "linear from 0", low=0),
    "optimizer.final_fraction": Setting(0.0, "cosine: what is left of the learning rate at the end", low=0, high=1),
    "optimizer.halve_after_epochs": Setting(4.0, "halving: epochs at the full learning rate", low=0),
    "optimizer.halve_every_epochs": Setting(1.0, "halving: epochs from one halving to the next", above=0),
    "optimizer.clip_norm": Setting(1.0, "the gradient's largest norm; 0: not clipped", low=0),
    "optimizer.weight_decay": Setting(0.01, "adamw's", low=0),
    "optimizer.momentum": _rate(0.0, "sgd's and rmsprop's"),
    "optimizer.beta1": _rate(0.9, "adam's and adamw's"),
    "optimizer.beta2": _rate(0.999, "adam's and adamw's; rmsprop's decay"),
    "optimizer.epsilon": Setting(1e-8, "", above=0),
    **_penalties(),
    "train.batch_size": Setting(64, "examples a step, over all devices", low=1),
    "train.shards": Setting(
        1, "> 1, a power of 2: parts of a batch computed apart; the number of devices then changes no bit", low=1
    ),
    "train.epochs": Setting(30.0, "passes over the training data, at the most", above=0),
    "train.steps": Setting(0, "if > 0: so many steps in place of `epochs`", low=0),
    "train.steps_per_call": Setting(25, "steps in one compiled call", low=1, high=100_000),
    "eval.every_epochs": Setting(1.0, "how often to evaluate", above=0),
    "eval.every_steps": Setting(0, "if > 0: so many steps in place of `every_epochs`", low=0),
    "eval.batch_size": Setting(256, "examples at once", low=1),
    "eval.train_examples": Setting(1000, "size of the fixed part of the training data that is evaluated", low=1),
    "eval.metric": Setting("log_loss", "decides the best step and early stopping, on the validation split"),
    "eval.patience": Setting(0, "stop after so many evaluations without a new best; 0: never", low=0),
    "eval.tolerance": Setting(0.0, "stop when the metric is as low; 0: never", low=0),
    "eval.test_curve": Setting(False, "also evaluate the test split, as a curve that decides nothing"),
    "seeds.init": _seed("of the initial values"),
    "seeds.data": _seed("of the batches"),
    "seeds.dropout": _seed("of the dropout"),
}

LANGUAGE_MODEL: dict[str, Setting] = {
    "model.embedding": Setting(128, "E, width of a symbol's vector", low=1, high=65_536),
    "model.projection": Setting(0, "width between cell and softmax; 0: none", low=0, high=65_536),
    "model.dtype": Setting(
        "float32", "of the dense layers' products; `cell.dtype` is the cell's", choices=("float32", "bfloat16")
    ),
    "model.tied": Setting(False, "the softmax uses the embedding's vectors"),
    "model.init_scheme": Setting("default", "initial values of all but the cell: default, uniform(RADIUS)"),
    "model.dropout_input": _rate(0.5, "rate on the embedded symbols"),
    "model.dropout_output": _rate(0.5, "rate on what enters the softmax"),
    "model.dropout_between": _rate(0.0, "rate between the layers of a stack"),
}

POEMS: dict[str, Setting] = {
    "data.path": Setting("", "a folder of quatrain files or a file of poems; empty: generated verse"),
    "data.train_poems": Setting(10_000, "generated: poems to train on", low=1, high=10_000_000),
    "data.valid_poems": Setting(1000, "generated: poems to validate on", low=1, high=1_000_000),
    "data.test_poems": Setting(1000, "generated: poems to test on", low=1, high=1_000_000),
    "data.seed": _seed("generated: of the poems"),
    **LANGUAGE_MODEL,
}

TEXT: dict[str, Setting] = {
    "data.path": Setting("", "a folder with *train*.txt, *valid*.txt, *test*.txt; empty: generated verse"),
    "data.unit": Setting("words", "what a symbol is", choices=("words", "characters")),
    "data.vocabulary": Setting(0, "if > 0: so many symbols at the most, rarer ones are <unk>", low=0, high=10_000_000),
    "data.window": Setting(20, "T, symbols in a window, beyond which the gradient does not go", low=1, high=100_000),
    "data.train_poems": Setting(4000, "generated: poems to train on", low=1, high=10_000_000),
    "data.valid_poems": Setting(400, "generated: poems to validate on", low=1, high=1_000_000),
    "data.test_poems": Setting(400, "generated: poems to test on", low=1, high=1_000_000),
    "data.seed": _seed("generated: of the poems"),
    "train.loss_per": Setting(
        "target", "of what training minimises the mean: sequence sums over a window", choices=("target", "sequence")
    ),
    **LANGUAGE_MODEL,
    "model.dropout_input": _rate(0.0, "rate on the embedded symbols"),
    "model.dropout_output": _rate(0.0, "rate on what enters the softmax"),
}

SALES: dict[str, Setting] = {
    "data.path": Setting("", "a folder with Kaggle's files; empty: a generated shop world"),
    "data.protocol": Setting("honest", "the split", choices=("honest", "notebook")),
    "data.window": Setting(24, "honest: months read", low=1, high=120),
    "data.origins": Setting(1, "honest: months validated on, each from the months before it", low=1, high=24),
    "data.price": Setting(False, "the item's price as a second channel"),
    "data.scale": Setting("log1p", "how counts enter the cell", choices=("raw", "log1p")),
    "data.rows": Setting(40_000, "generated: rows of sales_train.csv", low=1000, high=10_000_000),
    "data.shops": Setting(10, "generated: shops", low=1, high=10_000),
    "data.items": Setting(300, "generated: items", low=1, high=1_000_000),
    "data.pairs": Setting(600, "generated: pairs of test.csv", low=1, high=1_000_000),
    "data.seed": _seed("generated: of the shop world"),
    "model.likelihood": Setting("mse", "what is minimised", choices=("mse", "gaussian", "negative_binomial")),
    "model.dropout_output": _rate(0.0, "rate on the cell's last output"),
    "model.dropout_between": _rate(0.0, "rate between the layers of a stack"),
}

TASKS = {"poems": POEMS, "sales": SALES, "text": TEXT}


def refusal(key: str, value: Any) -> str | None:
    """Why a value is none for a setting, of whatever task has it first; None where it is one, or nothing is known."""
    setting = next((table[key] for table in (COMMON, *TASKS.values()) if key in table), None)
    wanted = setting.complaint(value) if setting else None
    return wanted and f"config.{key}: {wanted} expected, found {value!r}"


def defaults(task: str, cell: str) -> ConfigDict:
    """All settings of a task with a cell, at their defaults.

    Raises:
        ConfigError: an unknown cell.
    """
    config = ConfigDict()
    for key, setting in (COMMON | TASKS[task]).items():
        section, _, field = key.rpartition(".")
        if section and section not in config:
            config[section] = ConfigDict()
        (config[section] if section else config)[field] = setting.default
    config.task = task
    config.cell.name = cell
    try:
        options = cell_options(cell)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    for name, (default, annotation) in options.items():
        config.cell[name] = _optional(annotation) if default is None else default
    return config


NUMBERS = ("learning_rate", "clip_norm", "weight_decay", "epsilon")
"""The optimizer's settings that are given to a compiled program: one serves all their values."""


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of an older run, with what has become a setting since at its default."""
    if config.get("task") not in TASKS:
        return dict(config)
    whole = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    for key, setting in (COMMON | TASKS[config["task"]]).items():
        section, _, name = key.rpartition(".")
        (whole.setdefault(section, {}) if section else whole).setdefault(name, setting.default)
    try:
        options = cell_options(whole["cell"]["name"])
    except ValueError:
        # A user's own cell that cannot be imported here.
        options = {}
    return whole | {"cell": {name: default for name, (default, _) in options.items()} | whole["cell"]}


def compiled(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the compiled program of a run depends on, by dotted key: runs that agree in it can be trained together."""
    flat = {key: value for key, value in flatten(config).items() if key != "name" and not key.startswith("seeds.")}
    clipped = {"optimizer.clip_norm": bool(flat["optimizer.clip_norm"])}
    return {
        key: value for key, value in flat.items() if key not in {f"optimizer.{name}" for name in NUMBERS}
    } | clipped


def check(config: Mapping[str, Any]) -> None:
    """Raise a ConfigError that names the first setting which is unknown, missing or out of its bounds."""
    task = config.get("task")
    if task not in TASKS:
        raise ConfigError(f"config.task: one of {', '.join(TASKS)} expected, found {task!r}")
    settings = COMMON | TASKS[task]
    flat = flatten(config)
    try:
        known = [*settings, *(f"cell.{name}" for name in cell_options(flat["cell.name"]))]
    except ValueError as error:
        raise ConfigError(f"config.{error}") from None
    for key in flat:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean config.{near[0]}?" if near else ""
            raise ConfigError(f"config.{key}: no such setting{hint}")
    for key, setting in settings.items():
        if key not in flat:
            raise ConfigError(f"config.{key}: missing")
        complaint = setting.complaint(flat[key])
        if complaint:
            raise ConfigError(f"config.{key}: {complaint} expected, found {flat[key]!r}")
    for key, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"config.{key}: a finite number expected, found {value!r}")


def describe() -> str:
    """The table as a page of the documentation, in Markdown."""
    lines = [
        "# Settings",
        "",
        "Written by `python -m nlstm_jax.settings > docs/settings.md`. Each is changed by `--config.NAME=VALUE`; a "
        "config file may set other defaults than these. A default in brackets takes several values too, "
        "`--config.cell.zoneout=0.1,0.2`: *by level* is one for each level of nesting, outermost first.",
    ]
    for title, settings in (("Common to all tasks", COMMON), ("Poems", POEMS), ("Sales", SALES), ("Text", TEXT)):
        lines += ["", f"## {title}", "", "| name | default | accepted | meaning |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{name}` | `{setting.default!r}` | {setting.bounds} | {setting.meaning} |"
            for name, setting in settings.items()
        ]
    lines += ["", "## Cells", "", "Options of each cell, as `cell.NAME`; the cells' docstrings say what they do.", ""]
    lines += ["| cell | options and defaults |", "| --- | --- |"]
    for cell in FACTORIES:
        options = ", ".join(f"`{name}={default!r}`" for name, (default, _) in cell_options(cell).items())
        lines.append(f"| `{cell}` | {options} |")
    return "\n".join(lines) + "\n"


def _optional(annotation: Any) -> config_dict.FieldReference:
    """A field that is None until it is given a value of the annotated type (text where that is anything)."""
    accepted = [kind for kind in (annotation, *getattr(annotation, "__args__", ())) if kind in (bool, int, float, str)]
    return config_dict.placeholder(accepted[0] if accepted else str)


if __name__ == "__main__":
    sys.stdout.write(describe())
