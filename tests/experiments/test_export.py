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
from requirements import requires

import nlstm_jax
from nlstm_jax.errors import ConfigError
from nlstm_jax.models.export import export_model

DOCUMENTED = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", DOCUMENTED, re.DOTALL)

ALONE = """
import sys
sys.modules["nlstm_jax"] = None
"""
"""Code after which this package cannot be imported."""

USE = """
import json
from pathlib import Path
import numpy as np
from jax import export

folder = Path(sys.argv[1])
model = json.loads((folder / "model.json").read_text("utf-8"))
sequence, step = (
    export.deserialize(bytearray((folder / f"{name}.stablehlo").read_bytes())) for name in ("sequence", "step")
)
given = np.load(folder / "given.npz")
inputs, lengths = given["inputs"], given["lengths"]
batch = len(lengths)
initial = tuple(np.full((batch, *leaf["shape"]), leaf["initial"], np.float32) for leaf in model["carry"])

carry, outputs = sequence.call(inputs, lengths, initial)
results = {"outputs": outputs} | {leaf["name"]: value for leaf, value in zip(model["carry"], carry)}

# In two calls, and in one call a step.
full = np.full_like(lengths, len(inputs))
whole_carry, whole = sequence.call(inputs, full, initial)
middle, first = sequence.call(inputs[:3], np.full_like(lengths, 3), initial)
end, second = sequence.call(inputs[3:], full - 3, middle)
carry, by_step = initial, []
for x in inputs:
    carry, y = step.call(x, carry)
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

TRAINED = {
    "lstm": "poems:cell=lstm,smoke",
    "two layers": "ptb:cell=lstm,layers=2,smoke",
    "gru": "poems:cell=gru,smoke",
    "nlstm": "poems:cell=nlstm,depth=2,smoke",
    "sales": "sales:cell=nlstm,depth=2,smoke",
    "classes": "classify:cell=peephole,variant=cue,smoke",
}


def run_alone(code: str, *arguments: object, folder: Path) -> str:
    """Run code in a process of its own that cannot import this package."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ALONE + code, *map(str, arguments)]
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 200}
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(run_scripts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of short runs, each with its exported files in `export`."""
    requires("flatbuffers")
    folder = tmp_path_factory.mktemp("trained")
    for name, config in TRAINED.items():
        workdir = f"--workdir={folder / name}"
        options = ["--config.train.epochs=1.0", "--config.eval.every_epochs=1.0"]
        ended = run_scripts({"train": ["train", f"--config={config}", workdir, *options]})["train"]
        assert ended.code == 0, ended.err
        ended = run_scripts({"export": ["export", workdir]})["export"]
        assert (ended.code, ended.err) == (0, "")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_an_exported_model_equals_ours_on_ragged_batches_and_from_call_to_call(trained: Path, name: str) -> None:
    run = nlstm_jax.load_run(trained / name)
    random = np.random.default_rng(0)
    lengths = np.array([7, 1, 4, 6], np.int32)
    if name == "sales":
        inputs = random.standard_normal((7, 4, 1)).astype(np.float32)
        outputs = np.concatenate(
            [run.model(jnp.asarray(inputs[:length, [row]])) for row, length in enumerate(lengths)]
        )
        carry = None
    else:
        inputs = random.integers(0, len(run.task.symbols), (7, 4)).astype(np.int32)
        if name == "classes":
            carry, outputs = run.model(jnp.asarray(inputs), jnp.asarray(lengths))
        else:
            carry, outputs = run.model(jnp.asarray(inputs), lengths=jnp.asarray(lengths))

    folder = trained / name / "export"
    np.savez(folder / "given.npz", inputs=inputs, lengths=lengths)
    run_alone(USE, folder, folder=trained)
    results = np.load(folder / "results.npz")
    valid = np.ones_like(outputs, bool)
    if outputs.ndim == 3:
        valid &= (np.arange(7)[:, None] < lengths)[..., None]
    np.testing.assert_allclose(results["outputs"][valid], np.asarray(outputs)[valid], atol=1e-5)
    for leaf, value in nlstm_jax.cells.base.leaves_with_names(carry):
        np.testing.assert_allclose(results[leaf], value, atol=1e-5)

    description = json.loads((folder / "model.json").read_text("utf-8"))
    assert description["model"] == type(run.model).__name__
    assert description["parameters"] == {key: list(value.shape) for key, value in run.params.items()}


@pytest.mark.slow
def test_the_documented_programs_run_alone(trained: Path, run_scripts, tmp_path: Path) -> None:
    assert len(BLOCKS) == 2
    assert len(BLOCKS[0].splitlines()) <= 20
    assert len(BLOCKS[1].splitlines()) <= 42
    (tmp_path / "exported").symlink_to(trained / "lstm" / "export")
    assert len(run_alone(BLOCKS[0], folder=tmp_path).split()) > 20

    requires("safetensors")
    out = tmp_path / "weights"
    command = ["export", f"--workdir={trained / 'lstm'}", "--format=safetensors", f"--out={out}"]
    assert run_scripts({"export": command})["export"].code == 0
    run = nlstm_jax.load_run(trained / "lstm")
    numbers = [1, 5, 9, 2]
    _, expected = run.model(jnp.asarray(numbers)[:, None])
    loop = f"""
c = h = np.zeros_like(c)
logits = []
for number in {numbers}:
    c, h, y = step(params, [number], c, h)
    logits.append(y)
np.save("logits.npy", logits)
assert "jax" not in sys.modules
"""
    run_alone(BLOCKS[1] + loop, folder=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-5)


@pytest.mark.slow
def test_a_model_without_a_single_step_is_refused_by_name(trained_runs) -> None:
    (echo,) = trained_runs("echo")
    with pytest.raises(ConfigError, match=r"^export: .* expected, found Seq2Seq, which has no function of a single"):
        export_model(nlstm_jax.load_run(echo).model)
