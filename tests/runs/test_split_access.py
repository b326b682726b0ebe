import json

import pytest

from nlstm_jax.errors import ConfigError, RunFolderInUseError
from nlstm_jax.runs import RunFolder, read_run, record_test_look

CONFIG = {"task": "poems"}
SUMMARY = {"status": "finished", "steps": 8, "best_step": 8, "valid": {"log_loss": 2.5}}


def make(folder, summary):
    with RunFolder(folder, CONFIG) as run:
        if summary:
            run.write_summary(summary)


def test_every_look_is_counted_and_the_latest_metrics_kept(tmp_path):
    make(tmp_path, SUMMARY)
    assert record_test_look(tmp_path, {"log_loss": 2.75}, step=8) == 1
    assert read_run(tmp_path).summary == {**SUMMARY, "test": {"log_loss": 2.75, "step": 8}, "test_looks": 1}
    assert record_test_look(tmp_path, {"log_loss": 2.5}, step=16) == 2
    assert read_run(tmp_path).summary == {**SUMMARY, "test": {"log_loss": 2.5, "step": 16}, "test_looks": 2}
    assert json.loads((tmp_path / "summary.json").read_text())["schema"] == 1


@pytest.mark.parametrize("summary", [None, {"status": "interrupted", "steps": 4}])
def test_a_run_that_goes_on_is_not_looked_at(tmp_path, summary):
    make(tmp_path, summary)
    with pytest.raises(ConfigError) as caught:
        record_test_look(tmp_path, {"log_loss": 2.75}, step=4)
    assert str(caught.value) == (
        f"{tmp_path}: a finished run expected for a look at its test split, found one that goes on"
    )
    assert read_run(tmp_path).summary == summary


def test_a_run_that_is_being_written_is_not_looked_at(tmp_path):
    with RunFolder(tmp_path, CONFIG) as run:
        run.write_summary(SUMMARY)
        with pytest.raises(RunFolderInUseError):
            record_test_look(tmp_path, {"log_loss": 2.75}, step=8)
    assert read_run(tmp_path).summary == SUMMARY
