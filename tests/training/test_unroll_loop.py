"""The loop over time that a run uses is recorded, and is the same when the run goes on."""

import json

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from configs import poems
from nlstm_jax import models
from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.cells import LSTM
from nlstm_jax.models import LoopChoice
from nlstm_jax.training import fit, load_run, unroll_loop
from nlstm_jax.training.manifest import MANIFEST
from nlstm_jax.unroll import rules
from nlstm_jax.unroll.native import CompilerError, library

AUTO = {"unroll": {"mode": "auto"}}
NATIVE = LoopChoice("native")


@pytest.fixture
def native(monkeypatch):
    """Have new runs choose the native loop."""
    monkeypatch.delenv(library.SWITCH, raising=False)
    try:
        library.load_library()
    except CompilerError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(models, "fastest_loop", lambda **conditions: NATIVE)


def without_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(library, "_load", library._load.__wrapped__)


def switched_off(monkeypatch, tmp_path):
    monkeypatch.setenv(library.SWITCH, "0")


class Model(nnx.Module):
    def __init__(self, cell):
        self.inner = nnx.List([Recurrent(cell, 3, rngs=jax.random.key(0))])


def modes(model):
    return [layer.mode for layer in models.recurrent_layers(model)]


def write_run(folder, environment, **loops):
    """Write a run folder with a checkpoint for each of these loops, by step."""
    folder.mkdir()
    (folder / "environment.json").write_text(json.dumps({"schema": 1, **environment}), "utf-8")
    for step, loop in loops.items():
        checkpoint = folder / "checkpoints" / step.removeprefix("step")
        checkpoint.mkdir(parents=True)
        unroll_loop.Manifest(int(checkpoint.name), "run", None, 0, {}, {}, loop).write(checkpoint)


def test_the_loop_of_the_newest_checkpoint_counts_then_that_of_the_last_start(tmp_path):
    assert unroll_loop.recorded_loop(tmp_path / "none", AUTO) is None
    write_run(tmp_path / "earlier", {"commit": "0" * 40}, step8=None)
    assert unroll_loop.recorded_loop(tmp_path / "earlier", AUTO) == "fused"
    assert unroll_loop.recorded_loop(tmp_path / "earlier", {"unroll": {"mode": "scan"}}) == "scan"
    write_run(tmp_path / "started", {"loop": "native"})
    assert unroll_loop.recorded_loop(tmp_path / "started", AUTO) == "native"
    write_run(tmp_path / "trained", {"loop": "fused"}, step8="fused", step16="native")
    assert unroll_loop.recorded_loop(tmp_path / "trained", AUTO) == "native"


def test_a_new_run_chooses_by_the_rules_and_an_earlier_one_keeps_its_loop(native):
    model = Model(LSTM(4))
    assert unroll_loop.choose_loop(AUTO, [model], None, one_device=True) == NATIVE
    assert modes(model) == ["native"]
    assert unroll_loop.choose_loop(AUTO, [model], "fused", one_device=True) == LoopChoice("fused")
    assert modes(model) == ["fused"]
    by_name = unroll_loop.choose_loop({"unroll": {"mode": "scan"}}, [model], None, one_device=True)
    assert by_name == LoopChoice("scan")


class ByColumns(LSTM):
    """An LSTM whose carry is sorted: the native loop lacks the operation."""

    def step(self, params, carry, z, noise):
        carry, y = super().step(params, carry, z, noise)
        return carry._replace(c=jnp.sort(carry.c, axis=-1)), y


def test_a_cell_that_the_native_loop_refuses_is_run_by_the_fused_one_without_a_word(native):
    model = Model(ByColumns(4))
    assert unroll_loop.choose_loop(AUTO, [model], None, one_device=True) == LoopChoice("fused")
    assert modes(model) == ["fused"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(switched_off, "switched off by NLSTM_JAX_NATIVE=0"), (without_compiler, "no C++ compiler found")],
)
def test_a_run_whose_loop_is_not_there_any_more_says_so_in_one_line(native, monkeypatch, tmp_path, fault, reason):
    fault(monkeypatch, tmp_path)
    choice = unroll_loop.choose_loop(AUTO, [Model(LSTM(4))], "native", one_device=True)
    (line,) = unroll_loop.explain_loop("native", choice)
    assert choice.name == "fused"
    assert line.startswith("going on with the loop fused, begun with native: last digits can differ (")
    assert reason in line


