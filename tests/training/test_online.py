"""The pass over a series equals NumPy's, and an example of 2015 to every figure that it printed."""

import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from changed import changed
from interruptions import interrupt_soon
from requirements import real_data

from configs import stocks
from nlstm_jax import models, tasks
from nlstm_jax.adapters import weights
from nlstm_jax.data.generators.prices import generate_prices
from nlstm_jax.data.prices import Prices, write_prices
from nlstm_jax.errors import ConfigError, DivergedError, InterruptedRunError, RunFinishedError
from nlstm_jax.tasks.stocks_2015 import smoothed_errors
from nlstm_jax.training import fit, fit_together
from nlstm_jax.training.checkpoint import Checkpoints
from nlstm_jax.training.logger import RunLogger
from nlstm_jax.training.online import draw_model
from nlstm_jax.training.optimizer import OptimizerFactory, traced_hparams
from nlstm_jax.training.parallel import make_mesh
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.training.steps import CompiledSteps

PRINTED = """
1.27395105362 1.62759017944 12.0258903503 0.965957164764 4.66629219055 2.24896335602 17.6596603394
33.0507698059 1.89690697193 3.80808353424 5.77995252609 3.99296855927 17.7919807434 12.9250450134
4.25853300095 1.78161656857 8.44487190247 2.07122850418 8.16769695282 0.601239681244 5.48171377182
"""
"""The square root of the loss at iterations 0, 10, 20, … 200, as the example of 2015 printed it."""


def lines_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


def online(argument: str = "cell=lstm", **changes):
    return changed(stocks.get_config(argument), **changes)


class NumPyLSTM:
    """An LSTM with a linear head, learning by plain gradient descent, written from the equations alone."""

    def __init__(self, inputs: int, hidden: int, seed: int) -> None:
        draw = np.random.RandomState(seed)
        self.x, self.h = {}, {}
        for gate in "gifo":
            self.x[gate] = draw.normal(0, 0.01, (inputs, hidden))
            self.h[gate] = draw.normal(0, 0.01, (hidden, hidden))
        self.y = draw.normal(0, 0.01, hidden)
        self.b = {gate: np.zeros(hidden) for gate in "gifo"}
        self.b_y, self.hidden = 0.0, hidden

    def learn(self, xs, target, rate):
        """One step on the squared error; the error before it."""
        sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
        h, c, past = np.zeros(self.hidden), np.zeros(self.hidden), []
        for x in xs:
            a = {gate: x @ self.x[gate] + h @ self.h[gate] + self.b[gate] for gate in "gifo"}
            g, i, f, o = np.tanh(a["g"]), sigmoid(a["i"]), sigmoid(a["f"]), sigmoid(a["o"])
            past.append((x, h, c, g, i, f, o))
            c = f * c + i * g
            h = o * np.tanh(c)
        error = h @ self.y + self.b_y - target
        d_x, d_h, d_b = (dict.fromkeys("gifo", 0.0) for _ in range(3))
        dh, dc = 2 * error * self.y, np.zeros(self.hidden)
        self.y, self.b_y = self.y - rate * 2 * error * h, self.b_y - rate * 2 * error
        now = c
        for x, h, c, g, i, f, o in reversed(past):
            tanh = np.tanh(now)
            dc = dc + dh * o * (1 - tanh**2)
            d = {
                "g": dc * i * (1 - g**2),
                "i": dc * g * i * (1 - i),
                "f": dc * c * f * (1 - f),
                "o": dh * tanh * o * (1 - o),
            }
            for gate in "gifo":
                d_x[gate] = d_x[gate] + np.outer(x, d[gate])
                d_h[gate] = d_h[gate] + np.outer(h, d[gate])
                d_b[gate] = d_b[gate] + d[gate]
            dh, dc, now = sum(d[gate] @ self.h[gate].T for gate in "gifo"), dc * f, c
        for gate in "gifo":
            self.x[gate] = self.x[gate] - rate * d_x[gate]
            self.h[gate] = self.h[gate] - rate * d_h[gate]
            self.b[gate] = self.b[gate] - rate * d_b[gate]
        return error

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """By our names; gate order i, f, g, o."""
        return {
            "cell/params/w_x": np.concatenate([self.x[gate] for gate in "ifgo"], axis=1),
            "cell/params/w_h": np.concatenate([self.h[gate] for gate in "ifgo"], axis=1),
            "cell/params/b": np.concatenate([self.b[gate] for gate in "ifgo"]),
            "head/kernel": self.y[:, None],
            "head/bias": np.array([self.b_y]),
        }


def trained(run: Path, config) -> dict[str, np.ndarray]:
    """The parameters at the end, in float64, as they were kept."""
    task = tasks.build(config)
    plan = TrainingSchedule.from_config(config, task.splits["train"].size)
    with jax.enable_x64(True), Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        model = draw_model(config, task)
        like = CompiledSteps.from_model(
            model, task, OptimizerFactory.from_config(config, plan), make_mesh({})
        ).init_state(model, traced_hparams(config))
        restored = checkpoints.restore(checkpoints.steps[-1], like).parameters
        return {name: np.asarray(value) for name, value in restored.items()}


