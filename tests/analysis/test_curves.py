"""Tests of mean curves over seeds, and of the best value of every run."""

import math

import numpy as np
import pytest
from scipy import stats

from nlstm_jax.analysis.curves import Best, Group, run_best, run_status
from nlstm_jax.runs import write_examples
from nlstm_jax.tasks import WeightedSum


def test_mean_and_interval_at_the_steps_which_all_seeds_have(make_run) -> None:
    group = Group(
        "lstm",
        (
            make_run("lstm", 0, valid=[4.0, 3.0, 2.0]),
            make_run("lstm", 1, valid=[5.0, 3.5]),
            make_run("lstm", 2, valid=[6.0, 4.0, 3.0]),
        ),
    )
    curve = group.curve("valid", "log_loss")
    assert curve.steps == (10, 20)
    assert curve.mean == pytest.approx((5.0, 3.5))
    factor = stats.t.ppf(0.975, 2) / math.sqrt(3)
    assert curve.half_width == pytest.approx((1.0 * factor, 0.5 * factor))


def test_one_seed_has_a_curve_and_no_interval(make_run) -> None:
    curve = Group("lstm", (make_run("lstm", 0, valid=[4.0, 3.0]),)).curve("valid", "log_loss")
    assert (curve.steps, curve.mean, curve.half_width) == ((10, 20), (4.0, 3.0), None)


def test_no_curve_where_nothing_was_measured(make_run) -> None:
    group = Group("lstm", (make_run("lstm", 0, valid=[4.0]), make_run("lstm", 1)))
    assert group.curve("test", "log_loss") is None
    assert group.curve("valid", "mse") is None
    assert group.curve("valid", "log_loss").mean == (4.0,)  # a run that has not begun hides no other


def test_a_diverged_run_counts_until_it_diverged(make_run) -> None:
    run = make_run("lstm", 0, valid=[4.0, 3.0, None], status="diverged")
    assert run.curve("valid", "log_loss") == {10: 4.0, 20: 3.0}
    assert run_best(run, "log_loss").valid == 3.0
    assert run_status(run) == "diverged"


def test_best_takes_the_first_best_step_and_the_other_splits_there(make_run) -> None:
    run = make_run("lstm", 0, valid=[4.0, 2.0, 2.0, 3.0], train=[4.5, 1.5, 1.0, 0.5])
    assert run_best(run, "log_loss") == Best(step=20, valid=2.0, train=1.5, test=None, looks=0)


def test_every_look_at_the_test_split_is_counted(make_run) -> None:
    evaluated = {"test": {"log_loss": 2.7}, "test_looks": 2}
    run = make_run("lstm", 0, valid=[4.0, 2.0], test=[4.1, 2.1])
    assert run_best(run, "log_loss") == Best(20, 2.0, None, test=2.1, looks=2)
    run = make_run("lstm", 0, valid=[4.0, 2.0], summary=evaluated)
    assert run_best(run, "log_loss") == Best(20, 2.0, None, test=2.7, looks=2)
    run = make_run("lstm", 0, valid=[4.0, 2.0], test=[4.1, 2.1], summary=evaluated)
    assert run_best(run, "log_loss") == Best(20, 2.0, None, test=2.7, looks=4)


def test_a_higher_accuracy_is_better(make_run) -> None:
    run = make_run("lstm", 0, valid=[0.5, 0.9, 0.8], metric="accuracy")
    assert run_best(run, "accuracy").step == 20


def test_statuses_and_sizes(make_run) -> None:
    runs = (make_run("lstm", 0, status=None), make_run("lstm", 1), make_run("lstm", 2, status="interrupted"))
    group = Group("lstm", runs)
    assert group.statuses == {"unfinished": 1, "finished": 1, "interrupted": 1}
    assert (group.cell_parameters, group.parameters) == (1000, 5000)
    assert Group("lstm", runs[:1]).cell_parameters is None


def test_steps_lie_at_tokens_and_at_the_seconds_of_runs_that_were_alone(make_run) -> None:
    alone = [make_run("lstm", seed, valid=[3.0, 2.0], environment={"tokens_per_step": 7.5}) for seed in (0, 1)]
    together = make_run("lstm", 2, valid=[3.0, 2.0], environment={"trained_together": 3})
    shared = make_run("lstm", 3, valid=[3.0, 2.0], environment={"alone": False})
    group = Group("lstm", (*alone, together, shared))
    assert group.along("step", (10, 20)) == (10, 20)
    assert group.along("tokens", (10, 20)) == (75.0, 150.0)
    assert group.along("seconds", (10, 20)) == (0.5, 1.0)
    assert Group("lstm", (together, shared)).along("seconds", (10, 20)) is None
    assert Group("lstm", (together,)).along("tokens", (10,)) is None


def test_how_soon_a_level_was_reached(make_run) -> None:
    runs = [make_run("lstm", seed, valid=values) for seed, values in enumerate(([3.0, 2.0, 1.0], [2.0, 2.5, 1.5]))]
    runs += [make_run("lstm", 2, valid=[3.0]), make_run("lstm", 3, valid=[1.0], environment={"alone": False})]
    assert Group("lstm", tuple(runs)).reached("log_loss", 2.0) == [(20, 1.0), (10, 0.5), (10, None)]
    accurate = make_run("lstm", 0, valid=[0.2, 0.9, 0.95], metric="accuracy")
    assert Group("lstm", (accurate,)).reached("accuracy", 0.9) == [(20, 1.0)]


def test_examples_are_those_of_the_best_step_of_every_run(make_run) -> None:
    runs = [make_run("lstm", seed, valid=[3.0, 2.0]) for seed in (0, 1)]
    group, weights = Group("lstm", tuple(runs)), np.array([2.0, 1.0])
    write_examples(runs[0].path, "valid", 20, {"log_loss": WeightedSum(np.array([1.0, 2.0]), weights)})
    assert group.by_example("log_loss") is None
    write_examples(runs[1].path, "valid", 10, {"log_loss": WeightedSum(np.array([3.0, 4.0]), weights)})
    assert group.by_example("log_loss") is None
    write_examples(runs[1].path, "valid", 20, {"log_loss": WeightedSum(np.array([3.0, 4.0]), weights)})
    rows, found = group.by_example("log_loss")
    assert (rows.tolist(), found.tolist()) == ([[1.0, 2.0], [3.0, 4.0]], [2.0, 1.0])
    write_examples(runs[1].path, "valid", 20, {"log_loss": WeightedSum(np.array([3.0, 4.0]), weights + 1)})
    assert group.by_example("log_loss") is None
