"""Poem files: Chinese quatrains in Zhang & Lapata's form, and any UTF-8 file of poems separated by blank lines."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nlstm_jax.data.csv_columns import file_sha256
from nlstm_jax.data.decoding import read_text
from nlstm_jax.data.splits import SPLITS, split_by_hash
from nlstm_jax.errors import DataError
from nlstm_jax.types import Int

Poem = tuple[tuple[str, ...], ...]
"""The lines of a poem, each a tuple of symbols (characters or words)."""

BEGIN, END_OF_LINE, END, RARE = "<bos>", "<eol>", "<eos>", "<R>"
_SPECIAL = (BEGIN, END_OF_LINE, END)
FIRST_CHARACTER = len(_SPECIAL)


@dataclass(frozen=True)
class Corpus:
    """Poems by split.

    Attributes:
        splits: The poems of `train`, `valid` and `test`.
        separator: The text between two symbols of a line when the line is written out.
        checksums: The SHA-256 by file name, empty for generated poems.
    """

    splits: dict[str, list[Poem]]
    separator: str
    checksums: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of the training poems with their indices.

    `<bos>`, `<eol>` and `<eos>` come first, then all other symbols, the most frequent first. Symbols that the training
    poems lack are encoded as `<R>`.
    """

    symbols: tuple[str, ...]

    @classmethod
    def from_poems(cls, poems: Iterable[Poem]) -> "Vocabulary":
        """Return the vocabulary of the training poems, with `<R>`.

        >>> Vocabulary.from_poems([(("a", "b"), ("a",))]).symbols
        ('<bos>', '<eol>', '<eos>', 'a', 'b', '<R>')
        """
        counts = Counter(symbol for poem in poems for line in poem for symbol in line)
        counts.setdefault(RARE, 0)
        by_frequency = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
        return cls((*_SPECIAL, *by_frequency))

    def numbers(self) -> dict[str, int]:
        """Return the index of every symbol."""
        return {symbol: index for index, symbol in enumerate(self.symbols)}

    def encode(self, poems: Sequence[Poem]) -> tuple[Int[np.ndarray, "N S"], Int[np.ndarray, "N"], int]:
        """Encode poems as rows of indices, with `<bos>` first and `<eos>` last.

        Returns:
            The indices, padded with `<eos>`; the number of targets of each poem (all symbols but `<bos>`); and the
            number of symbols that are not in the vocabulary.
        """
        symbol_index = self.numbers()
        rare = symbol_index[RARE]
        rows = []
        unknown = 0
        for poem in poems:
            row = [symbol_index[BEGIN]]
            for line in poem:
                row += [symbol_index.get(symbol, -1) for symbol in line]
                row.append(symbol_index[END_OF_LINE])
            row[-1] = symbol_index[END]
            unknown += row.count(-1)
            rows.append([rare if index < 0 else index for index in row])

        width = max(map(len, rows), default=1)
        tokens = np.full((len(rows), width), symbol_index[END], np.int32)
        for row, token_row in zip(rows, tokens, strict=True):
            token_row[: len(row)] = row
        targets = np.array([len(row) - 1 for row in rows], np.int32)
        return tokens, targets, unknown


def read_corpus(path: Path) -> Corpus:
    """Read a folder of quatrain files (`qtrain…`, `qvalid…`, `qtest…`), or one file of poems.

    A quatrain file holds one poem per line: verse lines separated by TAB, characters by a space. In a file of poems
    blank lines separate the poems. Symbols are code points after NFC, and a fixed hash of each poem's text chooses its
    split (90/5/5).

    Raises:
        DataError: A file is missing, empty, not UTF-8, or not of its form. The message names file and line.
    """
    if path.is_dir():
        return _read_quatrains(path)
    poems = _parse_poems(path, _read_poems(path))
    texts = ["\n".join("".join(line) for line in poem) for poem in poems]
    splits = {}
    for split, indices in split_by_hash(texts, 0.05, 0.05).items():
        splits[split] = [poems[index] for index in indices]
    return Corpus(splits, "", {path.name: file_sha256(path)})


def write_quatrains(folder: Path, splits: dict[str, list[Poem]]) -> None:
    """Write poems as quatrain files: one poem per line, verse lines separated by TAB. `read_corpus` reads them."""
    for split, poems in splits.items():
        text = "\n".join(_quatrain_text(poem) for poem in poems)
        (folder / f"q{split}").write_text(text, encoding="utf-8")


