import json
import pickle

import jax
import numpy as np
import pytest
import references

from configs import poems
from nlstm_jax import models
from nlstm_jax.adapters.weights import from_keras, load, read_tensors, save, to_keras, to_torch, write_tensors
from nlstm_jax.cells import GRU, LSTM, Bidirectional, Elman, Stack, VariationalDropout, nested_lstm
from nlstm_jax.errors import DataError
from nlstm_jax.training import load_run

# One fixture runs 37 scripts.
pytestmark = pytest.mark.timeout(600)
KEY = jax.random.key(0)
ADDITIVE = ["--config=configs/poems.py:cell=nlstm,smoke", "--config.cell.gating=add"]
# One step, so short that no weight but a bias of exactly zero can move.
STANDING = ["--config.train.steps=1", "--config.eval.every_steps=1", "--config.optimizer.learning_rate=1e-30"]


def torch_tensors():
    """Return the PyTorch state dict of a model with a two-layer LSTM; both biases are random."""
    layer, generator = Stack((LSTM(4), LSTM(4))), np.random.default_rng(0)
    zeros = to_torch(layer, layer.init(KEY, 3), "encoder.rnn.")
    return {name: generator.standard_normal(value.shape).astype(np.float32) for name, value in zeros.items()}


MODEL = Stack((LSTM(4), Bidirectional(GRU(2), GRU(2), "sum")))
KERAS, TORCH, TENSORFLOW = ["--from=keras"], ["--from=torch"], ["--from=tensorflow1"]
LAYERS = "--option=layers=lstm,bidirectional"


def model_tensors():
    """Return the weights of a Keras model with a dense layer, whose layer names do not tell the order."""
    tensors = to_keras(MODEL, MODEL.init(KEY, 3))
    names = {"layer_0/": "net/lstm/lstm_cell/", "layer_1/": "net/bidirectional/"}
    renamed = {names[name[:8]] + name[8:]: value for name, value in tensors.items()}
    return renamed | {"net/dense/kernel": np.ones((2, 1)), "net/dense/bias": np.ones(1)}


