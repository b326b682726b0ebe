"""Pretrained vectors of symbols, from a text file of a symbol and its numbers a line, as word2vec and GloVe write."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.types import Float

_LARGEST = float(np.finfo(np.float32).max)


def load_vectors(model: Any, path: Path, symbols: Sequence[str]) -> None:
    """Put the vectors of a file in place of those that the model's `Symbols` drew.

    Args:
        model: a `Seq2Seq` or `Classifier`.
        path: of the file.
        symbols: in the order of their numbers.

    Raises:
        ConfigError: the model's vectors are of another width, or one-hot.
        DataError: see `read_vectors`.
    """
    vectors = read_vectors(path, symbols)
    width = vectors.shape[1]
    embedding = 0 if model.symbols.embedding is None else model.symbols.width
    if width != embedding:
        raise ConfigError(
            f"config.model.embedding: {width}, the width of the vectors of {path}, expected, found {embedding}"
        )
    model.symbols.load(vectors)


def read_vectors(path: Path, symbols: Sequence[str]) -> Float[np.ndarray, "V E"]:
    """The vectors of these symbols; others in the file are passed over.

    A first line of two whole numbers, how many vectors of which width, is taken as such.

    Raises:
        DataError: a file that cannot be read, a line that is none of the above, another width than the first vector's,
            a symbol that is there twice or not at all.
    """
    wanted, found = set(symbols), dict[str, np.ndarray]()
    width = 0
    for number, line in enumerate(_lines(path), start=1):
        symbol, *fields = line.split() or [""]
        if not symbol or (number == 1 and len(fields) == 1 and symbol.isdecimal() and fields[0].isdecimal()):
            continue
        width = width or len(fields)
        vector = [_number(field) for field in fields]
        if not fields or len(fields) != width or not all(abs(value) <= _LARGEST for value in vector):
            numbers = f"{width} finite numbers" if width else "finite numbers"
            raise DataError(
                f"config.model.vectors: {path} line {number}: a symbol and {numbers} expected, found {line!r:.60}"
            )
        if symbol in found:
            raise DataError(f"config.model.vectors: {path} line {number}: {symbol!r} found twice, once expected")
        if symbol in wanted:
            found[symbol] = np.array(vector, np.float32)
    lacking = [symbol for symbol in symbols if symbol not in found]
    if lacking:
        raise DataError(
            f"config.model.vectors: {path}: a vector of each of {len(symbols):,} symbols expected, none found of "
            f"{len(lacking):,}, {lacking[0]!r} for one"
        )
    return np.stack([found[symbol] for symbol in symbols])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(
            f"config.model.vectors: {path}: UTF-8 expected, found byte {error.start:,} that is none"
        ) from None
    except OSError as error:
        raise DataError(f"config.model.vectors: {path}: a text file expected: {error.strerror}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
