"""Running text by split: words or characters of three files in a folder, Penn Treebank's or anyone's."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nlstm_jax.data.csv_columns import file_sha256
from nlstm_jax.data.splits import SPLITS
from nlstm_jax.errors import DataError
from nlstm_jax.types import Int

END_OF_LINE, UNKNOWN, SPACE = "<eos>", "<unk>", "_"


@dataclass(frozen=True)
class Text:
    """A text as the numbers of its symbols, split by split.

    Attributes:
        symbols: of the training split, the frequent first; with `<unk>` where another split needs it.
        splits: their numbers, in order.
        unknown: by split, how many symbols the training split lacks.
        checksums: sha256 by file name, or of a generated text.
        notes: what is not read as it stands.
    """

    symbols: tuple[str, ...]
    splits: dict[str, Int[np.ndarray, "N"]]
    unknown: dict[str, int]
    checksums: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_text(folder: Path, unit: str, largest: int = 0) -> Text:
    """Read `*train*.txt`, `*valid*.txt` and `*test*.txt`.

    Args:
        folder: with one file for each split.
        unit: `words`, parted by blanks, or `characters`, where a blank between words is `_`; the end of a line is a
            symbol of its own, `<eos>`, and empty lines are left out.
        largest: of vocabularies: rarer symbols are read as `<unk>`; 0: none is too large.

    Raises:
        DataError: no folder, not one file for each split, or a file that is empty or not UTF-8.
    """
    if not folder.is_dir():
        raise DataError(f"text: {folder}: a folder expected, found {'a file' if folder.exists() else 'none'}")
    files = {split: _find(folder, split) for split in SPLITS}
    lines = {split: _lines(path) for split, path in files.items()}
    symbols = {split: cut(each, unit) for split, each in lines.items()}
    checksums = {path.name: file_sha256(path) for path in files.values()}
    text = encode(symbols, largest, checksums)
    if unit == "words":
        return text
    underscores = sum(word.count(SPACE) for each in lines.values() for words in each for word in words)
    if underscores:
        text = replace(text, notes=(f"{underscores:,} characters {SPACE} of the files are read as blanks are",))
    return text


def cut(lines: Iterable[Iterable[str]], unit: str) -> list[str]:
    """The symbols of lines of words.

    >>> cut([["a", "rose"], ["is"]], "characters")
    ['a', '_', 'r', 'o', 's', 'e', '<eos>', 'i', 's', '<eos>']
    """
    symbols: list[str] = []
    for words in lines:
        symbols += words if unit == "words" else SPACE.join(words)
        symbols.append(END_OF_LINE)
    return symbols


def encode(symbols: Mapping[str, list[str]], largest: int = 0, checksums: dict[str, str] | None = None) -> Text:
    """Symbols by split as numbers.

    Args:
        symbols: of every split.
        largest: of vocabularies, see `read_text`.
        checksums: of the files; None: of the training symbols themselves.
    """
    counts = Counter(symbols["train"])
    known = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    if largest and len(known) > largest:
        kept = [symbol for symbol in known if symbol != UNKNOWN][: largest - 1]
        known = [*kept, UNKNOWN]
    elif UNKNOWN not in counts and any(not counts.keys() >= set(each) for each in symbols.values()):
        known.append(UNKNOWN)
    numbers = {symbol: number for number, symbol in enumerate(known)}
    rare = numbers.get(UNKNOWN, -1)
    encoded = {
        split: np.fromiter((numbers.get(symbol, rare) for symbol in each), np.int32, len(each))
        for split, each in symbols.items()
    }
    unknown = {split: sum(symbol not in counts for symbol in each) for split, each in symbols.items()}
    fingerprint = {"generated": hashlib.sha256(" ".join(symbols["train"]).encode()).hexdigest()}
    return Text(tuple(known), encoded, unknown, fingerprint if checksums is None else checksums)


def _find(folder: Path, split: str) -> Path:
    found = sorted(folder.glob(f"*{split}*.txt"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(f"text: {folder}: one file *{split}*.txt expected, found {names}")
    return found[0]


def _lines(path: Path) -> list[list[str]]:
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"text: {path}: UTF-8 expected, found byte {error.start:,} that is none") from None
    except OSError as error:
        raise DataError(f"text: {path}: a file expected: {error.strerror}") from None
    lines = [words for line in text.split("\n") if (words := line.split())]
    if not lines:
        raise DataError(f"text: {path}: text expected, found none")
    return lines
