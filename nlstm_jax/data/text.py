"""Running text by split: the words or characters of three files in a folder, such as Penn Treebank's."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nlstm_jax.data import decoding
from nlstm_jax.data.csv_columns import file_sha256
from nlstm_jax.data.splits import SPLITS
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.types import Int

END_OF_LINE, UNKNOWN, SPACE = "<eos>", "<unk>", "_"
_SPLIT = "{split}"
"""The part of a file name that stands for the name of the split."""


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


def read_text(folder: Path, unit: str, largest: int = 0, pattern: str = "") -> Text:
    """Read the three files of a text.

    Args:
        folder: A folder with one file for each split.
        unit: `words`, separated by blanks, or `characters`, where a blank between words is `_`. The end of a line is
            the symbol `<eos>`. Empty lines are left out.
        largest: The largest size of the vocabulary. Rarer symbols are read as `<unk>`. 0 means no limit.
        pattern: The name of each file, with `{split}` for train, valid and test, and perhaps with wildcards. Empty
            means `*{split}*.txt`.

    Raises:
        ConfigError: The pattern has no `{split}`.
        DataError: There is no such folder, a split has not exactly one file, or a file is empty or not UTF-8. Or the
            unit is characters, and the training text has blanks between all of them.
    """
    pattern = pattern or f"*{_SPLIT}*.txt"
    if _SPLIT not in pattern or "/" in pattern:
        raise ConfigError(
            f"config.data.files: a file name with {_SPLIT} for train, valid, test expected, found {pattern!r}"
        )
    if not folder.is_dir():
        raise DataError(f"text: {folder}: a folder expected, found {'a file' if folder.exists() else 'none'}")
    files = {split: _find_file(folder, split, pattern) for split in SPLITS}
    lines = {split: _read_lines(path) for split, path in files.items()}
    notes = _check_unit(files["train"], lines["train"], unit)
    symbols = {split: cut(split_lines, unit) for split, split_lines in lines.items()}
    checksums = {path.name: file_sha256(path) for path in files.values()}
    text = encode(symbols, largest, checksums)
    if unit == "words":
        return replace(text, notes=notes)
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


def _find_file(folder: Path, split: str, pattern: str) -> Path:
    """Return the one file of a split. Raises a DataError if there is none or more than one."""
    name = pattern.replace(_SPLIT, split)
    files = sorted(path for path in folder.glob(name) if path.is_file())
    if len(files) == 1:
        return files[0]
    names = ", ".join(path.name for path in files) or "none"
    message = f"text: {folder}: one file {name} expected, found {names}"
    if files:
        shortest = min((path.name for path in files), key=len)
        message += f"; --config.data.files={shortest.replace(split, _SPLIT)} chooses"
    raise DataError(message)


def _read_lines(path: Path) -> list[list[str]]:
    """Read the words of each line that has any. Raises a DataError if there is none, or the file cannot be read."""
    text = decoding.read_text(path, f"text: {path}")
    lines = [words for line in text.split("\n") if (words := line.split())]
    if not lines:
        raise DataError(f"text: {path}: text expected, found none")
    return lines


def _check_unit(path: Path, lines: Iterable[Sequence[str]], unit: str) -> tuple[str, ...]:
    """Compare the unit with the blanks of the training text.

    Returns:
        A note if the unit is words, and no line has a blank between words.

    Raises:
        DataError: The unit is characters, and the file has blanks between all characters.
    """
    words = [word for line in lines for word in line]
    if unit == "characters":
        if len(words) > 1 and all(len(word) == 1 for word in words if word != UNKNOWN):
            raise DataError(
                f"text: {path}: words of several characters expected with config.data.unit=characters, found blanks "
                f"between all characters: every second symbol would be {SPACE}; --config.data.unit=words serves"
            )
        return ()
    if all(len(line) == 1 for line in lines) and any(len(word) > 1 for word in words):
        return ("no line has a blank: each is read as one word (config.data.unit=characters reads characters)",)
    return ()


def _count_underscores(lines: Iterable[Iterable[str]]) -> int:
    """Count the characters `_` in lines of words."""
    return sum(word.count(SPACE) for words in lines for word in words)
