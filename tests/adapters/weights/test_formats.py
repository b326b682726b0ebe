"""Files of weights that are of another kind, damaged, or claim more than they hold: one line for each."""

import importlib
import io
import json
import pickle
import struct
import sys
import zipfile

import numpy as np
import pytest

from nlstm_jax.adapters.weights import convert_file, read_tensors, write_tensors
from nlstm_jax.adapters.weights.formats.keras_config import read_model_config
from nlstm_jax.errors import ConfigError, DataError

KINDS = {
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "an ONNX model"),
    "pickle": (pickle.dumps({"w": [1.0]}), "a pickle, which can run code and is not loaded"),
    "npy": (b"\x93NUMPY\x01\x00", r"a NumPy array \(\.npy\)"),
    "gguf": (b"GGUF\x03\x00\x00\x00", "a GGUF file"),
    "tflite": (b"\x1c\x00\x00\x00TFL3", "a TensorFlow Lite model"),
    "gzip": (b"\x1f\x8b\x08", "a gzip file"),
    "tar": (b"model.bin".ljust(257, b"\0") + b"ustar\x0000", "a tar archive"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer; git lfs pull gets the file itself"),
    "html": (b"\n<!DOCTYPE html><html>", "a page of HTML or XML"),
    "json": (b'{"weights": []}', "a JSON text"),
    "empty": (b"", "an empty file"),
    "text": (b"weights of my model", "a file of an unknown kind"),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".h5"])
@pytest.mark.parametrize(("content", "kind"), KINDS.values(), ids=KINDS)
def test_a_file_of_another_kind_is_named_whatever_its_suffix(content, kind, suffix, tmp_path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"^{path}: safetensors, \.keras, [^\n]* expected, found {kind}$"):
        read_tensors(path)


def zip_of(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({"w.npy": b"\x93NUMPY"}, r"an archive of NumPy arrays \(\.npz\); .*"),
        ({"m/data.pkl": b"", "m/constants.pkl": b""}, "a TorchScript archive; .*"),
        ({"word/document.xml": b""}, "a zip archive of another kind"),
    ],
)
def test_a_zip_archive_of_another_kind_is_named(members, kind, tmp_path) -> None:
    path = zip_of(tmp_path / "model.keras", members)
    with pytest.raises(DataError, match=rf"^{path}: safetensors, .* expected, found {kind}$"):
        read_tensors(path)


def test_a_folder_of_another_kind_and_a_missing_file_are_named(tmp_path) -> None:
    with pytest.raises(DataError, match=f"^{tmp_path}: safetensors, .* expected, found a folder of another kind$"):
        read_tensors(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(DataError, match="expected, found a TensorFlow SavedModel, which does not name weights; "):
        read_tensors(tmp_path)
    with pytest.raises(DataError, match=r"nothing\.pt: no such file$"):
        read_tensors(tmp_path / "nothing.pt")


# Files that claim more than they hold.


def huge_header(path):
    path.write_bytes(struct.pack("<Q", 2**60) + b'{"w":{}}')


def huge_tensor(path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**58], "data_offsets": [0, 2**60]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))


