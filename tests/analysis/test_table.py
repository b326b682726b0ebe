"""Tests of the table: one row per group, best first, with the same numbers in every format."""

import csv
import io

import pytest
from rich.console import Console

from nlstm_jax.analysis import table
from nlstm_jax.analysis.comparison import compare
from nlstm_jax.analysis.rows import facet_rows, group_rows
from nlstm_jax.analysis.statistics import Estimate, estimate


@pytest.fixture
def rows(make_run):
    """Return the rows of two groups of two seeds. The better one has more parameters and a test value."""
    look = {"test": {"log_loss": 2.5}, "test_looks": 1}
    runs = [
        make_run("lstm", 0, valid=[4.0, 3.0], train=[3.9, 2.9], cell_parameters=1000),
        make_run("lstm", 1, valid=[3.2, 3.5], train=[3.0, 2.0], cell_parameters=1000),
        make_run("nlstm|depth=2", 0, valid=[4.0, 2.0], summary=look, cell_parameters=1020),
        make_run("nlstm|depth=2", 1, valid=[4.0, 2.2], status="diverged", cell_parameters=1020),
        make_run("gru", 0, status=None),
    ]
    return group_rows(compare(runs), "log_loss")


def rendered(rows, width):
    console = Console(width=width, file=io.StringIO())
    console.print(table.terminal(rows, "log_loss", width))
    return console.file.getvalue()


def test_rows_are_sorted_by_the_validation_value(rows) -> None:
    assert [row.label for row in rows] == ["nlstm|depth=2", "lstm", "gru"]


def test_rows_are_sorted_downwards_where_higher_is_better(make_run) -> None:
    runs = [make_run(name, 0, valid=[value], metric="accuracy") for name, value in (("a", 0.5), ("b", 0.7))]
    assert [row.label for row in group_rows(compare(runs), "accuracy")] == ["b", "a"]


def test_a_metric_is_sorted_as_its_task_declared(make_run) -> None:
    environment = {"metrics": {"f1": {"higher_is_better": True, "unit": ""}}}
    runs = [
        make_run(name, 0, valid=[value], metric="f1", environment=environment)
        for name, value in (("a", 0.5), ("b", 0.7))
    ]
    assert [row.label for row in group_rows(compare(runs), "f1")] == ["b", "a"]


def test_what_a_row_says(rows) -> None:
    nested, lstm, gru = rows
    assert lstm.valid == estimate([3.0, 3.2])
    assert lstm.train == estimate([2.9, 3.0])
    assert lstm.best_steps == (10, 20)
    assert (lstm.cell_parameters, lstm.parameters, lstm.wall_seconds) == (1000, 5000, 12.0)
    assert (lstm.test, lstm.looks, lstm.status) == (None, 0, "finished")
    assert nested.test == Estimate(2.5, None, 1)
    assert (nested.looks, nested.status) == (1, "1 finished, 1 diverged")
    assert (gru.valid, gru.best_steps, gru.cell_parameters, gru.status) == (None, None, None, "unfinished")


def test_cells_are_measured_against_the_best_group(rows) -> None:
    assert [row.unequal for row in rows] == [False, True, False]


def test_markdown(rows) -> None:
    lines = table.markdown(rows, "log_loss").splitlines()
    head = "group | seeds | cell parameters | parameters | best valid log_loss | at step | train there"
    assert lines[0] == f"| {head} | test (n looks) | status | seconds |"
    assert lines[1].count("---") == 10
    assert lines[2] == (
        "| nlstm\\|depth=2 | 2 | 1,020 | 5,000 | 2.1 ± 1.3 | 20 | – | 2.500 (1 look) | 1 finished, 1 diverged | 12 |"
    )
    assert lines[3] == ("| lstm | 2 | 1,000 ≠ cells | 5,000 | 3.1 ± 1.3 | 10–20 | 2.95 ± 0.64 | – | finished | 12 |")
    assert lines[4] == "| gru | 0 of 1 | – | – | – | – | – | – | unfinished | – |"


def test_no_test_column_where_nobody_looked(make_run) -> None:
    text = table.markdown(group_rows(compare([make_run("lstm", 0, valid=[3.0])]), "log_loss"), "log_loss")
    assert "test" not in text


