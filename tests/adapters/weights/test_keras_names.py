"""Names of Keras weights as Keras 2, Keras 3, TensorFlow and HDF5 files give them, against a NumPy loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from nlstm_jax.adapters.weights import check_order, from_keras
from nlstm_jax.adapters.weights.keras_names import normalize_names
from nlstm_jax.cells import GRU, LSTM, Bidirectional, Stack
from nlstm_jax.errors import DataError
from nlstm_jax.unroll import unroll

FIELDS = ("kernel", "recurrent_kernel", "bias")


def lstm_weights(in_features, units, generator):
    shapes = ((in_features, 4 * units), (units, 4 * units), (4 * units,))
    return [generator.standard_normal(shape) for shape in shapes]


def lstm(weights, xs):
    """Run Keras' LSTM by steps: gate order i, f, g, o."""
    kernel, recurrent_kernel, bias = weights
    h, c = np.zeros((2, xs.shape[1], len(recurrent_kernel)))
    ys = []
    for x in xs:
        i, f, g, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=-1)
        c = references.sigmoid(f) * c + references.sigmoid(i) * np.tanh(g)
        h = references.sigmoid(o) * np.tanh(c)
        ys.append(h)
    return np.stack(ys)


# The name of field number {index}, {field}, of layer number {layer}; {suffix} is "" for the first layer.
FORMS = {
    "keras 3": "sequential/lstm{suffix}/lstm_cell/{field}",
    "keras 2": "lstm{suffix}/lstm_cell{suffix}/{field}:0",
    "keras 2.0": "lstm_{layer}/{field}:0",
    "hdf5 of keras 2": "/model_weights/lstm{suffix}/lstm{suffix}/lstm_cell{suffix}/{field}:0",
    "hdf5 of keras 3": "/model_weights/lstm{suffix}/sequential/lstm{suffix}/lstm_cell/{field}",
    "weights.h5": "layers/lstm{suffix}/cell/vars/{index}",
    "weights.h5 of keras 2.13": "_layer_checkpoint_dependencies/lstm{suffix}/cell/vars/{index}",
    "checkpoint of tensorflow 2": "layer_with_weights-{layer}/cell/{field}/.ATTRIBUTES/VARIABLE_VALUE",
}
OTHERS = {
    "optimizer/vars/0": np.zeros(()),
    "optimizer/vars/1": np.zeros((5, 16)),
    "lstm/lstm_cell/seed_generator/vars/0": np.zeros(2, np.uint32),
    "seed_generator_4/seed_generator_state": np.zeros(2, np.uint32),
    "layer_with_weights-0/cell/kernel/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE": np.zeros((5, 16)),
    "metrics/mean/vars/0": np.zeros(()),
    "keras_api/metrics/0/total/.ATTRIBUTES/VARIABLE_VALUE": np.zeros(()),
    "save_counter/.ATTRIBUTES/VARIABLE_VALUE": np.zeros(()),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_stack_has_the_right_values_under_every_form_of_name(form) -> None:
    generator = np.random.default_rng(0)
    layers = [lstm_weights(width, 4, generator) for width in (5, 4, 4)]
    tensors = dict(OTHERS)
    for layer, weights in enumerate(layers):
        suffix = f"_{layer}" if layer else ""
        for index, (field, value) in enumerate(zip(FIELDS, weights, strict=True)):
            tensors[form.format(layer=layer, suffix=suffix, field=field, index=index)] = value
    xs = generator.standard_normal((6, 2, 5))

    check_order(tensors)
    with jax.enable_x64(True):
        cell, params = from_keras(tensors)
        _, ys = unroll(cell, params, jnp.asarray(xs))
    assert cell == Stack((LSTM(4), LSTM(4), LSTM(4)))
    expected = xs
    for weights in layers:
        expected = lstm(weights, expected)
    np.testing.assert_allclose(ys, expected, 1e-10, 1e-10)


def test_numbered_variables_of_two_directions_and_a_dense_layer() -> None:
    scopes = {f"layers/bidirectional/{direction}_layer/cell/vars/": (3, 2) for direction in ("backward", "forward")}
    tensors = {}
    for scope, (width, units) in scopes.items():
        shapes = ((width, 3 * units), (units, 3 * units), (2, 3 * units))
        tensors |= {f"{scope}{index}": np.full(shape, index + 1.0) for index, shape in enumerate(shapes)}
    dense = {"layers/dense/vars/0": np.ones((4, 2)), "layers/dense/vars/1": np.ones(2)}
    cell, params = from_keras(tensors | dense, layers=("bidirectional",))
    assert cell == Bidirectional(GRU(2), GRU(2))
    assert float(params.forward.w_h[0, 0]) == 2.0
    with pytest.raises(DataError, match=r"layers/dense/recurrent_kernel: missing; .* layers/bidirectional$"):
        from_keras(tensors | dense)


def test_an_embedding_and_a_fourth_variable_keep_their_numbers() -> None:
    embedding = {"layers/embedding/vars/0": np.ones((7, 3))}
    odd = {f"odd/vars/{index}": np.ones((2, 2)) for index in range(4)}
    assert set(normalize_names(embedding | odd)) == {
        "layers/embedding/kernel",
        "odd/kernel",
        "odd/recurrent_kernel",
        "odd/bias",
        "odd/vars/3",
    }
