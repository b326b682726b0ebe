"""What is trained: Flax NNX modules around a cell.

Embedding, dense layers and dropout are Flax's; `adapters.nnx.Recurrent` puts a cell and its parameters into a module.
A model draws no randomness of its own: it takes a key when it is called, and without one there is no noise.
"""

from nlstm_jax.models.build import build, load_cell
from nlstm_jax.models.forecaster import Forecaster
from nlstm_jax.models.language_model import LanguageModel
from nlstm_jax.models.parameters import Parameters, count_parameters, merge, split

__all__ = ["Forecaster", "LanguageModel", "Parameters", "build", "count_parameters", "load_cell", "merge", "split"]
