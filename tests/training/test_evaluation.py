"""Metrics of a split are those of the split, whatever part of the training data is evaluated beside it."""

import numpy as np
import pytest
from changed import changed

from configs import sales
from nlstm_jax import models, tasks
from nlstm_jax.training.evaluation import evaluate, train_count
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.steps import CompiledSteps


@pytest.fixture(scope="module")
def program():
    """Return the compiled functions of an untrained sales model, its parameters and its examples."""
    config = changed(sales.get_config("cell=lstm,smoke"), model__likelihood="mse")
    task = tasks.build(config)
    model = models.build(config, task.model_dims)
    steps = CompiledSteps.from_model(model, task, lambda hparams: None, make_mesh({}))
    examples = {split: replicate(task.splits[split], steps.mesh) for split in ("train", "valid")}
    return steps, models.split(model)[1], examples


@pytest.mark.parametrize("count", [5, 50])
def test_the_variance_of_squared_errors_is_that_of_all_training_residuals(program, count):
    steps, parameters, examples = program
    (report,) = evaluate(steps, parameters, examples, 256, train_count(steps.task, count))

    model = models.merge(steps.graph, parameters)
    errors = {}
    for split, windows in examples.items():
        batch = windows.gather(np.arange(windows.size))
        errors[split] = np.square(np.asarray(model(batch.inputs))[:, 0] - np.asarray(batch.targets), dtype=np.float64)
    variance = errors["train"].mean()
    for split, squared in errors.items():
        expected = 0.5 * np.log(2 * np.pi * variance) + squared.mean() / (2 * variance)
        assert report[split]["log_loss"] == pytest.approx(expected, rel=1e-5)


def test_other_metrics_are_those_of_a_part_of_the_training_data(program):
    steps, parameters, examples = program
    (part,) = evaluate(steps, parameters, examples, 256, {"train": 5})
    (whole,) = evaluate(steps, parameters, examples, 256, {})
    assert part["train"]["mse"] != whole["train"]["mse"]
    assert part["valid"]["mse"] == whole["valid"]["mse"]
