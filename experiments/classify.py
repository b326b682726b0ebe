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

from nlstm_jax import command
from nlstm_jax.data.sequences import read_sequence_texts
from nlstm_jax.errors import ConfigError
from nlstm_jax.tasks.abilities import Classifies, missing_ability
from nlstm_jax.training import load_run
from nlstm_jax.wording import count_of

_WORKDIR = command.define_path("workdir", None, "the run folder of a classification run", required=True)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "which checkpoint")
_SEQUENCE = flags.DEFINE_multi_string("sequence", [], "a sequence")
_INPUT = command.define_path("input", None, "a CSV file with a column sequence")
_OUT = command.define_path("out", None, "a CSV file to write")
_MAX_SHOWN = 20
"""The number of sequences that the printed table has at most."""


def main(arguments: list[str]) -> None:
    """Read the sequences, classify them, show the classes and write them."""
    command.reject_positional(arguments)
    _check_flags()
    sequences, names = _read_sequences()
    run = load_run(Path(_WORKDIR.value), _CHECKPOINT.value)
    task = run.task
    if not isinstance(task, Classifies):
        raise missing_ability("probabilities", f"{run.path}: a run", run.config["task"])
    probabilities = task.probabilities(run.model, [sequence.split() for sequence in sequences], names)

    header = ["sequence", "class", *(f"p({name})" for name in task.classes)]
    rows = []
    for sequence, class_probabilities in zip(sequences, probabilities, strict=True):
        best_class = task.classes[class_probabilities.argmax()]
        rows.append([sequence, best_class, *(f"{probability:.4f}" for probability in class_probabilities)])

    table = Table(*header)
    for row in rows[:_MAX_SHOWN]:
        table.add_row(*row)
    console = Console()
    console.print(table)
    if _OUT.value:
        with Path(_OUT.value).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        console.print(f"{count_of(len(rows), 'row')} in {_OUT.value}", highlight=False, markup=False, soft_wrap=True)


def _check_flags() -> None:
    """Raise a ConfigError for flags that exclude each other, or an output that cannot be written."""
    if bool(_SEQUENCE.value) == bool(_INPUT.value):
        raise ConfigError(f"--sequence or --input: one of them expected, found {'both' if _INPUT.value else 'none'}")
    if not _OUT.value:
        return
    out = Path(_OUT.value)
    if not out.parent.is_dir() or out.is_dir():
        raise ConfigError(f"--out: a file in an existing folder expected, found {_OUT.value}")
    if _INPUT.value and out.resolve() == Path(_INPUT.value).resolve():
        raise ConfigError(f"--out: another file than --input expected, found {_OUT.value}")


def _read_sequences() -> tuple[list[str], list[str]]:
    """Return the sequences of the flag or the file, and a name of each for error messages."""
    if _INPUT.value:
        return read_sequence_texts(Path(_INPUT.value))
    names = [f"--sequence {position}" for position in range(1, len(_SEQUENCE.value) + 1)]
    return _SEQUENCE.value, names


if __name__ == "__main__":
    command.run(main)