def huge_dataset(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        # No byte of it is ever written.
        file.create_dataset("lstm/kernel", (2**40, 2**18), np.float32)


def huge_chunked_dataset(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("lstm/kernel", (2**40,), np.float32, chunks=(1024,), compression="gzip")
        dataset[:1024] = 1.0


def set_member_sizes(path, name, size):
    """Write a wrong size of a member into the central directory of a zip archive."""
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(name.encode()))
    content[entry + 24 : entry + 28] = struct.pack("<I", size)
    path.write_bytes(content)


def huge_member(path):
    zip_of(path, {"config.json": "{}", "metadata.json": "{}", "model.weights.h5": "short"})
    set_member_sizes(path, "model.weights.h5", 2**32 - 2)


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(2):
            archive.writestr(f"{index}/data.pkl", b"0")
    set_member_sizes(path, "1/data.pkl", 2**31)


def huge_view(path):
    torch = pytest.importorskip("torch")
    torch.save({"weight_hh_l0": torch.zeros(1).expand(2**40, 4)}, path)


CLAIMS = {
    "safetensors header": (huge_header, r"the header: at most 8 bytes expected, .* found 1,152,921,504,606,846,976"),
    "safetensors tensor": (huge_tensor, "a safetensors file expected: .*"),
    "hdf5 dataset": (huge_dataset, "lstm/kernel: at most 0 bytes expected, .* found 1,152,921,504,606,846,976"),
    "hdf5 chunks": (huge_chunked_dataset, "lstm/kernel: at most 268,435,456 bytes expected, .* found .*"),
    "zip member": (huge_member, r"model\.weights\.h5: at most 5 bytes expected, .* found 4,294,967,294"),
    "zip bomb": (zip_bomb, "1/data.pkl: at most 268,435,456 bytes expected, .* found 2,147,483,648"),
    "torch view": (huge_view, "weight_hh_l0: at most 4 bytes expected, .* found 17,592,186,044,416"),
}


@pytest.mark.parametrize(("write", "message"), CLAIMS.values(), ids=CLAIMS)
def test_a_file_that_claims_more_than_it_holds_is_refused(write, message, tmp_path) -> None:
    path = tmp_path / "weights"
    write(path)
    with pytest.raises(DataError, match=rf"^{path}: ([^\n]*: )?{message}$"):
        read_tensors(path)


def test_an_array_in_another_file_is_refused(tmp_path) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "other").write_bytes(bytes(64))
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("lstm/kernel", (4, 4), np.float32, external=[(str(tmp_path / "other"), 0, 64)])
    with pytest.raises(DataError, match="lstm/kernel: an array inside of the file expected, found one in another"):
        read_tensors(tmp_path / "w.h5")


def test_code_in_a_pytorch_file_is_not_run(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.LSTM(3, 4), tmp_path / "module.pt")
    with pytest.raises(DataError, match=r"module\.pt: a state dict, as torch\.save[^\n]* expected: [^\n]+$"):
        read_tensors(tmp_path / "module.pt")


def test_several_state_dicts_are_not_guessed_among(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    state = torch.nn.LSTM(3, 4).state_dict()
    torch.save({"model": state, "ema": state, "step": 3}, tmp_path / "t.pt")
    with pytest.raises(DataError, match=r"one dictionary of tensors expected, found 2: model, ema$"):
        read_tensors(tmp_path / "t.pt")


@pytest.mark.parametrize("cut", [4, 100, -30])
@pytest.mark.parametrize("name", ["torch.pt", "model.h5", "flax.msgpack"])
def test_a_damaged_file_is_one_line(name, cut, tmp_path) -> None:
    path = tmp_path / name
    if name == "torch.pt":
        torch = pytest.importorskip("torch")
        torch.save({"weight_hh_l0": torch.zeros(16, 4)}, path)
    elif name == "model.h5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            file["lstm/kernel"] = np.zeros((4, 16))
    else:
        from flax import serialization

        path.write_bytes(serialization.to_bytes({"cell": {"kernel": np.zeros((4, 16))}}))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=rf"^{path}: [^\n]+$"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("package", "content", "command"),
    [
        ("safetensors", struct.pack("<Q", 2) + b"{}", r"pip install -e '\.\[export\]'"),
        ("h5py", b"\x89HDF\r\n\x1a\n", r"pip install -e '\.\[export\]'"),
        ("torch", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "pip install torch"),
        ("tensorflow", b"\x00", "pip install tensorflow"),
    ],
)
def test_a_missing_package_is_one_line(package, content, command, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / ("model.ckpt.index" if package == "tensorflow" else "model")
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"needs the package {package}, which is not installed: {command}$"):
        read_tensors(path)