@pytest.mark.parametrize(
    ("conditions", "change", "loop"),
    [
        ({"one_device": True}, {}, "native"),
        ({"one_device": False}, {}, "fused"),
        ({"one_device": True}, {"_has_avx512": lambda: False}, "fused"),
    ],
    ids=["one device", "several devices", "without AVX-512"],
)
def test_the_rules(monkeypatch, conditions, change, loop):
    monkeypatch.delenv(library.SWITCH, raising=False)
    monkeypatch.setattr(rules.native, "is_compiled", lambda: True)
    monkeypatch.setattr(rules.dispatch, "AUTO", "fused")
    for name, value in ({"_has_avx512": lambda: True} | change).items():
        monkeypatch.setattr(rules, name, value)
    assert rules.fastest_loop(**conditions) == LoopChoice(loop)


def test_a_run_says_once_how_the_native_loop_is_compiled_or_that_there_is_no_compiler(monkeypatch):
    monkeypatch.delenv(library.SWITCH, raising=False)
    monkeypatch.setattr(rules.dispatch, "AUTO", "fused")
    monkeypatch.setattr(rules, "_has_avx512", lambda: True)
    monkeypatch.setattr(rules.native, "is_compiled", lambda: False)
    monkeypatch.setattr(rules.native, "find_compiler", lambda: "c++")
    choice = rules.fastest_loop(one_device=True)
    assert choice == ("fused", "fused loop: `python -m nlstm_jax.unroll.native` compiles the native one, once")
    monkeypatch.undo()
    monkeypatch.delenv(library.SWITCH, raising=False)
    monkeypatch.setattr(rules.dispatch, "AUTO", "fused")
    monkeypatch.setattr(rules, "_has_avx512", lambda: True)
    monkeypatch.setattr(rules.native, "is_compiled", lambda: False)
    monkeypatch.setenv("CXX", "no-such-compiler")
    choice = rules.fastest_loop(one_device=True)
    assert choice.name == "fused"
    assert choice.note.startswith("fused loop: no C++ compiler found (tried no-such-compiler")


# Whole runs.


def smoke(epochs):
    config = poems.get_config("cell=lstm,smoke")
    config.train.epochs = epochs
    return config


def read_loops(workdir):
    """Return the loop in `environment.json`, and those of the checkpoints by step."""
    environment = json.loads((workdir / "environment.json").read_text("utf-8"))
    manifests = [json.loads(path.read_text("utf-8")) for path in workdir.glob(f"checkpoints/*/{MANIFEST}")]
    return environment["loop"], {manifest["step"]: manifest["loop"] for manifest in manifests}


def notes(workdir):
    log = (workdir / "log.txt").read_text("utf-8").splitlines()
    return [line for line in log if "loop" in line]


@pytest.mark.slow
def test_a_run_that_began_fused_goes_on_fused_although_new_runs_are_native(native, monkeypatch, tmp_path):
    with monkeypatch.context() as before:
        before.setattr(models, "fastest_loop", lambda **conditions: LoopChoice("fused"))
        fit(smoke(1.0), tmp_path / "run")
        fit(smoke(2.0), tmp_path / "undisturbed")
    fit(smoke(2.0), tmp_path / "run")
    assert read_loops(tmp_path / "run") == ("fused", {8: "fused", 16: "fused"})
    assert notes(tmp_path / "run") == []
    for name, value in load_run(tmp_path / "undisturbed", "last").params.items():
        assert jnp.array_equal(load_run(tmp_path / "run", "last").params[name], value)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [switched_off, without_compiler])
def test_a_native_run_is_recorded_and_goes_on_natively_or_says_why_not(native, monkeypatch, tmp_path, fault):
    fit(smoke(1.0), tmp_path / "run")
    monkeypatch.setattr(models, "fastest_loop", lambda **conditions: LoopChoice("fused"))
    fit(smoke(2.0), tmp_path / "run")
    assert read_loops(tmp_path / "run") == ("native", {8: "native", 16: "native"})
    assert notes(tmp_path / "run") == []
    fault(monkeypatch, tmp_path)
    fit(smoke(3.0), tmp_path / "run")
    assert read_loops(tmp_path / "run") == ("fused", {16: "native", 24: "fused"})
    (line,) = notes(tmp_path / "run")
    assert "going on with the loop fused, begun with native: last digits can differ (" in line
