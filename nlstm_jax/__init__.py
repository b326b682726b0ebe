"""Recurrent neural networks in JAX: LSTM, stacked LSTM and Nested LSTM as pure cells, unrolled with `lax.scan`."""

from importlib import metadata

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    Cell,
    DeepOutput,
    DeepTransition,
    Elman,
    Nested,
    Stack,
    VariationalDropout,
    Zoneout,
    count_flops,
    count_parameters,
    count_state,
    fit_features,
    nested_lstm,
)
from nlstm_jax.unroll import packed, unroll

try:
    __version__ = metadata.version("nlstm_jax")
except metadata.PackageNotFoundError:
    # The source tree is on the path, but it is not installed.
    __version__ = "0+unknown"

__all__ = [
    "GRU",
    "LSTM",
    "Bidirectional",
    "Cell",
    "DeepOutput",
    "DeepTransition",
    "Elman",
    "Nested",
    "Stack",
    "VariationalDropout",
    "Zoneout",
    "count_flops",
    "count_parameters",
    "count_state",
    "fit_features",
    "nested_lstm",
    "packed",
    "unroll",
]
