"""Exported models equal ours in processes that cannot import this package."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from requirements import requires

import nlstm_jax
from nlstm_jax.cells.base import leaves_with_names
from nlstm_jax.errors import ConfigError
from nlstm_jax.models.export import export_model
from nlstm_jax.models.interface import describe_interface

DOCUMENTED = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", DOCUMENTED, re.DOTALL)

ALONE = """
import sys
for package in ("nlstm_jax", "experiments", "flax", "orbax", {}):
    sys.modules[package] = None
"""
"""Code after which neither this package nor one that a format does not need can be imported."""

FOLDER = """
import json
from pathlib import Path
import numpy as np

folder = Path(sys.argv[1])
model = json.loads((folder / "model.json").read_text("utf-8"))
"""

STABLEHLO = """
from jax import export


def load(name):
    call = export.deserialize(bytearray((folder / f"{name}.stablehlo").read_bytes())).call
    return lambda *arguments: call(*arguments[:-1], tuple(arguments[-1]))


def encode(inputs):
    return export.deserialize(bytearray((folder / "encoder.stablehlo").read_bytes())).call(inputs)
"""

ONNX = """
import onnxruntime


def load(name):
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def call(*arguments):
        *arrays, carry = arguments
        *carry, outputs = session.run(None, dict(zip(names, (*arrays, *carry), strict=True)))
        return carry, outputs

    return call