def test_a_file_to_write_without_safetensors_is_one_line(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.delitem(sys.modules, "safetensors.numpy", raising=False)
    with pytest.raises(ConfigError, match="needs the package safetensors, which is not installed: pip install"):
        write_tensors(tmp_path / "t.safetensors", {"w": np.zeros(3)})


def test_a_checkpoints_file_is_told_by_its_index_and_no_other_file_is(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    (tmp_path / "model.index").write_bytes(b"\x00")
    data = tmp_path / "model.data-00000-of-00001"
    # The bytes could be those of a safetensors file.
    data.write_bytes(struct.pack("<Q", 2) + b"{}")
    for path in (data, tmp_path / "model", tmp_path):
        with pytest.raises(ConfigError, match=f"^{path}: a TensorFlow checkpoint needs the package tensorflow"):
            read_tensors(path)
    with pytest.raises(DataError, match="found a zip archive of another kind"):
        read_tensors(zip_of(tmp_path / "model.keras", {"a": b""}))


def test_arrays_come_in_the_order_of_their_numbers_from_every_format(tmp_path) -> None:
    from flax import serialization

    tree = {f"layer_{number}": {"w": np.full(2, float(number))} for number in (10, 9, 1)}
    (tmp_path / "f").write_bytes(serialization.to_bytes(tree))
    found = read_tensors(tmp_path / "f")
    assert list(found) == ["layer_1/w", "layer_9/w", "layer_10/w"]
    np.testing.assert_array_equal(found["layer_10/w"], np.full(2, 10.0))


# What a Keras configuration tells.


def legacy_file(path, layers, version="3.8.0", class_name="Sequential"):
    """Write a model's `.h5` file as Keras does. A layer is its class, its name and its arguments."""
    h5py = pytest.importorskip("h5py")
    generator = np.random.default_rng(0)
    entries = []
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name for _, name, _ in layers]
        group.attrs["keras_version"] = version
        width = 3
        for kind, name, options in layers:
            entries.append({"class_name": kind, "config": {"name": name, **options}})
            gates = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}.get(kind)
            layer = group.create_group(name)
            layer.attrs["weight_names"] = []
            if gates is None:
                continue
            shapes = {"kernel:0": (width, gates * 4), "recurrent_kernel:0": (4, gates * 4), "bias:0": (gates * 4,)}
            layer.attrs["weight_names"] = [f"{name}/{field}" for field in shapes]
            for field, shape in shapes.items():
                layer[f"{name}/{field}"] = generator.standard_normal(shape)
            width = 4
        file.attrs["model_config"] = json.dumps({"class_name": class_name, "config": {"layers": entries}})
    return path


SIGMOID = {"activation": "tanh", "recurrent_activation": "sigmoid"}


def test_a_configuration_tells_the_activations_and_the_order(tmp_path) -> None:
    options = {"activation": "relu", "recurrent_activation": "hard_sigmoid"}
    path = legacy_file(tmp_path / "m.h5", [("LSTM", "second", options), ("Dropout", "d", {}), ("LSTM", "a", options)])
    converted = convert_file(path, "keras")
    first, _ = converted.layer.cells
    assert (first.candidate_activation, first.gate_activation) == ("relu", "hard_sigmoid")
    assert converted.told == ["activation=relu", "recurrent_activation=hard_sigmoid"]
    assert converted.assumed == []
    assert next(iter(read_tensors(path))) == "second/kernel:0"


@pytest.mark.parametrize("use_bias", [True, False])
def test_only_what_no_tensor_tells_is_assumed(use_bias, tmp_path) -> None:
    tensors = {"kernel": np.zeros((3, 12)), "recurrent_kernel": np.zeros((4, 12))}
    if use_bias:
        tensors["bias"] = np.zeros((2, 12))
    write_tensors(tmp_path / "gru.safetensors", tensors)
    assert ("reset_after=True" in convert_file(tmp_path / "gru.safetensors", "keras").assumed) is not use_bias


def test_the_hard_sigmoid_of_keras_2_is_told_from_that_of_keras_3(tmp_path) -> None:
    options = {"activation": "tanh", "recurrent_activation": "hard_sigmoid"}
    path = legacy_file(tmp_path / "m.h5", [("LSTM", "lstm", options)], version="2.1.6")
    assert convert_file(path, "keras").layer.gate_activation == "hard_sigmoid_keras2"


def test_the_gru_of_keras_2_resets_before_the_product(tmp_path) -> None:
    path = legacy_file(tmp_path / "m.h5", [("GRU", "gru", SIGMOID)], version="2.1.6")
    assert convert_file(path, "keras").layer.reset_after is False


def test_a_layer_that_goes_backwards_is_told(tmp_path) -> None:
    path = legacy_file(tmp_path / "m.h5", [("LSTM", "lstm", SIGMOID | {"go_backwards": True})])
    assert convert_file(path, "keras").notes == [
        "lstm: go_backwards=True in the file; run the layer with reverse=True"
    ]


