"""Tests of the groups of a comparison, their labels, and the remarks on them."""

import pytest

from nlstm_jax.analysis.comparison import compare, faceted
from nlstm_jax.analysis.facts import check_keys
from nlstm_jax.errors import ConfigError


def labels(comparison):
    return [group.label for group in comparison.groups]


def test_runs_that_differ_in_their_seeds_are_one_group(make_run) -> None:
    runs = [make_run("lstm", 0), make_run("nlstm", 0), make_run("lstm", 1)]
    comparison = compare(runs)
    assert labels(comparison) == ["lstm", "nlstm"]
    assert comparison.groups[0].runs == (runs[0], runs[2])
    assert comparison.remarks == ()


def test_namesakes_are_told_apart_by_the_keys_that_differ(make_run) -> None:
    small, large = {"cell": {"features": 8, "depth": 2}}, {"cell": {"features": 16, "depth": 2}}
    comparison = compare([make_run("lstm", 0, config=small), make_run("lstm", 0, config=large), make_run("gru", 0)])
    assert labels(comparison) == ["lstm cell.features=8", "lstm cell.features=16", "gru"]


def test_a_key_that_one_namesake_lacks(make_run) -> None:
    comparison = compare([make_run("lstm", 0), make_run("lstm", 0, config={"model": {"tied": True}})])
    assert labels(comparison) == ["lstm", "lstm model.tied=True"]


def test_runs_of_different_tasks_are_refused(make_run) -> None:
    poems, sales = make_run("lstm", 0), make_run("lstm", 0, config={"task": "sales"})
    with pytest.raises(ConfigError, match=f"found poems in {poems.path} and sales in {sales.path}"):
        compare([poems, sales])
    with pytest.raises(ConfigError, match="at least one run folder"):
        compare([])


def test_different_data_are_not_comparable(make_run) -> None:
    comparison = compare([make_run("lstm", 0), make_run("nlstm", 0, config={"data": {"path": "", "seed": 5}})])
    assert comparison.incomparable == "not comparable: the data differ: data.seed 0 (lstm), 5 (nlstm)"
    assert comparison.remarks == (comparison.incomparable,)


def test_checksums_decide_and_not_how_the_path_is_spelled(make_run) -> None:
    here, there = {"data": {"path": "poems"}}, {"data": {"path": "./poems"}}
    same, other = ({"data": {"checksums": {"qtrain": digest * 64}}} for digest in "af")
    one = make_run("lstm", 0, config=here, environment=same)
    assert labels(compare([one, make_run("lstm", 1, config=there, environment=same)])) == ["lstm"]
    comparison = compare([one, make_run("lstm", 1, config=here, environment=other)])
    assert labels(comparison) == [
        "lstm data.checksums.qtrain=aaaaaaaa",
        "lstm data.checksums.qtrain=ffffffff",
    ]
    assert "data.checksums.qtrain aaaaaaaa" in comparison.incomparable


@pytest.mark.parametrize(("parameters", "told"), [(1010, False), (1011, True)])
def test_cells_more_than_one_percent_apart_are_told(make_run, parameters, told) -> None:
    comparison = compare([make_run("lstm", 0), make_run("nlstm", 0, cell_parameters=parameters)])
    line = f"cells of unequal cost: 1,000 parameters in lstm, {parameters:,} in nlstm"
    assert comparison.remarks == ((line,) if told else ())


def test_cells_made_equal_in_operations_need_not_have_as_many_parameters(make_run) -> None:
    def found(*budgets):
        cells = [{"features": 8, "operations": budget} for budget in budgets]
        names = enumerate(("lstm", "nlstm"), start=1)
        return compare([make_run(n, 0, config={"cell": cells[i - 1]}, cell_parameters=1000 * i) for i, n in names])

    assert not found(500, 500).remarks
    assert "cells of unequal cost" in found(500, 600).remarks[0]


def test_training_that_differs_is_told_but_not_how_it_is_run(make_run) -> None:
    config = {"train": {"batch_size": 8, "steps_per_call": 5}}
    comparison = compare([make_run("lstm", 0), make_run("nlstm", 0, config=config)])
    assert comparison.remarks == ("training differs: train.batch_size 4 (lstm), 8 (nlstm)",)
    assert comparison.incomparable == ""


def test_a_curve_cut_short_by_a_run_is_told(make_run) -> None:
    runs = [make_run("lstm", 0, valid=[3.0, 2.0]), make_run("lstm", 1, valid=[3.0], status=None)]
    assert compare(runs).remarks == ("lstm: runs end at steps 10 to 20; the mean curve ends with the first of them",)


def test_the_same_seeds_twice_are_no_two_seeds(make_run) -> None:
    killed = make_run("lstm", 0, valid=[3.0], status=None)
    again = make_run("lstm", 0, valid=[3.0, 2.0])
    comparison = compare([killed, again])
    assert comparison.groups[0].runs == (again,)
    assert comparison.remarks == (f"left out: {killed.path} has the configuration and the seeds of {again.path}",)


def test_metrics_are_the_numbers_that_occur_without_clocks(make_run) -> None:
    comparison = compare([make_run("lstm", 0, valid=[3.0]), make_run("nlstm", 0, valid=[9.0], metric="mse")])
    assert comparison.metrics == ("log_loss", "mse")
    assert comparison.fields == ("log_loss", "wall_seconds", "examples_per_second", "mse")
    comparison.check_metric("mse")
    with pytest.raises(ConfigError, match="--metric=log_los: these runs have log_loss, mse; did you mean log_loss"):
        comparison.check_metric("log_los")
    with pytest.raises(ConfigError, match="no metric yet"):
        compare([make_run("lstm", 0)]).check_metric("log_loss")


