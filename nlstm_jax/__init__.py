"""Recurrent memories in JAX: LSTM, stacked LSTM and Nested LSTM as pure cells, scanned with `lax.scan`."""

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    Cell,
    DeepOutput,
    DeepTransition,
    Elman,
    Nested,
    SequenceDropout,
    Stack,
    Zoneout,
    count_operations,
    count_parameters,
    count_state,
    fit_features,
    nested_lstm,
)
from nlstm_jax.unroll import packed, unroll

__all__ = [
    "GRU",
    "LSTM",
    "Bidirectional",
    "Cell",
    "DeepOutput",
    "DeepTransition",
    "Elman",
    "Nested",
    "SequenceDropout",
    "Stack",
    "Zoneout",
    "count_operations",
    "count_parameters",
    "count_state",
    "fit_features",
    "nested_lstm",
    "packed",
    "unroll",
]
