"""Generated sequences of symbols, with or without a class."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from nlstm_jax.data.sequences import Labelled, SequenceData
from nlstm_jax.types import Int

SIX = (
    ((0, 1, 1, 0, 0, 0), 1),
    ((0, 0, 0, 2, 2, 0), 2),
    ((0, 0, 0, 0, 3, 3), 3),
    ((0, 2, 2, 0, 0, 0), 2),
    ((0, 0, 3, 3, 0, 0), 3),
    ((0, 0, 0, 0, 1, 1), 1),
)
"""The six sequences of a Keras example and their classes, of four. The class is the symbol that occurs twice."""


class Classified(NamedTuple):
    """Sequences of equal length, and their classes.

    Attributes:
        symbols: The symbols, numbers from 0 to K − 1.
        classes: The class of each sequence, a number from 0 to K − 1.
    """

    symbols: Int[np.ndarray, "N L"]
    classes: Int[np.ndarray, "N"]


def distinct_sequences(count: int, length: int, vocabulary: int, seed: int) -> Int[np.ndarray, "N L"]:
    """Draw distinct sequences uniformly. As no two are equal, no held-out sequence is also trained on.

    Args:
        count: The number of sequences, N.
        length: The length of each sequence, L.
        vocabulary: The number of symbols, V. Symbols are the numbers from 0 to V − 1.
        seed: The seed of the draw.

    Raises:
        ValueError: There are fewer than `count` different sequences.

    >>> distinct_sequences(4, length=2, vocabulary=2, seed=0).tolist()
    [[1, 0], [0, 0], [0, 1], [1, 1]]
    """
    possible = vocabulary**length
    if possible < count:
        raise ValueError(
            f"at most {possible:,} sequences expected, as {vocabulary:,} symbols and length {length:,} allow no more "
            f"different ones, found {count:,}"
        )
    generator = np.random.default_rng(seed)
    if possible <= 4 * count:
        codes = generator.permutation(possible)[:count]
        place_values = vocabulary ** np.arange(length)[::-1]
        return (codes[:, None] // place_values % vocabulary).astype(np.int32)

    sequences = np.empty((0, length), np.int32)
    while len(sequences) < count:
        candidates = generator.integers(0, vocabulary, (count, length), dtype=np.int32)
        sequences = np.concatenate([sequences, candidates])
        sequences = sequences[_first_occurrences(sequences)]
    return sequences[:count]


def events(count: int, length: int, classes: int, seed: int) -> Classified:
    """Draw sequences in which at most one symbol occurs twice in a row. It is the class; 0 if there is none.

    Most symbols are 0. Others stand alone in some positions and carry no information. All classes are equally
    frequent, and no two sequences are equal.

    Args:
        count: The number of sequences, N.
        length: The length of each sequence, L, at least 2.
        classes: The number of classes, K.
        seed: The seed of the draw.

    Raises:
        ValueError: Fewer than `count` different sequences were drawn in 100 rounds.
    """
    generator = np.random.default_rng(seed)
    symbols = np.empty((0, length), np.int32)
    labels = np.empty(0, np.int32)
    for _ in range(100):
        candidates = _distractors(generator, count, length, classes)
        candidate_labels = generator.integers(0, classes, count)
        position = generator.integers(0, length - 1, count)
        rows = np.flatnonzero(candidate_labels)
        for offset in (0, 1):
            candidates[rows, position[rows] + offset] = candidate_labels[rows]

        # A neighbor of the same kind would make three in a row.
        pairs = (candidates[:, 1:] == candidates[:, :-1]) & (candidates[:, 1:] > 0)
        valid = pairs.sum(1) == (candidate_labels > 0)
        symbols = np.concatenate([symbols, candidates[valid]])
        labels = np.concatenate([labels, candidate_labels[valid]])

        kept = _first_occurrences(symbols)
        symbols = symbols[kept]
        labels = labels[kept].astype(np.int32)
        if len(symbols) >= count:
            return Classified(symbols[:count], labels[:count])
    raise ValueError(
        f"{count:,} different sequences of length {length:,} with {classes:,} classes expected, found {len(symbols):,}"
    )


def cues(count: int, length: int, classes: int, seed: int) -> Classified:
    """Draw sequences whose first symbol is the class. All other symbols are noise that does not depend on the class.

    Args:
        count: The number of sequences, N.
        length: The length of each sequence, L.
        classes: The number of classes, K.
        seed: The seed of the draw.

    Raises:
        ValueError: There are fewer than `count` different sequences.
    """
    symbols = distinct_sequences(count, length, classes, seed)
    return Classified(symbols, symbols[:, 0].copy())


def generated(parts: Mapping[str, Classified], classes: int) -> SequenceData:
    """Return generated sequences by split as `SequenceData`. The names of symbols and classes are their numbers."""
    names = tuple(map(str, range(classes)))
    digest = hashlib.sha256()
    splits = {}
    for split, part in parts.items():
        count, length = part.symbols.shape
        splits[split] = Labelled(part.symbols, np.full(count, length, np.int32), part.classes)
        digest.update(part.symbols.tobytes() + part.classes.tobytes())
    return SequenceData(names, names, splits, (), {"generated": digest.hexdigest()})


def _first_occurrences(sequences: Int[np.ndarray, "N L"]) -> Int[np.ndarray, "distinct"]:
    """Return the rows at which each distinct sequence occurs first, ascending."""
    _, first_rows = np.unique(sequences, axis=0, return_index=True)
    return np.sort(first_rows)


def _distractors(generator: np.random.Generator, count: int, length: int, classes: int) -> Int[np.ndarray, "N L"]:
    """Draw sequences of zeros with other symbols at a third of the positions, never the same twice in a row."""
    is_symbol = generator.random((count, length)) < 1 / 3
    symbols = np.where(is_symbol, generator.integers(1, classes, (count, length)), 0)
    for position in range(1, length):
        repeated = symbols[:, position] == symbols[:, position - 1]
        symbols[:, position][repeated] = 0
    return symbols.astype(np.int32)
