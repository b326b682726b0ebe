"""Tests of the choice of a setting for every model, and of the remarks on it."""

import pytest

from nlstm_jax.analysis.tuning import remarks, tune
from nlstm_jax.errors import ConfigError


@pytest.fixture
def grid(make_run):
    """Return a function that makes runs by learning rate, with ascending seeds.

    For example `grid("lstm", {0.1: [3.0, 2.9]})`.
    """

    def make(name, reached, metric="log_loss"):
        start = 9.0 if metric == "log_loss" else 0.0
        return [
            make_run(
                name,
                seed,
                valid=[start, value],
                metric=metric,
                config={"optimizer": {"learning_rate": rate}},
            )
            for rate, values in reached.items()
            for seed, value in enumerate(values)
        ]

    return make


def test_the_lowest_seed_decides_and_is_not_judged(grid) -> None:
    # With seed 1 the rate 0.3 would have been better.
    runs = grid("lstm", {0.1: [3.0], 0.3: [2.5, 2.0], 0.2: [2.4, 2.6, 2.7]})
    (tuning,) = tune(runs, ["optimizer.learning_rate"], "log_loss")
    assert (tuning.label, tuning.setting, tuning.trials) == ("lstm", {"optimizer.learning_rate": 0.2}, 3)
    assert tuning.steps == 3 * 20
    assert [run.config["seeds"]["init"] for run in tuning.runs] == [1, 2]
    assert (tuning.decided.config["seeds"]["init"], tuning.edges) == (0, {})
    assert remarks([tuning]) == ["lstm: tuned to optimizer.learning_rate=0.2, best of 3 trials of 60 steps in all"]


def test_the_run_that_decided_is_not_judged_though_it_was_run_twice(grid) -> None:
    runs = grid("lstm", {0.1: [3.0], 0.2: [2.4]}) + grid("lstm", {0.2: [2.4, 2.6, 2.7]})
    (tuning,) = tune(runs, ["optimizer.learning_rate"], "log_loss")
    assert (tuning.trials, tuning.steps) == (2, 40)
    assert [run.config["seeds"]["init"] for run in tuning.runs] == [1, 2]


def test_the_seed_with_most_trials_decides(make_run) -> None:
    def run(rate, seed, value):
        return make_run("lstm", seed, valid=[value], config={"optimizer": {"learning_rate": rate}})

    runs = [run(0.1, 7, 3.0), run(0.2, 7, 2.0), run(0.3, 7, 2.5), run(0.2, 0, 2.2), run(0.2, 1, 2.1), run(0.4, 1, 1.0)]
    (tuning,) = tune(runs, ["optimizer.learning_rate"], "log_loss")
    assert (tuning.setting["optimizer.learning_rate"], tuning.trials, tuning.untried) == (0.2, 3, 1)
    assert [run.config["seeds"]["init"] for run in tuning.runs] == [0, 1]
    assert "lstm: 1 more settings were run with other seeds and had no say" in remarks([tuning])


def test_a_trial_that_came_to_nothing_was_tried(make_run) -> None:
    runs = [
        make_run("lstm", 0, valid=[value], config={"optimizer": {"learning_rate": rate}})
        for rate, value in ((0.001, 3.0), (0.01, 2.0), (0.1, None))
    ]
    (tuning,) = tune(runs, ["optimizer.learning_rate"], "log_loss")
    assert (tuning.trials, tuning.edges) == (3, {})


def test_a_setting_may_be_a_list(make_run) -> None:
    runs = [
        make_run("lstm", 0, valid=[3.0 - rates[0]], config={"cell": {"zoneout": rates}}) for rates in ([0.1], [0.2])
    ]
    assert tune(runs, ["cell.zoneout"], "log_loss")[0].setting == {"cell.zoneout": (0.2,)}


def test_an_optimum_at_the_edge_and_a_judge_in_his_own_case_are_told(grid) -> None:
    runs = grid("lstm", {0.1: [3.0], 0.3: [2.5]}) + grid("gru", {0.1: [2.0, 2.1], 0.3: [2.5], 0.2: [2.4]})
    told = remarks(tune(runs, ["optimizer.learning_rate"], "log_loss"))
    assert told == [
        "lstm: tuned to optimizer.learning_rate=0.3, best of 2 trials of 40 steps in all",
        "lstm: the best optimizer.learning_rate is the highest of those tried, 0.1 to 0.3: try beyond it",
        "lstm: judged by the run that decided, which is optimistic: run it with more seeds",
        "gru: tuned to optimizer.learning_rate=0.1, best of 3 trials of 60 steps in all",
        "gru: the best optimizer.learning_rate is the lowest of those tried, 0.1 to 0.3: try beyond it",
        "unequal tuning budgets: lstm 2 trials, 40 steps; gru 3 trials, 60 steps",
    ]


def test_the_highest_accuracy_is_the_best(grid) -> None:
    runs = grid("lstm", {0.1: [0.3], 0.3: [0.5]}, metric="accuracy")
    assert tune(runs, ["optimizer.learning_rate"], "accuracy")[0].setting == {"optimizer.learning_rate": 0.3}


def test_an_unknown_key_and_runs_without_the_metric_are_refused(grid) -> None:
    runs = grid("lstm", {0.1: [3.0]})
    with pytest.raises(ConfigError, match=r"--tuned=optimizer.learning_rat: .* did you mean optimizer"):
        tune(runs, ["optimizer.learning_rat"], "log_loss")
    with pytest.raises(ConfigError, match="lstm: a run with a valid perplexity expected, found none"):
        tune(runs, ["optimizer.learning_rate"], "perplexity")