def test_the_figures_that_the_example_printed_in_2015(tmp_path: Path) -> None:
    fit(online(data__path=str(real_data("stocks/table_a.csv"))), tmp_path / "run")
    lines = lines_of(tmp_path / "run")
    found = [lines[10 * number]["root_loss"] for number in range(21)]
    np.testing.assert_allclose(found, [float(figure) for figure in PRINTED.split()], rtol=0, atol=1e-5)
    # On to the end of the file, and the smoothed error with it.
    assert len(lines) == 3452 - 1 - 5
    error = 1.0
    for line in lines:
        error = 0.9 * error + 0.1 * line["root_loss"]
        assert line["smoothed_error"] == pytest.approx(error, rel=1e-12)


def replayed(path: Path, tmp_path: Path, updates: int = 200) -> None:
    """All parameters after as many updates on standardised windows of 20 days equal NumPy's to 1e-9."""
    window, fit_rows, rows = 20, 250, 250 + 20 + updates + 5
    text = path.read_text("utf-8").splitlines()
    short = tmp_path / "short.csv"
    header = not text[0][0].isdigit()
    short.write_text("\n".join(text[: rows + header]) + "\n", "utf-8")
    config = online(data__path=str(short), data__inputs="standard", data__window=window, data__fit_rows=fit_rows)
    summary = fit(config, tmp_path / "run")
    assert summary["steps"] == updates

    table = [line.split(",")[-5:] for line in text[header:][:rows]]
    values = np.array(table, np.float64)
    xs = (values - values[:fit_rows].mean(0)) / values[:fit_rows].std(0)
    close, peer = values[:, 3], NumPyLSTM(5, 20, 1234)
    errors = []
    for t in range(fit_rows + window, rows - 5):
        errors.append(abs(peer.learn(xs[t - window : t], close[t + 5] - close[t], 0.01)))
    assert len(errors) == updates
    np.testing.assert_allclose([line["root_loss"] for line in lines_of(tmp_path / "run")], errors, rtol=1e-9)
    found, expected = trained(tmp_path / "run", config), peer.parameters
    moved = NumPyLSTM(5, 20, 1234).parameters
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == np.float64
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-9, err_msg=name)
        assert np.abs(value - moved[name]).max() > 1e-4, name


def test_a_pass_over_a_real_series_is_numpys(tmp_path: Path) -> None:
    replayed(real_data("stocks/table_a.csv"), tmp_path)


def test_a_pass_over_a_generated_series_is_numpys(tmp_path: Path) -> None:
    write_prices(tmp_path / "walk.csv", generate_prices(600, seed=0))
    replayed(tmp_path / "walk.csv", tmp_path)


@pytest.mark.parametrize("learn_after", [1, 5, pytest.param(700, marks=pytest.mark.slow)])
def test_what_is_learnt_later_is_learnt_later(tmp_path: Path, learn_after: int) -> None:
    """The errors are those of NumPy's loop that learns from an example when so many more have been forecast."""
    config = online(data__days=600, data__inputs="standard", data__fit_rows=250, train__learn_after=learn_after)
    fit(config, tmp_path / "run")
    task, peer = tasks.build(config), NumPyLSTM(5, 20, 1234)
    train = task.splits["train"]
    pairs = [(train.inputs[end : end + 1], target) for end, target in zip(train.ends, train.targets, strict=True)]
    errors = []
    for n, (xs, target) in enumerate(pairs):
        errors.append(abs(peer.learn(xs, target, 0.0)))
        if n >= learn_after:
            peer.learn(*pairs[n - learn_after], 0.01)
    np.testing.assert_allclose([line["root_loss"] for line in lines_of(tmp_path / "run")], errors, rtol=1e-9)


def test_nothing_is_known_before_its_time_of_a_walk_that_nothing_can_forecast(tmp_path: Path) -> None:
    """Learnt from at once, outcomes that overlap are looked up; after the horizon they are not."""
    moves = np.random.default_rng(0).normal(size=2000)
    close = 1000 + np.cumsum(moves)
    rows = np.stack([close, close + 1, close - 1, close, np.full(2000, 5.0)], axis=1)
    write_prices(tmp_path / "walk.csv", Prices(np.arange("2000-01-01", 2000, dtype="datetime64[D]"), rows))
    error = {}
    for learn_after in (0, 5):
        config = online(
            data__path=str(tmp_path / "walk.csv"),
            data__inputs="standard",
            data__fit_rows=250,
            data__target="change",
            optimizer__learning_rate=0.1,
            train__learn_after=learn_after,
        )
        summary = fit(config, tmp_path / str(learn_after))
        error[learn_after] = summary["valid"]["root_loss"]
    no_change = np.abs(close[255:] - close[250:-5]).mean()
    assert error[0] < 0.95 * no_change
    assert error[5] > no_change
    text = (tmp_path / "0" / "log.txt").read_text("utf-8")
    assert "these are no forecaster's errors" in " ".join(text.split())
    assert "no forecaster's" not in (tmp_path / "5" / "log.txt").read_text("utf-8")


