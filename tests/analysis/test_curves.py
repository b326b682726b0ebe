"""Means over the seeds at the steps which all have, and the best value of every run."""

import math

import pytest
from scipy import stats

from nlstm_jax.analysis.curves import Best, Group, run_best, run_curve, run_status


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
    assert run_curve(run, "valid", "log_loss") == {10: 4.0, 20: 3.0}
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
