"""Tests of layers and tensors in safetensors files."""

import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("safetensors", reason="files of weights need safetensors (extra: export)")

from safetensors import safe_open

from nlstm_jax.adapters.weights import load, read_tensors, save, write_tensors
from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    DeepOutput,
    DeepTransition,
    Elman,
    LSTMCarry,
    Nested,
    NestedCarry,
    Stack,
    VariationalDropout,
    Zoneout,
    nested_lstm,
    with_regularizers,
)
from nlstm_jax.errors import ConfigError, DataError, StorageError

LAYERS = {
    "options": LSTM(4, peephole=True, projection=2, layer_norm=True, init_scheme="uniform(0.1)"),
    "bfloat16": LSTM(4, dtype=jnp.dtype("bfloat16").name),
    "gru": GRU(4, reset_after=False),
    "nested": nested_lstm(4, 3, "add"),
    "zoneout": Zoneout(nested_lstm(4, 2), NestedCarry(0.1, LSTMCarry(c=0.5, h=0.25))),
    "dropout": with_regularizers(nested_lstm(4, 2), recurrent_dropout=(0.1, 0.2), zoneout=(0.3,)),
    "stack": Stack((LSTM(4), VariationalDropout(GRU(5), inputs=0.5)), skip=True, dropout=0.5),
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
        ("broken.safetensors", r"broken\.safetensors: safetensors, .* expected, found a file of an unknown kind"),
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


def test_tensors_come_back_whatever_their_order_in_memory(tmp_path) -> None:
    wide = np.arange(24, dtype=np.float32).reshape(4, 6)
    tensors = {"turned": wide.T, "strided": wide[::2, ::3], "none": wide[:0]}
    write_tensors(tmp_path / "t.safetensors", tensors)
    found = read_tensors(tmp_path / "t.safetensors")
    assert set(found) == set(tensors)
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value, strict=True)


def test_a_number_stays_a_number(tmp_path) -> None:
    write_tensors(tmp_path / "t.safetensors", {"step": np.array(7)})
    np.testing.assert_array_equal(read_tensors(tmp_path / "t.safetensors")["step"], np.array(7), strict=True)


def test_a_file_is_replaced_whole(tmp_path) -> None:
    for value in (0.0, 1.0):
        write_tensors(tmp_path / "t.safetensors", {"w": np.full(3, value)})
    np.testing.assert_array_equal(read_tensors(tmp_path / "t.safetensors")["w"], np.ones(3))
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]


def test_a_layer_of_elsewhere_is_not_saved(tmp_path) -> None:
    class Own(LSTM):
        pass

    with pytest.raises(ValueError, match="Own"):
        save(tmp_path / "layer.safetensors", Own(4), drawn(LSTM(4)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reader", [load, read_tensors])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "safetensors, .* expected, found an empty file"),
        (lambda data: data[:5], "safetensors, .* expected, found a file of an unknown kind"),
        (lambda data: data[:50], "a safetensors file expected: the header: at most 42 bytes expected, .*"),
        (lambda data: data[:-1], "a safetensors file expected: [^\n]+"),
        (lambda data: data + b"0", "a safetensors file expected: [^\n]+"),
    ],
    ids=["empty", "5 bytes", "cut in the header", "cut by a byte", "a byte too many"],
)
def test_a_damaged_file_is_told_in_one_line(reader, change, message, tmp_path) -> None:
    path = tmp_path / "layer.safetensors"
    save(path, GRU(4), drawn(GRU(4)))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=f"^{path}: {message}$"):
        reader(path)


@pytest.mark.parametrize(
    "specification",
    [
        "LSTM(4)",
        "[1]",
        '{"in_features": 3}',
        '{"layer": {"type": "LSTM", "features": 4}}',
        '{"layer": {"features": 4}, "in_features": 3}',
        '{"layer": 4, "in_features": 3}',
        '{"layer": {"type": ["LSTM"], "features": 4}, "in_features": 3}',
        '{"layer": {"type": "LSTM", "features": 4, "hyper": true}, "in_features": 3}',
        '{"layer": {"type": "LSTM", "features": 4, "gating": "plus"}, "in_features": 3}',
        '{"layer": {"type": "LSTMCarry", "c": 0.0, "h": 0.0}, "in_features": 3}',
        '{"layer": {"type": "spelled", "layer": 4}, "in_features": 3}',
        '{"layer": {"type": "LSTM", "features": 4}, "in_features": "three"}',
        pytest.param("[" * 100_000, id="nested"),
    ],
)
def test_a_specification_that_is_none_is_told(specification, tmp_path) -> None:
    path = tmp_path / "layer.safetensors"
    write_tensors(path, {"w_x": np.zeros((3, 16), np.float32)}, specification)
    with pytest.raises(DataError, match=f"{path}: the specification of a layer of this version expected"):
        load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers/1/w_h": None}, r"layer\.safetensors: layers/1/w_h: missing"),
        ({"layers/0/b": np.zeros(15)}, r"layer\.safetensors: layers/0/b: .*\[16\].*\[15\]"),
        ({"layers/2/b": np.zeros(16)}, r"layer\.safetensors: no place for layers/2/b"),
    ],
    ids=["missing", "long bias", "left over"],
)
def test_a_tensor_that_is_not_the_layers_is_told_by_its_full_name(changes, message, tmp_path) -> None:
    layer = Stack((LSTM(4), LSTM(4)))
    path = tmp_path / "layer.safetensors"
    save(path, layer, drawn(layer))
    with safe_open(path, "numpy") as file:
        specification = next(iter(file.metadata().values()))
    tensors = read_tensors(path) | changes
    write_tensors(path, {name: value for name, value in tensors.items() if value is not None}, specification)
    with pytest.raises(DataError, match=message):
        load(path)


@pytest.mark.parametrize(
    "layer",
    [
        GRU(4, use_bias=False),
        LSTM(4, gating="add", forget_bias=0.3, dtype="bfloat16"),
        Nested(4, GRU(4), candidate_activation="softsign"),
        Zoneout(LSTM(4), LSTMCarry(c=0.5, h=0.05)),
        Stack((Elman(2),) * 12, residual=True),
        Stack((Bidirectional(Stack((LSTM(4), Elman(2))), DeepOutput(GRU(4), (3,)), "concat"), Zoneout(GRU(4), 0.5))),
    ],
    ids=["bare", "options", "gru inside", "rates", "tall", "all"],
)
def test_a_loaded_layer_is_the_saved_one_and_serves_in_its_place(layer, tmp_path) -> None:
    params = drawn(layer)
    save(tmp_path / "layer.safetensors", layer, params)
    again, back = load(tmp_path / "layer.safetensors")
    assert (again, hash(again)) == (layer, hash(layer))
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_a_file_of_weights_can_be_read_by_whom_other_files_can(tmp_path):
    (tmp_path / "other").touch()
    write_tensors(tmp_path / "weights.safetensors", {"w": np.ones(3)})
    assert (tmp_path / "weights.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_full_disk_is_one_line_and_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"w": np.ones(3)})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(StorageError) as caught:
            write_tensors(path, {"w": np.ones(1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value).startswith(f"{path}: cannot be written: ")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before
