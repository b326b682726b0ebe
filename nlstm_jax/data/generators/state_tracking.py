"""Sequences that are solved by tracking a state: the word problem of a finite group, and delayed recall."""

import itertools
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from nlstm_jax.types import Bool, Int

Group: TypeAlias = Literal["parity", "s3", "s5"]

_DEGREES = {"parity": 2, "s3": 3, "s5": 5}
"""The number of points that the permutations of each group act on."""


class TrackingData(NamedTuple):
    """Sequences with a target at each time step, padded with 0 to the longest length.

    Attributes:
        inputs: The symbols that are read.
        targets: The symbols or states that are asked for.
        mask: True where a target counts.
        lengths: The number of time steps of each sequence.
    """

    inputs: Int[np.ndarray, "N L"]
    targets: Int[np.ndarray, "N L"]
    mask: Bool[np.ndarray, "N L"]
    lengths: Int[np.ndarray, "N"]


def group_elements(group: Group) -> Int[np.ndarray, "G P"]:
    """Return all permutations of a group in lexicographic order. The first one is the identity.

    Raises:
        ValueError: The group is unknown.

    >>> group_elements("s5").shape
    (120, 5)
    """
    if group not in _DEGREES:
        raise ValueError(f"group: one of {', '.join(_DEGREES)} expected, found {group!r}")
    return np.array(list(itertools.permutations(range(_DEGREES[group]))), np.int32)


def generators_of(group: Group) -> Int[np.ndarray, "V P"]:
    """Return the permutations that the input symbols stand for: the identity, a swap and, if different, a cycle.

    Every element of the group is a product of these.

    Raises:
        ValueError: The group is unknown.

    >>> generators_of("s3").tolist()
    [[0, 1, 2], [1, 0, 2], [1, 2, 0]]
    """
    degree = group_elements(group).shape[1]
    identity = np.arange(degree)
    swap = identity.copy()
    swap[:2] = (1, 0)
    cycle = np.roll(identity, -1)
    symbols = [identity, swap]
    if degree > 2:
        symbols.append(cycle)
    return np.array(symbols, np.int32)


def word_problem(group: Group, count: int, lengths: tuple[int, int], seed: int) -> TrackingData:
    """Draw words of generators. The target of each time step is the product of all symbols so far.

    The product g_1 g_2 … g_t maps a point i to g_1(g_2(… g_t(i))). Its number is that of `group_elements`. For
    `parity` it is the number of swaps modulo 2.

    Args:
        group: The group.
        count: The number of sequences, N.
        lengths: The lowest and the highest length. Lengths are uniform between them, both included.
        seed: The seed of NumPy's Philox generator.

    Raises:
        ValueError: The group is unknown, or the lengths are not an ascending pair of positive numbers.
    """
    _check_lengths(lengths, 1)
    elements = group_elements(group)
    symbols = generators_of(group)
    numbers = {tuple(element): number for number, element in enumerate(elements.tolist())}
    # The element that follows each element after each symbol.
    following = np.empty((len(elements), len(symbols)), np.int32)
    for number, symbol in np.ndindex(following.shape):
        product = elements[number][symbols[symbol]]
        following[number, symbol] = numbers[tuple(product.tolist())]

    generator = np.random.Generator(np.random.Philox(seed))
    drawn_lengths = generator.integers(lengths[0], lengths[1] + 1, count, dtype=np.int32)
    longest = lengths[1]
    mask = np.arange(longest) < drawn_lengths[:, None]
    inputs = np.where(mask, generator.integers(0, len(symbols), (count, longest), dtype=np.int32), 0)
    targets = np.zeros((count, longest), np.int32)
    state = np.zeros(count, np.int32)
    for time in range(longest):
        state = following[state, inputs[:, time]]
        targets[:, time] = state
    return TrackingData(inputs, np.where(mask, targets, 0), mask, drawn_lengths)


def delayed_recall(count: int, symbols: int, items: int, lengths: tuple[int, int], seed: int) -> TrackingData:
    """Draw sequences of items, a delay and a signal, after which the items are asked for in their order.

    The inputs are the items (1 … `symbols`), blanks (0), and the signal (`symbols` + 1) at the first of the last
    `items` time steps. The targets of these last time steps are the items. No other target counts.

    Args:
        count: The number of sequences, N.
        symbols: The number of different items.
        items: The number of items in a sequence.
        lengths: The lowest and the highest length of a whole sequence. Lengths are uniform between them, inclusive.
        seed: The seed of NumPy's Philox generator.

    Raises:
        ValueError: The lengths are not an ascending pair, or a sequence is too short for its items and their recall.
    """
    _check_lengths(lengths, 2 * items)
    generator = np.random.Generator(np.random.Philox(seed))
    drawn_lengths = generator.integers(lengths[0], lengths[1] + 1, count, dtype=np.int32)
    content = generator.integers(1, symbols + 1, (count, items), dtype=np.int32)
    inputs = np.zeros((count, lengths[1]), np.int32)
    targets = np.zeros_like(inputs)
    rows = np.arange(count)
    inputs[:, :items] = content
    inputs[rows, drawn_lengths - items] = symbols + 1
    for index in range(items):
        targets[rows, drawn_lengths - items + index] = content[:, index]
    return TrackingData(inputs, targets, targets > 0, drawn_lengths)


def _check_lengths(lengths: tuple[int, int], shortest: int) -> None:
    """Raise a ValueError unless the lengths are an ascending pair of numbers, none below `shortest`."""
    low, high = lengths
    if not shortest <= low <= high:
        raise ValueError(f"lengths: an ascending pair of at least {shortest} expected, found {low} and {high}")
