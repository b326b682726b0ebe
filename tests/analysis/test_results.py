"""The committed results follow from the metrics beside them, as today's code words them."""

import json
import re
import tarfile
from pathlib import Path

import pytest

from nlstm_jax import settings
from nlstm_jax.analysis.figure import PlotOptions
from nlstm_jax.analysis.results import (
    find_results,
    result_texts,
    save_baselines,
    save_result,
    write_result,
)
from nlstm_jax.analysis.run_comparison import ComparisonRequest, run_comparison
from nlstm_jax.errors import DataError
from nlstm_jax.runs.archive import ENVIRONMENT_KEYS, LEFT_OUT, PATH_SETTINGS

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "docs" / "results"
RESULTS = find_results(COMMITTED)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)
def test_a_page_is_what_the_code_makes_of_its_metrics(folder: Path) -> None:
    """`make results` mends a failure. It is due after a change of the words of tables, verdicts or remarks."""
    for name, text in result_texts(folder, settings.with_defaults).items():
        assert (folder / name).read_text("utf-8") == text, f"{folder / name}: make results"
    assert (folder / "compare.png").exists()


def test_a_page_without_metrics_says_so_with_a_date() -> None:
    pages = [page for page in COMMITTED.glob("*/compare.md") if page.parent not in RESULTS]
    for page in pages:
        assert re.search(
            r"^\*\*Drawn on \d{4}-\d\d-\d\d\. .*cannot be drawn anew\.\*\*$", page.read_text("utf-8"), re.M
        )


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)
def test_an_archive_has_no_path_no_diff_no_log_and_no_sample(folder: Path) -> None:
    with tarfile.open(folder / "runs.tar.gz") as archive:
        files = {name: archive.extractfile(name).read() for name in archive.getnames()}
    known = {"config.json", "environment.json", "metrics.jsonl", "summary.json", "notes.json", "examples_valid.npz"}
    assert {Path(name).name for name in files} <= known
    for name, content in files.items():
        if name.endswith("environment.json"):
            environment = json.loads(content)
            assert environment.keys() <= {"schema", *ENVIRONMENT_KEYS}
            assert environment.get("uncommitted_diff", "") in ("", LEFT_OUT)
        if name.endswith("config.json"):
            config = json.loads(content)
            assert not any("/" in str(config[section].get(key, "")) for section, key in PATH_SETTINGS)
        if not name.endswith(".npz"):
            assert not re.search(rb'"(/|~|[A-Z]:\\)', content), name


def test_the_table_of_the_readme_is_that_of_the_demo() -> None:
    rows = [
        line for line in (COMMITTED / "demo" / "compare.md").read_text("utf-8").splitlines() if "| finished |" in line
    ]
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(rows) == 3
    assert all(row in readme for row in rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_estimate_of_a_page_stands_in_a_result(page: Path) -> None:
    results = "".join(path.read_text("utf-8") for path in COMMITTED.rglob("*.md"))
    for estimate in re.findall(r"\d[\d.,]* ± [\d.]*\d", page.read_text("utf-8")):
        assert estimate in results, f"{page.name}: {estimate}"


def test_a_result_is_drawn_anew_without_its_runs(make_run, tmp_path: Path) -> None:
    config = {"cell": {"name": "lstm", "features": 8}}
    runs = [
        make_run(name, seed, valid=[3.0 + seed, best], config=config)
        for name, best in (("a", 2.0), ("b", 1.0))
        for seed in (0, 1)
    ]
    request = ComparisonRequest(PlotOptions("log_loss", log_y=True), contrast=("a", "b"), level=1.5)
    folder = tmp_path / "result"
    report = run_comparison(runs, request)
    written = report.write(folder)
    assert save_result(folder, runs, request) == ["runs.tar.gz", "request.json"]
    save_baselines(folder / "baselines.json", {"none": {"log_loss": 2.5}}, "valid", "log_loss")
    expected = {name: (folder / name).read_bytes() for name in written if name != "compare.html"}
    for name in written:
        (folder / name).unlink()

    assert find_results(tmp_path) == [folder]
    assert sorted(write_result(folder, settings.with_defaults)) == sorted([*expected, "baselines.md"])
    assert {name: (folder / name).read_bytes() for name in expected} == expected
    names = [row.split(" | ")[0] for row in (folder / "baselines.md").read_text("utf-8").splitlines()[2:]]
    assert names == ["| b", "| a", "| none"]


def test_another_request_is_named(make_run, tmp_path: Path) -> None:
    runs = [make_run("a", 0, valid=[1.0])]
    save_result(tmp_path, runs, ComparisonRequest(PlotOptions("log_loss")))
    path = tmp_path / "request.json"
    path.write_text(path.read_text("utf-8").replace('"level"', '"levels"'), "utf-8")
    with pytest.raises(DataError, match=rf"^{path}: what `experiments.compare --archive` writes expected"):
        result_texts(tmp_path, settings.with_defaults)
