"""Hand-written automata that read the inputs alone reach every target, at lengths of training and of tests."""

import numpy as np
import pytest

from nlstm_jax.data.generators.state_tracking import delayed_recall, generators_of, group_elements, word_problem

TRAINING = (1, 40)
LONG = (41, 256)


def permuted(word: list[list[int]], degree: int) -> tuple[int, ...]:
    """Return where a product of permutations takes each point, the last factor first, by following each point."""
    images = []
    for point in range(degree):
        for factor in reversed(word):
            point = factor[point]
        images.append(point)
    return tuple(images)


@pytest.mark.parametrize("lengths", [TRAINING, LONG])
@pytest.mark.parametrize("group", ["parity", "s3", "s5"])
def test_an_automaton_solves_the_word_problem_at_all_lengths(group, lengths) -> None:
    data = word_problem(group, 12, lengths, seed=1)
    elements = [tuple(element) for element in group_elements(group).tolist()]
    symbols = generators_of(group).tolist()
    for row, length in enumerate(data.lengths):
        word: list[list[int]] = []
        for time in range(length):
            word.append(symbols[data.inputs[row, time]])
            assert elements[data.targets[row, time]] == permuted(word, len(symbols[0]))


def test_parity_is_the_number_of_swaps_modulo_2() -> None:
    data = word_problem("parity", 50, TRAINING, seed=2)
    expected = np.cumsum(data.inputs, axis=1) % 2
    np.testing.assert_array_equal(data.targets[data.mask], expected[data.mask])


@pytest.mark.parametrize(("group", "size"), [("parity", 2), ("s3", 6), ("s5", 120)])
def test_the_generators_reach_the_whole_group(group, size) -> None:
    data = word_problem(group, 400, (200, 200), seed=3)
    assert len(np.unique(data.targets)) == len(group_elements(group)) == size


@pytest.mark.parametrize("lengths", [(8, 40), LONG])
def test_an_automaton_recalls_at_all_lengths(lengths) -> None:
    data = delayed_recall(200, symbols=8, items=4, lengths=lengths, seed=4)
    for row, length in enumerate(data.lengths):
        memory: list[int] = []
        said: list[int] = []
        for time in range(length):
            symbol = data.inputs[row, time]
            if 1 <= symbol <= 8:
                memory.append(symbol)
            if symbol == 9 or said:
                said.append(memory[len(said)])
                assert data.mask[row, time]
                assert data.targets[row, time] == said[-1]
            else:
                assert not data.mask[row, time]
        assert said == memory
        assert len(said) == 4


@pytest.mark.parametrize(
    "draw",
    [
        lambda lengths, seed: word_problem("s5", 300, lengths, seed),
        lambda lengths, seed: delayed_recall(300, 8, 4, lengths, seed),
    ],
)
def test_lengths_and_padding(draw) -> None:
    data = draw((8, 12), 5)
    assert set(data.lengths) == set(range(8, 13))
    past_the_end = np.arange(12) >= data.lengths[:, None]
    for values in data[:3]:
        assert not values[past_the_end].any()
    for first, again, other in zip(data, draw((8, 12), 5), draw((8, 12), 6), strict=True):
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="group: one of parity, s3, s5 expected, found 's4'"):
        word_problem("s4", 1, (1, 2), seed=0)
    with pytest.raises(ValueError, match="lengths: an ascending pair of at least 8 expected, found 7 and 9"):
        delayed_recall(1, 8, 4, (7, 9), seed=0)
