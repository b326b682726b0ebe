"""Running text by split: the words or characters of three files in a folder, such as Penn Treebank's."""

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
    """A text as the indices of its symbols, by split.

    Attributes:
        symbols: The symbols of the training split, the most frequent first, with `<unk>` if another split needs it.
        splits: The indices of each split's symbols, in the order of the text.
        unknown: The number of symbols in each split that the vocabulary lacks, and that are read as `<unk>`.
        checksums: The SHA-256 by file name, or of a generated text.
        notes: Remarks on text that was not read literally.
    """

    symbols: tuple[str, ...]
    splits: dict[str, Int[np.ndarray, "N"]]
    unknown: dict[str, int]
    checksums: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_text(folder: Path, unit: str, largest: int = 0) -> Text:
    """Read `*train*.txt`, `*valid*.txt` and `*test*.txt`.

    Args:
        folder: A folder with one file for each split.
        unit: `words`, separated by blanks, or `characters`, where a blank between words is `_`. The end of a line is
            the symbol `<eos>`. Empty lines are left out.
        largest: The largest size of the vocabulary. Rarer symbols are read as `<unk>`. 0 means no limit.

    Raises:
        DataError: There is no such folder, a split has not exactly one file, or a file is empty or not UTF-8.
    """
    if not folder.is_dir():
        raise DataError(f"text: {folder}: a folder expected, found {'a file' if folder.exists() else 'none'}")
    files = {split: _find_file(folder, split) for split in SPLITS}
    lines = {split: _read_lines(path) for split, path in files.items()}
    symbols = {split: cut(split_lines, unit) for split, split_lines in lines.items()}
    checksums = {path.name: file_sha256(path) for path in files.values()}
    text = encode(symbols, largest, checksums)
    if unit == "words":
        return text
    underscores = sum(_count_underscores(split_lines) for split_lines in lines.values())
    if underscores:
        text = replace(text, notes=(f"{underscores:,} characters {SPACE} of the files are read as blanks are",))
    return text


def cut(lines: Iterable[Iterable[str]], unit: str) -> list[str]:
    """Return the symbols of lines of words.

    >>> cut([["a", "rose"], ["is"]], "characters")
    ['a', '_', 'r', 'o', 's', 'e', '<eos>', 'i', 's', '<eos>']
    """
    symbols: list[str] = []
    for words in lines:
        symbols += words if unit == "words" else SPACE.join(words)
        symbols.append(END_OF_LINE)
    return symbols


def encode(symbols: Mapping[str, list[str]], largest: int = 0, checksums: dict[str, str] | None = None) -> Text:
    """Encode the symbols of all splits as indices.

    Args:
        symbols: The symbols of each split.
        largest: The largest size of the vocabulary, see `read_text`.
        checksums: The checksums of the files. None means that of the training symbols.
    """
    counts = Counter(symbols["train"])
    vocabulary = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    if largest and len(vocabulary) > largest:
        kept = [symbol for symbol in vocabulary if symbol != UNKNOWN][: largest - 1]
        vocabulary = [*kept, UNKNOWN]
    elif UNKNOWN not in counts and any(not counts.keys() >= set(part) for part in symbols.values()):
        vocabulary.append(UNKNOWN)

    symbol_index = {symbol: index for index, symbol in enumerate(vocabulary)}
    unknown_index = symbol_index.get(UNKNOWN, -1)
    encoded = {}
    unknown = {}
    for split, part in symbols.items():
        indices = (symbol_index.get(symbol, unknown_index) for symbol in part)
        encoded[split] = np.fromiter(indices, np.int32, len(part))
        unknown[split] = sum(symbol not in symbol_index for symbol in part)
    if checksums is None:
        checksums = {"generated": hashlib.sha256(" ".join(symbols["train"]).encode()).hexdigest()}
    return Text(tuple(vocabulary), encoded, unknown, checksums)


def _find_file(folder: Path, split: str) -> Path:
    """Return the one file of a split. Raises a DataError if there is none or more than one."""
    files = sorted(folder.glob(f"*{split}*.txt"))
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise DataError(f"text: {folder}: one file *{split}*.txt expected, found {names}")
    return files[0]


def _read_lines(path: Path) -> list[list[str]]:
    """Read the words of each line that has any. Raises a DataError if there is none, or the file cannot be read."""
    try:
        # A byte order mark is no part of the first word.
        text = path.read_text("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"text: {path}: UTF-8 expected, found byte {error.start:,} that is none") from None
    except OSError as error:
        raise DataError(f"text: {path}: a file expected: {error.strerror}") from None
    lines = [words for line in text.split("\n") if (words := line.split())]
    if not lines:
        raise DataError(f"text: {path}: text expected, found none")
    return lines


def _count_underscores(lines: Iterable[Iterable[str]]) -> int:
    """Count the characters `_` in lines of words."""
    return sum(word.count(SPACE) for words in lines for word in words)