def test_a_pass_starts_from_the_weights_that_are_named(tmp_path: Path) -> None:
    config = online("cell=nlstm,features=3", data__days=300)
    task = tasks.build(config)
    cell = models.build(config, task.model_dims).cell.cell
    params = jax.tree.map(lambda leaf: leaf + 0.25, cell.init(jax.random.key(7), 5))
    weights.save(tmp_path / "cell.safetensors", cell, params)
    config["cell"]["weights"] = str(tmp_path / "cell.safetensors")
    with jax.enable_x64(True):
        found = draw_model(config, task).cell.values
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(params), strict=True):
        assert ours.dtype == np.float64
        np.testing.assert_array_equal(ours, np.asarray(theirs))


def test_an_error_is_forecast_by_those_before_it() -> None:
    told = smoothed_errors([4.0, 0.25], before=2.0)
    assert [line["root_loss"] for line in told] == [2.0, 0.5]
    assert [line["smoothed_error"] for line in told] == pytest.approx([2.0, 1.85])
    for line, loss in zip(told, [4.0, 0.25], strict=True):
        deviation = math.sqrt(math.pi / 2) * 2.0
        nats = -math.log(math.exp(-loss / (2 * deviation**2)) / (deviation * math.sqrt(2 * math.pi)))
        assert line["log_loss"] == pytest.approx(nats)


@pytest.mark.slow
def test_an_interrupted_pass_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = online("cell=nlstm,features=4", data__days=500)
    fit(config, tmp_path / "whole")
    interrupt_soon(monkeypatch)
    with pytest.raises(InterruptedRunError, match=r"^interrupted at step 200; "):
        fit(config, tmp_path / "parted")
    monkeypatch.undo()
    assert json.loads((tmp_path / "parted" / "summary.json").read_text("utf-8"))["status"] == "interrupted"
    summary = fit(config, tmp_path / "parted")
    assert (summary["status"], summary["steps"]) == ("finished", 494)
    clock = ("wall_seconds", "examples_per_second", "tokens_per_second")
    parted, whole = (
        [{key: value for key, value in line.items() if key not in clock} for line in lines_of(tmp_path / run)]
        for run in ("parted", "whole")
    )
    assert parted == whole
    assert [line["epoch"] for line in whole] == [round(line["step"] / 494, 6) for line in whole]
    with pytest.raises(RunFinishedError):
        fit(config, tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_pass_goes_on_from_its_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = online("cell=nlstm,features=4", data__days=700)
    fit(config, tmp_path / "whole")
    monkeypatch.setattr("nlstm_jax.training.online.SECONDS", 0)
    advance, calls = RunLogger.update_progress, []

    def advance_and_die(*arguments):
        advance(*arguments)
        calls.append(arguments[1])
        if len(calls) == 3:
            raise MemoryError("killed")

    monkeypatch.setattr(RunLogger, "update_progress", advance_and_die)
    with pytest.raises(MemoryError):
        fit(config, tmp_path / "killed")
    monkeypatch.undo()
    assert calls == [200, 400, 600]
    fit(config, tmp_path / "killed")
    assert "going on from step 400" in (tmp_path / "killed" / "log.txt").read_text("utf-8")
    killed, whole = ([line["root_loss"] for line in lines_of(tmp_path / run)] for run in ("killed", "whole"))
    assert killed == whole


def test_a_pass_that_diverges_says_where(tmp_path: Path) -> None:
    config = online("cell=lstm,features=4", data__days=300, optimizer__learning_rate=1e9)
    with pytest.raises(DivergedError, match=r"^diverged: the loss is not finite at step \d+; a lower config"):
        fit(config, tmp_path / "run")
    assert lines_of(tmp_path / "run")[-1]["diverged"] is True
    assert json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))["status"] == "diverged"


@pytest.mark.parametrize(
    ("argument", "changes", "validation_error"),
    [
        (
            "cell=lstm",
            {"train__batch_size": 2},
            "config.train.batch_size: 1 expected with config.train.online, found 2",
        ),
        ("cell=lstm", {"train__epochs": 2.0}, "config.train.epochs: 1.0 expected with config.train.online, found 2.0"),
        (
            "cell=gru",
            {"model__initial_values": "example"},
            "config.model.initial_values=example: a plain LSTM expected, ",
        ),
        (
            "cell=lstm",
            {"cell__peephole": True},
            "config.model.initial_values=example: a plain LSTM expected, ",
        ),
    ],
)
def test_what_has_no_meaning_in_a_pass_is_refused(
    tmp_path: Path, argument: str, changes: dict, validation_error: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        fit(online(f"{argument},smoke", **changes), tmp_path / "run")
    assert str(caught.value).startswith(validation_error)
    assert not (tmp_path / "run").exists()


def test_several_passes_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^config\.train\.online: False expected of several runs at once, found True$"
    ):
        fit_together([online("smoke,seed=0"), online("smoke,seed=1")], [tmp_path / "a", tmp_path / "b"])
