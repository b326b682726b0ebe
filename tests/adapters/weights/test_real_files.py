"""Files that PyTorch, Keras and Flax wrote themselves: the outputs here against those of the framework.

`PYTHONPATH=.:tests python tests/adapters/weights/test_real_files.py` prints the largest difference for each file.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlstm_jax.adapters.weights import convert_file
from nlstm_jax.unroll import unroll

os.environ["KERAS_BACKEND"] = "jax"

XS = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)


class RealFile(NamedTuple):
    """A file of a framework's weights.

    Attributes:
        path: The file or folder.
        framework: The framework.
        ys: The framework's outputs [T, B, O] on `XS`.
        prefix: The beginning of the layer's names.
        options: The options of the converter that the file does not tell.
    """

    path: Path
    framework: str
    ys: np.ndarray
    prefix: str = ""
    options: dict | None = None


def torch_module(kind="LSTM", dtype=None, **options):
    """Return a PyTorch module and its outputs, computed in float32."""
    import torch

    torch.manual_seed(0)
    module = getattr(torch.nn, kind)(3, 4, **options)
    if dtype is not None:
        module = module.to(getattr(torch, dtype)).float()
    with torch.no_grad():
        ys = module(torch.from_numpy(XS))[0].numpy()
    return module, ys


def torch_file(name, kind="LSTM", converter_options=None, dtype=None, legacy=False, **options):
    def write(folder):
        import torch

        module, ys = torch_module(kind, dtype, **options)
        if dtype is not None:
            module = module.to(getattr(torch, dtype))
        torch.save(module.state_dict(), folder / name, _use_new_zipfile_serialization=not legacy)
        return RealFile(folder / name, "torch", ys, options=converter_options)

    return write


def torch_training_checkpoint(folder):
    import torch

    module, ys = torch_module(num_layers=2)
    model = torch.nn.ModuleDict({"rnn": module, "head": torch.nn.Linear(4, 2)})
    optimizer = torch.optim.Adam(model.parameters())
    content = {"epoch": 3, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(content, folder / "last.ckpt")
    return RealFile(folder / "last.ckpt", "torch", ys, prefix="rnn.")


def torch_safetensors(folder):
    import torch
    from safetensors.torch import save_file

    module, ys = torch_module(dtype="bfloat16")
    save_file(module.to(torch.bfloat16).state_dict(), folder / "lstm.safetensors")
    return RealFile(folder / "lstm.safetensors", "torch", ys)


def keras_model(make_layers):
    """Return a Keras model with random weights, and its outputs."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((5, 3)), *make_layers(keras.layers)])
    generator = np.random.default_rng(1)
    model.set_weights([0.5 * generator.standard_normal(weight.shape) for weight in model.weights])
    ys = np.asarray(model(XS.swapaxes(0, 1))).swapaxes(0, 1)
    return model, ys


def keras_file(name, make_layers, converter_options=None, compiled=False):
    def write(folder):
        model, ys = keras_model(make_layers)
        if compiled:
            model.compile("adam", "mse")
            model.optimizer.build(model.trainable_variables)
        if name.endswith(".weights.h5"):
            model.save_weights(folder / name)
        else:
            model.save(folder / name)
        return RealFile(folder / name, "keras", ys, options=converter_options)

    return write


def keras_safetensors(folder):
    from safetensors.numpy import save_file

    model, ys = keras_model(three_lstms)
    save_file({weight.path: np.asarray(weight.value) for weight in model.weights}, folder / "stack.safetensors")
    return RealFile(folder / "stack.safetensors", "keras", ys)


def three_lstms(layers):
    return [layers.LSTM(4, return_sequences=True, dropout=0.1) for _ in range(3)]


def gru_below_lstm(layers):
    return [layers.GRU(4, return_sequences=True, name="reader"), layers.LSTM(2, return_sequences=True, name="again")]


def relu_both_ways(layers):
    gru = layers.GRU(2, activation="relu", recurrent_activation="hard_sigmoid", return_sequences=True)
    return [layers.Bidirectional(gru, merge_mode="sum")]


def early_reset(layers):
    return [layers.GRU(4, reset_after=False, use_bias=False, return_sequences=True)]


def linear_simple(layers):
    return [layers.SimpleRNN(4, activation="linear", return_sequences=True), layers.Dropout(0.5)]


def linen_params(kind):
    """Return the parameters of a Linen cell, and its outputs."""
    from flax import linen

    rnn = linen.RNN(getattr(linen, kind)(4))
    xs = jnp.asarray(XS).swapaxes(0, 1)
    variables = rnn.init(jax.random.key(0), xs)
    variables = jax.tree.map(lambda leaf: leaf + 0.1, variables)
    return variables, np.asarray(rnn.apply(variables, xs)).swapaxes(0, 1)


def linen_msgpack(kind):
    def write(folder):
        from flax import serialization

        variables, ys = linen_params(kind)
        path = folder / f"{kind}.msgpack"
        path.write_bytes(serialization.to_bytes(variables))
        return RealFile(path, "flax", ys, prefix="params/cell/")

    return write


