"""Time scales of memories: pure functions of recorded arrays [T, B, H]. docs/memories.md has the equations.

A step belongs to a segment: the steps of one sequence between two resets. Steps of padding belong to none. Two steps
are a pair only if they are in one segment, so nothing is counted over a reset or in the padding.
"""

import itertools

import numpy as np

from nlstm_jax.types import Bool, Float, Int

PADDING = -1
"""The segment of a step of padding."""


def segments_of(
    valid: Bool[np.ndarray, "T B"], resets: Bool[np.ndarray, "T B"] | None = None
) -> Int[np.ndarray, "T B"]:
    """Return the index of the segment of every step, `PADDING` where a step is not valid.

    Args:
        valid: False past the end of a sequence. For sequences of some lengths it is `np.arange(T)[:, None] < lengths`.
        resets: True at steps before which the memory is reset. None means no resets.

    >>> valid = np.arange(4)[:, None] < np.array([3])
    >>> segments_of(valid, np.array([[False], [False], [True], [False]])).ravel().tolist()
    [0, 0, 1, -1]
    """
    if resets is None:
        return np.where(valid, 0, PADDING)
    later_resets = resets.copy()
    later_resets[:1] = False
    return np.where(valid, np.cumsum(later_resets, axis=0), PADDING)


def autocorrelation(
    memory: Float[np.ndarray, "T B H"], segments: Int[np.ndarray, "T B"], lags: int
) -> Float[np.ndarray, "K"]:
    """Return the autocorrelation of a memory at the lags 0 … `lags`, from −1 to 1.

        ρ(k) = Σ x_t · x_{t+k} / √(Σ |x_t|² Σ |x_{t+k}|²),   x = memory − its mean over all steps of all segments

    The sums are over all pairs of steps of one segment that are k steps apart.

    Args:
        memory: The memory after each step. The values in the padding do not matter.
        segments: The segment of each step, see `segments_of`.
        lags: The largest lag.

    Returns:
        float64 [lags + 1]. NaN at a lag without pairs, and everywhere if the memory is constant.
    """
    is_valid = segments != PADDING
    centered = np.zeros(memory.shape, np.float64)
    values = memory[is_valid].astype(np.float64)
    if values.size:
        centered[is_valid] = values - values.mean(0)
    power = np.einsum("tbh,tbh->tb", centered, centered)

    correlations = np.full(lags + 1, np.nan)
    for lag in range(min(lags + 1, len(memory))):
        last = len(memory) - lag
        pairs = is_pair(segments, lag)
        products = np.einsum("tbh,tbh->tb", centered[:last], centered[lag:])
        scale = np.sqrt(power[:last][pairs].sum() * power[lag:][pairs].sum())
        if scale > 0:
            correlations[lag] = products[pairs].sum() / scale
    return correlations


def is_pair(segments: Int[np.ndarray, "T B"], lag: int) -> Bool[np.ndarray, "S B"]:
    """Return True for every step t whose step t + `lag` is in the same segment, for S = T − `lag` steps."""
    last = len(segments) - lag
    earlier = segments[:last]
    return (earlier == segments[lag:]) & (earlier != PADDING)


def time_scale(correlations: Float[np.ndarray, "K"]) -> float:
    """Return the integral of an autocorrelation from lag 0 to its first zero, in steps.

    The autocorrelation is linear between two lags. Without a zero the integral ends at the last lag that has a value.
    For ρ(k) = exp(−k/τ) and many lags it is close to τ.

    Args:
        correlations: The autocorrelation at the lags 0 … K.

    Returns:
        NaN if there is no autocorrelation at lag 0.

    >>> time_scale(np.array([1.0, 0.5, -0.5, 0.2]))
    0.875
    """
    if not np.isfinite(correlations[0]):
        return float("nan")
    total = 0.0
    for now, following in itertools.pairwise(correlations):
        if not np.isfinite(following):
            break
        if following <= 0:
            return total + float(now**2 / (now - following)) / 2
        total += float(now + following) / 2
    return total