def shared_lines(train: Sequence[Poem], other: Sequence[Poem]) -> int:
    """Count the poems of `other` that share two or more lines with one training poem. Such poems are a leak.

    >>> a, b, c = ("x", "y"), ("y", "z"), ("z", "x")
    >>> shared_lines([(a, b)], [(a, b, c), (a, c)])
    1
    """
    poems_by_line: dict[tuple[str, ...], set[int]] = {}
    for index, poem in enumerate(train):
        for line in poem:
            poems_by_line.setdefault(line, set()).add(index)

    leaks = 0
    for poem in other:
        lines_shared_with: Counter[int] = Counter()
        for line in set(poem):
            lines_shared_with.update(poems_by_line.get(line, ()))
        leaks += any(count >= 2 for count in lines_shared_with.values())
    return leaks


def _read_quatrains(folder: Path) -> Corpus:
    """Read a folder of quatrain files."""
    files = {split: _quatrain_file(folder, split) for split in SPLITS}
    texts = {split: _read_poems(file) for split, file in files.items()}
    splits = {split: _parse_quatrains(files[split], text) for split, text in texts.items()}
    for split in SPLITS[1:]:
        _check_form(files[split], 1, splits[split][0], splits["train"][0])
    checksums = {file.name: file_sha256(file) for file in files.values()}
    return Corpus(splits, "", checksums)


def _quatrain_file(folder: Path, split: str) -> Path:
    """Return the one quatrain file of a split. Raises a DataError if there is none or more than one."""
    files = sorted(file for file in folder.glob(f"q{split}*") if file.is_file())
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise DataError(f"poems: {folder}: one file q{split}… expected, found {names}")
    return files[0]


def _quatrain_text(poem: Poem) -> str:
    """Return a poem as a line of a quatrain file."""
    return "\t".join(" ".join(line) for line in poem)


def _read_poems(path: Path) -> str:
    """Read the text of a file of poems. Raises a DataError if there is none."""
    if not path.is_file():
        raise DataError(f"poems: {path}: a file of poems, or a folder of quatrain files, expected; there is none")
    text = read_text(path, f"poems: {path}")
    if not text.encode().strip():
        raise DataError(f"poems: {path}: poems expected, the file is empty")
    return text


def _parse_quatrains(path: Path, text: str) -> list[Poem]:
    """Parse the text of a quatrain file.

    Raises:
        DataError: A poem differs from the first in its number of lines or characters, the first has an empty verse
            line, or a reserved symbol occurs.
    """
    poems: list[Poem] = []
    for line_number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        poem = tuple(tuple(verse.split()) for verse in line.strip("\t").split("\t"))
        if poems:
            _check_form(path, line_number, poem, poems[0])
        elif not all(poem):
            raise DataError(f"poems: {path} line {line_number}: verse lines parted by TAB expected, found {line!r}")
        for symbol in _SPECIAL:
            if any(symbol in verse for verse in poem):
                raise DataError(
                    f"poems: {path} line {line_number}: characters expected, found {symbol}, which is reserved"
                )
        poems.append(poem)
    return poems


def _check_form(path: Path, line_number: int, poem: Poem, first: Poem) -> None:
    """Raise a DataError if a poem has other numbers of lines or characters than the first poem."""
    if len(poem) != len(first):
        raise DataError(f"poems: {path} line {line_number}: {len(first)} verse lines expected, {len(poem)} found")
    for verse, (line, first_line) in enumerate(zip(poem, first, strict=True), start=1):
        if len(line) != len(first_line):
            raise DataError(
                f"poems: {path} line {line_number}: {len(first_line)} characters in verse line {verse} expected, "
                f"{len(line)} found"
            )


def _parse_poems(path: Path, text: str) -> list[Poem]:
    """Parse the text of a file of poems. Raises a DataError if it holds none."""
    poems: list[Poem] = []
    lines: list[tuple[str, ...]] = []
    for line in [*unicodedata.normalize("NFC", text).split("\n"), ""]:
        if line.strip():
            lines.append(tuple(line.rstrip()))
        elif lines:
            poems.append(tuple(lines))
            lines = []
    if not poems:
        raise DataError(f"poems: {path}: poems parted by blank lines expected, found none")
    return poems