def linen_orbax(folder):
    import orbax.checkpoint as ocp

    variables, ys = linen_params("LSTMCell")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "linen", variables)
    return RealFile(folder / "linen", "flax", ys, prefix="params/cell/")


def nnx_orbax(kind):
    def write(folder):
        import orbax.checkpoint as ocp
        from flax import nnx

        rnn = nnx.RNN(getattr(nnx, kind)(3, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
        ys = np.asarray(rnn(jnp.asarray(XS).swapaxes(0, 1))).swapaxes(0, 1)
        with ocp.CheckpointManager(folder / kind) as manager:
            manager.save(7, args=ocp.args.StandardSave(nnx.state(rnn, nnx.Param)))
        return RealFile(folder / kind / "7", "flax", ys, prefix="cell/")

    return write


FILES = {
    "torch: LSTM, .pt": torch_file("lstm.pt"),
    "torch: 2-layer bidirectional LSTM, .pt": torch_file("two.pt", num_layers=2, bidirectional=True),
    "torch: LSTM with projection, .pth": torch_file("projection.pth", proj_size=2),
    "torch: GRU, .bin": torch_file("gru.bin", "GRU"),
    "torch: RNN of relu, .pt": torch_file("rnn.pt", "RNN", {"nonlinearity": "relu"}, nonlinearity="relu"),
    "torch: float16 GRU, .pt": torch_file("half.pt", "GRU", dtype="float16"),
    "torch: LSTM as before version 1.6": torch_file("legacy.pt", legacy=True),
    "torch: training checkpoint of a model": torch_training_checkpoint,
    "torch: bfloat16 LSTM, .safetensors": torch_safetensors,
    "keras: three LSTMs, .keras": keras_file("stack.keras", three_lstms, compiled=True),
    "keras: three LSTMs, .weights.h5": keras_file("stack.weights.h5", three_lstms),
    "keras: GRU below LSTM, .keras": keras_file("mixed.keras", gru_below_lstm),
    "keras: GRU below LSTM, .h5": keras_file("mixed.h5", gru_below_lstm, compiled=True),
    "keras: bidirectional GRU of relu, .keras": keras_file("both.keras", relu_both_ways),
    "keras: bidirectional GRU of relu, .h5": keras_file("both.h5", relu_both_ways),
    "keras: GRU, reset before, no bias, .keras": keras_file("early.keras", early_reset),
    "keras: linear SimpleRNN, .h5": keras_file("simple.h5", linear_simple),
    "keras: three LSTMs by path, .safetensors": keras_safetensors,
    "flax: Linen OptimizedLSTMCell, msgpack": linen_msgpack("OptimizedLSTMCell"),
    "flax: Linen GRUCell, msgpack": linen_msgpack("GRUCell"),
    "flax: Linen SimpleCell, msgpack": linen_msgpack("SimpleCell"),
    "flax: Linen LSTMCell, orbax": linen_orbax,
    "flax: NNX OptimizedLSTMCell, a step of orbax": nnx_orbax("OptimizedLSTMCell"),
    "flax: NNX GRUCell, a step of orbax": nnx_orbax("GRUCell"),
}
"""A function for each file, which writes it into a folder."""
PACKAGES = {"torch": ("torch", "safetensors"), "keras": ("keras", "h5py", "safetensors"), "flax": ()}
QUICK = (
    "torch: LSTM, .pt",
    "keras: three LSTMs, .weights.h5",
    "keras: bidirectional GRU of relu, .keras",
    "keras: GRU below LSTM, .h5",
    "flax: Linen GRUCell, msgpack",
    "flax: NNX OptimizedLSTMCell, a step of orbax",
)
"""The files of the default tests: one of each format."""


def largest_difference(write, folder):
    """Return the largest difference between the outputs of a framework and those of the converted layer."""
    file = write(folder)
    converted = convert_file(file.path, file.framework, file.prefix, file.options)
    _, ys = unroll(converted.layer, converted.params, jnp.asarray(XS))
    assert ys.shape == file.ys.shape
    return float(np.abs(ys - file.ys).max())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FILES]
)
# The first is PyTorch's; the second is of Keras' variables under NumPy 2.
@pytest.mark.filterwarnings(
    "ignore:LSTM with projections is not supported with oneDNN",
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
)
def test_a_frameworks_own_file_has_its_outputs(name, tmp_path) -> None:
    for package in PACKAGES[name.partition(":")[0]]:
        pytest.importorskip(package, reason=f"{package} is missing")
    assert largest_difference(FILES[name], tmp_path) < 2e-6


def print_table() -> None:
    """Print the largest difference for each file."""
    sys.stdout.write("| file | largest difference |\n| --- | ---: |\n")
    for name, write in FILES.items():
        with tempfile.TemporaryDirectory() as folder:
            sys.stdout.write(f"| {name} | {largest_difference(write, Path(folder)):.1e} |\n")


if __name__ == "__main__":
    print_table()
