"""Recurrent neural networks in JAX: LSTM, stacked LSTM and Nested LSTM as pure cells, unrolled with `lax.scan`."""

from importlib import metadata
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from nlstm_jax.training import load_run, load_runs

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
    "load_run",
    "load_runs",
    "nested_lstm",
    "packed",
    "unroll",
]


def __getattr__(name: str) -> object:
    """Import the functions for run folders when they are first used, as they need Flax and orbax."""
    if name in ("load_run", "load_runs"):
        from nlstm_jax import training

        return getattr(training, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
