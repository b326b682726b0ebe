"""Tests of the classification task: sequences cut into windows, and the carry between them."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from changed import changed
from interruptions import interrupt_soon

from configs import classify
from nlstm_jax import models, tasks
from nlstm_jax.data.sequences import Labelled, SequenceData, encode
from nlstm_jax.errors import DataError, InterruptedRunError
from nlstm_jax.tasks.classify import ClassifyTask
from nlstm_jax.training import fit, load_run
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.steps import CompiledSteps

CLOCK = ("wall_seconds", "examples_per_second", "tokens_per_second")


def smoke(argument: str = "cell=lstm", **changes):
    return changed(classify.get_config(f"{argument},smoke"), **changes)


def ragged(window: int, stateful: bool = True, output: str = "softmax") -> ClassifyTask:
    """Return a task whose sequences have 1 to 11 symbols and random classes."""
    rng = np.random.default_rng(0)
    symbols = tuple("abcd")
    rows = [[symbols[n] for n in rng.integers(0, 4, length)] for length in rng.integers(1, 12, 50)]
    labelled = Labelled(*encode(rows, symbols), rng.integers(0, 3, 50).astype(np.int32))
    data = SequenceData(symbols, ("x", "y", "z"), {"train": labelled, "valid": labelled})
    return ClassifyTask(data, window=window, stateful=stateful, output=output)


def model_of(task: ClassifyTask, cell: str = "cell=nlstm", **changes):
    return models.build(smoke(cell, **changes), task.model_dims)


def report_of(task: ClassifyTask, model, batch_size: int) -> dict[str, float]:
    program = CompiledSteps.from_model(model, task, lambda numbers: None, make_mesh({}))
    examples = replicate(task.splits["valid"], program.mesh)
    return task.report({"valid": program.eval_sums(models.split(model)[1], examples, batch_size)[0]})["valid"]


def test_windows_in_turn_are_the_sequences() -> None:
    task = ragged(window=4)
    examples = task.splits["train"]
    assert (examples.sequences, examples.windows_per_sequence, examples.size) == (50, 3, 150)
    batches = examples.order(seed=1, batch_size=8).batches(0, 21)
    for group in batches.reshape(7, 3, 8):
        windows = [examples.gather(jnp.asarray(batch)) for batch in group]
        sequences = group[0] // 3
        whole = np.concatenate([window.symbols for window in windows]).T
        np.testing.assert_array_equal(whole, np.asarray(examples.symbols)[sequences])
        np.testing.assert_array_equal(sum(window.lengths for window in windows), examples.lengths[sequences])
        np.testing.assert_array_equal([window.first.all() for window in windows], [True, False, False])
        np.testing.assert_array_equal(sum(window.last.astype(int) for window in windows), np.ones(8))
    # Every sequence is seen once before any is seen twice, wherever a call begins.
    assert sorted((batches[::3] // 3).reshape(-1)[:50].tolist()) == list(range(50))
    order = examples.order(seed=1, batch_size=8)
    np.testing.assert_array_equal(np.concatenate([order.batches(0, 5), order.batches(5, 21)]), batches)


@pytest.mark.parametrize(
    ("window", "batch_size", "output"),
    [
        # Every window once; every pair of the other two.
        (0, 7, "softmax"),
        (1, 50, "softmax"),
        (4, 7, "sigmoid"),
        (5, 50, "sigmoid"),
        pytest.param(0, 50, "sigmoid", marks=pytest.mark.slow),
        pytest.param(1, 7, "sigmoid", marks=pytest.mark.slow),
        pytest.param(4, 50, "softmax", marks=pytest.mark.slow),
        pytest.param(5, 7, "softmax", marks=pytest.mark.slow),
    ],
)
def test_read_in_windows_a_sequence_is_what_it_is_as_a_whole(window: int, batch_size: int, output: str) -> None:
    task = ragged(window, output=output)
    model = model_of(task)
    examples = ragged(0).splits["valid"]
    # That padding changes nothing is tested with the model.
    all_logits = model(jnp.asarray(examples.symbols).T, jnp.asarray(examples.lengths))[1]
    nats, right = [], []
    for logits, label in zip(np.asarray(all_logits, np.float64), examples.classes, strict=True):
        if output == "sigmoid":
            expected = np.arange(3) == label
            probabilities = 1 / (1 + np.exp(-logits))
            nats.append(-np.log(np.where(expected, probabilities, 1 - probabilities)).mean())
        else:
            probabilities = np.exp(logits) / np.exp(logits).sum()
            nats.append(-np.log(probabilities[label]))
        right.append(logits.argmax() == label)
    assert report_of(task, model, batch_size) == pytest.approx(
        {"log_loss": np.mean(nats), "accuracy": np.mean(right)}, rel=1e-5
    )


def test_the_carry_goes_on_wherever_a_sequence_has_several_windows() -> None:
    """Here only the sequences of the validation split have several windows."""
    rng = np.random.default_rng(0)
    parts = {
        split: Labelled(
            rng.integers(0, 2, (9, length)).astype(np.int32), np.full(9, length, np.int32), np.arange(9) % 2
        )
        for split, length in (("train", 4), ("valid", 12))
    }
    data = SequenceData(("a", "b"), ("x", "y"), parts)
    model = model_of(ClassifyTask(data, window=4))
    assert report_of(ClassifyTask(data, window=4), model, 3) == pytest.approx(
        report_of(ClassifyTask(data), model, 9), rel=1e-5
    )
    sequence = ["abba" * 3]
    windows, whole = (ClassifyTask(data, window=T).probabilities(model, [list(sequence[0])]) for T in (4, 0))
    np.testing.assert_allclose(windows, whole, rtol=1e-5)


@pytest.mark.slow
def test_batches_of_windows_past_all_ends_change_no_loss_to_nan(tmp_path: Path) -> None:
    rows = [f"{n % 2} 0 1 0,{n % 2},train" for n in range(40)] + [" ".join(["1"] * 60) + ",1,train", "0 1,0,valid"]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["sequence,class,split", *rows]) + "\n", "utf-8")
    config = smoke(data__path=str(path), data__window=5, train__batch_size=4, train__epochs=1.0)
    assert fit(config, tmp_path / "run")["status"] == "finished"


def test_without_a_state_only_the_last_window_is_read() -> None:
    task = ragged(window=4, stateful=False)
    model = model_of(task)
    assert task.initial_carry(model, 3) == ()
    examples = task.splits["valid"]
    starts = (examples.lengths - 1) // 4 * 4
    windows = np.stack([row[start : start + 4] for row, start in zip(examples.symbols, starts, strict=True)])
    logits = model(jnp.asarray(windows).T, jnp.asarray(examples.lengths - starts))[1]
    nats = -np.asarray(jax.nn.log_softmax(logits))[np.arange(50), examples.classes]
    assert report_of(task, model, 7)["log_loss"] == pytest.approx(np.mean(nats), rel=1e-5)


@pytest.mark.slow
def test_no_gradient_goes_from_a_window_into_the_one_before() -> None:
    task = ragged(window=4)
    model = model_of(task, "cell=lstm", cell__input_dropout=(0.0,), cell__recurrent_dropout=(0.0,))
    graph, parameters = models.split(model)
    first, second = (task.splits["train"].gather(jnp.arange(50) * 3 + window) for window in (0, 1))

    def loss(parameters, through: bool):
        model = models.merge(graph, parameters)
        _, carry = task.train_loss(model, first, task.initial_carry(model, 50), None)
        carry = carry if through else jax.lax.stop_gradient(carry)
        return task.train_loss(model, second, carry, None)[0].sum

    cut, whole = (jax.grad(loss)(parameters, through) for through in (False, True))
    _, carry = task.train_loss(model, first, task.initial_carry(model, 50), None)
    step = jax.grad(lambda parameters: task.train_loss(models.merge(graph, parameters), second, carry, None)[0].sum)
    for name, gradient in step(parameters).items():
        np.testing.assert_allclose(gradient, cut[name], rtol=1e-5, atol=1e-6)
    assert max(float(jnp.abs(cut[name] - whole[name]).max()) for name in cut) > 1e-3


@pytest.mark.parametrize("stateful", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_new_sequences_are_classified_as_they_would_be_measured(stateful: bool) -> None:
    task = ragged(window=4, stateful=stateful)
    model = model_of(task)
    sequences = [list("abca"), list("dcbadcbad"), list("a")]
    probabilities = task.probabilities(model, sequences)
    for row, sequence in zip(probabilities, sequences, strict=True):
        read = sequence if stateful else sequence[(len(sequence) - 1) // 4 * 4 :]
        indices = jnp.asarray(["abcd".index(symbol) for symbol in read])[:, None]
        logits = model(indices, jnp.asarray([len(read)]))[1][0]
        np.testing.assert_allclose(row, jax.nn.softmax(logits), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("sequence", "found"), [(["a", "e"], "'e'"), ([], "none")], ids=["unknown symbol", "no symbol"]
)
def test_a_sequence_that_training_cannot_know_is_refused(sequence: list[str], found: str) -> None:
    task = ragged(window=0)
    with pytest.raises(DataError) as caught:
        task.probabilities(model_of(task), [["a"], sequence])
    assert str(caught.value) == (
        f"sequence 2: symbols that training has, a b c d, with blanks between them expected, found {found}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_the_six_are_learnt(tmp_path: Path, output: str) -> None:
    config = json.loads(classify.get_config("cell=lstm,variant=six").to_json())
    config["model"]["output"] = output
    summary = fit(config, tmp_path / output)
    assert summary["train"]["accuracy"] == 1.0
    restored = load_run(tmp_path / output)
    rows = ["0 1 1 0 0 0", "0 0 0 2 2 0", "0 0 0 0 3 3", "0 2 2 0 0 0", "0 0 3 3 0 0", "0 0 0 0 1 1"]
    classes = restored.task.probabilities(restored.model, [row.split() for row in rows]).argmax(1)
    assert [restored.task.classes[number] for number in classes] == ["1", "2", "3", "2", "3", "1"]


@pytest.mark.slow
def test_events_are_held_out_and_learnt(tmp_path: Path) -> None:
    config = json.loads(classify.get_config("cell=lstm,features=64").to_json())
    task = tasks.build(config)
    rows = [tuple(row) for split in task.splits.values() for row in np.asarray(split.symbols).tolist()]
    assert len(set(rows)) == len(rows) == 6000
    config["train"]["epochs"], config["eval"]["every_epochs"] = 15.0, 5.0
    assert fit(config, tmp_path / "run")["valid"]["accuracy"] >= 0.98


@pytest.mark.slow
def test_only_a_carry_that_goes_on_solves_the_cue(tmp_path: Path) -> None:
    accuracy = {}
    for stateful in (True, False):
        config = json.loads(classify.get_config("cell=lstm,variant=cue,features=64").to_json())
        config["train"]["stateful"], config["train"]["epochs"] = stateful, 8.0
        accuracy[stateful] = fit(config, tmp_path / str(stateful))["valid"]["accuracy"]
    assert accuracy[True] >= 0.98
    # Four classes; five standard deviations of the mean of 1,000 guesses.
    assert abs(accuracy[False] - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 1000)


@pytest.mark.slow
def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = smoke("cell=lstm,variant=cue", train__steps_per_call=3)
    fit(config, tmp_path / "whole")
    interrupt_soon(monkeypatch)
    with pytest.raises(InterruptedRunError):
        fit(config, tmp_path / "parted")
    monkeypatch.undo()
    fit(config, tmp_path / "parted")

    def lines(run: str) -> list[dict]:
        text = (tmp_path / run / "metrics.jsonl").read_text("utf-8")
        return [{k: v for k, v in json.loads(line).items() if k not in CLOCK} for line in text.splitlines()]

    assert lines("parted") == lines("whole")
