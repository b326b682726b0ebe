"""Steps that are not finite: where a run stops, what a skipped update leaves as it was, and what is logged."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interruptions import interrupt_soon

from configs import stocks
from nlstm_jax.errors import DivergedError, InterruptedRunError
from nlstm_jax.runs import read_run
from nlstm_jax.tasks.stocks import PriceWindows, StocksTask
from nlstm_jax.training import fit, fit_together, load_run

CLOCK = ("wall_seconds", "examples_per_second", "tokens_per_second")
BAD = 7
"""The index of the example that makes the loss or the gradient of its batch bad."""


def config(**train):
    made = stocks.get_config("cell=nlstm,depth=2,variant=sequence,smoke")
    made.train.update({"steps": 24, "steps_per_call": 5, "batch_size": 16, **train})
    made.eval.every_steps = 8
    made.optimizer.schedule = "constant"
    return made


class Poisoned:
    """A sampler whose batches of some steps have the bad example, and no others."""

    def __init__(self, sampler, steps):
        self._sampler = sampler
        self._steps = steps

    def batches(self, start, stop):
        batches = np.array(self._sampler.batches(start, stop))
        batches[batches == BAD] = BAD + 1
        for step in range(start, stop):
            if step + 1 in self._steps:
                batches[step - start, 3] = BAD
        return batches


@pytest.fixture
def poison(monkeypatch):
    """Return a function: `poison(steps)` makes the loss of these steps NaN; `gradient=True`: their gradients alone."""
    train_loss, order = StocksTask.train_loss, PriceWindows.order

    def patch(steps, *, gradient=False, example=BAD):
        def poisoned_loss(task, model, batch, carry, key):
            loss, after = train_loss(task, model, batch, carry, key)
            # The targets of a smoke run are all different.
            is_bad = (batch.targets == task.splits["train"].targets[example]).any()
            # The value of the square root of 0 is finite, and its gradient is not.
            root = jnp.sqrt(jnp.where(is_bad, 0.0 * loss.sum, 1.0))
            if gradient:
                return loss._replace(sum=loss.sum + root - jnp.where(is_bad, 0.0, 1.0)), after
            return loss._replace(sum=loss.sum * jnp.where(is_bad, jnp.nan, 1.0)), after

        monkeypatch.setattr(StocksTask, "train_loss", poisoned_loss)
        monkeypatch.setattr(PriceWindows, "order", lambda *arguments: Poisoned(order(*arguments), steps))

    return patch


def lines(workdir: Path) -> list[dict]:
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in read_run(workdir).metrics]


def log(workdir: Path) -> str:
    return (workdir / "log.txt").read_text("utf-8")


def checkpoint_steps(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal())


def test_a_run_stops_at_the_first_bad_step_and_says_which_batch_and_parameter(tmp_path, poison):
    poison({11, 14})
    with pytest.raises(DivergedError, match=r"^diverged: the loss is not finite at step 11; "):
        fit(config(), tmp_path / "run")
    (told,) = [line for line in log(tmp_path / "run").splitlines() if line.startswith("step 11: ")]
    assert told.startswith("step 11: loss nan; the gradient of cell/")
    assert f", {BAD}, " in told
    last = lines(tmp_path / "run")[-1]
    assert (last["step"], last["diverged"]) == (11, True)
    assert checkpoint_steps(tmp_path / "run") == [8]
    assert all(np.isfinite(value).all() for value in load_run(tmp_path / "run", "last").params.values())


def test_a_gradient_that_is_not_finite_stops_a_run_whose_loss_is_finite(tmp_path, poison):
    # The update of step 16 is the last before an evaluation.
    poison({16}, gradient=True)
    with pytest.raises(DivergedError, match=r"^diverged: the gradient of [\w/]+ is not finite at step 16; "):
        fit(config(), tmp_path / "run")
    assert re.search(r"step 16: loss \d\.\d+; the gradient of", log(tmp_path / "run"))
    assert checkpoint_steps(tmp_path / "run") == [8]


@pytest.mark.slow
@pytest.mark.parametrize("gradient", [False, True])
def test_a_skipped_update_leaves_the_state_as_it_was(tmp_path, poison, gradient, monkeypatch):
    poison({5}, gradient=gradient)
    for steps in (4, 5):
        fit(config(nonfinite="skip", steps=steps, steps_per_call=2), tmp_path / str(steps))
    before, after = (load_run(tmp_path / str(steps), "last") for steps in (4, 5))
    assert (before.step, after.step) == (4, 5)
    jax.tree.map(np.testing.assert_array_equal, before.params, after.params)
    poison(set())
    fit(config(nonfinite="skip", steps=5, steps_per_call=2), tmp_path / "good")
    other = load_run(tmp_path / "good", "last").params
    assert any(not np.array_equal(other[name], value) for name, value in after.params.items())


def test_skipped_updates_are_counted_and_the_first_is_logged(tmp_path, poison):
    poison({3, 8, 20})
    assert fit(config(nonfinite="skip", nonfinite_limit=2), tmp_path / "run")["status"] == "finished"
    counts = [(row["step"], row["skipped_updates"]) for row in lines(tmp_path / "run") if row["split"] == "train"]
    assert counts == [(8, 2), (16, 2), (24, 3)]
    assert "gradient_norm" not in lines(tmp_path / "run")[0]
    assert log(tmp_path / "run").count("is not finite") == 1
    assert "step 3: loss nan; " in log(tmp_path / "run")


@pytest.mark.parametrize("steps_per_call", [5, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 24))])
def test_a_run_gives_up_after_so_many_in_a_row(tmp_path, poison, steps_per_call):
    poison({2, *range(7, 24)})
    options = config(nonfinite="skip", nonfinite_limit=3, steps_per_call=steps_per_call)
    with pytest.raises(DivergedError, match=r"^diverged: each of 3 updates in a row is not finite at step 9; "):
        fit(options, tmp_path / "run")
    assert lines(tmp_path / "run")[-1]["step"] == 9
    assert checkpoint_steps(tmp_path / "run") == [8]


@pytest.mark.slow
def test_without_a_bad_step_a_run_that_would_skip_is_one_that_would_stop(tmp_path):
    for nonfinite in ("stop", "skip"):
        fit(config(nonfinite=nonfinite), tmp_path / nonfinite)
    stop, skip = (load_run(tmp_path / name, "last").params for name in ("stop", "skip"))
    for name, value in stop.items():
        np.testing.assert_allclose(skip[name], value, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_the_count_goes_on_after_an_interruption(tmp_path, poison, monkeypatch):
    poison({1, 2, 9})
    options = config(nonfinite="skip", steps_per_call=3)
    fit(options, tmp_path / "undisturbed")
    interrupt_soon(monkeypatch)
    with pytest.raises(InterruptedRunError):
        fit(options, tmp_path / "run")
    monkeypatch.undo()
    poison({1, 2, 9})
    fit(options, tmp_path / "run")
    assert lines(tmp_path / "run") == lines(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("vmap", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_runs_together_stop_or_skip_as_each_would_alone(tmp_path, poison, vmap):
    poison({5, *range(11, 30)})
    configs = [config(nonfinite="skip", nonfinite_limit=4) for _ in range(2)]
    configs[1].seeds.init = 1
    with pytest.raises(
        DivergedError, match="one: each of 4 updates in a row is not finite at step 14, two: each of 4"
    ):
        fit_together(configs, [tmp_path / "one", tmp_path / "two"], vmap=vmap)
    for name in ("one", "two"):
        assert [row["step"] for row in lines(tmp_path / name)] == [8, 8, 14]
        assert checkpoint_steps(tmp_path / name) == [8]
        assert "step 5: loss nan; " in log(tmp_path / name)


def test_an_online_pass_whose_last_update_is_bad_leaves_no_checkpoint_of_it(tmp_path, poison):
    online = stocks.get_config("cell=lstm,features=4,smoke")
    online.data.days = 60
    fit(online, tmp_path / "whole")
    rows = read_run(tmp_path / "whole").metrics
    last_learned = len(rows) - 1 - online.train.learn_after
    poison(set(), gradient=True, example=last_learned)
    with pytest.raises(DivergedError, match=rf"^diverged: parameters\.[\w/]+ is not finite at step {len(rows)}; "):
        fit(online, tmp_path / "run")
    assert checkpoint_steps(tmp_path / "run") == []
    assert json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))["status"] == "diverged"
