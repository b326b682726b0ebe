"""The models: Flax NNX modules around a cell.

Embedding, dense layers and dropout are Flax modules. `adapters.nnx.Recurrent` wraps a cell and its parameters in a
module. A model holds no random state. It takes a key when it is called; without a key there is no noise.
"""

from nlstm_jax.models.build import (
    build,
    build_classifier,
    build_forecaster,
    build_language_model,
    build_seq2seq,
    check_budget,
    fit_budget,
    load_cell,
)
from nlstm_jax.models.classifier import Classifier
from nlstm_jax.models.forecaster import Forecaster
from nlstm_jax.models.language_model import LanguageModel
from nlstm_jax.models.loops import LoopChoice, fastest_loop, recurrent_layers, set_loop
from nlstm_jax.models.parameters import Parameters, count_parameters, is_recurrent, merge, split
from nlstm_jax.models.seq2seq import Seq2Seq
from nlstm_jax.models.vectors import load_vectors

__all__ = [
    "Classifier",
    "Forecaster",
    "LanguageModel",
    "LoopChoice",
    "Parameters",
    "Seq2Seq",
    "build",
    "build_classifier",
    "build_forecaster",
    "build_language_model",
    "build_seq2seq",
    "check_budget",
    "count_parameters",
    "fastest_loop",
    "fit_budget",
    "is_recurrent",
    "load_cell",
    "load_vectors",
    "merge",
    "recurrent_layers",
    "set_loop",
    "split",
]
