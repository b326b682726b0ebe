"""Two processes of equal entropy, in which a slow hidden state gates or feeds a fast one.

Each symbol is a pair of an impulse u_t ∈ {−1, +1} and a position f_t ∈ {0, …, M − 1}. The impulses are independent and
uniform. A hidden state s_t ∈ {−1, +1} changes its sign with a small probability. The position moves on a circle:

    gates:   f_{t+1} = f_t + u_t · s_{t+1} + noise   (mod M)
    feeds:   f_{t+1} = f_t + u_t + s_{t+1} + noise   (mod M)

The noise is 0 with probability 1 − δ, and otherwise any other number with equal probability. Given the impulse, the
two values of s predict two different positions, which differ by 2 in both processes. Therefore a symbol says equally
much about s in both, and their entropies are equal for every length.
"""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from nlstm_jax.types import Float, Int

Variant: TypeAlias = Literal["gates", "feeds"]

_SIGNS = (-1, 1)


class HiddenMarkovModel(NamedTuple):
    """A hidden Markov model of symbols.

    Attributes:
        initial: The distribution of the first state.
        transition: The distribution of the next state, one row per state.
        emission: The distribution of the symbol, one row per state.
    """

    initial: Float[np.ndarray, "S"]
    transition: Float[np.ndarray, "S S"]
    emission: Float[np.ndarray, "S V"]


def slow_and_fast(variant: Variant, positions: int = 7, switch: float = 0.02, noise: float = 0.1) -> HiddenMarkovModel:
    """Return the model of one of the two processes.

    Its states are all (s, u, f), in the order of `itertools.product`. Its symbols are all (u, f). The first state is
    uniform, which is the stationary distribution.

    Args:
        variant: `gates` if the slow state multiplies the impulse, `feeds` if it is added to it.
        positions: The number of positions M, at least 3.
        switch: The probability that the slow state changes in a step.
        noise: The probability δ that the position is not the predicted one.

    Raises:
        ValueError: The variant is unknown, there are fewer than 3 positions, or a probability is not in [0, 1].

    >>> slow_and_fast("gates", positions=5).emission.shape
    (20, 10)
    """
    if variant not in ("gates", "feeds"):
        raise ValueError(f"slow_and_fast: variant: gates or feeds expected, found {variant!r}")
    if positions < 3:
        raise ValueError(f"slow_and_fast: positions: at least 3 expected, found {positions}")
    for name, probability in (("switch", switch), ("noise", noise)):
        if not 0 <= probability <= 1:
            raise ValueError(f"slow_and_fast: {name}: a probability expected, found {probability}")

    shape = (len(_SIGNS), len(_SIGNS), positions)
    transition = np.zeros((*shape, *shape))
    for slow, impulse, position in np.ndindex(shape):
        for next_slow in range(len(_SIGNS)):
            move = _SIGNS[impulse] + _SIGNS[next_slow]
            if variant == "gates":
                move = _SIGNS[impulse] * _SIGNS[next_slow]
            next_position = np.full(positions, noise / (positions - 1))
            next_position[(position + move) % positions] = 1 - noise
            stays = 1 - switch if next_slow == slow else switch
            # Both impulses are equally probable.
            transition[slow, impulse, position, next_slow] = stays * next_position / len(_SIGNS)

    symbols = len(_SIGNS) * positions
    states = len(_SIGNS) * symbols
    emission = np.tile(np.eye(symbols), (len(_SIGNS), 1))
    return HiddenMarkovModel(np.full(states, 1 / states), transition.reshape(states, states), emission)


def sample(model: HiddenMarkovModel, count: int, length: int, seed: int) -> Int[np.ndarray, "N T"]:
    """Draw sequences of symbols. The result depends on the arguments alone.

    Args:
        model: The model.
        count: The number of sequences, N.
        length: The length of each sequence, T.
        seed: The seed of NumPy's Philox generator.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    uniform = generator.random((length, 2, count))
    transition = np.cumsum(model.transition, axis=1)
    emission = np.cumsum(model.emission, axis=1)
    symbols = np.empty((count, length), np.int32)
    state = _draw(np.cumsum(model.initial)[None], uniform[0, 0])
    for time in range(length):
        if time > 0:
            state = _draw(transition[state], uniform[time, 0])
        symbols[:, time] = _draw(emission[state], uniform[time, 1])
    return symbols


def optimal_log_loss(model: HiddenMarkovModel, symbols: Int[np.ndarray, "N T"]) -> Float[np.ndarray, "N T"]:
    """Return −log p(x_t | x_1 … x_{t−1}) of each symbol, in nats, by the forward algorithm.

    No model that sees the past symbols alone has a lower expected loss.

    L. R. Rabiner, "A tutorial on hidden Markov models", Proceedings of the IEEE 77 (1989).

    Args:
        model: The model that the symbols were drawn from.
        symbols: The sequences.
    """
    count, length = symbols.shape
    losses = np.empty((count, length))
    # The distribution of the state, given the symbols before it.
    predicted = np.broadcast_to(model.initial, (count, model.initial.size))
    for time in range(length):
        joint = predicted * model.emission[:, symbols[:, time]].T
        probability = joint.sum(axis=1)
        with np.errstate(divide="ignore"):
            losses[:, time] = -np.log(probability)
        predicted = joint / probability[:, None] @ model.transition
    return losses


def entropy_rate(
    model: HiddenMarkovModel, count: int = 200, length: int = 1000, burn_in: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Estimate the entropy per symbol by the optimal log-loss of sequences that are drawn.

    Args:
        model: The model.
        count: The number of sequences.
        length: The length of each sequence.
        burn_in: The number of first symbols that do not count, because the state is less certain there.
        seed: The seed of the draw.

    Returns:
        The estimate and its standard error, in nats per symbol.
    """
    losses = optimal_log_loss(model, sample(model, count, length, seed))[:, burn_in:].mean(axis=1)
    return float(losses.mean()), float(losses.std(ddof=1) / np.sqrt(count))


def _draw(cumulative: Float[np.ndarray, "#N K"], uniform: Float[np.ndarray, "N"]) -> Int[np.ndarray, "N"]:
    """Draw a category for each uniform number by the inverse of the cumulative distribution."""
    # The last sum may be slightly below 1, and a uniform number above it.
    below = cumulative[:, :-1] <= uniform[:, None]
    return below.sum(axis=1)
