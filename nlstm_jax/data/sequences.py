"""Sequences of symbols, each with a class, from a CSV file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nlstm_jax.data.csv_columns import CsvTable, file_sha256, first_rows, match_column_names, read_columns
from nlstm_jax.data.csv_kinds import TextColumn
from nlstm_jax.data.splits import SPLITS, split_by_hash
from nlstm_jax.errors import DataError
from nlstm_jax.types import Int
from nlstm_jax.wording import count_of

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)", re.ASCII)
ABSENT = -1
"""The number of a missing symbol: padding past a sequence's end, or a symbol that the training split lacks."""


class Labelled(NamedTuple):
    """Encoded sequences with their classes.

    Attributes:
        symbols: The indices of the symbols, padded with `ABSENT`.
        lengths: The length of each sequence, at least 1.
        classes: The index of each sequence's class.
    """

    symbols: Int[np.ndarray, "N L"]
    lengths: Int[np.ndarray, "N"]
    classes: Int[np.ndarray, "N"]


@dataclass(frozen=True)
class SequenceData:
    """Sequences with classes, by split.

    Attributes:
        symbols: The symbols of the training split, in the order of their indices.
        classes: The classes of the training split, in the order of their indices.
        splits: The sequences of `train`, and of the other splits if there are any.
        notes: Remarks for the log.
        checksums: The SHA-256 by file name, or of the generated sequences.
    """

    symbols: tuple[str, ...]
    classes: tuple[str, ...]
    splits: dict[str, Labelled]
    notes: tuple[str, ...] = ()
    checksums: dict[str, str] = field(default_factory=dict)


def read_sequences(path: Path) -> SequenceData:
    """Read a CSV file with the columns `sequence` (symbols separated by blanks), `class`, and optionally `split`.

    `split` is train, valid or test. Without it a fixed hash of each sequence's text puts about 80 % of the sequences
    into train and 10 % into each of the others, so that equal sequences stay together.

    Raises:
        DataError: As for `read_columns`. Also a sequence without symbols, an unknown split, a class that no training
            sequence has, or a required split without sequences.
    """
    table = _read_table(path, ("sequence", "class"), ("split",))
    rows = [tuple(text.split()) for text in table.columns["sequence"]]
    for row, row_symbols in enumerate(rows):
        if not row_symbols:
            raise table.error(row, "sequence", "", "symbols with blanks between them")
    row_classes = [name.strip() for name in table.columns["class"]]
    if "" in row_classes:
        raise table.error(row_classes.index(""), "class", "", "a class")

    rows_by_split = _split_rows(table, rows)
    train = rows_by_split["train"]
    symbols = _sorted({symbol for row in train for symbol in rows[row]})
    classes = _sorted({row_classes[row] for row in train})
    for indices in rows_by_split.values():
        for row in indices:
            if row_classes[row] not in classes:
                accepted = f"a class that a training sequence has, {_first_names(classes)},"
                raise table.error(row, "class", row_classes[row], accepted)

    class_index = {name: index for index, name in enumerate(classes)}
    splits = {}
    sequences = {}
    for split, indices in rows_by_split.items():
        sequences[split] = [rows[row] for row in indices]
        labels = np.array([class_index[row_classes[row]] for row in indices], np.int32)
        splits[split] = Labelled(*encode(sequences[split], symbols), labels)

    notes = (*_notes(sequences, symbols), *_notes_on_names("classes", classes), *_notes_on_names("symbols", symbols))
    if table.ignored:
        notes = (f"columns passed over: {', '.join(table.ignored)}", *notes)
    return SequenceData(symbols, classes, splits, notes, {path.name: file_sha256(path)})


def read_sequence_texts(path: Path) -> tuple[list[str], list[str]]:
    """Read the column `sequence` of a CSV file, in the way of `read_sequences`.

    Returns:
        The text of each sequence.
        The name of each sequence for error messages: its file and line.

    Raises:
        DataError: As for `read_columns`.
    """
    table = _read_table(path, ("sequence",))
    names = [f"{path} line {line}" for line in table.lines]
    return table.columns["sequence"].tolist(), names


def encode(
    rows: Sequence[Sequence[str]], symbols: Sequence[str]
) -> tuple[Int[np.ndarray, "N L"], Int[np.ndarray, "N"]]:
    """Return sequences as padded indices, and their lengths. A symbol that is not in `symbols` becomes `ABSENT`."""
    symbol_index = {symbol: index for index, symbol in enumerate(symbols)}
    lengths = np.array([len(row) for row in rows], np.int32)
    padded = np.full((len(rows), max(lengths, default=0)), ABSENT, np.int32)
    for padded_row, row in zip(padded, rows, strict=True):
        padded_row[: len(row)] = [symbol_index.get(symbol, ABSENT) for symbol in row]
    return padded, lengths