def test_the_floor_is_one_that_all_runs_share(make_run) -> None:
    low, high = ({"data": {"floor": {"valid": {"log_loss": value}}}} for value in (1.5, 1.75))
    runs = [make_run("lstm", 0, environment=low), make_run("nlstm", 0, environment=low)]
    assert compare(runs).floor("log_loss") == 1.5
    assert compare(runs).floor("perplexity") is None
    assert compare([*runs, make_run("gru", 0, environment=high)]).floor("log_loss") is None
    assert compare([*runs, make_run("gru", 0)]).floor("log_loss") is None


def test_groups_can_be_made_by_any_setting(make_run) -> None:
    runs = [
        make_run("lstm", seed, valid=[3.0], config={"cell": {"features": width}, "optimizer": {"learning_rate": rate}})
        for width in (8, 16)
        for rate in (0.1, 0.2)
        for seed in (0, 1)
    ]
    comparison = compare(runs, by=["cell.features"])
    assert [(group.label, len(group.runs)) for group in comparison.groups] == [
        ("cell.features=8", 4),
        ("cell.features=16", 4),
    ]
    assert "cell.features=8: its runs differ in optimizer.learning_rate" in comparison.remarks
    assert not comparison.incomparable
    with pytest.raises(ConfigError, match=r"--group_by=cell\.feature: .* did you mean cell\.features\?"):
        check_keys(runs, ["cell.feature"], "--group_by")


def test_a_setting_that_a_group_has_not_got_is_not_in_its_label(make_run) -> None:
    runs = [make_run("a", 0, valid=[3.0], config={"cell": {"name": "lstm"}})]
    runs.append(make_run("b", 0, valid=[3.0], config={"cell": {"name": "nlstm", "depth": 2}}))
    assert compare(runs, by=["cell.name", "cell.depth"]).labels == ["cell.name=lstm", "cell.name=nlstm, cell.depth=2"]


def test_groups_whose_data_differ_otherwise_than_each_others_are_not_comparable(make_run) -> None:
    runs = [
        make_run("lstm", 0, valid=[3.0], config={"cell": {"features": width}, "data": {"path": "", "seed": data}})
        for width, data in ((8, 0), (8, 1), (16, 0), (16, 1))
    ]
    assert not compare(runs, by=["cell.features"]).incomparable
    assert "data.seed" in compare(runs[:3], by=["cell.features"]).incomparable


def test_facets_are_in_the_order_of_their_values(make_run) -> None:
    runs = [make_run("lstm", 0, valid=[3.0], config={"cell": {"features": width}}) for width in (16, 4, 8)]
    facets = faceted(runs, "cell.features")
    assert list(facets) == ["cell.features=4", "cell.features=8", "cell.features=16"]
    assert facets["cell.features=4"] == [runs[1]]
    with pytest.raises(ConfigError, match=r"--facet=cell\.width: a setting of these runs"):
        faceted(runs, "cell.width")


def code_of(make_run, *environments):
    """Return the line on the commits of two groups of runs."""
    runs = [
        make_run(name, seed, valid=[2.0], environment=environment)
        for name, seed, environment in zip(("lstm", "lstm", "nlstm"), (0, 1, 0), environments, strict=True)
    ]
    return compare(runs).code


def test_runs_of_several_commits_or_with_changes_are_told(make_run):
    one = {"commit": "1" * 40, "uncommitted_diff": ""}
    other = {"commit": "2" * 40, "uncommitted_diff": ""}
    changed = {"commit": "1" * 40, "uncommitted_diff": "diff --git a/x b/x"}
    assert code_of(make_run, one, one, one) == ""
    assert code_of(make_run, None, None, None) == ""
    assert code_of(make_run, one, other, one) == "NOT OF ONE COMMIT: lstm 1111111111, 2222222222; nlstm 1111111111"
    assert code_of(make_run, one, one, other) == "NOT OF ONE COMMIT: lstm 1111111111; nlstm 2222222222"
    assert code_of(make_run, one, one, None) == "NOT OF ONE COMMIT: lstm 1111111111; nlstm unknown"
    told = "1111111111 with uncommitted changes"
    assert code_of(make_run, changed, changed, changed) == f"NOT COMMITTED: all runs are of {told}"
    assert code_of(make_run, one, one, changed) == f"NOT OF ONE COMMIT: lstm 1111111111; nlstm {told}"


@pytest.mark.parametrize(("parameters", "told"), [(5100, False), (5101, True)])
def test_whole_models_more_than_two_percent_apart_are_told(make_run, parameters, told):
    runs = [
        make_run("lstm", 0, valid=[2.0], summary={"parameters": 5000}),
        make_run("nlstm", 0, valid=[2.0], summary={"parameters": parameters}),
    ]
    line = f"whole models of unequal size: 5,000 parameters in lstm, {parameters:,} in nlstm"
    assert (line in compare(runs).remarks) == told


def test_cells_of_one_budget_for_the_whole_model_are_not_of_unequal_cost(make_run):
    runs = [
        make_run(name, 0, valid=[2.0], cell_parameters=count, config={"model": {"parameters": 5000}})
        for name, count in (("lstm", 1000), ("nlstm", 1500))
    ]
    assert compare(runs).remarks == ()
