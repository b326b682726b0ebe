"""One step: recurrent cells as frozen specifications and pure functions of arrays.

Imports jax and `types` alone. Start with `base.Cell`, then `lstm` and `nested`.
"""

from nlstm_jax.cells.base import Cell, Layer, LayerNormParams, draws_noise, spelled
from nlstm_jax.cells.bidirectional import Bidirectional, BidirectionalCarry, BidirectionalNoise, BidirectionalParams
from nlstm_jax.cells.budget import BUDGETS, count_operations, count_parameters, count_state, fit_features
from nlstm_jax.cells.build import build, cell_options
from nlstm_jax.cells.deep import DeepOutput, DeepOutputParams, DeepTransition, DeepTransitionParams, DenseParams
from nlstm_jax.cells.dropout import DroppedParams, SequenceDropout
from nlstm_jax.cells.elman import Elman, ElmanCarry, ElmanParams
from nlstm_jax.cells.gru import GRU, GRUCarry, GRUParams
from nlstm_jax.cells.lstm import LSTM, LSTMCarry, LSTMNorm, LSTMParams
from nlstm_jax.cells.nested import Nested, NestedCarry, NestedParams, nested_lstm
from nlstm_jax.cells.regularised import regularised
from nlstm_jax.cells.stack import Stack, StackCarry, StackNoise, StackParams
from nlstm_jax.cells.zoneout import Zoneout, ZoneoutNoise

__all__ = [
    "BUDGETS",
    "GRU",
    "LSTM",
    "Bidirectional",
    "BidirectionalCarry",
    "BidirectionalNoise",
    "BidirectionalParams",
    "Cell",
    "DeepOutput",
    "DeepOutputParams",
    "DeepTransition",
    "DeepTransitionParams",
    "DenseParams",
    "DroppedParams",
    "Elman",
    "ElmanCarry",
    "ElmanParams",
    "GRUCarry",
    "GRUParams",
    "LSTMCarry",
    "LSTMNorm",
    "LSTMParams",
    "Layer",
    "LayerNormParams",
    "Nested",
    "NestedCarry",
    "NestedParams",
    "SequenceDropout",
    "Stack",
    "StackCarry",
    "StackNoise",
    "StackParams",
    "Zoneout",
    "ZoneoutNoise",
    "build",
    "cell_options",
    "count_operations",
    "count_parameters",
    "count_state",
    "draws_noise",
    "fit_features",
    "nested_lstm",
    "regularised",
    "spelled",
]
