"""The pages of a suite follow from its committed metrics, and a row stands beside them."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from suite_runs import SPEC as MADE_UP
from suite_runs import loss_group, loss_run, solving_group

from configs.sweeps.suite_v1.report import SPEC
from nlstm_jax import settings
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.runs import Run, files, write_archive
from nlstm_jax.suite.archive import save_task
from nlstm_jax.suite.published import published_text
from nlstm_jax.suite.report import SuiteReport, fill_parts, suite_texts
from nlstm_jax.suite.results import read_designs, read_results
from nlstm_jax.suite.rows import DESIGN, ROWS, available_tasks, read_row, row_page, write_row
from nlstm_jax.suite.spec import Published
from nlstm_jax.suite.tables import contrast_table
from nlstm_jax.suite.verdicts import contrast

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "docs" / "results" / "suite_v1"


def keep(config: dict) -> dict:
    return config


@pytest.fixture(scope="module")
def committed(tmp_path_factory) -> SuiteReport:
    """Return the verdicts of the committed results."""
    scratch = tmp_path_factory.mktemp("committed")
    results, missing = read_results(COMMITTED, SPEC, scratch, settings.with_defaults)
    return SuiteReport.from_results(SPEC, results, missing)


def test_the_committed_pages_are_what_the_command_writes() -> None:
    """`python -m experiments.answer` mends a failure."""
    texts = suite_texts(COMMITTED, SPEC, settings.with_defaults)
    assert COMMITTED.parent / "answer.md" in texts
    for path, text in texts.items():
        assert path.read_text("utf-8") == text, f"{path}: python -m experiments.answer"


def test_every_picture_of_a_page_is_committed() -> None:
    for page in (COMMITTED.parent / "answer.md", *COMMITTED.rglob("answer.md")):
        for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text("utf-8")):
            assert (page.parent / picture).is_file(), f"{page}: {picture}"


def test_the_page_names_every_task_and_says_which_have_not_run(committed) -> None:
    page = (COMMITTED.parent / "answer.md").read_text("utf-8")
    assert set(committed.results) | set(committed.missing) == {task.name for task in SPEC.tasks}
    for task in SPEC.tasks:
        rows = [line for line in page.splitlines() if line.startswith(f"| {task.title} | ")]
        assert rows
        assert any(line.endswith("| not run |") for line in rows) is (task.name in committed.missing)


def test_the_verdicts_agree_with_those_of_compare(committed) -> None:
    """The differences on the test split, before any correction, are those of `margin.json`."""
    names = {"N": "nlstm depth=2", "S": "lstm layers=2"}
    for item in committed.primary:
        rows = json.loads((COMMITTED / item.task.name / "margin.json").read_text("utf-8"))
        split = "test" if item.task.level is None else "steps"
        [row] = [row for row in rows if row["named"] and row["split"] == split]
        assert names[item.first] in row["first"]
        assert names[item.second] in row["second"]
        assert item.verdict.p == pytest.approx(row["p"], rel=1e-9)
        assert (item.verdict.value, item.verdict.p_equivalence) == (row["value"], row["p_equivalence"])


def write_made_up(folder: Path) -> None:
    """Write archives of a made-up suite: losses are complete, a run of gates is missing, S5 is complete."""
    losses = [*loss_group("S", [2.0, 2.1, 2.2]).runs, *loss_group("N", [1.0, 1.1, 1.3]).runs]
    gates = [*loss_group("S", [2.0, 2.1, 2.2], "excess").runs, *loss_group("N", [1.0, 1.1], "excess").runs]
    steps = [*solving_group("S", [None, 400, 500]).runs, *solving_group("N", [200, 300, 400]).runs]
    for name, runs in (("words", losses), ("gates", gates), ("s5", steps)):
        (folder / name).mkdir(parents=True)
        write_archive(folder / name / "runs.tar.gz", runs, "log_loss")


def test_incomplete_tasks_are_named_and_the_others_are_judged(tmp_path) -> None:
    write_made_up(tmp_path / "suite_v0")
    texts = suite_texts(tmp_path / "suite_v0", MADE_UP, keep)
    page = texts[tmp_path / "suite_v0" / "answer.md"]
    assert "Tasks that have run, 2 of 3: [words](words/answer.md), [S5](s5/answer.md)." in page
    assert "gates: 3 runs of each design expected, found 2 of N." in page
    assert "Sign count: N is ahead of S on 2 of 2 tasks that have run, of 3 (two-sided binomial p = 0.5)." in page
    assert "| words | N | 1,000 | 1.13 ± 0.38 |" in page
    assert "| S5 | N | 1,000 | 3 of 3 | 300 |" in page
    assert tmp_path / "suite_v0" / "gates" / "answer.md" not in texts


def test_a_run_of_another_name_or_without_a_look_at_the_test_split_is_named(tmp_path) -> None:
    [first, second, third] = loss_group("N", [1.0, 1.1, 1.3]).runs
    (tmp_path / "words").mkdir()
    unseen = Run(first.path, first.config, first.environment, first.metrics, {**first.summary, "test": {}})
    runs = [unseen, second, third, *loss_group("S", [1.0, 1.1, 1.3]).runs]
    write_archive(tmp_path / "words" / "runs.tar.gz", runs, "log_loss")
    _, missing = read_results(tmp_path, MADE_UP, tmp_path / "a", keep)
    assert missing["words"] == "N-draw0-seed0 has not been evaluated on the test split"

    renamed = Run(Path("mine"), first.config, first.environment, first.metrics, first.summary)
    write_archive(tmp_path / "words" / "runs.tar.gz", [renamed], "log_loss")
    with pytest.raises(DataError, match=r"runs with names like N-draw3-seed10 expected, found mine"):
        read_results(tmp_path, MADE_UP, tmp_path / "b", keep)


def test_parts_are_filled_between_their_markers() -> None:
    page = "a\n<!-- begin one -->\nold\n<!-- end one -->\nb\n"
    filled = fill_parts(page, {"one": "new", "two": "unused"}, "page.md")
    assert filled == "a\n<!-- begin one -->\n\nnew\n\n<!-- end one -->\nb\n"
    assert fill_parts(filled, {"one": "new"}, "page.md") == filled
    for broken in ("<!-- begin other --><!-- end other -->", "<!-- begin one -->"):
        with pytest.raises(DataError, match=r"page.md: a known part with a marker at its end expected"):
            fill_parts(broken, {"one": "new"}, "page.md")


def renamed_copy(runs: list[Run]) -> list[Run]:
    """Return runs under the name of a row's design."""
    copies = []
    for run in runs:
        path = run.path.with_name(run.path.name.replace("N-", f"{DESIGN}-"))
        copies.append(Run(path, run.config, run.environment, run.metrics, run.summary))
    return copies


