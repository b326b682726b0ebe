"""Layers and tensors in safetensors files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("safetensors", reason="files of weights need safetensors (extra: export)")

from nlstm_jax.adapters.weights import load, read_tensors, save, write_tensors
from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    DeepOutput,
    DeepTransition,
    Elman,
    LSTMCarry,
    NestedCarry,
    SequenceDropout,
    Stack,
    Zoneout,
    nested_lstm,
    regularised,
)
from nlstm_jax.errors import ConfigError, DataError

LAYERS = {
    "options": LSTM(4, peephole=True, projection=2, layer_norm=True, init_scheme="uniform(0.1)"),
    "bfloat16": LSTM(4, dtype=jnp.dtype("bfloat16").name),
    "gru": GRU(4, reset_after=False),
    "nested": nested_lstm(4, 3, "add"),
    "zoneout": Zoneout(nested_lstm(4, 2), NestedCarry(0.1, LSTMCarry(c=0.5, h=0.25))),
    "dropout": regularised(nested_lstm(4, 2), recurrent_dropout=(0.1, 0.2), zoneout=(0.3,)),
    "stack": Stack((LSTM(4), SequenceDropout(GRU(5), inputs=0.5)), skip=True, dropout=0.5),
    "both_ways": Stack((Bidirectional(GRU(4), GRU(4)), Bidirectional(LSTM(3), LSTM(3), "sum"))),
    "deep": DeepOutput(DeepTransition((Elman(4), Elman(4))), (5,)),
}


def drawn(layer):
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), 3))
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.standard_normal(leaf.shape), jnp.float32), shapes)


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_a_saved_layer_is_the_same_to_the_bit(layer, tmp_path) -> None:
    params = drawn(layer)
    save(tmp_path / "layer.safetensors", layer, params)
    again, back = load(tmp_path / "layer.safetensors")
    assert again == layer
    jax.tree.map(np.testing.assert_array_equal, back, params)
    assert [path.name for path in tmp_path.iterdir()] == ["layer.safetensors"]


def test_tensors_come_in_the_order_of_their_numbers(tmp_path) -> None:
    names = [f"lstm_{number}/kernel" for number in (10, 2, 1)]
    write_tensors(tmp_path / "t.safetensors", {name: np.full((2, 3), n) for n, name in enumerate(names)})
    found = read_tensors(tmp_path / "t.safetensors")
    assert list(found) == names[::-1]
    np.testing.assert_array_equal(found["lstm_10/kernel"], np.zeros((2, 3)))


def written(path, content=b"no safetensors"):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.safetensors", "missing.safetensors: no such file"),
        ("model.pt", "a .safetensors file expected, found .pt"),
        ("broken.safetensors", "broken.safetensors: a safetensors file expected"),
        ("cut.safetensors", "cut.safetensors: a safetensors file expected"),
        ("tensors.safetensors", "a layer's specification expected, found none"),
    ],
)
def test_a_file_that_does_not_serve_is_named(tmp_path, name, message) -> None:
    written(tmp_path / "broken.safetensors")
    write_tensors(tmp_path / "tensors.safetensors", {"w_x": np.ones((3, 4))})
    written(tmp_path / "cut.safetensors", (tmp_path / "tensors.safetensors").read_bytes()[:-8])
    with pytest.raises(DataError, match=message):
        load(tmp_path / name)


def test_a_file_whose_tensors_are_not_those_of_its_layer_is_refused(tmp_path) -> None:
    path = tmp_path / "layer.safetensors"
    specification = '{"layer": {"type": "LSTM", "features": 4}, "in_features": 3}'
    write_tensors(path, {"w_x": np.ones((3, 16)), "w_h": np.ones((4, 12)), "b": np.ones(16)}, specification)
    with pytest.raises(DataError, match=r"w_h: the shape \[4, 16\] expected, found \[4, 12\]"):
        load(path)
    write_tensors(path, {"w_x": np.ones((3, 16))}, '{"layer": {"type": "os", "features": 4}, "in_features": 3}')
    with pytest.raises(DataError, match="'os' is no layer of nlstm_jax"):
        load(path)


def test_where_it_may_be_written(tmp_path) -> None:
    for path in (tmp_path / "layer.bin", tmp_path / "nowhere" / "layer.safetensors"):
        with pytest.raises(ConfigError, match=r"a name that ends in \.safetensors, in a folder that is there, exp"):
            save(path, LSTM(4), drawn(LSTM(4)))
