"""Run folders of an earlier version are read, evaluated, compared, and trained to their end.

`tests/fixtures/runs_of_0.1.tar.gz` holds two runs that version 0.1.0 (commit 19e7ae1) left interrupted after 4 of 12
steps, one of poems and one of text, which has a carry; and the metrics of the same runs undisturbed, on another
machine than this one perhaps.
"""

import json
import tarfile
from pathlib import Path

import pytest
from rich.console import Console

from nlstm_jax import settings
from nlstm_jax.analysis.comparison import compare
from nlstm_jax.runs import read_run
from nlstm_jax.training import fit, load_run

ARCHIVE = Path(__file__).resolve().parents[1] / "fixtures" / "runs_of_0.1.tar.gz"
CLOCK = ("wall_seconds", "examples_per_second", "tokens_per_second")
NAMES = ("poems", "text")


@pytest.fixture
def earlier(tmp_path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def rows(path: Path) -> list[dict]:
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]


def assert_close(ours: list[dict], expected: list[dict]) -> None:
    assert len(ours) == len(expected)
    for row, other in zip(ours, expected, strict=True):
        assert row.keys() == other.keys()
        for key, value in other.items():
            assert row[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5)), key


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_an_earlier_version_goes_on_and_ends_as_undisturbed(earlier, name):
    run = read_run(earlier / name)
    assert run.summary["status"] == "interrupted"
    # As a config file of today says it, with the settings that have come since.
    config = settings.with_defaults(run.config)
    summary = fit(config, earlier / name, console=Console(quiet=True))
    assert (summary["status"], summary["steps"]) == ("finished", 12)
    assert_close(rows(earlier / name / "metrics.jsonl"), rows(earlier / f"{name}_undisturbed.jsonl"))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_an_earlier_version_is_evaluated_as_its_training_did(earlier, name):
    restored = load_run(earlier / name)
    assert restored.step == 4
    recorded = next(row for row in rows(earlier / name / "metrics.jsonl") if row["split"] == "valid")
    report = restored.evaluate("valid")
    assert report == pytest.approx({metric: recorded[metric] for metric in report}, rel=1e-5)


def test_a_run_of_an_earlier_version_is_compared(earlier):
    comparison = compare([read_run(earlier / "poems")])
    assert "log_loss" in comparison.metrics
