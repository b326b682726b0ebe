"""Recurrent memories in JAX: LSTM, stacked LSTM and Nested LSTM as pure cells, scanned with `lax.scan`."""

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Cell,
    Elman,
    Nested,
    Stack,
    count_parameters,
    fit_features,
    nested_lstm,
)
from nlstm_jax.unroll import unroll

__all__ = [
    "GRU",
    "LSTM",
    "Cell",
    "Elman",
    "Nested",
    "Stack",
    "count_parameters",
    "fit_features",
    "nested_lstm",
    "unroll",
]