@pytest.fixture(scope="module")
def converted(run_scripts, tmp_path_factory):
    """Return the folder, and the result of every script, run one after the other."""
    folder = tmp_path_factory.mktemp("converted")
    write_tensors(folder / "torch.safetensors", torch_tensors())
    write_tensors(folder / "left.safetensors", torch_tensors() | {"encoder.head.weight": np.zeros((2, 2))})
    elman = Elman(4, activation="relu")
    write_tensors(folder / "rnn.safetensors", to_torch(elman, elman.init(KEY, 3)))
    write_tensors(folder / "model.safetensors", model_tensors())
    save(folder / "gru.safetensors", GRU(16), GRU(16).init(KEY, 16))
    narrow = nested_lstm(16, 2, "add")
    save(folder / "narrow.safetensors", narrow, narrow.init(KEY, 15))
    whole = (folder / "gru.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[:-1])
    (folder / "torch.pt").write_bytes(pickle.dumps(torch_tensors()))
    (folder / "there.safetensors").write_bytes(b"mine")
    (folder / "replaced.safetensors").write_bytes(b"mine")

    def convert(given, output, *others):
        return ["convert", f"--input={folder / given}", f"--output={folder / output}", *others]

    def train(workdir, *others):
        return ["train", *ADDITIVE, f"--workdir={folder / workdir}", *others]

    def weights(name):
        return f"--config.cell.weights={folder / name}"

    prefix, relu = "--prefix=encoder.rnn.", "--option=nonlinearity=relu"
    ended = run_scripts(
        {
            "from torch": convert("torch.safetensors", "ours.safetensors", *TORCH, prefix),
            "to ours": convert("ours.safetensors", "same.safetensors"),
            "to torch": convert("ours.safetensors", "back.safetensors", "--to=torch"),
            "to torch again": convert("back.safetensors", "again.safetensors", *TORCH, "--to=torch"),
            "overwrite": convert("ours.safetensors", "replaced.safetensors", "--to=keras", "--overwrite"),
            "run": train("run", "--config.train.epochs=1"),
            "run to keras": convert("run", "keras.safetensors", "--to=keras"),
            "keras to ours": convert("keras.safetensors", "from_keras.safetensors", *KERAS),
            "started": train("started", weights("from_keras.safetensors"), *STANDING),
            "relu": convert("rnn.safetensors", "relu.safetensors", *TORCH, relu),
            "tanh": convert("rnn.safetensors", "tanh.safetensors", *TORCH),
            "named": convert("model.safetensors", "named.safetensors", *KERAS, LAYERS, "--option=merge_mode=sum"),
            "to nnx": convert("relu.safetensors", "never.safetensors", "--to=flax", "--option=style=nnx"),
            "another cell": train("nothing", weights("gru.safetensors")),
            "there": convert("ours.safetensors", "there.safetensors"),
            "no input": convert("nowhere.safetensors", "never.safetensors"),
            "no run": convert(".", "never.safetensors"),
            "pickled": convert("torch.pt", "never.safetensors", *TORCH),
            "cut": convert("cut.safetensors", "never.safetensors"),
            "left over": convert("left.safetensors", "never.safetensors", *TORCH, "--prefix=encoder."),
            "wrong prefix": convert("torch.safetensors", "never.safetensors", *TORCH, "--prefix=decoder."),
            "not ours": convert("torch.safetensors", "never.safetensors"),
            "unordered": convert("model.safetensors", "never.safetensors", *KERAS),
            "no such layer": convert("model.safetensors", "never.safetensors", *KERAS, "--option=layers=lstm_1"),
            "no option": convert("rnn.safetensors", "never.safetensors", *TORCH, "--option=activation=relu"),
            "an option of ours": convert("relu.safetensors", "never.safetensors", "--option=activation=relu"),
            "twice": convert("model.safetensors", "never.safetensors", *KERAS, "--option=layers=lstm,lstm"),
            "relu of an lstm": convert("torch.safetensors", "never.safetensors", *TORCH, prefix, relu),
            "no such value": convert("rnn.safetensors", "never.safetensors", *TORCH, "--option=nonlinearity=rleu"),
            "no number": convert("rnn.safetensors", "never.safetensors", *TENSORFLOW, "--option=forget_bias=x"),
            "not in torch": convert("narrow.safetensors", "never.safetensors", "--to=torch"),
            "a run of torch": convert("run", "never.safetensors", *TORCH),
            "a name of torch": convert("ours.safetensors", "never.pt"),
            "no folder": convert("ours.safetensors", "nowhere/never.safetensors"),
            "unknown framework": convert("ours.safetensors", "never.safetensors", "--to=mxnet"),
            "positional": convert("ours.safetensors", "never.safetensors", "more"),
            "no output": ["convert", f"--input={folder / 'ours.safetensors'}"],
        }
    )
    return folder, ended


@pytest.mark.slow
def test_what_weights_do_not_tell_is_told_by_options_or_said_to_be_taken_for_granted(converted):
    folder, ended = converted
    assumed = "taken to have, as weights do not tell (--option=… says otherwise): "
    assert load(folder / "relu.safetensors")[0] == Elman(4, activation="relu")
    assert "taken to have" not in ended["relu"].out
    assert load(folder / "tanh.safetensors")[0] == Elman(4)
    assert f"{assumed}activation=tanh\n" in ended["tanh"].out
    told = "candidate_activation=tanh, output_activation=tanh, gate_activation=sigmoid"
    assert f"{assumed}{told}\n" in ended["named"].out
    # An LSTM of PyTorch has no option.
    assert "taken to have" not in ended["from torch"].out + ended["to ours"].out


def test_layers_of_a_keras_file_come_in_the_order_that_is_told(converted):
    folder, _ = converted
    layer, params = load(folder / "named.safetensors")
    assert layer == MODEL
    references.assert_trees_close(params, MODEL.init(KEY, 3), 0.0)


def in_run(folder):
    recurrent = load_run(folder).model.cell
    return recurrent.cell, recurrent.values


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("to ours", "Stack(cells=(LSTM(features=4), LSTM(features=4)))\n272 parameters for nlstm_jax in {}\n"),
        ("to torch", "Stack(cells=(LSTM(features=4), LSTM(features=4)))\n272 parameters for torch in {}\n"),
    ],
)
def test_the_layer_and_the_number_of_its_parameters_are_said(converted, name, said):
    folder, ended = converted
    output = {"to ours": "same.safetensors", "to torch": "back.safetensors"}[name]
    assert ended[name] == (0, said.format(folder / output), "")


