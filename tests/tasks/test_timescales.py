"""Tests of the task of two time scales: who knows the state of the process reaches the optimum, and nobody else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from changed import changed
from flax import nnx

from configs import timescales
from nlstm_jax import models, tasks
from nlstm_jax.data.generators.timescales import optimal_log_loss, slow_and_fast
from nlstm_jax.training.evaluation import evaluate
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.steps import CompiledSteps

POSITIONS = 7


class Filter(nnx.Module):
    """A model that is told how probable each hidden state is, given the symbols so far, and predicts from it.

    It knows the two rules of motion alone: it follows one number, the probability that the slow state is +1.
    """

    def __init__(self, variant: str, switch: float, noise: float) -> None:
        self.variant = variant
        self.switch = switch
        self.noise = noise

    def moves(self, impulse, slow):
        return impulse * slow if self.variant == "gates" else impulse + slow

    def next_positions(self, symbol, slow):
        """Return the distribution of the next position if the next slow state is `slow`."""
        impulse = 2 * (symbol // POSITIONS) - 1
        predicted = (symbol % POSITIONS + self.moves(impulse, slow)) % POSITIONS
        is_predicted = jax.nn.one_hot(predicted, POSITIONS)
        return is_predicted * (1 - self.noise) + (1 - is_predicted) * self.noise / (POSITIONS - 1)

    def log_loss(self, tokens, targets, weights, carry=None, *, lengths=None, key=None):
        def step(is_up, pair):
            symbol, target = pair
            is_up = is_up * (1 - self.switch) + (1 - is_up) * self.switch
            up = self.next_positions(symbol, 1)
            down = self.next_positions(symbol, -1)
            predicted = is_up[:, None] * up + (1 - is_up[:, None]) * down
            position = (target % POSITIONS)[:, None]
            probability = jnp.take_along_axis(predicted, position, 1)[:, 0]
            is_up = is_up * jnp.take_along_axis(up, position, 1)[:, 0] / probability
            # Both impulses are equally probable.
            return is_up, -jnp.log(probability / 2)

        is_up, nats = jax.lax.scan(step, jnp.full(tokens.shape[1], 0.5), (tokens, targets))
        return is_up, (weights * nats).sum(), nats


def config_of(variant: str, **changes):
    return changed(timescales.get_config(f"variant={variant},smoke"), **changes)


def reported(task, model) -> dict[str, dict[str, float]]:
    """Return the metrics of all splits, by the evaluation of every run."""
    program = CompiledSteps.from_model(model, task, lambda numbers: None, make_mesh({}))
    examples = {split: replicate(task.splits[split], program.mesh) for split in task.splits}
    return evaluate(program, models.split(model)[1], examples, batch_size=32, counts={})[0]


@pytest.mark.parametrize("variant", timescales.VARIANTS)
@pytest.mark.parametrize("noise", [0.1, 0.0])
def test_a_model_that_is_told_the_hidden_state_reaches_the_optimum(variant: str, noise: float) -> None:
    # Without noise every move reveals the slow state, so that the model is told the state itself. Sums are in float32.
    task = tasks.build(config_of(variant, data__noise=noise))
    report = reported(task, Filter(variant, switch=0.02, noise=noise))
    process = slow_and_fast(variant, noise=noise)
    for split, metrics in report.items():
        symbols = np.asarray(task.splits[split].symbols)
        optimum = optimal_log_loss(process, symbols)[:, 1:].mean()
        assert metrics["log_loss"] == pytest.approx(optimum, abs=2e-5)
        assert metrics["excess"] == pytest.approx(0.0, abs=2e-5)
    floor = task.metadata["floor"]["valid"]
    assert report["valid"]["log_loss"] == pytest.approx(floor["log_loss"], abs=2e-5)


def test_a_model_that_is_told_the_rule_of_the_other_process_does_not() -> None:
    task = tasks.build(config_of("gates"))
    assert reported(task, Filter("feeds", switch=0.02, noise=0.1))["valid"]["excess"] > 0.3


def test_the_excess_is_the_log_loss_minus_the_optimum_of_the_same_sequences() -> None:
    # 40 sequences are no multiple of the batch size, so the last batch is ragged.
    config = config_of("feeds")
    task = tasks.build(config)
    model = models.build(config, task.model_dims)
    symbols = np.asarray(task.splits["test"].symbols)
    _, logits = model(jnp.asarray(symbols.T[:-1]))
    log_probabilities = np.asarray(jax.nn.log_softmax(logits), np.float64)
    nats = -np.take_along_axis(log_probabilities, symbols.T[1:, :, None], axis=-1)
    optimum = optimal_log_loss(slow_and_fast("feeds"), symbols)[:, 1:]
    report = reported(task, model)["test"]
    assert report["log_loss"] == pytest.approx(nats.mean(), rel=1e-5)
    assert report["excess"] == pytest.approx(nats.mean() - optimum.mean(), rel=1e-4)


def test_the_defaults_are_those_of_the_protocol() -> None:
    config = timescales.get_config("")
    task = tasks.build(changed(config, data__length=3))
    assert {split: examples.size for split, examples in task.splits.items()} == {
        "train": 2000,
        "valid": 400,
        "test": 400,
    }
    assert config.data.length == 200
    assert task.model_dims == {"vocabulary": 14}
    assert config.train.epochs * 2000 / config.train.batch_size == 4000
    first = {split: examples.symbols[:40].tolist() for split, examples in task.splits.items()}
    assert first["train"] != first["valid"] != first["test"]
