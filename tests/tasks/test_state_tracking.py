"""Tests of state tracking: hand-written automata solve both problems at all lengths by the evaluation of every run."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from changed import changed
from flax import nnx

from configs import state_tracking
from nlstm_jax import models, tasks
from nlstm_jax.errors import ConfigError
from nlstm_jax.training.evaluation import evaluate
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.steps import CompiledSteps

SYMBOLS = 8
ITEMS = 4
BLANK = 0
SIGNAL = SYMBOLS + 1
CERTAIN = 50.0
"""The logit of the output of an automaton; the others are 0."""


class Automaton(nnx.Module):
    """A model whose carry is the state of a finite automaton. A subclass defines `start`, `step` and `classes`."""

    def __call__(self, tokens, carry=None, *, lengths=None, key=None):
        batch_size = tokens.shape[1]
        start = jax.tree.map(lambda array: jnp.tile(array, (batch_size, *[1] * (array.ndim - 1))), self.start())
        carry, outputs = jax.lax.scan(jax.vmap(self.step), start, tokens)
        return carry, CERTAIN * jax.nn.one_hot(outputs, self.classes)


class Recall(Automaton):
    """Store the items, and say them one after another from the signal on."""

    classes = SYMBOLS + 1

    def start(self):
        return jnp.zeros((1, ITEMS), int), jnp.zeros(1, int), jnp.full(1, -1)

    def step(self, state, symbol):
        memory, stored, said = state
        is_item = (symbol != BLANK) & (symbol != SIGNAL)
        memory = jnp.where(is_item & (jnp.arange(ITEMS) == stored), symbol, memory)
        stored = stored + is_item
        said = jnp.where((symbol == SIGNAL) | (said >= 0), said + 1, said)
        return (memory, stored, said), jnp.where(said >= 0, memory[said], 0)


class Permutations(Automaton):
    """Compose permutations of five points: where each point goes is the state."""

    classes = 120
    swap = (1, 0, 2, 3, 4)
    cycle = (1, 2, 3, 4, 0)

    def start(self):
        return jnp.arange(5)[None]

    def step(self, state, symbol):
        symbols = jnp.array([range(5), self.swap, self.cycle])
        state = state[symbols[symbol]]
        elements = jnp.array(list(itertools.permutations(range(5))))
        return state, (elements == state).all(1).argmax()


AUTOMATA = {"recall": Recall, "s5": Permutations}


def config_of(variant: str, **changes):
    return changed(state_tracking.get_config(f"variant={variant},smoke"), **changes)


def reported(task, model) -> dict[str, dict[str, float]]:
    """Return the metrics of all splits, by the evaluation of every run."""
    program = CompiledSteps.from_model(model, task, lambda numbers: None, make_mesh({}))
    examples = {split: replicate(task.splits[split], program.mesh) for split in task.splits}
    return evaluate(program, models.split(model)[1], examples, batch_size=64, counts={})[0]


@pytest.mark.parametrize("variant", state_tracking.VARIANTS)
def test_an_automaton_solves_the_task_at_all_lengths(variant: str) -> None:
    # The lengths are those of the protocol. There are fewer sequences to train on.
    config = state_tracking.get_config(f"variant={variant}")
    config.data.train_sequences = 500
    task = tasks.build(config.to_dict())
    lengths = {split: np.asarray(task.splits[split].lengths) for split in ("valid", "test")}
    assert set(lengths["valid"]) == set(range(config.data.shortest, 41))
    assert lengths["test"].min() <= 43
    assert lengths["test"].max() >= 254
    for split, metrics in reported(task, AUTOMATA[variant]()).items():
        assert metrics["token_accuracy"] == 1.0, split
        assert metrics["sequence_accuracy"] == 1.0, split
        assert metrics["log_loss"] == pytest.approx(0.0, abs=1e-6), split


def test_an_automaton_with_one_wrong_rule_solves_only_what_does_not_need_it() -> None:
    class Swapped(Permutations):
        swap = (0, 2, 1, 3, 4)

    task = tasks.build(config_of("s5"))
    metrics = reported(task, Swapped())["valid"]
    inputs = np.asarray(task.splits["valid"].inputs)
    inside = np.arange(inputs.shape[1]) < np.asarray(task.splits["valid"].lengths)[:, None]
    has_swap = ((inputs == 1) & inside).any(axis=1)
    assert metrics["sequence_accuracy"] <= np.mean(~has_swap) + 0.1
    assert metrics["sequence_accuracy"] >= np.mean(~has_swap)
    assert 0 < metrics["token_accuracy"] < 0.7


@pytest.mark.parametrize("variant", state_tracking.VARIANTS)
def test_the_metrics_are_those_of_single_sequences(variant: str) -> None:
    # 70 is no multiple of the batch size, so the last batch is ragged.
    config = config_of(variant, data__valid_sequences=70, data__train_sequences=100)
    task = tasks.build(config)
    model = models.build(config, task.model_dims)
    examples = task.splits["valid"]
    lengths = np.asarray(examples.lengths)
    # Other symbols in the place of the padding change nothing.
    is_padding = np.arange(examples.inputs.shape[1]) >= lengths[:, None]
    inputs = np.where(is_padding, 1, examples.inputs).astype(np.int32)
    _, logits = model(jnp.asarray(inputs.T))
    log_probabilities = np.asarray(jax.nn.log_softmax(logits), np.float64)
    nats, tokens, sequences = [], [], []
    for row, length in enumerate(lengths):
        asked = range(length - ITEMS, length) if variant == "recall" else range(length)
        targets = np.asarray(examples.targets[row])
        nats += [-log_probabilities[time, row, targets[time]] for time in asked]
        correct = [log_probabilities[time, row].argmax() == targets[time] for time in asked]
        tokens += correct
        sequences.append(all(correct))
    report = reported(task, model)["valid"]
    assert report["log_loss"] == pytest.approx(np.mean(nats), rel=1e-5)
    assert report["token_accuracy"] == pytest.approx(np.mean(tokens), rel=1e-6)
    assert report["sequence_accuracy"] == pytest.approx(np.mean(sequences), rel=1e-6)


@pytest.mark.parametrize("variant", state_tracking.VARIANTS)
def test_the_defaults_are_those_of_the_protocol(variant: str) -> None:
    config = state_tracking.get_config(f"variant={variant}")
    assert config.data.train_sequences == 64 * 6000 == config.train.batch_size * 6000
    assert config.train.epochs == 1.0
    assert (config.eval.every_steps, config.eval.metric, config.eval.tolerance) == (100, "token_accuracy", 0.99)
    lengths = (config.data.shortest, config.data.longest, config.data.test_shortest, config.data.test_longest)
    assert lengths == (8 if variant == "recall" else 1, 40, 41, 256)
    assert (config.data.valid_sequences, config.data.test_sequences) == (500, 500)


def test_lengths_that_do_not_serve_are_named() -> None:
    with pytest.raises(ConfigError, match=r"^config.data.shortest and longest: lengths: an ascending pair"):
        tasks.build(config_of("recall", data__shortest=5))
    with pytest.raises(ConfigError, match=r"^config.data.test_shortest and test_longest: lengths: an ascending pair"):
        tasks.build(config_of("s5", data__test_shortest=30))