def test_csv_has_every_number_in_full(rows) -> None:
    nested, lstm, gru = csv.DictReader(io.StringIO(table.csv_text(rows, "log_loss")))
    assert lstm["label"] == "lstm"
    assert float(lstm["valid_log_loss"]) == 3.1
    assert float(lstm["valid_log_loss_half_width"]) == estimate([3.0, 3.2]).half_width
    assert (lstm["runs"], lstm["unequal_cells"], lstm["best_step_min"], lstm["best_step_max"]) == (
        "2",
        "yes",
        "10",
        "20",
    )
    assert (nested["test_log_loss"], nested["test_log_loss_half_width"], nested["test_looks"]) == (
        "2.5",
        "",
        "1",
    )
    assert (gru["valid_log_loss"], gru["status"], gru["wall_seconds"]) == ("", "unfinished", "")


def test_the_terminal_shows_all_where_there_is_room(rows) -> None:
    text = rendered(rows, 200)
    for name in (
        "seeds",
        "cell parameters",
        "best valid log_loss",
        "train there",
        "test (n looks)",
        "seconds",
    ):
        assert name in text
    assert "1,000 ≠ cells" in text


@pytest.mark.parametrize("width", [78, 100])
def test_a_narrow_terminal_keeps_estimates_whole(rows, width) -> None:
    text = rendered(rows, width)
    assert max(map(len, text.splitlines())) <= width
    assert "2.1 ± 1.3" in text
    assert "seconds" not in text


def test_names_are_no_markup(make_run) -> None:
    rows = group_rows(compare([make_run("[red]<b>lstm</b>", 0, valid=[3.0])]), "log_loss")
    assert "[red]<b>lstm</b>" in rendered(rows, 200)
    assert "[red]&lt;b&gt;lstm&lt;/b&gt;" in table.html_table(rows, "log_loss")
    assert "[red]&lt;b&gt;lstm&lt;/b&gt;" in table.markdown(rows, "log_loss")


def test_latex_is_escaped_and_has_its_rules(make_run) -> None:
    runs = [make_run("lstm_2 50% & more", seed, valid=[2.0 + seed / 10]) for seed in (0, 1)]
    lines = table.latex(group_rows(compare(runs), "log_loss"), "log_loss").splitlines()
    assert lines[0] == r"\begin{tabular}{lrrrrrrlr}"
    assert lines[1:4:2] == [r"\toprule", r"\midrule"]
    assert lines[2].startswith(r"group & seeds & cell parameters & parameters & best valid log\_loss &")
    assert lines[4].startswith(r"lstm\_2 50\% \& more & 2 & 1,000 & 5,000 & 2.05 $\pm$ 0.64 & 10 &")
    assert lines[5:] == [r"\bottomrule", r"\end{tabular}"]


def test_a_level_has_its_columns(make_run) -> None:
    runs = [make_run("lstm", 0, valid=[3.0, 2.0]), make_run("lstm", 1, valid=[3.0])]
    (row,) = group_rows(compare(runs), "log_loss", level=2.5)
    assert (row.reach.steps.value, row.reach.seconds.value, row.reach.runs) == (20, 1.0, 1)
    assert "| steps to 2.5 | seconds to 2.5 |" in table.markdown([row], "log_loss")
    assert "| 20.00 (1 of 2) | 1.000 |" in table.markdown([row], "log_loss")
    header, line = table.csv_text([row], "log_loss").splitlines()
    assert dict(zip(header.split(","), line.split(","), strict=True))["reach_steps"] == "20.0"


def test_seconds_are_those_of_runs_that_were_alone(make_run) -> None:
    shared = make_run("lstm", 0, valid=[3.0], environment={"alone": False})
    assert group_rows(compare([shared]), "log_loss")[0].wall_seconds is None
    alone = make_run("lstm", 1, valid=[3.0], environment={"alone": True}, summary={"wall_seconds": 7.0})
    assert group_rows(compare([shared, alone]), "log_loss")[0].wall_seconds == 7.0


def test_facets_are_a_column(make_run) -> None:
    facets = {f"cell.features={width}": compare([make_run("lstm", 0, valid=[float(width)])]) for width in (4, 2)}
    found = facet_rows(facets, "log_loss")
    assert [row.facet for row in found] == ["cell.features=4", "cell.features=2"]
    assert table.markdown(found, "log_loss").startswith("| facet | group |")
    assert table.csv_text(found, "log_loss").startswith("facet,label,")
