"""Files of weights of several frameworks, read by their content: one module a format, and one dispatch.

Nothing that a file holds is run: no pickle is loaded, but by PyTorch with `weights_only=True`.
"""

from nlstm_jax.adapters.weights.formats.dispatch import read_weights_file
from nlstm_jax.adapters.weights.formats.stored import KerasLayer, StoredWeights

__all__ = ["KerasLayer", "StoredWeights", "read_weights_file"]
