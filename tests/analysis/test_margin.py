"""Tests of the verdicts with a margin, their sentences and the forest plot."""

import json
import math

import numpy as np
import pytest
from judgements import judgement
from scipy import stats

from nlstm_jax.analysis.comparison import compare
from nlstm_jax.analysis.forest import correct_over_tasks, draw_forest, read_judgements
from nlstm_jax.analysis.margin import MarginOptions, Measured, judge, judge_all, sentence
from nlstm_jax.analysis.statistics import holm, paired
from nlstm_jax.errors import ConfigError, DataError

LOW = [1.00, 1.02, 0.98, 1.01]
HIGH = [1.21, 1.19, 1.20, 1.22]
CLOSE = [1.01, 1.03, 0.97, 1.00]


def name_of(first: list[float], second: list[float], margin: float) -> str:
    verdict = judge(Measured(first, second), MarginOptions(margin))
    return verdict.name(verdict.p)


def test_the_four_verdicts() -> None:
    assert name_of(LOW, HIGH, 0.1) == "better"
    assert name_of(LOW, HIGH, 0.5) == "better, but within the margin"
    assert name_of(LOW, CLOSE, 0.1) == "equivalent within the margin"
    assert name_of(LOW, CLOSE, 0.01) == "undecided"
    assert name_of([1.0], [2.0], 0.1) == "undecided"


def test_the_paired_test_is_scipys() -> None:
    result = paired(LOW, CLOSE)
    expected = stats.ttest_rel(LOW, CLOSE)
    interval = expected.confidence_interval(0.95)
    assert result.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert result.value + result.half_width == pytest.approx(interval.high, rel=1e-9)
    # Pairs that share most of their noise resolve what groups of independent runs do not.
    shared = np.array([0.0, 1.0, 2.0, 3.0])
    first = (shared + np.array([0.10, 0.11, 0.09, 0.10])).tolist()
    verdict = judge(Measured(first, shared.tolist()), MarginOptions(0.2, is_paired=True))
    assert verdict.name(verdict.p) == "better, but within the margin"
    above = stats.ttest_1samp(np.subtract(first, shared), 0.2, alternative="less").pvalue
    assert verdict.p_equivalence == pytest.approx(above, rel=1e-9)
    assert name_of(first, shared.tolist(), 0.2) == "undecided"


def test_the_pair_that_was_named_comes_first_and_is_not_corrected(make_run) -> None:
    runs = []
    for name, values in (("a", LOW), ("b", HIGH), ("c", CLOSE)):
        runs += [make_run(name, seed, valid=[9.0, value], test=[9.0, 2 * value]) for seed, value in enumerate(values)]
    reports = judge_all(compare(runs, contrast=("b", "a")), "log_loss", MarginOptions(0.1))
    valid = [report for report in reports if report["split"] == "valid"]
    assert [(report["first"], report["second"]) for report in valid] == [("b", "a"), ("a", "c"), ("c", "b")]
    uncorrected = [
        stats.ttest_ind(first, second, equal_var=False).pvalue for first, second in ((LOW, CLOSE), (CLOSE, HIGH))
    ]
    assert valid[0]["p"] == pytest.approx(stats.ttest_ind(HIGH, LOW, equal_var=False).pvalue, rel=1e-9)
    assert [report["p"] for report in valid[1:]] == pytest.approx(holm(uncorrected), rel=1e-9)
    assert sentence(valid[0]).startswith("Margin 0.1, valid: b − a = 0.20")
    assert ": a is better (p = " in sentence(valid[0])
    # The test values are those of the best steps.
    test = next(report for report in reports if report["split"] == "test")
    assert test["value"] == pytest.approx(2 * (np.mean(HIGH) - np.mean(LOW)))
    # Without a contrast, all three pairs are corrected together.
    reports = judge_all(compare(runs), "log_loss", MarginOptions(0.1))
    assert not any(report["named"] for report in reports)
    assert max(report["p"] for report in reports) >= max(uncorrected)


def test_runs_that_do_not_solve_are_censored_and_a_diverged_one_never_solves(make_run) -> None:
    solving = [0.1, 0.5, 0.995]
    failing = [0.1, 0.5, 0.6, 0.7, 0.8]
    units = {"metrics": {"token_accuracy": {"higher_is_better": True, "unit": ""}}}
    runs = [make_run("a", seed, valid=solving, metric="token_accuracy", environment=units) for seed in range(4)] + [
        make_run("b", seed, valid=failing, metric="token_accuracy", environment=units) for seed in range(3)
    ]
    runs.append(make_run("b", 3, valid=[0.1, None], metric="token_accuracy", environment=units, status="diverged"))
    comparison = compare(runs, contrast=("a", "b"))
    (report,) = judge_all(comparison, "token_accuracy", MarginOptions(0.5, level=0.99))
    assert (report["first_solved"], report["second_solved"]) == (4, 0)
    assert report["value"] is None
    assert report["better"] == "a"
    # Four events at one time among eight runs: the hypergeometric variance is 4/8 · 4/8 · 4 · 4/7.
    statistic = (4 - 2) / math.sqrt(0.25 * 4 * 4 / 7)
    assert report["p"] == pytest.approx(2 * stats.norm.sf(statistic), rel=1e-9)
    assert "steps to token_accuracy 0.99, which 4 of 4 and 0 of 4 runs reach" in sentence(report)


def test_pairs_need_the_same_seeds(make_run) -> None:
    runs = [make_run("a", seed, valid=[value]) for seed, value in enumerate(LOW)]
    runs += [make_run("b", seed + 1, valid=[value]) for seed, value in enumerate(CLOSE)]
    with pytest.raises(ConfigError, match=r"^--paired: the same seeds in a and b expected, found others"):
        judge_all(compare(runs, contrast=("a", "b")), "log_loss", MarginOptions(0.1, is_paired=True))


def test_the_forest_has_each_difference_in_its_margin_and_corrects_over_the_tasks(tmp_path) -> None:
    rows = [
        judgement("x", 0.04, 0.02, 0.02, "better"),
        judgement("y", -1.0, 0.5, 0.03, "better, but within the margin"),
    ]
    (tmp_path / "margin.json").write_text(json.dumps([*rows, {**rows[0], "named": False}]), "utf-8")
    corrected = correct_over_tasks(read_judgements([tmp_path / "margin.json"]), "valid")
    assert [row["p"] for row in corrected] == holm([0.02, 0.03])
    assert [row["verdict"] for row in corrected] == ["better", "better, but within the margin"]
    rows[0]["p"] = 0.03
    rows[1]["p"] = 0.04
    verdicts = [row["verdict"] for row in correct_over_tasks(rows, "valid")]
    assert verdicts == ["undecided", "equivalent within the margin"]

    axes = draw_forest(corrected).axes[0]
    points = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "s"]
    assert points == [[2.0], [-2.0]]
    intervals = [line.get_xdata() for line in axes.lines if line.get_linewidth() == 1.6 and len(line.get_xdata()) == 2]
    assert np.allclose(intervals, [[1.5, 2.5], [-2.5, -1.5]])
    with pytest.raises(DataError, match=r"what `experiments\.compare --margin` writes expected"):
        read_judgements([tmp_path / "none.json"])