def test_torch_to_ours_to_torch_keeps_the_weights_and_the_sum_of_the_biases(converted):
    folder, ended = converted
    tensors, back = torch_tensors(), read_tensors(folder / "back.safetensors")
    assert (ended["from torch"].code, ended["to torch"].code) == (0, 0)
    assert {f"encoder.rnn.{name}" for name in back} == set(tensors)
    for name, value in back.items():
        expected = tensors[f"encoder.rnn.{name}"]
        if "bias_ih" in name:
            expected = expected + tensors[f"encoder.rnn.{name.replace('_ih', '_hh')}"]
        np.testing.assert_array_equal(value, np.zeros_like(value) if "bias_hh" in name else expected, err_msg=name)
    again = read_tensors(folder / "again.safetensors")
    references.assert_trees_close(again, back, 0.0)


def test_a_runs_best_checkpoint_goes_to_keras_and_to_ours_to_the_bit(converted):
    folder, ended = converted
    assert [ended[name].err for name in ("run", "run to keras", "keras to ours")] == [""] * 3
    cell, params = in_run(folder / "run")
    assert cell == nested_lstm(16, 2, "add")
    tensors = read_tensors(folder / "keras.safetensors")
    references.assert_trees_close(tensors, to_keras(cell, params), 0.0)
    references.assert_trees_close(from_keras(tensors)[1], params, 0.0)
    ours = load(folder / "from_keras.safetensors")
    assert ours[0] == cell
    references.assert_trees_close(ours[1], params, 0.0)


def test_training_starts_from_converted_weights(converted):
    folder, ended = converted
    assert (ended["started"].code, ended["started"].err) == (0, "")
    expected, found = in_run(folder / "run")[1], in_run(folder / "started")[1]
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-25)


def test_weights_of_something_else_start_no_run(converted, refused):
    folder, ended = converted
    cell = "Nested(features=16, inner=LSTM(features=16, gating='add'), gating='add')"
    refused(
        ended["another cell"],
        3,
        f"config.cell.weights: {folder / 'gru.safetensors'}: {cell} expected, found GRU(features=16)",
    )
    assert not (folder / "nothing").exists()


def test_an_output_that_is_there_is_replaced_only_when_asked(converted, refused):
    folder, ended = converted
    path = folder / "there.safetensors"
    refused(ended["there"], 2, f"--output: {path} is there already; --overwrite replaces it")
    assert path.read_bytes() == b"mine"
    assert (ended["overwrite"].code, ended["overwrite"].err) == (0, "")
    assert set(read_tensors(folder / "replaced.safetensors")) == {
        f"layer_{index}/{name}" for index in range(2) for name in ("kernel", "recurrent_kernel", "bias")
    }


