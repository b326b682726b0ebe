"""Classes of new sequences, from a trained classification run.

    python -m experiments.classify --workdir=runs/six --sequence="0 0 2 2 0 0"
    python -m experiments.classify --workdir=runs/mine --input=new.csv --out=classes.csv

A sequence is symbols with blanks between them; --sequence may be given several times. --input is a CSV file with a
column `sequence`; --out gets a row for each, with its class and the probability of each class.
"""

import csv
from pathlib import Path

from absl import flags
from rich.console import Console
from rich.table import Table

from experiments import command
from nlstm_jax.data.csv_columns import TextColumn, read_columns
from nlstm_jax.errors import ConfigError
from nlstm_jax.tasks.classify import ClassifyTask
from nlstm_jax.training import restore

_WORKDIR = flags.DEFINE_string("workdir", None, "the run folder of a classification run", required=True)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "which checkpoint")
_SEQUENCE = flags.DEFINE_multi_string("sequence", [], "a sequence")
_INPUT = flags.DEFINE_string("input", None, "a CSV file with a column sequence")
_OUT = flags.DEFINE_string("out", None, "a CSV file to write")
_SHOWN = 20


def main(arguments: list[str]) -> None:
    """Read, classify, show and write."""
    command.no_positional(arguments)
    if bool(_SEQUENCE.value) == bool(_INPUT.value):
        raise ConfigError(f"--sequence or --input: one of them expected, found {'both' if _INPUT.value else 'none'}")
    if _OUT.value and (not Path(_OUT.value).parent.is_dir() or Path(_OUT.value).is_dir()):
        raise ConfigError(f"--out: a file in an existing folder expected, found {_OUT.value}")
    if _OUT.value and _INPUT.value and Path(_OUT.value).resolve() == Path(_INPUT.value).resolve():
        raise ConfigError(f"--out: another file than --input expected, found {_OUT.value}")
    given, names = _SEQUENCE.value, [f"--sequence {number}" for number in range(1, len(_SEQUENCE.value) + 1)]
    if _INPUT.value:
        table = read_columns(Path(_INPUT.value), {"sequence": TextColumn()})
        given, names = table.columns["sequence"].tolist(), [f"{table.path} line {line}" for line in table.lines]
    restored = restore(Path(_WORKDIR.value), _CHECKPOINT.value)
    task = restored.task
    if not isinstance(task, ClassifyTask):
        raise ConfigError(f"--workdir: a classification run expected, found one of {restored.run.config['task']}")
    probabilities = task.probabilities(restored.model, [sequence.split() for sequence in given], names)
    columns = [f"p({name})" for name in task.classes]
    rows = [
        [sequence, task.classes[of_one.argmax()], *(f"{p:.4f}" for p in of_one)]
        for sequence, of_one in zip(given, probabilities, strict=True)
    ]
    shown = Table("sequence", "class", *columns)
    for row in rows[:_SHOWN]:
        shown.add_row(*row)
    console = Console()
    console.print(shown)
    if _OUT.value:
        with Path(_OUT.value).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["sequence", "class", *columns], *rows])
        console.print(f"{len(rows):,} rows in {_OUT.value}", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    command.run(main)
