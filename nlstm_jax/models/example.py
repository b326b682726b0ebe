"""The initial values of the 2015 stock example, drawn by NumPy as it drew them."""

import jax.numpy as jnp
import numpy as np

from nlstm_jax.cells import LSTM, spec_repr
from nlstm_jax.errors import ConfigError
from nlstm_jax.models.forecaster import Forecaster

_DEVIATION = 0.01
_DRAWN = "gifo"
"""The order in which the gates' kernels are drawn, W_x before W_h of each; ours stand in the order i, f, g, o."""


def load_example(model: Forecaster, seed: int) -> None:
    """Put the example's values in place of those that a forecaster drew: N(0, 0.01²), and biases 0.

    NumPy's `RandomState(seed)` draws W_xg, W_hg, W_xi, W_hi, W_xf, W_hf, W_xo, W_ho [D, H] and [H, H], then the head's
    W_hy [H, outputs].

    Raises:
        ConfigError: the model's cell is no plain LSTM.
    """
    cell = model.cell.cell
    if not isinstance(cell, LSTM) or cell.peephole or cell.projection or cell.layer_norm or not cell.use_bias:
        raise ConfigError(f"config.model.initial_values=example: a plain LSTM expected, found {spec_repr(cell)}")
    draw, inputs, hidden = np.random.RandomState(seed), model.cell.in_features, cell.features
    w_x, w_h = {}, {}
    for gate in _DRAWN:
        w_x[gate] = draw.normal(0, _DEVIATION, (inputs, hidden))
        w_h[gate] = draw.normal(0, _DEVIATION, (hidden, hidden))
    gates = [jnp.asarray(np.concatenate([w[gate] for gate in "ifgo"], axis=1)) for w in (w_x, w_h)]
    model.cell.load(model.cell.values._replace(w_x=gates[0], w_h=gates[1], b=jnp.zeros(4 * hidden)))
    assert model.head.bias is not None
    model.head.kernel[...] = jnp.asarray(draw.normal(0, _DEVIATION, model.head.kernel.shape))
    model.head.bias[...] = jnp.zeros(model.head.bias.shape)
