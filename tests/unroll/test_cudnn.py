"""`mode="cudnn"`: the call of cuDNN, tested with JAX's reference implementation of it, and the errors.

With an NVIDIA GPU the same tests run with cuDNN itself.
"""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from jax.experimental import rnn

from nlstm_jax.cells import GRU, LSTM, Bidirectional, Stack
from nlstm_jax.unroll import cudnn, unroll

T, B, D, H = 5, 4, 3, 6
LAYERS = {
    "lstm": LSTM(H),
    "without bias": LSTM(H, use_bias=False, forget_bias=0.0, init_scheme="torch"),
    "layers": Stack((Bidirectional(LSTM(H), LSTM(2)), LSTM(3)), dropout=0.3),
}
ON_GPU = jax.default_backend() == "gpu"


def reference(x, h_0, c_0, weights, seq_lengths, input_size, hidden_size, num_layers, dropout, bidirectional):
    sizes = (input_size, hidden_size, num_layers)
    matrices = rnn.unpack_lstm_weights(weights, *sizes, bidirectional)
    return rnn.lstm_ref(x, h_0, c_0, *matrices, seq_lengths, *sizes, dropout, bidirectional)


@pytest.fixture
def _reference_for_cudnn(monkeypatch):
    if not ON_GPU:
        monkeypatch.setattr(rnn, "lstm", reference)
        monkeypatch.setattr(cudnn.jax, "default_backend", lambda: "gpu")
        monkeypatch.setattr(cudnn.jax, "devices", lambda: [type("Device", (), {"device_kind": "NVIDIA"})])


RAGGED = np.array([5, 0, 3, 1])
BY_DEFAULT = (("lstm", False, True), ("lstm", True, False), ("without bias", False, False))
BY_DEFAULT += (("without bias", True, True), ("layers", False, True), ("layers", True, False))


@pytest.mark.usefixtures("_reference_for_cudnn")
@pytest.mark.parametrize(
    ("name", "reverse", "ragged"),
    [
        pytest.param(*case, marks=() if case in BY_DEFAULT else pytest.mark.slow)
        for case in itertools.product(LAYERS, (False, True), (False, True))
    ],
)
def test_it_equals_the_plain_scan(name, reverse, ragged):
    """The default run has each pair of layer, direction and lengths."""
    layer, lengths = LAYERS[name], RAGGED if ragged else None
    params, xs, carry = jax.tree.map(jnp.asarray, references.example(layer, D, T, B))
    shapes = jax.eval_shape(lambda: unroll(layer, params, xs, carry, mode="scan"))
    weights = jax.tree.map(lambda leaf: np.cos(np.arange(leaf.size)).reshape(leaf.shape), shapes)
    options = {"lengths": lengths, "reverse": reverse, "key": jax.random.key(3)}
    found, expected = (
        references.value_and_gradients(layer, params, xs, carry, weights, mode=mode, **options)
        for mode in ("cudnn", "scan")
    )
    references.assert_trees_close(found, expected, 2e-3 if ON_GPU else 1e-5)


@pytest.mark.usefixtures("_reference_for_cudnn")
@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        (GRU(H), {}, r"an LSTM without options expected, found GRU\(features=6\)"),
        (Stack((LSTM(H), LSTM(H, peephole=True))), {}, "an LSTM without options expected, found .*peephole=True"),
        (LSTM(H), {"mask": jnp.ones((T, B), bool)}, "no mask expected, which cuDNN has not got"),
        (LSTM(H), {"resets": jnp.ones((T, B), bool)}, "no resets expected"),
        (LSTM(H), {"return_carries": True}, "no return_carries expected"),
        (LSTM(H), {"remat": True}, "no remat expected"),
        (LSTM(H), {"truncate": 2}, "no truncate expected"),
    ],
)
def test_what_cudnn_has_not_got_is_refused(layer, options, message):
    params = layer.init(jax.random.key(0), D)
    with pytest.raises(ValueError, match=f"unroll: mode='cudnn': {message}"):
        inspect.unwrap(unroll)(layer, params, jnp.ones((T, B, D)), mode="cudnn", **options)


@pytest.mark.usefixtures("_reference_for_cudnn")
def test_other_precisions_are_refused():
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), LSTM(H).init(jax.random.key(0), D))
    with pytest.raises(ValueError, match="parameters of float32 expected, found float16"):
        unroll(LSTM(H), params, jnp.ones((T, B, D)), mode="cudnn")


@pytest.mark.skipif(ON_GPU, reason="there is a GPU")
def test_without_an_nvidia_gpu_it_is_refused():
    with pytest.raises(ValueError, match="unroll: mode='cudnn': an NVIDIA GPU expected, found cpu"):
        unroll(LSTM(H), LSTM(H).init(jax.random.key(0), D), jnp.ones((T, B, D)), mode="cudnn")
