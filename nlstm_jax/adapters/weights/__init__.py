"""Weights from and to other frameworks: plain dictionaries of arrays, and files as the frameworks write them.

Each `from_…` returns (cell, params), read off the names and shapes alone; each `to_…` takes them.

>>> import jax, tempfile
>>> from nlstm_jax import LSTM
>>> params = LSTM(4).init(jax.random.key(0), in_features=3)
>>> tensors = to_torch(LSTM(4), params)
>>> tensors["weight_ih_l0"].shape, to_flax(LSTM(4), params)["hi/kernel"].shape
((16, 3), (4, 4))
>>> with tempfile.TemporaryDirectory() as folder:
...     write_tensors(f"{folder}/torch.safetensors", tensors)
...     names = sorted(read_tensors(f"{folder}/torch.safetensors"))
...     conversion: Conversion = convert_file(f"{folder}/torch.safetensors", "torch")
...     save(f"{folder}/ours.safetensors", conversion.layer, conversion.params)
...     cell, loaded = load(f"{folder}/ours.safetensors")
>>> names
['bias_hh_l0', 'bias_ih_l0', 'weight_hh_l0', 'weight_ih_l0']
>>> cell == LSTM(4), bool((loaded.w_h == params.w_h).all())
(True, True)
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
