"""Poem files: Chinese quatrains in Zhang & Lapata's form, and any UTF-8 file of poems parted by blank lines."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nlstm_jax.data.csv_columns import file_sha256
from nlstm_jax.data.splits import SPLITS, hashed_split
from nlstm_jax.errors import DataError
from nlstm_jax.types import Int

Poem = tuple[tuple[str, ...], ...]
"""A poem's lines, each its symbols (characters, or words)."""

BEGIN, END_OF_LINE, END, RARE = "<bos>", "<eol>", "<eos>", "<R>"
_SPECIAL = (BEGIN, END_OF_LINE, END)
FIRST_CHARACTER = len(_SPECIAL)


@dataclass(frozen=True)
class Corpus:
    """Poems by split.

    Attributes:
        splits: the poems of `train`, `valid` and `test`.
        separator: what stands between two symbols of a line when it is written out.
        checksums: sha256 by file name; empty for generated poems.
    """

    splits: dict[str, list[Poem]]
    separator: str
    checksums: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Vocabulary:
    """Symbols and their numbers: `<bos>`, `<eol>`, `<eos>`, then those of the training poems, the frequent first.

    What the training poems lack is encoded as `<R>`.
    """

    symbols: tuple[str, ...]

    @classmethod
    def of(cls, poems: Iterable[Poem]) -> "Vocabulary":
        """The vocabulary of the training poems, with `<R>`.

        >>> Vocabulary.of([(("a", "b"), ("a",))]).symbols
        ('<bos>', '<eol>', '<eos>', 'a', 'b', '<R>')
        """
        counts = Counter(symbol for poem in poems for line in poem for symbol in line)
        counts.setdefault(RARE, 0)
        return cls((*_SPECIAL, *sorted(counts, key=lambda symbol: (-counts[symbol], symbol))))

    def numbers(self) -> dict[str, int]:
        """The number of every symbol."""
        return {symbol: number for number, symbol in enumerate(self.symbols)}

    def encode(self, poems: Sequence[Poem]) -> tuple[Int[np.ndarray, "N S"], Int[np.ndarray, "N"], int]:
        """Poems as rows of numbers, `<bos>` first and `<eos>` last.

        Returns:
            The numbers, padded with `<eos>`; how many targets (all but `<bos>`) each poem has; and how many symbols
            were not in the vocabulary.
        """
        numbers = self.numbers()
        rare = numbers[RARE]
        rows, unknown = [], 0
        for poem in poems:
            row = [numbers[BEGIN]]
            for line in poem:
                row += [numbers.get(symbol, -1) for symbol in line]
                row.append(numbers[END_OF_LINE])
            row[-1] = numbers[END]
            unknown += row.count(-1)
            rows.append([rare if number < 0 else number for number in row])
        width = max(map(len, rows), default=1)
        tokens = np.full((len(rows), width), numbers[END], np.int32)
        for row, out in zip(rows, tokens, strict=True):
            out[: len(row)] = row
        return tokens, np.array([len(row) - 1 for row in rows], np.int32), unknown


def read_corpus(path: Path) -> Corpus:
    """Read a folder of quatrain files (`qtrain…`, `qvalid…`, `qtest…`), or one file of poems.

    A quatrain file has a poem a line: verse lines parted by TAB, characters by a space. In a file of poems a blank
    line parts poems; symbols are code points after NFC, and a fixed hash of a poem's text puts it into a split
    (90/5/5).

    Raises:
        DataError: a file that is missing, empty, not UTF-8, or not of its form; the message names file and line.
    """
    if path.is_dir():
        files = {split: _quatrain_file(path, split) for split in SPLITS}
        texts = {split: _read_text(file) for split, file in files.items()}
        splits = {split: _parse_quatrains(files[split], text) for split, text in texts.items()}
        _check_forms(files, splits)
        checksums = {file.name: file_sha256(file) for file in files.values()}
        return Corpus(splits, "", checksums)
    poems = _parse_poems(path, _read_text(path))
    splits = {split: [] for split in SPLITS}
    for poem in poems:
        splits[hashed_split("\n".join("".join(line) for line in poem), 0.05, 0.05)].append(poem)
    return Corpus(splits, "", {path.name: file_sha256(path)})


def write_quatrains(folder: Path, splits: dict[str, list[Poem]]) -> None:
    """Write poems as quatrain files, which `read_corpus` reads back: a poem a line, verse lines parted by TAB."""
    for split, poems in splits.items():
        text = "\n".join("\t".join(" ".join(line) for line in poem) for poem in poems)
        (folder / f"q{split}").write_text(text, encoding="utf-8")


def shared_lines(train: Sequence[Poem], other: Sequence[Poem]) -> int:
    """How many poems of `other` share two or more lines with one training poem: a leak, to be told.

    >>> a, b, c = ("x", "y"), ("y", "z"), ("z", "x")
    >>> shared_lines([(a, b)], [(a, b, c), (a, c)])
    1
    """
    by_line: dict[tuple[str, ...], set[int]] = {}
    for number, poem in enumerate(train):
        for line in poem:
            by_line.setdefault(line, set()).add(number)
    leaks = 0
    for poem in other:
        shares = Counter(number for line in set(poem) for number in by_line.get(line, ()))
        leaks += any(count >= 2 for count in shares.values())
    return leaks


def _quatrain_file(folder: Path, split: str) -> Path:
    found = sorted(file for file in folder.glob(f"q{split}*") if file.is_file())
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise DataError(f"poems: {folder}: one file q{split}… expected, found {names}")
    return found[0]


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"poems: {path}: a file of poems, or a folder of quatrain files, expected; there is none")
    data = path.read_bytes()
    if not data.strip():
        raise DataError(f"poems: {path}: poems expected, the file is empty")
    nul = data.find(b"\0")
    if nul >= 0:
        raise DataError(f"poems: {path}: text expected, found a NUL at byte {nul} (line {_line(data, nul)})")
    try:
        return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = _line(data, error.start)
        raise DataError(
            f"poems: {path}: UTF-8 expected, found 0x{data[error.start]:02x} at byte {error.start} (line {line})"
        ) from None


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def _parse_quatrains(path: Path, text: str) -> list[Poem]:
    poems: list[Poem] = []
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        poem = tuple(tuple(verse.split()) for verse in line.strip("\t").split("\t"))
        if poems:
            _check_form(path, number, poem, poems[0])
        elif not all(poem):
            raise DataError(f"poems: {path} line {number}: verse lines parted by TAB expected, found {line!r}")
        for symbol in _SPECIAL:
            if any(symbol in verse for verse in poem):
                raise DataError(f"poems: {path} line {number}: characters expected, found {symbol}, which is reserved")
        poems.append(poem)
    return poems


def _check_form(path: Path, number: int, poem: Poem, first: Poem) -> None:
    if len(poem) != len(first):
        raise DataError(f"poems: {path} line {number}: {len(first)} verse lines expected, {len(poem)} found")
    for verse, (line, model) in enumerate(zip(poem, first, strict=True), start=1):
        if len(line) != len(model):
            raise DataError(
                f"poems: {path} line {number}: {len(model)} characters in verse line {verse} expected, "
                f"{len(line)} found"
            )


def _check_forms(files: dict[str, Path], splits: dict[str, list[Poem]]) -> None:
    for split in SPLITS[1:]:
        _check_form(files[split], 1, splits[split][0], splits[SPLITS[0]][0])


def _parse_poems(path: Path, text: str) -> list[Poem]:
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