def encode(inputs):
    session = onnxruntime.InferenceSession(folder / "encoder.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"inputs": inputs})
"""

SAFETENSORS = """
from safetensors.numpy import load_file

params = load_file(folder / "model.safetensors")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gates(p, x, h, count):
    return np.split(x @ params[p + "w_x"] + h @ params[p + "w_h"] + params[p + "b"], count, axis=-1)


def lstm(p, x, c, h):
    i, f, g, o = gates(p, x, h, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return c, sigmoid(o) * np.tanh(c)


def gru(p, x, h):
    w_n, w_h = (np.split(params[p + name], 3, axis=1)[2] for name in ("w_x", "w_h"))
    r, z, _ = map(sigmoid, gates(p, x, h, 3))
    n = np.tanh(x @ w_n + np.split(params[p + "b"], 3)[2] + r * (h @ w_h + params[p + "b_n"]))
    return ((1 - z) * n + z * h,)


def nlstm(p, x, h, c_inner, h_inner):
    i, f, g, o = gates(p, x, h, 4)
    c_inner, h_inner = lstm(p + "inner/", sigmoid(i) * g, c_inner, sigmoid(f) * h_inner)
    return sigmoid(o) * np.tanh(h_inner), c_inner, h_inner


def run_cell(x, carry):
    if "cell/params/layers/0/w_x" in params:
        below = lstm("cell/params/layers/0/", x, *carry[:2])
        above = lstm("cell/params/layers/1/", below[-1], *carry[2:])
        return [*below, *above], above[-1]
    cell = {"lstm": lstm, "gru": gru, "nlstm": nlstm}[model["config"]["cell"]["name"]]
    carry = cell("cell/params/", x, *carry)
    return carry, carry[0] if model["config"]["cell"]["name"] == "nlstm" else carry[-1]


def step(inputs, carry):
    x = inputs if inputs.ndim == 2 else params["embedding/embedding"][inputs]
    carry, y = run_cell(x, carry)
    head = "softmax" if "softmax/kernel" in params else "head"
    return carry, y @ params[f"{head}/kernel"] + params[f"{head}/bias"]


def load(name):
    return step if name == "step" else sequence


def sequence(inputs, lengths, carry):
    last, outputs = np.zeros(0), []
    for time, x in enumerate(inputs):
        going = (time < lengths)[:, None]
        new, y = step(x, carry)
        carry = [np.where(going, value, old) for value, old in zip(new, carry, strict=True)]
        last = y if time == 0 else np.where(going, y, last)
        outputs.append(y)
    return carry, np.stack(outputs) if inputs.ndim == 2 else last
"""
"""The equations of three cells once more, in NumPy."""

USE = """
sequence, step = load("sequence"), load("step")
given = np.load(folder / "given.npz")
inputs, lengths = given["inputs"], given["lengths"]
batch = len(lengths)
initial = [np.full((batch, *leaf["shape"]), leaf["initial"], np.float32) for leaf in model["carry"]]

carry, outputs = sequence(inputs, lengths, initial)
results = {"outputs": outputs} | {leaf["name"]: value for leaf, value in zip(model["carry"], carry)}

# In two calls, and in one call a step.
full = np.full_like(lengths, len(inputs))
whole_carry, whole = sequence(inputs, full, initial)
middle, first = sequence(inputs[:3], np.full_like(lengths, 3), initial)
end, second = sequence(inputs[3:], full - 3, middle)
carry, by_step = initial, []
for x in inputs:
    carry, y = step(x, carry)
    by_step.append(np.asarray(y))
for leaf, other, third in zip(whole_carry, end, carry):
    np.testing.assert_allclose(other, leaf, atol=1e-5)
    np.testing.assert_allclose(third, leaf, atol=1e-5)
if outputs.ndim == 3:
    np.testing.assert_allclose(np.concatenate([first, second]), whole, atol=1e-5)
    np.testing.assert_allclose(by_step, whole, atol=1e-5)
else:
    np.testing.assert_allclose(second, whole, atol=1e-5)
    np.testing.assert_allclose(by_step[-1], whole, atol=1e-5)
np.savez(folder / "results.npz", **results)
"""

WRITE = """
given = np.load(folder / "given.npz")
step = load("step")
carry = encode(given["inputs"])
previous = np.full(given["inputs"].shape[1], -1, np.int32)
rows = []
for target in given["targets"]:
    carry, logits = step(previous, carry)
    rows.append(logits)
    previous = target
np.savez(folder / "results.npz", outputs=rows)
"""

FORMATS = {
    "stablehlo": (STABLEHLO, ["flatbuffers"], []),
    "onnx": (ONNX, ["onnx", "onnxruntime"], ["jax"]),
    "safetensors": (SAFETENSORS, ["safetensors"], ["jax"]),
}
"""The code that loads each format, the packages that a test of it needs, and those that it does without."""

TRAINED = {
    "lstm": "poems:cell=lstm,smoke",
    "two layers": "ptb:cell=lstm,layers=2,smoke",
    "gru": "poems:cell=gru,smoke",
    "nlstm": "poems:cell=nlstm,depth=2,smoke",
    "sales": "sales:cell=nlstm,depth=2,smoke",
    "sales lstm": "sales:cell=lstm,smoke",
    "classes": "classify:cell=peephole,variant=cue,smoke",
    "echo": "echo:cell=lstm,smoke",
}

SERVED = [
    *[("stablehlo", name) for name in TRAINED],
    *[("onnx", name) for name in TRAINED if "nlstm" not in TRAINED[name]],
    *[("safetensors", name) for name in TRAINED if name not in ("classes", "echo")],
]


def run_alone(code: str, *arguments: object, folder: Path, without: tuple[str, ...] | list[str] = ()) -> str:
    """Run code in a process of its own that cannot import this package."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    alone = ALONE.format(", ".join(map(repr, without)))
    command = [sys.executable, "-c", alone + code, *map(str, arguments)]
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 200}
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(run_scripts, tmp_path_factory: pytest.TempPathFactory):
    """Return a function that returns the folder of a short run, trained at first use."""
    folder = tmp_path_factory.mktemp("trained")

    def train(name: str) -> Path:
        if not (folder / name).exists():
            options = ["--config.train.epochs=1.0", "--config.eval.every_epochs=1.0"]
            command = ["train", f"--config={TRAINED[name]}", f"--workdir={folder / name}", *options]
            ended = run_scripts({"train": command})["train"]
            assert ended.code == 0, ended.err
        return folder / name

    return train


@pytest.fixture(scope="module")
def exported(trained, run_scripts):
    """Return a function that returns the folder of the exported files of a short run."""

    def export(name: str, file_format: str) -> Path:
        for package in FORMATS[file_format][1]:
            requires(package)
        folder = trained(name) / file_format
        if not folder.exists():
            command = ["export", f"--workdir={trained(name)}", f"--format={file_format}", f"--out={folder}"]
            ended = run_scripts({"export": command})["export"]
            assert (ended.code, ended.err) == (0, "")
        return folder

    return export


@pytest.mark.slow
@pytest.mark.parametrize(("file_format", "name"), SERVED)
def test_an_exported_model_equals_ours_on_ragged_batches_and_from_call_to_call(
    trained, exported, file_format: str, name: str
) -> None:
    folder = exported(name, file_format)
    load, _, without = FORMATS[file_format]
    run = nlstm_jax.load_run(trained(name))
    description = json.loads((folder / "model.json").read_text("utf-8"))
    assert description["model"] == type(run.model).__name__
    assert description["parameters"] == {key: list(value.shape) for key, value in run.params.items()}
    if file_format == "safetensors":
        # A program without this package knows the carry from the equations of the cell.
        carry = [leaf._asdict() for leaf in describe_interface(run.model).carry]
        (folder / "model.json").write_text(json.dumps(description | {"carry": carry}), "utf-8")

    random = np.random.default_rng(0)
    if name == "echo":
        inputs, targets = random.integers(0, len(run.task.symbols), (2, 7, 4)).astype(np.int32)
        np.savez(folder / "given.npz", inputs=inputs, targets=targets)
        run_alone(FOLDER + load + WRITE, folder, folder=folder, without=without)
        expected = run.model(jnp.asarray(inputs), jnp.asarray(targets))
        np.testing.assert_allclose(np.load(folder / "results.npz")["outputs"], expected, atol=1e-5)
        return

    lengths = np.array([7, 1, 4, 6], np.int32)
    if name.startswith("sales"):
        inputs = random.standard_normal((7, 4, 1)).astype(np.float32)
        rows = [run.model(jnp.asarray(inputs[:length, [row]])) for row, length in enumerate(lengths)]
        outputs = np.concatenate(rows)
        carry = None
    else:
        inputs = random.integers(0, len(run.task.symbols), (7, 4)).astype(np.int32)
        if name == "classes":
            carry, outputs = run.model(jnp.asarray(inputs), jnp.asarray(lengths))
        else:
            carry, outputs = run.model(jnp.asarray(inputs), lengths=jnp.asarray(lengths))

    np.savez(folder / "given.npz", inputs=inputs, lengths=lengths)
    run_alone(FOLDER + load + USE, folder, folder=folder, without=without)
    results = np.load(folder / "results.npz")
    valid = np.ones_like(outputs, bool)
    if outputs.ndim == 3:
        valid &= (np.arange(7)[:, None] < lengths)[..., None]
    np.testing.assert_allclose(results["outputs"][valid], np.asarray(outputs)[valid], atol=1e-5)
    for leaf, value in leaves_with_names(carry):
        np.testing.assert_allclose(results[leaf], value, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("position", "file_format"), [(0, "stablehlo"), (1, "onnx")])
def test_the_documented_programs_draw_a_poem(exported, tmp_path: Path, position: int, file_format: str) -> None:
    assert len(BLOCKS[position].splitlines()) <= 20
    (tmp_path / file_format).symlink_to(exported("lstm", file_format))
    drawn = run_alone(BLOCKS[position], folder=tmp_path, without=FORMATS[file_format][2])
    assert len(drawn.split()) > 20


@pytest.mark.slow
def test_the_documented_loop_in_numpy_computes_our_logits(trained, exported, tmp_path: Path) -> None:
    assert len(BLOCKS) == 3
    assert len(BLOCKS[2].splitlines()) <= 42
    (tmp_path / "weights").symlink_to(exported("lstm", "safetensors"))
    run = nlstm_jax.load_run(trained("lstm"))
    numbers = [1, 5, 9, 2]
    _, expected = run.model(jnp.asarray(numbers)[:, None])
    loop = f"""
c = h = np.zeros_like(c)
logits = []
for number in {numbers}:
    c, h, y = step(params, [number], c, h)
    logits.append(y)
np.save("logits.npy", logits)
"""
    run_alone(BLOCKS[2] + loop, folder=tmp_path, without=["jax", "safetensors", "onnx"])
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-5)


@pytest.mark.slow
def test_a_cell_that_onnx_lacks_is_refused_in_one_line(trained, run_scripts, refused, tmp_path: Path) -> None:
    requires("onnx")
    command = ["export", f"--workdir={trained('nlstm')}", "--format=onnx", f"--out={tmp_path / 'never'}"]
    message = (
        "--format=onnx: to_onnx: an LSTM, GRU or Elman expected, found Nested; --format=stablehlo and "
        "--format=safetensors serve"
    )
    refused(run_scripts({"export": command})["export"], 2, message)
    assert not (tmp_path / "never").exists()


def test_a_model_of_another_class_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"^export: .* expected, found Embed; --format=safetensors serves$"):
        export_model(nnx.Embed(3, 2, rngs=nnx.Rngs(0)))
