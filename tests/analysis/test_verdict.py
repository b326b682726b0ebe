"""Tests of the verdict against numbers computed by hand."""

import re

import numpy as np
import pytest

from nlstm_jax.analysis.comparison import compare
from nlstm_jax.analysis.verdict import verdict
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import write_examples
from nlstm_jax.tasks import WeightedSum


@pytest.fixture
def judge(make_run):
    """Return a function that gives the verdict on runs with these best values, one value per seed.

    For example `judge(lstm=[3.0, 3.1], nlstm=[2.9])`.
    """

    def say(metric="log_loss", **values):
        runs = [
            make_run(name, seed, valid=[value], metric=metric)
            for name, reached in values.items()
            for seed, value in enumerate(reached)
        ]
        return verdict(compare(runs), metric)

    return say


def test_a_difference_that_is_resolved(judge) -> None:
    # Means 3.2 and 3.0, variances 0.01 both, so ν = 4 and the half width is 2.7764 · √(0.02 / 3) = 0.2267;
    # by ten times smaller spreads 0.02267.
    assert judge(lstm=[3.19, 3.2, 3.21], nlstm=[2.99, 3.0, 3.01]) == (
        "nlstm reaches a valid log_loss lower than lstm by 0.200 ± 0.023 nats (95 % t-interval, 3 and 3 seeds): "
        "the difference is resolved."
    )


def test_a_difference_that_is_not(judge) -> None:
    # (t[0.975, 2n−2] + t[0.8, 2n−2])² · 0.02 / 0.2² is 5.27 for n = 5 and 4.98 for n = 6.
    assert judge(lstm=[3.1, 3.2, 3.3], nlstm=[2.9, 3.0, 3.1]) == (
        "nlstm reaches a valid log_loss lower than lstm by 0.20 ± 0.23 nats (95 % t-interval, 3 and 3 seeds): "
        "the interval includes 0; about 6 seeds each would resolve it."
    )


def test_equal_means_are_resolved_by_no_number_of_seeds(judge) -> None:
    assert judge(lstm=[3.0, 3.5], nlstm=[3.0, 3.5]).endswith("2 and 2 seeds): the interval includes 0.")


def test_one_seed_has_no_verdict(judge) -> None:
    assert judge(lstm=[3.2], nlstm=[3.0]) == (
        "nlstm reaches a valid log_loss lower than lstm by 0.2000 nats (one seed each: no interval, so no verdict)."
    )
    assert "(one seed of lstm: no interval, so no verdict)" in judge(lstm=[3.2], nlstm=[3.0, 3.1])


def test_seeds_without_spread_have_no_verdict(judge) -> None:
    assert "agree exactly: no interval, so no verdict" in judge(lstm=[3.2, 3.2], nlstm=[3.0, 3.0])


def test_a_higher_accuracy_is_better_and_has_no_unit(judge) -> None:
    assert judge(metric="accuracy", lstm=[0.5], nlstm=[0.75]) == (
        "nlstm reaches a valid accuracy higher than lstm by 0.2500 (one seed each: no interval, so no verdict)."
    )


def test_the_best_two_of_several_are_a_choice(judge) -> None:
    sentence = judge(gru=[3.5, 3.6], lstm=[3.19, 3.21], nlstm=[2.99, 3.01])
    assert sentence.startswith("nlstm reaches a valid log_loss lower than lstm by 0.200 ± 0.061 nats")
    # scipy's p is 0.00496 of (lstm, nlstm), the smallest of the three.
    assert sentence.endswith(": the difference is resolved after Holm's correction for all 3 pairs (p = 0.015).")
    sentence = judge(gru=[3.5, 3.6], lstm=[3.19, 3.21], nlstm=[3.09, 3.11])
    assert sentence.endswith(": the difference is not resolved after Holm's correction for all 3 pairs (p = 0.058).")


