"""Tests of the echo task: the splits are disjoint, and the metrics are those of a loop over single sequences."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from changed import changed

from configs import echo
from nlstm_jax import models, tasks
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.training import fit, load_run
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.steps import CompiledSteps


def smoke(argument: str = "cell=lstm", **changes):
    return changed(echo.get_config(f"{argument},smoke"), **changes)


def measured(config) -> tuple[object, object, dict[str, float]]:
    task = tasks.build(config)
    model = models.build(config, task.model_dims)
    program = CompiledSteps.from_model(model, task, lambda numbers: None, make_mesh({}))
    examples = replicate(task.splits["valid"], program.mesh)
    totals = program.eval_sums(models.split(model)[1], examples, batch_size=64)[0]
    return task, model, task.report({"valid": totals})["valid"]


def test_no_sequence_is_in_two_splits_and_the_echo_is_its_beginning() -> None:
    config = smoke(data__delay=3, data__length=6, data__echo_length=4)
    task = tasks.build(config)
    rows = [tuple(row) for split in task.splits.values() for row in np.asarray(split.symbols).tolist()]
    assert len(set(rows)) == len(rows) == 1400
    batch = task.splits["valid"].gather(jnp.arange(5))
    assert batch.inputs.shape == (9, 5)
    assert (batch.inputs[6:] == -1).all()
    np.testing.assert_array_equal(batch.targets, batch.inputs[:4])


@pytest.mark.parametrize("feed", ["context", "previous"])
def test_the_metrics_are_those_of_single_sequences(feed: str) -> None:
    # 150 is no multiple of the batch size, so the last batch is ragged.
    config = smoke(model__feed=feed, data__valid_sequences=150, data__vocabulary=4, data__train_sequences=200)
    task, model, report = measured(config)
    inputs = jnp.asarray(task.splits["valid"].symbols).T
    probabilities = np.asarray(jax.nn.softmax(model(inputs, inputs[:2])), np.float64)
    echoes = np.asarray(model.write(inputs, 2))
    nats, tokens, sequences = [], [], []
    for column, row in enumerate(np.asarray(inputs).T):
        nats += [-np.log(probabilities[step, column, symbol]) for step, symbol in enumerate(row[:2])]
        correct = echoes[:, column] == row[:2]
        tokens += correct.tolist()
        sequences.append(correct.all())
    expected = {
        "log_loss": np.mean(nats),
        "token_accuracy": np.mean(tokens),
        "sequence_accuracy": np.mean(sequences),
    }
    assert report == pytest.approx(expected, rel=1e-5)
    assert 0 < report["token_accuracy"] < 1


def test_the_table_says_what_is_right() -> None:
    task, model, _ = measured(smoke(data__delay=1))
    table = task.echo_table(model, task.sample_sequences(6, seed=1))
    assert [column.header for column in table.columns] == ["given", "to be echoed", "echoed", "right"]
    inputs, targets, echoes, counts = ([*column.cells] for column in table.columns)
    assert len(inputs) == 6
    for input_text, target_text, echo_text, correct in zip(inputs, targets, echoes, counts, strict=True):
        symbols = input_text.split()
        assert symbols[-1] == "·"
        assert target_text.split() == symbols[:2]
        same = sum(a == b for a, b in zip(target_text.split(), echo_text.split(), strict=True))
        assert correct == f"{same} of 2"
    assert [*task.echo_table(model, task.sample_sequences(6, seed=1)).columns[0].cells] == inputs
    assert [*task.echo_table(model, task.sample_sequences(6, seed=2)).columns[0].cells] != inputs


def test_a_sequence_of_ones_own_is_echoed() -> None:
    task = tasks.build(smoke())
    np.testing.assert_array_equal(task.parse_sequences("3 9  0"), [[3, 9, 0]])
    message = "--prompt: 2 symbols or more, from 0 to 9 with blanks between them, expected, found "
    for text, description in (("3 10", "'10'"), ("3", "1 of them"), ("", "0 of them")):
        with pytest.raises(ConfigError) as caught:
            task.parse_sequences(text)
        assert str(caught.value) == message + description


@pytest.mark.slow
def test_a_run_starts_from_pretrained_vectors_and_is_used_without_their_file(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    file = tmp_path / "vectors.txt"
    file.write_text("".join(f"{n} {' '.join(map(repr, row.tolist()))}\n" for n, row in enumerate(vectors)), "utf-8")
    config = smoke(model__embedding=3, model__vectors=str(file), train__steps=1, optimizer__learning_rate=1e-6)
    fit(config, tmp_path / "run")
    file.unlink()
    embedding = load_run(tmp_path / "run").params["symbols/embedding/embedding"]
    np.testing.assert_allclose(embedding, vectors, rtol=0, atol=2e-6)
    config["model"]["embedding"] = 4
    with pytest.raises(DataError, match=r"^config\.model\.vectors: .*: a readable file expected, found: No such file"):
        fit(config, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_training_stops_at_a_tolerance(tmp_path: Path) -> None:
    config = smoke(eval__metric="token_accuracy", eval__tolerance=0.2, eval__every_steps=10)
    summary = fit(config, tmp_path / "run")
    assert summary["steps"] < config["train"]["steps"]
    assert summary["valid"]["token_accuracy"] >= 0.2


@pytest.mark.parametrize(
    ("changes", "validation_error"),
    [
        (
            {"data__echo_length": 6},
            "config.data.echo_length: at most config.data.length=5 expected, found 6",
        ),
        (
            {"data__vocabulary": 2},
            "config.data.train_sequences, valid_sequences and test_sequences: at most 32 sequences expected, as 2 "
            "symbols and length 5 allow no more different ones, found 1,400",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_named(changes: dict, validation_error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tasks.build(smoke(**changes))
    assert str(caught.value) == validation_error
