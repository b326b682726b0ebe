"""Sequences of symbols that have a class: a user's CSV file."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nlstm_jax.data.csv_columns import Table, Text, file_sha256, first_line, named_alike, read_columns
from nlstm_jax.data.splits import SPLITS, hashed_split
from nlstm_jax.data.synthetic import Classified
from nlstm_jax.errors import DataError
from nlstm_jax.types import Int

ABSENT = -1
"""In the place of a symbol where there is none: past a sequence's end, or one that training lacks."""


class Labelled(NamedTuple):
    """Sequences as numbers.

    Attributes:
        symbols: padded with `ABSENT`.
        lengths: at least 1.
        classes: numbers.
    """

    symbols: Int[np.ndarray, "N L"]
    lengths: Int[np.ndarray, "N"]
    classes: Int[np.ndarray, "N"]


@dataclass(frozen=True)
class SequenceData:
    """Sequences with classes, split by split.

    Attributes:
        symbols, classes: the names, in the order of their numbers; of the training split.
        splits: `train`, and the others if there are any.
        notes: what is remarkable.
        checksums: sha256 by file name, or of generated sequences.
    """

    symbols: tuple[str, ...]
    classes: tuple[str, ...]
    splits: dict[str, Labelled]
    notes: tuple[str, ...] = ()
    checksums: dict[str, str] = field(default_factory=dict)


def read_sequences(path: Path) -> SequenceData:
    """Read a CSV file with the columns `sequence` (symbols with blanks between them), `class`, and perhaps `split`.

    Without `split` (train, valid or test) a fixed hash of a sequence's text puts 80 % of them into train and 10 % into
    each of the others, so that equal ones stay together.

    Raises:
        DataError: see `read_columns`; a sequence without symbols, another split, a class that no training sequence
            has, or a split that has no sequence.
    """
    header = first_line(path)
    called = named_alike(path, header, ("sequence", "class", "split"))
    if called["split"] not in header:
        del called["split"]
    table = read_columns(path, {name: Text() for name in called.values()})
    table = replace(table, columns={name: table.columns[theirs] for name, theirs in called.items()})
    rows = [tuple(text.split()) for text in table.columns["sequence"]]
    for row, symbols in enumerate(rows):
        if not symbols:
            raise table.error(row, "sequence", "", "symbols with blanks between them")
    names = [name.strip() for name in table.columns["class"]]
    if "" in names:
        raise table.error(names.index(""), "class", "", "a class")
    places = _places(table, rows)
    train = places["train"]
    symbols = _sorted({symbol for row in train for symbol in rows[row]})
    classes = _sorted({names[row] for row in train})
    for split in places:
        for row in places[split]:
            if names[row] not in classes:
                raise table.error(row, "class", names[row], f"a class that a training sequence has, {_some(classes)},")
    numbers = {name: number for number, name in enumerate(classes)}
    splits = {
        split: Labelled(
            *encode([rows[row] for row in where], symbols), np.array([numbers[names[row]] for row in where], np.int32)
        )
        for split, where in places.items()
    }
    notes = _remarks({split: [rows[row] for row in where] for split, where in places.items()}, symbols)
    if table.ignored:
        notes = (f"columns passed over: {', '.join(table.ignored)}", *notes)
    return SequenceData(symbols, classes, splits, notes, {path.name: file_sha256(path)})


def encode(
    rows: Sequence[Sequence[str]], symbols: Sequence[str]
) -> tuple[Int[np.ndarray, "N L"], Int[np.ndarray, "N"]]:
    """Sequences as padded numbers, and their lengths; symbols without a number are `ABSENT`."""
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    lengths = np.array([len(row) for row in rows], np.int32)
    padded = np.full((len(rows), max(lengths, default=0)), ABSENT, np.int32)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = [numbers.get(symbol, ABSENT) for symbol in row]
    return padded, lengths


def generated(parts: Mapping[str, Classified], classes: int) -> SequenceData:
    """Generated sequences by split, as data whose symbols and classes are called by their numbers."""
    names = tuple(map(str, range(classes)))
    splits = {
        split: Labelled(part.symbols, np.full(len(part.symbols), part.symbols.shape[1], np.int32), part.classes)
        for split, part in parts.items()
    }
    digest = hashlib.sha256(b"".join(part.symbols.tobytes() + part.classes.tobytes() for part in parts.values()))
    return SequenceData(names, names, splits, (), {"generated": digest.hexdigest()})


def _places(table: Table, rows: Sequence[tuple[str, ...]]) -> dict[str, list[int]]:
    """The rows of each split."""
    places: dict[str, list[int]] = {split: [] for split in SPLITS}
    for row, symbols in enumerate(rows):
        split = table.columns["split"][row].strip() if "split" in table.columns else None
        if split is not None and split not in SPLITS:
            raise table.error(row, "split", split, f"one of {', '.join(SPLITS)}")
        places[split or hashed_split(" ".join(symbols), 0.1, 0.1)].append(row)
    for split in SPLITS[: 2 if "split" in table.columns else 3]:
        if not places[split]:
            raise DataError(
                f"{table.path}: sequences of the split {split} expected, found none among {len(rows):,}"
                + ("" if "split" in table.columns else "; a column split says which each belongs to")
            )
    return {split: where for split, where in places.items() if where}


def _remarks(rows: Mapping[str, Sequence[tuple[str, ...]]], symbols: Sequence[str]) -> tuple[str, ...]:
    """What a reader of the results should know."""
    known, trained, notes = set(symbols), set(rows["train"]), list[str]()
    if all(len(row) == 1 for row in trained):
        notes.append("every training sequence has one symbol: blanks are expected between symbols")
    for split, own in rows.items():
        unknown = sum(symbol not in known for row in own for symbol in row)
        if unknown:
            notes.append(f"{split}: {unknown:,} symbols that training lacks are read as blanks")
        repeated = sum(row in trained for row in own) if split != "train" else 0
        if repeated:
            notes.append(f"{split}: {repeated:,} of {len(own):,} sequences are also trained on")
    return tuple(notes)


def _sorted(names: set[str]) -> tuple[str, ...]:
    """Numbers by their size, then all else by the alphabet."""
    return tuple(
        sorted(names, key=lambda name: (not name.isdecimal(), len(name.lstrip("0")) if name.isdecimal() else 0, name))
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + ("…" if len(names) > 5 else "")
