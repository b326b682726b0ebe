"""The verdicts of a suite: corrections over tasks that have not all run, the sign count, the interaction, the ends."""

import numpy as np
import pytest
from scipy import stats
from suite_runs import EXCESS, LOSSES, STEPS, loss_group, result, solving_group

from nlstm_jax.analysis.statistics import holm, linear_contrast
from nlstm_jax.suite.verdicts import (
    Contrast,
    MarginVerdict,
    contrast,
    corrected,
    diverged_runs,
    end_of_scale,
    interaction,
    sign_count,
    sign_test,
)


def judged_at(p: float | None) -> Contrast:
    verdict = MarginVerdict(0.0, 1.0, p, None, None, None)
    return Contrast(LOSSES, "N", "S", verdict, p, "N", "")


@pytest.mark.parametrize("total", [1, 2, 7, 10])
def test_the_sign_test_is_the_binomial_one(total) -> None:
    for wins in range(total + 1):
        assert sign_test(wins, total) == pytest.approx(stats.binomtest(wins, total).pvalue)


def test_no_corrected_p_value_grows_when_further_tasks_run() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        values = (random.random(7) ** 3).tolist()
        whole = holm(values)
        for count in range(1, 8):
            so_far = [item.p for item in corrected([judged_at(p) for p in values[:count]], 7)]
            assert all(early >= late - 1e-12 for early, late in zip(so_far, whole, strict=False))
        assert so_far == whole


def test_a_test_that_cannot_be_done_still_counts_in_the_correction() -> None:
    first, second = corrected([judged_at(0.01), judged_at(None)], 7)
    assert (first.p, second.p) == (pytest.approx(0.07), None)


def test_the_interaction_is_the_contrast_of_satterthwaite() -> None:
    random = np.random.default_rng(1)
    values = {name: random.normal(size=6) * scale for name, scale in (("a", 1), ("b", 3), ("c", 2), ("d", 1))}
    gates = result(EXCESS, loss_group("N", values["a"], "excess"), loss_group("S", values["b"], "excess"))
    feeds = result(EXCESS, loss_group("N", values["c"], "excess"), loss_group("S", values["d"], "excess"))
    difference = interaction(gates, feeds, "N", "S")

    means = {name: group.mean() for name, group in values.items()}
    errors = {name: group.var(ddof=1) / 6 for name, group in values.items()}
    degrees = sum(errors.values()) ** 2 / sum(error**2 / 5 for error in errors.values())
    statistic = (means["a"] - means["b"] - means["c"] + means["d"]) / np.sqrt(sum(errors.values()))
    assert difference.value == pytest.approx(means["a"] - means["b"] - means["c"] + means["d"])
    assert difference.degrees == pytest.approx(degrees)
    assert difference.p == pytest.approx(2 * stats.t.sf(abs(statistic), degrees))
    assert difference.half_width == pytest.approx(stats.t.ppf(0.975, degrees) * np.sqrt(sum(errors.values())))


def test_a_group_without_weight_changes_no_contrast() -> None:
    a, b, c = [1.0, 2.0, 4.0], [0.0, 0.5, 0.7], [5.0, 9.0, 2.0]
    assert linear_contrast([a, b, c], (1, -1, 0)) == linear_contrast([a, b], (1, -1))


def test_the_lower_loss_and_the_earlier_solution_are_ahead() -> None:
    low = loss_group("N", [1.0, 1.1, 1.2])
    high = loss_group("S", [2.0, 2.1, 2.2])
    judged = contrast(result(LOSSES, low, high), low, high)
    assert judged.better == "N"
    assert judged.words == "N is better"

    early = solving_group("N", [200, 300, 400])
    late = solving_group("S", [500, None, 600])
    assert contrast(result(STEPS, early, late), early, late).better == "N"
    assert contrast(result(STEPS, early, late), late, early).better == "N"
    none = solving_group("S", [None, None, None])
    equal = contrast(result(STEPS, none, none), none, none)
    assert equal.better is None
    wins, total, p = sign_count([judged, equal], "N")
    assert (wins, total, p) == (1, 1, 1.0)


@pytest.mark.parametrize(
    ("values", "chance", "counts"),
    [
        ([1.0, 1.1, 1.2], 3.0, True),
        ([1.0, 1.1, 1.2], None, True),
        ([2.9, 3.0, 3.1], 3.0, False),
        ([-0.1, 0.0, 0.1], 3.0, False),
        # The interval of the mean reaches beyond chance.
        ([0.5, 1.0, 3.5], 3.0, False),
    ],
)
def test_a_contrast_counts_only_between_chance_and_the_optimum(values, chance, counts) -> None:
    at_an_end = loss_group("S", [3.0, 3.1, 3.2], "excess")
    design = loss_group("N", values, "excess")
    task_result = result(EXCESS, at_an_end, design, chance=chance)
    if chance is None:
        task_result = result(EXCESS, design)
    assert (end_of_scale(task_result) == "") is counts
    judged = contrast(task_result, design, design)
    assert judged.words.startswith("none, as no design lies clearly") is not counts


@pytest.mark.parametrize(
    ("steps", "counts"),
    [([100, 100, 100], False), ([None, None, None], False), ([100, 200, 100], True), ([None, None, 100], True)],
)
def test_steps_count_unless_all_or_no_runs_solve_the_task_at_once(steps, counts) -> None:
    task_result = result(STEPS, solving_group("N", steps), solving_group("S", [None, None, None]))
    assert (end_of_scale(task_result) == "") is counts


def test_a_diverged_run_is_named() -> None:
    group = loss_group("N", [1.0, 2.0], status="diverged")
    assert diverged_runs({"N": group}) == ["N-draw0-seed0", "N-draw0-seed1"]