@pytest.mark.parametrize(
    ("layers", "class_name", "message"),
    [
        (
            [("LSTM", "a", SIGMOID), ("Activation", "relu", {}), ("LSTM", "b", SIGMOID)],
            "Sequential",
            "b: the outputs of a recurrent layer as inputs expected, found those of relu; --option=layers=… picks",
        ),
        (
            [("LSTM", "a", SIGMOID), ("LSTM", "b", SIGMOID)],
            "Functional",
            "layers: the names of a stack's layers, lowest first, expected, .*: a, b$",
        ),
        (
            [("LSTM", "a", SIGMOID), ("LSTM", "b", SIGMOID | {"activation": "relu"})],
            "Sequential",
            "activation: one value for all layers expected, found tanh in a and relu in b; ",
        ),
    ],
    ids=["a layer between", "a graph", "two activations"],
)
def test_what_a_configuration_makes_doubtful_is_refused(layers, class_name, message, tmp_path) -> None:
    path = legacy_file(tmp_path / "m.h5", layers, class_name=class_name)
    with pytest.raises(DataError, match=f"^{path}: {message}"):
        convert_file(path, "keras")
    picked = convert_file(path, "keras", options={"layers": ("b",)})
    assert picked.layer.features == 4


def test_an_option_of_the_caller_precedes_that_of_the_file(tmp_path) -> None:
    path = legacy_file(tmp_path / "m.h5", [("LSTM", "lstm", SIGMOID)])
    converted = convert_file(path, "keras", options={"activation": "relu"})
    assert converted.layer.candidate_activation == "relu"
    assert converted.told == ["recurrent_activation=sigmoid"]


@pytest.mark.parametrize("config", ["[1]", '{"config": {"layers": [{"class_name": "LSTM", "config": {}}]}}'])
def test_a_configuration_of_no_keras_model_is_refused(tmp_path, config) -> None:
    h5py = pytest.importorskip("h5py")
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["layers/lstm/cell/vars/0"] = np.zeros((3, 16))
    members = {"config.json": config, "metadata.json": "{}", "model.weights.h5": weights.getvalue()}
    path = zip_of(tmp_path / "m.keras", members)
    with pytest.raises(DataError, match=f"^{path}: the configuration of a Keras model expected: "):
        read_tensors(path)


def test_layers_have_the_names_that_keras_makes_of_their_classes(tmp_path) -> None:
    classes = ("LSTM", "SimpleRNN", "Conv1D", "ConvLSTM2D", "BatchNormalization", "LSTM", "GRU", "LSTM")
    config = {"class_name": "Sequential", "config": [{"class_name": name, "config": {}} for name in classes]}
    found = [layer.saved_name for layer in read_model_config(tmp_path, config, "3.8.0")]
    expected = "lstm simple_rnn conv1d conv_lstm2d batch_normalization lstm_1 gru lstm_2"
    assert found == expected.split()


def keras_archive(path, class_names, weights):
    """Write a `.keras` file of these layers, with arrays by their names in HDF5."""
    h5py = pytest.importorskip("h5py")
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, value in weights.items():
            file[name] = value
    layers = [{"class_name": kind, "config": SIGMOID | {"name": f"my_{n}"}} for n, kind in enumerate(class_names)]
    config = json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
    members = {"config.json": config, "metadata.json": "{}", "model.weights.h5": content.getvalue()}
    return zip_of(path, members)


def test_an_array_that_the_configuration_does_not_name_is_kept(tmp_path) -> None:
    cell = {"0": np.zeros((3, 16)), "1": np.zeros((4, 16)), "2": np.zeros(16)}
    weights = {f"layers/{layer}/cell/vars/{n}": value for layer in ("lstm", "other") for n, value in cell.items()}
    path = keras_archive(tmp_path / "m.keras", ["LSTM"], weights)
    assert {name.rpartition("/vars")[0] for name in read_tensors(path)} == {"my_0/cell", "layers/other/cell"}
    with pytest.raises(DataError, match="do not tell their order: my_0, layers/other"):
        convert_file(path, "keras")


def test_tensorflow_checkpoints_are_read_by_prefix_file_or_folder(tmp_path) -> None:
    tensorflow = pytest.importorskip("tensorflow", reason="tensorflow is missing: pip install tensorflow")
    value = np.arange(12, dtype=np.float32).reshape(3, 4)
    raw = importlib.import_module("tensorflow").raw_ops
    raw.SaveV2(
        prefix=str(tmp_path / "model.ckpt"),
        tensor_names=["lstm/kernel"],
        shape_and_slices=[""],
        tensors=[tensorflow.constant(value)],
    )
    for name in ("model.ckpt", "model.ckpt.index", "model.ckpt.data-00000-of-00001", ""):
        found = read_tensors(tmp_path / name)
        np.testing.assert_array_equal(found["lstm/kernel"], value)
