"""Weights from and to other frameworks: plain dictionaries of arrays, and files as the frameworks write them.

Each `from_…` returns (cell, params), read off the names and shapes alone; each `to_…` takes them.
"""

from nlstm_jax.adapters.weights.conversion import Conversion, convert_file
from nlstm_jax.adapters.weights.files import load, read_tensors, save, write_tensors
from nlstm_jax.adapters.weights.flax import from_flax, to_flax
from nlstm_jax.adapters.weights.keras import from_keras, to_keras
from nlstm_jax.adapters.weights.keras_names import check_order
from nlstm_jax.adapters.weights.onnx import Operator, to_onnx
from nlstm_jax.adapters.weights.tensorflow1 import from_tensorflow1
from nlstm_jax.adapters.weights.torch import from_torch, to_torch

__all__ = [
    "Conversion",
    "Operator",
    "check_order",
    "convert_file",
    "from_flax",
    "from_keras",
    "from_tensorflow1",
    "from_torch",
    "load",
    "read_tensors",
    "save",
    "to_flax",
    "to_keras",
    "to_onnx",
    "to_torch",
    "write_tensors",
]