# The exit code, and what the one line begins with.
MISTAKES = {
    "no input": (3, "{}/nowhere.safetensors: no such file"),
    "no run": (3, "{}: a run folder (one with a config.json) expected, none found"),
    "pickled": (3, "{}/torch.pt: safetensors, .keras, .h5, a PyTorch state dict, a TensorFlow checkpoint, "),
    "cut": (3, "{}/cut.safetensors: a safetensors file expected: "),
    "left over": (3, "from_torch: encoder."),
    "wrong prefix": (3, "from_torch: tensors whose names begin with 'decoder.' expected, found encoder.rnn."),
    "not ours": (3, "{}/torch.safetensors: a file with a layer's specification expected, found none"),
    "unordered": (
        3,
        "from_keras: layers: the names of a stack's layers, lowest first, expected, as these do not tell",
    ),
    "no such layer": (3, "from_keras: layers: the name of one layer of net/"),
    "no option": (2, "--option: nonlinearity=… expected, found 'activation=relu'"),
    "an option of ours": (2, "--option: none with these --from and --to expected, found 'activation=relu'"),
    "twice": (3, "from_keras: layers: every layer once expected, found lstm, lstm"),
    "relu of an lstm": (
        3,
        "from_torch: nonlinearity: none expected, as there is nothing here that it could tell of; found 'relu'",
    ),
    "no such value": (2, "Elman: activation: one of "),
    "no number": (2, "--option: forget_bias: a number expected, found 'x'"),
    "to nnx": (2, "to_flax: Elman: activation='tanh' expected, found 'relu'"),
    "not in torch": (2, "to_torch: an LSTM, GRU or Elman expected, found Nested"),
    "a run of torch": (2, "--from: no framework expected with a run folder, found torch"),
    "a name of torch": (2, "{}/never.pt: a name that ends in .safetensors, in a folder that is there, expected"),
    "no folder": (2, "{}/nowhere/never.safetensors: a name that ends in .safetensors, in a folder that is there, "),
    "unknown framework": (2, "flag --to=mxnet: value should be one of <nlstm_jax|torch|keras|flax>"),
    "positional": (2, "flags only expected, found 'more'"),
    "no output": (2, "flag --output"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(converted, name):
    folder, ended = converted
    code, begin = MISTAKES[name]
    assert (ended[name].code, ended[name].err.count("\n"), ended[name].out) == (code, 1, "")
    assert ended[name].err.startswith(begin.format(folder))
    assert not [path.name for path in folder.iterdir() if "never" in path.name or "unfinished" in path.name]


def test_no_script_ends_in_a_traceback(converted):
    assert [name for name, end in converted[1].items() if "Traceback" in end.out + end.err] == []


def model_of(argument, **options):
    config = json.loads(poems.get_config(argument).to_json())
    config["cell"] |= options
    return models.build(config, {"vocabulary": 11})


def test_what_only_initial_values_noise_or_precision_depend_on_may_differ(tmp_path):
    layer = nested_lstm(16, 2, forget_bias=0.0, init_scheme="uniform(0.1)")
    params = layer.init(KEY, 16)
    save(tmp_path / "cell.safetensors", VariationalDropout(layer, inputs=0.5), params)
    model = model_of("cell=nlstm,smoke", zoneout=(0.1,), recurrent_dropout=(0.2, 0.3), dtype="bfloat16")
    models.load_cell(model, tmp_path / "cell.safetensors")
    references.assert_trees_close(model.cell.values, params, 0.0)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("narrow", r"^config\.cell\.weights: .*narrow\.safetensors: the shapes .* expected, found "),
        ("keras", r"keras\.safetensors: a file with a layer's specification expected, found none"),
        ("nowhere", r"nowhere\.safetensors: no such file"),
    ],
)
def test_a_file_that_is_none_of_this_cell_is_told(name, told, tmp_path):
    layer = nested_lstm(16, 2)
    save(tmp_path / "narrow.safetensors", layer, layer.init(KEY, 15))
    write_tensors(tmp_path / "keras.safetensors", {"lstm/kernel": np.zeros((3, 4))})
    with pytest.raises(DataError, match=told) as error:
        models.load_cell(model_of("cell=nlstm,smoke"), tmp_path / f"{name}.safetensors")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "layer",
    [
        nested_lstm(16, 2, "add"),
        nested_lstm(16, 3),
        nested_lstm(15, 2),
        nested_lstm(16, 2, use_bias=False),
        Stack((nested_lstm(16, 2),)),
        LSTM(16),
        Elman(16),
    ],
)
def test_what_computes_something_else_may_not_and_changes_nothing(layer, tmp_path):
    save(tmp_path / "cell.safetensors", layer, layer.init(KEY, 16))
    model = model_of("cell=nlstm,smoke")
    before = model.cell.values
    with pytest.raises(DataError, match=r"config\.cell\.weights: .*cell\.safetensors: Nested\(.* expected, found "):
        models.load_cell(model, tmp_path / "cell.safetensors")
    references.assert_trees_close(model.cell.values, before, 0.0)
