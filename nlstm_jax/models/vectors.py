"""Pretrained vectors of symbols, read from a text file in the format of word2vec and GloVe.

Every line of the file is a symbol followed by the numbers of its vector.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nlstm_jax.data.decoding import read_text
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.models.classifier import Classifier
from nlstm_jax.models.seq2seq import Seq2Seq
from nlstm_jax.types import Float

_LARGEST = float(np.finfo(np.float32).max)
"""The largest finite float32 number."""


def load_vectors(model: Seq2Seq | Classifier, path: Path, symbols: Sequence[str]) -> None:
    """Replace the initial vectors of the model's `Symbols` by those of a file.

    Args:
        model: The model, a `Seq2Seq` or a `Classifier`.
        path: The path of the file.
        symbols: The symbols in the order of their numbers.

    Raises:
        ConfigError: The vectors of the model have another width, or they are one-hot.
        DataError: The file is invalid, see `read_vectors`.

    >>> import jax, tempfile
    >>> from nlstm_jax import LSTM
    >>> model = Classifier(vocabulary=2, classes=2, cell=LSTM(4), embedding=3, key=jax.random.key(0))
    >>> with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
    ...     _ = file.write("up 1 2 3\\ndown 4 5 6\\n")
    ...     file.flush()
    ...     load_vectors(model, Path(file.name), ["down", "up"])
    >>> model.symbols(jax.numpy.array([1])).tolist()
    [[1.0, 2.0, 3.0]]
    """
    vectors = read_vectors(path, symbols)
    width = vectors.shape[1]
    is_one_hot = model.symbols.embedding is None
    embedding = 0 if is_one_hot else model.symbols.width
    if width != embedding:
        raise ConfigError(
            f"config.model.embedding: {width}, the width of the vectors of {path}, expected, found {embedding}"
        )
    model.symbols.load(vectors)


def read_vectors(path: Path, symbols: Sequence[str]) -> Float[np.ndarray, "V E"]:
    """Read the vectors of the given symbols. Other symbols in the file are ignored.

    The first line may be a header of two whole numbers: the number of vectors, and their width.

    Raises:
        DataError: The file cannot be read; a line is not a symbol and numbers; a vector has another width than the
            first; or a symbol occurs twice or not at all.
    """
    requested = set(symbols)
    vectors: dict[str, np.ndarray] = {}
    width = 0
    lines = read_text(path, f"config.model.vectors: {path}").split("\n")
    for line_number, line in enumerate(lines, start=1):
        symbol, *fields = line.split() or [""]
        is_header = line_number == 1 and len(fields) == 1 and symbol.isdecimal() and fields[0].isdecimal()
        if not symbol or is_header:
            continue

        width = width or len(fields)
        vector = [_to_number(field) for field in fields]
        is_finite = all(abs(value) <= _LARGEST for value in vector)
        if not fields or len(fields) != width or not is_finite:
            numbers = f"{width} finite numbers" if width else "finite numbers"
            raise DataError(
                f"config.model.vectors: {path} line {line_number}: a symbol and {numbers} expected, found {line!r:.60}"
            )
        if symbol in vectors:
            raise DataError(f"config.model.vectors: {path} line {line_number}: {symbol!r} found twice, once expected")
        if symbol in requested:
            vectors[symbol] = np.array(vector, np.float32)

    missing = [symbol for symbol in symbols if symbol not in vectors]
    if missing:
        raise DataError(
            f"config.model.vectors: {path}: a vector of each of {len(symbols):,} symbols expected, none found of "
            f"{len(missing):,}, {missing[0]!r} for one"
        )
    return np.stack([vectors[symbol] for symbol in symbols])


def _to_number(text: str) -> float:
    """Return the number that `text` stands for, or NaN if it is not a number."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
