"""Weights from and to other frameworks, as plain dictionaries of arrays and as `.safetensors` files.

Each `from_…` returns (cell, params), read off the names and shapes alone; each `to_…` takes them.
"""

from nlstm_jax.adapters.weights.files import load, read_tensors, save, write_tensors
from nlstm_jax.adapters.weights.flax import from_flax, to_flax
from nlstm_jax.adapters.weights.keras import check_order, from_keras, to_keras
from nlstm_jax.adapters.weights.tensorflow1 import from_tensorflow1
from nlstm_jax.adapters.weights.torch import from_torch, to_torch

__all__ = [
    "check_order",
    "from_flax",
    "from_keras",
    "from_tensorflow1",
    "from_torch",
    "load",
    "read_tensors",
    "save",
    "to_flax",
    "to_keras",
    "to_torch",
    "write_tensors",
]
