"""Several runs in one process: each is what it would be alone."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from configs import sales
from nlstm_jax.errors import ConfigError, DivergedError, InterruptedRunError, RunFinishedError
from nlstm_jax.training import fit, fit_together, load_run
from nlstm_jax.training.logger import RunLogger

CLOCK = ("wall_seconds", "examples_per_second", "tokens_per_second")
AUTO = sys.modules["nlstm_jax.unroll.dispatch"].AUTO


def smoke(seed=0, **optimizer):
    config = sales.get_config(f"cell=nlstm,smoke,seed={seed}")
    config.train.steps, config.eval.every_steps, config.train.steps_per_call = 24, 8, 3
    config.eval.metric = "log_loss"
    config.optimizer.update(optimizer)
    return config


CONFIGS = {"first": smoke(), "second": smoke(seed=1), "faster": smoke(seed=2, learning_rate=0.01)}


def lines(workdir: Path) -> list[dict]:
    text = (workdir / "metrics.jsonl").read_text("utf-8")
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCK} for line in text.splitlines()]


def without_clock(summary: dict) -> dict:
    return {key: value for key, value in summary.items() if key not in CLOCK}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Every run by itself."""
    folder = tmp_path_factory.mktemp("alone")
    for name, config in CONFIGS.items():
        fit(config, folder / name)
    return folder


def together(folder: Path, **options) -> list[dict]:
    return fit_together(list(CONFIGS.values()), [folder / name for name in CONFIGS], **options)


@pytest.mark.slow
def test_on_a_cpu_each_equals_its_own_run_bit_for_bit(alone, tmp_path):
    summaries = together(tmp_path)
    for name, summary in zip(CONFIGS, summaries, strict=True):
        assert lines(tmp_path / name) == lines(alone / name)
        written = json.loads((tmp_path / name / "summary.json").read_text("utf-8"))
        assert written == {"schema": 1, **summary}
        assert without_clock(summary) == without_clock(load_run(alone / name).summary)
        files = {path.name for path in (tmp_path / name).iterdir()}
        assert files == {path.name for path in (alone / name).iterdir()}
        for parameter, value in load_run(tmp_path / name).params.items():
            np.testing.assert_array_equal(value, load_run(alone / name).params[parameter])
    assert load_run(tmp_path / "first").environment["trained_together"] == 3
    assert (tmp_path / "first" / "log.txt").read_text("utf-8").count("\nstep ") == 3


@pytest.mark.slow
def test_as_one_program_each_equals_its_own_run_to_rounding(alone, tmp_path):
    together(tmp_path, vmap=True)
    for name in CONFIGS:
        assert_close(lines(tmp_path / name), lines(alone / name))


def assert_close(found: list[dict], expected: list[dict]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert ours[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5)), (key, ours)


@pytest.mark.slow
@pytest.mark.parametrize("vmap", [False, True])
def test_runs_that_are_ahead_wait_for_the_others(alone, tmp_path, monkeypatch, vmap):
    """After an interruption, one that was then trained alone for a while, and one that has ended."""
    advance = RunLogger.update_progress

    def interrupted(when, run):
        def advance_and_interrupt(self, step, *arguments):
            advance(self, step, *arguments)
            if step >= when:
                monkeypatch.setattr(RunLogger, "update_progress", advance)
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(RunLogger, "update_progress", advance_and_interrupt)
        with pytest.raises(InterruptedRunError):
            run()

    interrupted(9, lambda: together(tmp_path, vmap=vmap))
    states = [json.loads((tmp_path / name / "summary.json").read_text("utf-8")) for name in CONFIGS]
    assert {state["status"] for state in states} == {"interrupted"}
    assert {state["steps"] for state in states} == {14}
    interrupted(18, lambda: fit(CONFIGS["first"], tmp_path / "first"))
    assert fit(CONFIGS["second"], tmp_path / "second")["status"] == "finished"
    before = (tmp_path / "second" / "metrics.jsonl").read_bytes()
    assert len(together(tmp_path, vmap=vmap)) == 2
    assert (tmp_path / "second" / "metrics.jsonl").read_bytes() == before
    for name in CONFIGS:
        assert_close(lines(tmp_path / name), lines(alone / name))
        assert vmap or lines(tmp_path / name) == lines(alone / name)
    with pytest.raises(RunFinishedError, match="all 3 runs have already ended"):
        together(tmp_path, vmap=vmap)


@pytest.mark.slow
@pytest.mark.parametrize("vmap", [True, False])
def test_one_that_diverges_or_stops_early_does_not_disturb_the_others(tmp_path, vmap):
    rates = {"wild": 1e30, "calm": 1e-3, "still": 1e-30}
    settings = {"name": "sgd", "schedule": "constant", "clip_norm": 0.0}
    configs = [smoke(learning_rate=rate, **settings) for rate in rates.values()]
    for config in configs:
        config.eval.patience = 1
    with pytest.raises(DivergedError, match=r"^diverged: wild: the loss is not finite at step [0-9]+; a lower"):
        fit_together(configs, [tmp_path / name for name in rates], vmap=vmap)
    summaries = {name: json.loads((tmp_path / name / "summary.json").read_text("utf-8")) for name in rates}
    assert {name: summary["status"] for name, summary in summaries.items()} == {
        "wild": "diverged",
        "calm": "finished",
        "still": "finished",
    }
    assert summaries["calm"]["steps"] == 24
    assert summaries["still"]["steps"] == 16
    fit(configs[1], tmp_path / "alone")
    assert_close(lines(tmp_path / "calm"), lines(tmp_path / "alone"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"beta1": 0.5},
            r"config.optimizer.beta1: one value for all runs trained together expected, found 0.9 and 0.5",
        ),
        (
            {"clip_norm": 0.0},
            r"config.optimizer.clip_norm: one value for all runs trained together expected, found 1.0",
        ),
    ],
)
def test_runs_that_need_another_program_are_refused(tmp_path, changed, message):
    with pytest.raises(ConfigError, match=message):
        fit_together([smoke(), smoke(**changed)], [tmp_path / "a", tmp_path / "b"])
    assert not list(tmp_path.iterdir())


def test_a_folder_that_does_not_serve_keeps_all_from_being_made(tmp_path):
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"found thesis\.tex"):
        together(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["second"]


ON_DEVICES = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
sys.path[:0] = ["tests", "tests/training"]
from test_together import together
sys.modules["nlstm_jax.unroll.dispatch"].AUTO = sys.argv[4]
together(Path(sys.argv[2]), vmap=sys.argv[3] == "vmap")
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["vmap", "apart"])
@pytest.mark.parametrize("devices", [2, 3])
def test_devices_share_the_runs(run_code, alone, tmp_path, devices, how):
    """Three runs on two devices: two and one, or all batches split; on three devices one each."""
    run_code(ON_DEVICES, devices, tmp_path, how, AUTO)
    for name in CONFIGS:
        assert_close(lines(tmp_path / name), lines(alone / name))
        assert how == "vmap" or lines(tmp_path / name) == lines(alone / name)
    assert load_run(tmp_path / "first").environment["devices"]["count"] == devices


@pytest.mark.slow
def test_the_last_of_several_goes_on_with_a_device_to_itself(run_code, alone, tmp_path):
    for name in ("first", "second"):
        shutil.copytree(alone / name, tmp_path / name)
    run_code(ON_DEVICES, 2, tmp_path, "apart", AUTO)
    assert lines(tmp_path / "faster") == lines(alone / "faster")
