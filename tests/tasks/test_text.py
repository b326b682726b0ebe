"""Tests of text windows: read in order they are one long sequence, in training, evaluation and after interruptions."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from changed import changed
from interruptions import interrupt_soon

from configs import ptb
from nlstm_jax import models, tasks
from nlstm_jax.data.text import cut, encode
from nlstm_jax.errors import ConfigError, DataError, InterruptedRunError
from nlstm_jax.tasks.sampling import SampleRequest
from nlstm_jax.tasks.text import TextTask
from nlstm_jax.tasks.text_windows import TextWindows
from nlstm_jax.training import fit, load_run
from nlstm_jax.training.optimizer import OptimizerFactory, learning_rate_schedule, traced_hparams
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.training.steps import CompiledSteps

CLOCK = ("wall_seconds", "examples_per_second", "tokens_per_second")


def smoke(argument="cell=lstm,layers=2", **changes):
    return changed(ptb.get_config(f"{argument},smoke"), **changes)


def text(train=211, valid=57):
    random = np.random.default_rng(0)
    symbols = {"train": train, "valid": valid, "test": 30}
    return encode({split: [f"w{index}" for index in random.integers(0, 9, count)] for split, count in symbols.items()})


def model_of(task, config):
    return models.build(config, task.model_dims)


@pytest.mark.parametrize(
    ("rows", "window", "drop_remainder"), [(4, 5, True), (4, 5, False), (1, 7, False), (3, 1, True)]
)
def test_windows_in_turn_are_the_rows_of_the_text(rows, window, drop_remainder) -> None:
    numbers = np.arange(107, dtype=np.int32)
    windows = TextWindows.from_text(numbers, rows, window, drop_remainder=drop_remainder)
    row_length = 107 // rows
    targets = (row_length - 1) // window * window if drop_remainder else row_length - 1
    batches, weights = windows.eval_batches(batch_size=999)
    assert weights.all()
    window_batches = [windows.gather(jnp.asarray(batch)) for batch in batches]
    tokens, following, mask = (
        np.concatenate([getattr(batch, name) for batch in window_batches]) for name in window_batches[0]._fields[:3]
    )
    assert mask.sum() == rows * targets
    for row in range(rows):
        start = row * row_length
        kept = mask[:, row] > 0
        np.testing.assert_array_equal(tokens[kept, row], numbers[start : start + targets])
        np.testing.assert_array_equal(following[kept, row], numbers[start + 1 : start + targets + 1])
    assert [bool(batch.first.all()) for batch in window_batches] == [True] + [False] * (len(window_batches) - 1)
    order = windows.order(0, rows)
    np.testing.assert_array_equal(order.batches(0, 2 * len(batches)), np.concatenate([batches, batches]))


@pytest.mark.slow
def test_the_log_probability_of_a_passage_is_that_of_its_symbols_after_a_line_end() -> None:
    lines = ["w0 w1 w2", "w2 w1", "w0"]
    symbols = cut([line.split() for line in lines], "words")
    task = TextTask(encode(dict.fromkeys(("train", "valid", "test"), symbols)), rows=1, window=3, unit="words")
    model = model_of(task, smoke("cell=lstm", model__dropout_input=0.0))
    row = [task.symbols.index(symbol) for symbol in ["<eos>", *symbols]]
    _, logits = model(jnp.asarray(row)[:, None])
    expected = jax.nn.log_softmax(logits[:-1, 0])[np.arange(len(symbols)), jnp.asarray(row[1:])].sum()
    first, second = task.predict(model, ["w1", "\n\n".join(lines)])
    assert second == pytest.approx(float(expected), rel=1e-5)
    assert second < first < 0
    # A passage and its beginning differ by the probability of what follows.
    begun, longer = task.predict(model, ["w0 w1 w2\nw2 w1", "\n".join(lines)])
    _, logits = model(jnp.asarray(row[:-1])[:, None])
    following = jax.nn.log_softmax(logits[-2:, 0])[np.arange(2), jnp.asarray(row[-2:])].sum()
    assert longer - begun == pytest.approx(float(following), rel=1e-4)

    with pytest.raises(DataError, match=r"^passage 2: words of the training text expected, found 'rose'$"):
        task.predict(model, ["w1", "w0 rose"])
    with pytest.raises(DataError, match=r"^a.txt: words expected, found none$"):
        task.predict(model, [" \n"], ["a.txt"])


@pytest.mark.parametrize("window", [pytest.param(1, marks=pytest.mark.slow), 4, 56, 80])
def test_a_split_read_in_windows_has_the_log_loss_of_one_long_sequence(window) -> None:
    config = smoke("cell=nlstm", data__window=window)
    task = TextTask(text(), rows=2, window=window)
    model = model_of(task, config)
    program = CompiledSteps.from_model(
        model, task, OptimizerFactory.from_config(config, TrainingSchedule.from_config(config, 10)), make_mesh({})
    )
    parameters = program.init_state(model, traced_hparams(config), 2).parameters
    sums = program.eval_sums(parameters, replicate(task.splits["valid"], program.mesh), 64)[0]["log_loss"]
    numbers = jnp.asarray(text().splits["valid"])[:, None]
    _, nats, _ = model.log_loss(numbers[:-1], numbers[1:], jnp.ones((56, 1)))
    assert sums.weight == 56
    np.testing.assert_allclose(sums.sum, nats, rtol=1e-5)


def test_steps_are_those_of_windows_with_the_carry_passed_on_by_hand() -> None:
    config = smoke(train__batch_size=3, data__window=5)
    task = TextTask(text(), rows=3, window=5, loss_per="sequence")
    model = model_of(task, config)
    plan = TrainingSchedule.from_config(config, task.splits["train"].size)
    rule = OptimizerFactory.from_config(config, plan)
    program = CompiledSteps.from_model(model, task, rule, make_mesh({}))
    state = program.init_state(model, traced_hparams(config), 3)
    examples = replicate(task.splits["train"], program.mesh)
    steps = task.splits["train"].windows + 2
    batches = task.splits["train"].order(0, 3).batches(0, steps)

    graph, parameters = models.split(model)
    optimizer = rule(traced_hparams(config))
    moments = optimizer.init(parameters)
    carry = task.initial_carry(model, 3)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss_and_gradient(parameters, carry, window):
        after, nats, _ = models.merge(graph, parameters).log_loss(
            window.tokens, window.targets, jnp.ones(window.tokens.shape), carry
        )
        return nats / 3, after

    for index, batch in enumerate(batches):
        window = task.splits["train"].gather(jnp.asarray(batch))
        if index in (0, task.splits["train"].windows):
            carry = task.initial_carry(model, 3)
        (_, carry), gradients = loss_and_gradient(parameters, carry, window)
        updates, moments = optimizer.update(gradients, moments, parameters)
        parameters = jax.tree.map(jnp.add, parameters, updates)
    state, _ = program.train(state, traced_hparams(config), examples, batches, steps)
    for name, value in state.parameters.items():
        np.testing.assert_allclose(value, parameters[name], rtol=1e-4, atol=1e-6, err_msg=name)
    for value, expected in zip(jax.tree.leaves(state.carry), jax.tree.leaves(carry), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_shards_carry_their_rows_carries() -> None:
    def trained(shards):
        config = smoke(train__batch_size=4, train__shards=shards)
        task = TextTask(text(), rows=4, window=5)
        model = model_of(task, config)
        rule = OptimizerFactory.from_config(config, TrainingSchedule.from_config(config, task.splits["train"].size))
        program = CompiledSteps.from_model(model, task, rule, make_mesh({}), shards=shards)
        examples = replicate(task.splits["train"], program.mesh)
        state, _ = program.train(
            program.init_state(model, traced_hparams(config), 4),
            traced_hparams(config),
            examples,
            task.splits["train"].order(0, 4).batches(0, 8),
            8,
        )
        return state

    for value, expected in zip(jax.tree.leaves(trained(2)), jax.tree.leaves(trained(1)), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)


def lines(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text("utf-8").splitlines()]
    for row in rows:
        for key in CLOCK:
            row.pop(key, None)
    return rows


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_its_carry(tmp_path, monkeypatch) -> None:
    config = smoke(train__steps_per_call=4)
    fit(config, tmp_path / "undisturbed")
    interrupt_soon(monkeypatch)
    with pytest.raises(InterruptedRunError):
        fit(config, tmp_path / "run")
    monkeypatch.undo()
    assert 0 < json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))["steps"] < 15
    fit(config, tmp_path / "run")
    assert lines(tmp_path / "run") == lines(tmp_path / "undisturbed")
    restored = load_run(tmp_path / "run")
    valid = [line for line in lines(tmp_path / "run") if line["split"] == "valid"]
    best = min(valid, key=lambda line: line["perplexity"])
    assert restored.evaluate("valid")["log_loss"] == pytest.approx(best["log_loss"], rel=1e-6)
    with pytest.raises(ConfigError, match="independent ones expected, found windows that a carry goes through"):
        restored.per_example_sums("valid")


@pytest.mark.slow
def test_two_devices_read_a_text_as_one_does(run_scripts, tmp_path) -> None:
    """The devices share the rows of the training text. Each reads the one row of the validation text by itself."""
    command = ["train", "--config=configs/ptb.py:cell=lstm,layers=2,smoke", "--config.train.shards=2"]
    command += ["--config.train.epochs=1.0"]
    cases = {str(n): [*command, f"--cpu_devices={n}", f"--workdir={tmp_path / str(n)}"] for n in (1, 2)}
    ended = run_scripts(cases)
    assert [ended[name].code for name in cases] == [0, 0]
    assert lines(tmp_path / "2") == lines(tmp_path / "1")


def test_a_text_too_short_for_its_rows_is_refused(tmp_path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("a rose is a rose\n", "utf-8")
    config = smoke(data__path=str(tmp_path))
    with pytest.raises(
        DataError, match="train: 420 symbols or more for 20 rows of 20 targets expected, found 6; a smaller "
    ):
        tasks.build(config)


def test_the_defaults_are_zarembas_small_model() -> None:
    """The model has 4.65 million parameters from U(−0.1, 0.1). The learning rate of every epoch is checked too."""
    config = json.loads(ptb.get_config("cell=lstm,layers=2").to_json())
    parameters = models.split(models.build(config, {"vocabulary": 10_000}))[1]
    assert sum(value.size for value in parameters.values()) == 4_651_600
    for name, value in parameters.items():
        assert abs(float(jnp.abs(value).max()) - 0.1) < 0.005, name
        assert abs(float(value.mean())) < 0.01, name
    rate = learning_rate_schedule(config["optimizer"], 13 * 2323, 2323)
    rates = [float(rate(epoch * 2323)) for epoch in range(13)]
    assert [float(rate((epoch + 1) * 2323 - 1)) for epoch in range(13)] == rates
    assert rates == [1.0] * 5 + [0.5 ** (epoch + 1) for epoch in range(8)]


def test_the_log_says_how_much_of_each_split_is_unknown(tmp_path) -> None:
    for split, words in (("train", "a a b c"), ("valid", "a d"), ("test", "a a")):
        (tmp_path / f"{split}.txt").write_text(" ".join([words] * 10), "utf-8")
    config = smoke(data__path=str(tmp_path), data__vocabulary=3, data__window=2, train__batch_size=2)
    log_lines = tasks.build(config).log_lines
    assert "train: 41 symbols, 11 (26.8 %) that the vocabulary lacks read as <unk>" in log_lines
    assert "valid: 21 symbols, 11 (52.4 %) that the vocabulary lacks read as <unk>" in log_lines


def test_a_text_without_a_line_end_in_its_vocabulary_gives_samples() -> None:
    """The only line end of a text of one line is read as `<unk>` if the vocabulary is small."""
    words = [f"w{index}" for index in np.random.default_rng(0).integers(0, 9, 300)]
    task = TextTask(encode({split: [*words, "<eos>"] for split in ("train", "valid", "test")}, 5), rows=2, window=5)
    assert "<eos>" not in task.symbols
    model = model_of(task, smoke())
    sample = task.sample(model, SampleRequest(prompt=task.symbols[0], length=7))
    assert len(sample.split()) == 8
    assert set(sample.split()) <= set(task.symbols) - {"<unk>"}
