"""Generated sequences: of symbols whose beginning is to be echoed, of symbols that have a class, of prices."""

from typing import NamedTuple

import numpy as np

from nlstm_jax.types import Float, Int

SIX = (
    ((0, 1, 1, 0, 0, 0), 1),
    ((0, 0, 0, 2, 2, 0), 2),
    ((0, 0, 0, 0, 3, 3), 3),
    ((0, 2, 2, 0, 0, 0), 2),
    ((0, 0, 3, 3, 0, 0), 3),
    ((0, 0, 0, 0, 1, 1), 1),
)
"""A Keras example's six sequences and their classes, of four: the symbol that is there twice."""


class Classified(NamedTuple):
    """Sequences of one length, and their classes.

    Attributes:
        symbols: numbers from 0 to K − 1.
        classes: numbers from 0 to K − 1.
    """

    symbols: Int[np.ndarray, "N L"]
    classes: Int[np.ndarray, "N"]


def distinct_sequences(count: int, length: int, vocabulary: int, seed: int) -> Int[np.ndarray, "N L"]:
    """Uniformly drawn sequences, no two alike, so that none that is held out can have been trained on.

    Args:
        count: N.
        length: L.
        vocabulary: V; symbols are the numbers from 0 to V − 1.
        seed: of the draw.

    Raises:
        ValueError: there are not as many.

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
        return (codes[:, None] // vocabulary ** np.arange(length)[::-1] % vocabulary).astype(np.int32)
    drawn = np.empty((0, length), np.int32)
    while len(drawn) < count:
        more = generator.integers(0, vocabulary, (count, length), dtype=np.int32)
        drawn = np.concatenate([drawn, more])
        drawn = drawn[np.sort(np.unique(drawn, axis=0, return_index=True)[1])]
    return drawn[:count]


def events(count: int, length: int, classes: int, seed: int) -> Classified:
    """Sequences in which one symbol comes twice in a row, or none does: it is the class, 0 where there is none.

    Most symbols are 0; others stand alone here and there, and mean nothing. All classes are equally frequent, and no
    two sequences are alike.

    Args:
        count: N.
        length: L, at least 2.
        classes: K.
        seed: of the draw.

    Raises:
        ValueError: as many different ones are not found.
    """
    generator = np.random.default_rng(seed)
    symbols, labels = np.empty((0, length), np.int32), np.empty(0, np.int32)
    for _ in range(100):
        made, wanted = _distractors(generator, count, length, classes), generator.integers(0, classes, count)
        place = generator.integers(0, length - 1, count)
        rows = np.flatnonzero(wanted)
        for after in (0, 1):
            made[rows, place[rows] + after] = wanted[rows]
        # A neighbour of the same kind would make three in a row.
        pairs = (made[:, 1:] == made[:, :-1]) & (made[:, 1:] > 0)
        clear = pairs.sum(1) == (wanted > 0)
        symbols, labels = np.concatenate([symbols, made[clear]]), np.concatenate([labels, wanted[clear]])
        kept = np.sort(np.unique(symbols, axis=0, return_index=True)[1])
        symbols, labels = symbols[kept], labels[kept].astype(np.int32)
        if len(symbols) >= count:
            return Classified(symbols[:count], labels[:count])
    raise ValueError(
        f"{count:,} different sequences of length {length:,} with {classes:,} classes expected, found {len(symbols):,}"
    )


def cues(count: int, length: int, classes: int, seed: int) -> Classified:
    """Sequences whose first symbol is the class, and all others are noise, drawn alike whatever the class is.

    Args:
        count: N.
        length: L.
        classes: K.
        seed: of the draw.

    Raises:
        ValueError: there are not as many different ones.
    """
    symbols = distinct_sequences(count, length, classes, seed)
    return Classified(symbols, symbols[:, 0].copy())


def price_walk(days: int, seed: int) -> dict[str, np.ndarray]:
    """Daily prices and volumes of a made-up share: `date`, `open`, `high`, `low`, `close`, `volume`, weekdays alone.

    The logarithm of the close moves by a hidden drift that turns its sign about every 25 days, and by noise whose
    spread is autoregressive; the volume follows the spread. A forecaster can know the drift from the past in part, as
    with no real share.

    Args:
        days: rows.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    turns = generator.random(days) < 1 / 25
    drift = 0.004 * (1 - 2 * (np.cumsum(turns) % 2))
    spread = np.exp(_autoregression(generator, days, 0.97, 0.15) + np.log(0.012))
    close = 50 * np.exp(np.cumsum(drift + spread * generator.standard_normal(days)))
    previous = np.concatenate([[50.0], close[:-1]])
    opened = previous * np.exp(0.3 * spread * generator.standard_normal(days))
    beyond = np.abs(spread * generator.standard_normal((2, days)))
    volume = np.exp(14 + np.log(spread / 0.012) + 0.3 * generator.standard_normal(days))
    dates = np.busday_offset(np.datetime64("2000-01-03"), np.arange(days))
    return {
        "date": dates,
        "open": opened,
        "high": np.maximum(opened, close) * np.exp(beyond[0]),
        "low": np.minimum(opened, close) * np.exp(-beyond[1]),
        "close": close,
        "volume": np.round(volume),
    }


def _distractors(generator: np.random.Generator, count: int, length: int, classes: int) -> Int[np.ndarray, "N L"]:
    """Zeros, and other symbols at a third of the places, never the same twice in a row."""
    made = np.where(generator.random((count, length)) < 1 / 3, generator.integers(1, classes, (count, length)), 0)
    for place in range(1, length):
        made[:, place][made[:, place] == made[:, place - 1]] = 0
    return made.astype(np.int32)


def _autoregression(
    generator: np.random.Generator, length: int, persistence: float, deviation: float
) -> Float[np.ndarray, "N"]:
    values, noise = np.zeros(length), deviation * generator.standard_normal(length)
    for n in range(1, length):
        values[n] = persistence * values[n - 1] + noise[n]
    return values