def _read_table(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> CsvTable:
    """Read columns of text. They go by our names in the table, in whatever case the file has them."""
    (header,) = first_rows(path, 1)
    file_names = match_column_names(path, header, (*required, *optional))
    for name in optional:
        if file_names[name] not in header:
            del file_names[name]
    table = read_columns(path, {file_name: TextColumn() for file_name in file_names.values()})
    columns = {name: table.columns[file_name] for name, file_name in file_names.items()}
    return replace(table, columns=columns)


def _split_rows(table: CsvTable, rows: Sequence[tuple[str, ...]]) -> dict[str, list[int]]:
    """Return the indices of the rows of each split that has any.

    Raises:
        DataError: A row names an unknown split, or a required split has no row. With a column `split`, train and valid
            are required; without one, all three.
    """
    has_column = "split" in table.columns
    if has_column:
        rows_by_split = _rows_by_column(table)
    else:
        rows_by_split = split_by_hash([" ".join(symbols) for symbols in rows], 0.1, 0.1)

    required = ("train", "valid") if has_column else SPLITS
    for split in required:
        if not rows_by_split[split]:
            message = f"{table.path}: sequences of the split {split} expected, found none among {len(rows):,}"
            if not has_column:
                message += "; a column split says which each belongs to"
            raise DataError(message)
    return {split: indices for split, indices in rows_by_split.items() if indices}


def _rows_by_column(table: CsvTable) -> dict[str, list[int]]:
    """Return the indices of the rows of each split by the column `split`. Raises a DataError for an unknown name."""
    rows_by_split: dict[str, list[int]] = {split: [] for split in SPLITS}
    for row, name in enumerate(table.columns["split"]):
        split = name.strip()
        if split not in SPLITS:
            raise table.error(row, "split", split, f"one of {', '.join(SPLITS)}")
        rows_by_split[split].append(row)
    return rows_by_split


def _notes(rows: Mapping[str, Sequence[tuple[str, ...]]], symbols: Sequence[str]) -> tuple[str, ...]:
    """Return remarks on unusual sequences, for the log.

    Args:
        rows: The sequences of each split.
        symbols: The symbols of the training split.
    """
    known = set(symbols)
    trained = set(rows["train"])
    notes: list[str] = []
    if all(len(row) == 1 for row in trained):
        notes.append("every training sequence has one symbol: blanks are expected between symbols")
    for split, split_rows in rows.items():
        unknown = sum(symbol not in known for row in split_rows for symbol in row)
        if unknown:
            notes.append(f"{split}: read as blanks: {count_of(unknown, 'symbol')} that training lacks")
        if split == "train":
            continue
        repeated = sum(row in trained for row in split_rows)
        if repeated:
            notes.append(f"{split}: {repeated:,} of {len(split_rows):,} sequences are also trained on")
    return tuple(notes)


def _notes_on_names(kind: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return remarks on names that are different texts, and probably mean the same or are parts of a list.

    Args:
        kind: `classes` or `symbols`.
        names: The names of all classes or symbols.
    """
    notes = []
    names_by_number: dict[float, list[str]] = {}
    for name in names:
        if _NUMBER.fullmatch(name):
            names_by_number.setdefault(float(name), []).append(name)
    equal = next((group for group in names_by_number.values() if len(group) > 1), None)
    if equal:
        notes.append(f"{kind}: {' and '.join(equal)} are different names of one number")
    listed = [name for name in names if name[0] in "[(" or name[-1] in "])," or name[0] == name[-1] in "'\""]
    if len(listed) > len(names) / 2:
        notes.append(f"{kind}: {listed[0]} looks like a part of a list; names with blanks between them are expected")
    return tuple(notes)


def _sorted(names: set[str]) -> tuple[str, ...]:
    """Return numbers by their value, then all other names in alphabetical order."""
    return tuple(sorted(names, key=_sort_key))


def _sort_key(name: str) -> tuple[bool, int, str]:
    """Return the key of a name for `_sorted`: numbers come first, those with fewer digits before the others."""
    if name.isdecimal():
        return False, len(name.lstrip("0")), name
    return True, 0, name


def _first_names(names: Sequence[str]) -> str:
    """Return the first five names, and an ellipsis if there are more."""
    shown = ", ".join(names[:5])
    if len(names) > 5:
        shown += "…"
    return shown
