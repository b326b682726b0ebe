"""Recurrent cells: frozen specifications with pure functions that compute one step.

This package imports only jax and `types`. Read `protocol.Cell` first, then `lstm` and `nested`.
"""

from nlstm_jax.cells.base import LayerNormParams, is_stochastic, spec_repr
from nlstm_jax.cells.bidirectional import Bidirectional, BidirectionalCarry, BidirectionalNoise, BidirectionalParams
from nlstm_jax.cells.budget import BUDGETS, count_flops, count_parameters, count_state, fit_features
from nlstm_jax.cells.build import build, cell_options
from nlstm_jax.cells.deep import DeepOutput, DeepOutputParams, DeepTransition, DeepTransitionParams, DenseParams
from nlstm_jax.cells.dropout import MaskedParams, VariationalDropout
from nlstm_jax.cells.elman import Elman, ElmanCarry, ElmanParams
from nlstm_jax.cells.gru import GRU, GRUCarry, GRUParams
from nlstm_jax.cells.lstm import LSTM, LSTMCarry, LSTMNorm, LSTMParams
from nlstm_jax.cells.nested import Nested, NestedCarry, NestedParams, nested_lstm
from nlstm_jax.cells.protocol import Cell, Layer, MinimalCell, complete
from nlstm_jax.cells.regularizers import with_regularizers
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
    "MaskedParams",
    "MinimalCell",
    "Nested",
    "NestedCarry",
    "NestedParams",
    "Stack",
    "StackCarry",
    "StackNoise",
    "StackParams",
    "VariationalDropout",
    "Zoneout",
    "ZoneoutNoise",
    "build",
    "cell_options",
    "complete",
    "count_flops",
    "count_parameters",
    "count_state",
    "fit_features",
    "is_stochastic",
    "nested_lstm",
    "spec_repr",
    "with_regularizers",
]