def test_a_difference_named_in_advance_is_judged_alone_and_the_rest_is_exploratory(make_run) -> None:
    values = {"gru": [3.5, 3.6], "lstm": [3.19, 3.21], "nlstm": [3.09, 3.11]}
    runs = [make_run(name, seed, valid=[value]) for name, both in values.items() for seed, value in enumerate(both)]
    sentence = verdict(compare(runs, ("lstm", "nlstm")), "log_loss")
    # p is 0.019 of the pair that was named, and 0.080 and 0.066 of the others.
    assert sentence.startswith(
        "Named in advance: nlstm reaches a valid log_loss lower than lstm by 0.100 ± 0.061 nats"
    )
    assert sentence.endswith(
        "the difference is resolved. Exploratory, after Holm's correction for 2 other pairs: none is resolved."
    )
    sentence = verdict(compare(runs, ("gru", "lstm")), "log_loss")
    assert sentence.endswith(
        "about 3 seeds each would resolve it. Exploratory, after Holm's correction for 2 other pairs: nlstm over lstm "
        "(p = 0.039)."
    )
    with pytest.raises(
        ConfigError, match="contrast: one of the groups gru, lstm, nlstm expected, found 'nlst'; did you"
    ):
        compare(runs, ("lstm", "nlst"))


def test_cells_of_unequal_cost_are_named(make_run) -> None:
    runs = [make_run("lstm", 0, valid=[3.0]), make_run("nlstm", 0, valid=[2.0], cell_parameters=1120)]
    assert "; not at equal cost, as its cell has 12 % more parameters." in verdict(compare(runs), "log_loss")
    runs = [make_run("lstm", 0, valid=[3.0]), make_run("nlstm", 0, valid=[2.0], cell_parameters=900)]
    assert "; not at equal cost, as its cell has 10 % fewer parameters." in verdict(compare(runs), "log_loss")


def test_runs_that_did_not_finish_are_named(make_run) -> None:
    runs = [
        make_run("lstm", 0, valid=[3.0], status=None),
        make_run("lstm", 1, valid=[None], status="diverged"),
        make_run("nlstm", 0, valid=[2.0]),
    ]
    assert "; provisional: of 2 runs of lstm, 1 unfinished, 1 diverged." in verdict(compare(runs), "log_loss")


def test_other_data_have_no_verdict(make_run) -> None:
    runs = [make_run("lstm", 0, valid=[3.0]), make_run("nlstm", 0, valid=[2.0], config={"data": {"seed": 1}})]
    assert verdict(compare(runs), "log_loss").startswith("No verdict: not comparable: the data differ: ")


def test_nothing_to_compare(judge, make_run) -> None:
    assert judge(lstm=[3.0, 3.1]) == "No verdict: lstm is the only group with a valid log_loss."
    assert verdict(compare([make_run("lstm", 0)]), "log_loss") == "No verdict: no run has a valid log_loss."


def test_a_bootstrap_over_examples_is_told_where_they_are_known(make_run) -> None:
    generator, weights = np.random.default_rng(0), np.full(50, 2.0)
    runs = [
        make_run(name, seed, valid=[best + 0.01 * seed])
        for name, best in (("a", 3.0), ("b", 3.2))
        for seed in range(3)
    ]
    for run in runs:
        mean = run.metrics[0]["log_loss"]
        sums = weights * (mean + (generator.normal(size=50) if run.config["name"] == "a" else 0.0))
        write_examples(run.path, "valid", 10, {"log_loss": WeightedSum(sums, weights)})
    said = verdict(compare(runs), "log_loss")
    assert re.search(r"3 and 3 seeds; crossed with a bootstrap over 50 examples it is ± 0\.\d+", said)
    for run in runs:
        write_examples(run.path, "valid", 10, {"mse": WeightedSum(weights, weights)})
    said = verdict(compare(runs), "log_loss")
    assert "no bootstrap over examples, as not all runs have the log_loss of each at their best step" in said