def test_a_copy_of_a_design_is_equal_to_it_and_differs_from_others_as_it_does(committed, tmp_path) -> None:
    sales = committed.results["sales"]
    copies = renamed_copy(list(sales.designs["N"].runs))
    write_row(tmp_path / "row", SPEC, "copy", "my_package:copy", sales.task, copies)
    row = read_row(tmp_path / "row", SPEC, tmp_path / "scratch", settings.with_defaults)
    page = row_page(SPEC, committed.results, row)
    lines = [line.split(" | ") for line in page.splitlines() if line.startswith("| sales | copy −")]
    cells = {line[1]: line for line in lines}
    assert cells["copy − N"][2].startswith("0.0000 ± ")
    table = contrast_table(committed.contrasts("sales"))
    for other in ("S", "W", "D"):
        [line] = [line for line in table.splitlines() if line.startswith(f"| sales | N − {other} |")]
        assert cells[f"copy − {other}"][2:6] == line.split(" | ")[2:6]
    assert "Tasks that this row lacks: Penn Treebank" in page


def test_a_row_on_other_data_or_with_too_few_runs_is_refused(committed, tmp_path) -> None:
    sales = committed.results["sales"]
    copies = renamed_copy(list(sales.designs["N"].runs))
    others = []
    for run in copies:
        question = {**run.question, "checksums": {}}
        others.append(Run(run.path, run.config, {**run.environment, "question": question}, run.metrics, run.summary))
    for name, runs, message in (
        ("other", others, "the data and the settings of sales in the suite expected, found others"),
        ("few", copies[:5], "6 runs of each design expected, found 5 of few"),
    ):
        write_row(tmp_path / name, SPEC, name, "my_package:copy", sales.task, runs)
        row = read_row(tmp_path / name, SPEC, tmp_path / f"{name}_scratch", settings.with_defaults)
        with pytest.raises(ConfigError, match=message):
            row_page(SPEC, committed.results, row)


def test_a_row_in_the_folder_of_the_suite_gets_its_page(tmp_path) -> None:
    folder = tmp_path / "suite_v0"
    write_made_up(folder)
    rows = renamed_copy(list(loss_group("N", [1.0, 1.2, 1.4]).runs))
    write_row(folder / ROWS / "mine", MADE_UP, "mine", "my_package:mine", MADE_UP.tasks[0], rows)
    texts = suite_texts(folder, MADE_UP, keep)
    assert "| words | mine | 1,000 | 1.20 ± 0.50 |" in texts[folder / ROWS / "mine" / "row.md"]
    files.write_json(folder / ROWS / "mine" / "row.json", {"suite": "suite_v9", "name": "mine", "cell": "a:b"})
    with pytest.raises(DataError, match=r"a row of suite_v0 expected, found one of suite_v9"):
        suite_texts(folder, MADE_UP, keep)