def gradient_by_lag(
    gradients: Float[np.ndarray, "Q T B H"],
    origins: Int[np.ndarray, "Q B"],
    segments: Int[np.ndarray, "T B"],
    lags: int,
) -> Float[np.ndarray, "K"]:
    """Return the root mean square norm of the gradient of an output with respect to a memory, at the lags 1 … `lags`.

        G(k) = √ mean |∂ (u · y_t) / ∂ m_{t−k}|²

    The mean is over the origins t and the sequences that have the step t − k in the segment of t. If u has random
    signs, it estimates the Frobenius norm of the Jacobian matrix.

    Args:
        gradients: The gradients of u · y at each origin, with respect to the memory after each step.
        origins: The step t of each origin in each sequence.
        segments: The segment of each step, see `segments_of`.
        lags: The largest lag.

    Returns:
        float64 [lags]. NaN at a lag that no sequence has.
    """
    columns = np.arange(segments.shape[1])
    squares = np.square(gradients.astype(np.float64)).sum(-1)
    norms = np.full(lags, np.nan)
    for lag in range(1, lags + 1):
        steps = origins - lag
        earlier = np.maximum(steps, 0)
        home = segments[origins, columns]
        reached = (steps >= 0) & (home != PADDING) & (segments[earlier, columns] == home)
        if reached.any():
            at_lag = squares[np.arange(len(origins))[:, None], earlier, columns]
            norms[lag - 1] = np.sqrt(at_lag[reached].mean())
    return norms


def mean_lag(norms: Float[np.ndarray, "K"]) -> float:
    """Return the mean lag of a gradient, weighted by its norm: Σ k G(k) / Σ G(k), in steps.

    Args:
        norms: The norm at the lags 1 … K. Lags that are NaN are left out.

    Returns:
        NaN if the gradient is zero at every lag.

    >>> mean_lag(np.array([1.0, 1.0, 0.0]))
    1.5
    """
    lags = np.arange(1, len(norms) + 1)
    known = np.isfinite(norms)
    total = norms[known].sum()
    if total == 0:
        return float("nan")
    return float((lags[known] * norms[known]).sum() / total)


def held_back(
    memory_read: Float[np.ndarray, "T B H"], segments: Int[np.ndarray, "T B"], steps: int
) -> Float[np.ndarray, "T B H"]:
    """Return what every step reads of a memory that is held back: the value that was read `steps` steps before.

    Near the beginning of a segment it is the value that its first step reads. 0 steps change nothing.

    Args:
        memory_read: The memory that each step reads.
        segments: The segment of each step, see `segments_of`.
        steps: The number of steps.
    """
    first = _first_steps(segments)
    source = np.maximum(np.arange(len(segments))[:, None] - steps, first)
    return memory_read[source, np.arange(segments.shape[1])]


def held_at(
    memory_read: Float[np.ndarray, "T B H"], segments: Int[np.ndarray, "T B"], value: Float[np.ndarray, "H"]
) -> Float[np.ndarray, "T B H"]:
    """Return what every step reads of a memory that is held at one value. The first step of a segment reads its own.

    Args:
        memory_read: The memory that each step reads.
        segments: The segment of each step, see `segments_of`.
        value: The value of each unit.
    """
    is_first = np.arange(len(segments))[:, None] == _first_steps(segments)
    return np.where(is_first[..., None], memory_read, value.astype(memory_read.dtype))


def _first_steps(segments: Int[np.ndarray, "T B"]) -> Int[np.ndarray, "T B"]:
    """Return the first step of the segment of each step."""
    begins = np.ones(segments.shape, bool)
    begins[1:] = segments[1:] != segments[:-1]
    steps = np.arange(len(segments))[:, None]
    return np.maximum.accumulate(np.where(begins, steps, 0), axis=0)
