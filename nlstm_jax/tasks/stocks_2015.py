"""The 2015 stock example: its initial values, and the errors that it reports.

The initial values are drawn by NumPy in the same order as in the example. `training/online.py` runs the pass itself.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from nlstm_jax.cells import LSTM, spec_repr
from nlstm_jax.errors import ConfigError
from nlstm_jax.models import Forecaster

_DEVIATION = 0.01
"""The standard deviation of the initial weights."""

_DECAY = 0.9
"""The weight of the smoothed error before a step in the one after it."""

_DRAW_ORDER = "gifo"
"""The order in which the kernels of the gates are drawn, W_x before W_h for each gate."""

_GATE_ORDER = "ifgo"
"""The order of the gates in `LSTMParams`."""


def load_example(model: Forecaster, seed: int) -> None:
    """Replace the initial values of a forecaster by those of the example: N(0, 0.01²), and biases 0.

    NumPy's `RandomState(seed)` draws W_xg, W_hg, W_xi, W_hi, W_xf, W_hf, W_xo, W_ho, of the shapes [D, H] and [H, H],
    and then W_hy [H, outputs] of the head.

    Raises:
        ConfigError: The cell of the model is not a plain LSTM.
    """
    cell = model.cell.cell
    if not isinstance(cell, LSTM) or cell.peephole or cell.projection or cell.layer_norm or not cell.use_bias:
        raise ConfigError(f"config.model.initial_values=example: a plain LSTM expected, found {spec_repr(cell)}")

    rng = np.random.RandomState(seed)
    inputs = model.cell.in_features
    hidden = cell.features
    gates_x = {}
    gates_h = {}
    for gate in _DRAW_ORDER:
        gates_x[gate] = rng.normal(0, _DEVIATION, (inputs, hidden))
        gates_h[gate] = rng.normal(0, _DEVIATION, (hidden, hidden))

    w_x = jnp.asarray(np.concatenate([gates_x[gate] for gate in _GATE_ORDER], axis=1))
    w_h = jnp.asarray(np.concatenate([gates_h[gate] for gate in _GATE_ORDER], axis=1))
    model.cell.load(model.cell.values._replace(w_x=w_x, w_h=w_h, b=jnp.zeros(4 * hidden)))

    assert model.head.bias is not None
    model.head.kernel[...] = jnp.asarray(rng.normal(0, _DEVIATION, model.head.kernel.shape))
    model.head.bias[...] = jnp.zeros(model.head.bias.shape)


def smoothed_errors(losses: Sequence[float], before: float = 1.0) -> list[dict[str, float]]:
    """Return the metrics of every step, from its squared error.

    `root_loss` is |error|. `smoothed_error` is e ← 0.9 e + 0.1 |error|, from `before` on. `log_loss` is the nats of
    the error under a Gaussian whose mean absolute deviation is the e before it.

    >>> smoothed_errors([4.0])
    [{'log_loss': 2.417..., 'root_loss': 2.0, 'smoothed_error': 1.1}]
    """
    metrics = []
    for loss in losses:
        variance = math.pi / 2 * before**2
        root = math.sqrt(loss)
        nats = 0.5 * math.log(2 * math.pi * variance) + loss / (2 * variance)
        before = _DECAY * before + (1 - _DECAY) * root
        metrics.append({"log_loss": nats, "root_loss": root, "smoothed_error": before})
    return metrics