def test_tasks_without_results_or_data_are_left_out_or_refused(tmp_path) -> None:
    missing = {"ptb": "the runs are not committed", "gates": "the runs are not committed"}
    (tmp_path / "poems").mkdir()

    def data_path(name: str) -> str:
        return str(tmp_path / name)

    tasks, notes = available_tasks(SPEC, (), missing, data_path, is_strict=False)
    assert [task.name for task in tasks] == ["quatrains", "feeds", "recall", "s5"]
    assert notes == [
        "ptb: left out, as there is nothing to compare with: the runs are not committed",
        "gates: left out, as there is nothing to compare with: the runs are not committed",
        f"sales: left out, as its data are missing: a folder {tmp_path / 'sales'} expected (NLSTM_JAX_DATA)",
    ]
    with pytest.raises(ConfigError, match=r"^gates: left out"):
        available_tasks(SPEC, ["gates", "feeds"], missing, data_path, is_strict=True)
    with pytest.raises(ConfigError, match=r"^gates: left out"):
        available_tasks(SPEC, ["gates"], missing, data_path, is_strict=False)
    with pytest.raises(ConfigError, match=r"--tasks: one of ptb, .* expected, found 'poems'"):
        available_tasks(SPEC, ["poems"], missing, data_path, is_strict=False)


def test_an_archive_of_runs_is_read_by_design(tmp_path) -> None:
    write_archive(tmp_path / "runs.tar.gz", solving_group("N", [200, None]).runs, "token_accuracy")
    designs = read_designs(tmp_path / "runs.tar.gz", tmp_path / "scratch", keep)
    assert [run.path.name for run in designs["N"].runs] == ["s5-N-draw0-seed0", "s5-N-draw1-seed1"]


def test_published_figures_stand_beside_the_prediction_interval_of_recent_runs(tmp_path) -> None:
    published = Published("again", "a model", "perplexity", {"valid": 120.0, "test": 100.0}, 3)
    assert published_text(tmp_path, published, tmp_path / "a", keep) == "a model: the runs are not committed."
    runs = []
    for seed, value in enumerate((119.0, 121.0, 122.0)):
        run = loss_run(f"S-draw0-seed{seed}", value, "perplexity")
        runs.append(Run(run.path, run.config, run.environment, run.metrics, {"test": {"perplexity": 110.0 + seed}}))
    (tmp_path / "again").mkdir()
    write_archive(tmp_path / "again" / "runs.tar.gz", runs, "perplexity")
    text = published_text(tmp_path, published, tmp_path / "b", keep)
    assert text == "a model: not all runs have a perplexity on test at the last step."

    looked = [{**run.summary["test"], "step": 100} for run in runs]
    runs = [Run(run.path, run.config, {}, run.metrics, {"test": test}) for run, test in zip(runs, looked, strict=True)]
    write_archive(tmp_path / "again" / "runs.tar.gz", runs, "perplexity")
    text = published_text(tmp_path, published, tmp_path / "c", keep)
    # t is 4.303 for two degrees of freedom, and the standard deviations are √(7/3) and 1.
    assert "| valid | 120 | 120.7 ± 7.6 | within |" in text
    assert "| test | 100 | 111.0 ± 5.0 | not within |" in text


def test_chance_counts_only_if_it_was_measured_on_the_data_of_the_runs(tmp_path) -> None:
    write_made_up(tmp_path)
    for checksums, expected in (({}, 7.5), ({"other": "file"}, None)):
        files.write_json(tmp_path / "chance.json", {"words": {"log_loss": 7.5, "checksums": checksums}})
        results, _ = read_results(tmp_path, MADE_UP, tmp_path / str(expected), keep)
        assert results["words"].chance == expected


def test_chance_on_a_process_is_in_excess_of_the_optimum(tmp_path) -> None:
    runs = [*loss_group("S", [2.0, 2.1, 2.2], "excess").runs, *loss_group("N", [1.0, 1.1, 1.2], "excess").runs]
    (tmp_path / "gates").mkdir()
    write_archive(tmp_path / "gates" / "runs.tar.gz", runs, "excess")
    results, _ = read_results(tmp_path, MADE_UP, tmp_path / "scratch", keep)
    # The log-loss of chance is 3 in the made-up suite, and that of the optimum is 1.
    assert results["gates"].chance == pytest.approx(2.0)


def test_a_task_whose_steps_are_compared_is_archived_with_its_contrast(tmp_path) -> None:
    steps = MADE_UP.tasks[2]
    runs = [*solving_group("S", [300, 400, 600]).runs, *solving_group("N", [200, None, 400]).runs]
    save_task(tmp_path / "s5", MADE_UP, steps, runs, keep)
    [row] = [row for row in json.loads((tmp_path / "s5" / "margin.json").read_text("utf-8")) if row["named"]]
    assert (row["first"], row["second"], row["split"]) == ("name=N", "name=S", "steps")
    assert (row["first_solved"], row["second_solved"]) == (2, 3)
    results, _ = read_results(tmp_path, MADE_UP, tmp_path / "scratch", keep)
    judged = contrast(results["s5"], results["s5"].designs["N"], results["s5"].designs["S"])
    assert judged.verdict.p == pytest.approx(row["p"])
