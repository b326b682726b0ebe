"""`fit`, from a configuration to a run folder."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from interruptions import interrupt_soon

from configs import poems, sales
from nlstm_jax.errors import ConfigError, DivergedError, InterruptedRunError, RunFinishedError
from nlstm_jax.tasks.poems import PoemTask
from nlstm_jax.training import fit, load_run
from nlstm_jax.training.checkpoint import Checkpoints

CLOCK = ("wall_seconds", "examples_per_second", "tokens_per_second")


def smoke(**settings):
    config = poems.get_config("cell=nlstm,depth=2,smoke")
    for key, value in settings.items():
        section, field = key.split("__")
        config[section][field] = value
    return config


def lines(workdir: Path) -> list[dict]:
    text = (workdir / "metrics.jsonl").read_text("utf-8")
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCK} for line in text.splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished") / "run"
    return workdir, fit(smoke(), workdir)


def test_every_evaluation_writes_a_line_a_split(finished) -> None:
    workdir, summary = finished
    written = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [(line["step"], line["split"]) for line in written] == [
        (s, p) for s in (8, 16, 24) for p in ("train", "valid")
    ]
    common = ["step", "epoch", "split", "log_loss", "log_loss_per_character", "perplexity"]
    assert list(written[0]) == [*common, "gradient_norm", "learning_rate", *CLOCK]
    assert list(written[1]) == [*common, *CLOCK]
    assert [line["epoch"] for line in written] == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    assert summary["status"] == "finished"
    assert summary["best_step"] == 24
    assert summary["valid"]["log_loss"] == written[-1]["log_loss"]
    assert json.loads((workdir / "summary.json").read_text("utf-8")) == {"schema": 1, **summary}


def test_evaluate_says_what_training_said(finished) -> None:
    workdir, summary = finished
    restored = load_run(workdir)
    assert restored.step == 24
    for split in ("train", "valid"):
        report = restored.evaluate(split)
        if split == "valid":
            assert report == {name: summary["valid"][name] for name in report}


def test_a_finished_run_is_not_made_again(finished) -> None:
    workdir, _ = finished
    before = (workdir / "metrics.jsonl").read_bytes()
    with pytest.raises(RunFinishedError):
        fit(smoke(), workdir)
    with pytest.raises(ConfigError, match=r"optimizer\.learning_rate: 0\.002 there, 0\.5 here"):
        fit(smoke(optimizer__learning_rate=0.5), workdir)
    assert (workdir / "metrics.jsonl").read_bytes() == before


def test_a_run_from_before_a_setting_came_is_known_again(finished, tmp_path) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(finished[0], workdir)
    config = json.loads((workdir / "config.json").read_text("utf-8"))
    del config["train"]["shards"], config["unroll"]
    (workdir / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(RunFinishedError):
        fit(smoke(), workdir)


def test_an_interrupted_run_goes_on_and_ends_like_an_undisturbed_one(finished, tmp_path, monkeypatch) -> None:
    undisturbed, summary = finished
    interrupt_soon(monkeypatch)
    config = smoke(train__steps_per_call=3)
    with pytest.raises(InterruptedRunError, match="to go on: "):
        fit(config, tmp_path / "run")
    interrupted = json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))
    assert interrupted["status"] == "interrupted"
    assert 0 < interrupted["steps"] < 24
    monkeypatch.undo()
    again = fit(config, tmp_path / "run")
    assert lines(tmp_path / "run") == lines(undisturbed)
    assert {k: v for k, v in again.items() if k not in CLOCK} == {k: v for k, v in summary.items() if k not in CLOCK}


@pytest.mark.slow
def test_a_finished_run_is_trained_longer_as_if_it_had_never_stopped(finished, tmp_path) -> None:
    undisturbed, _ = finished
    assert fit(smoke(train__epochs=1.0), tmp_path / "run")["steps"] == 8
    assert fit(smoke(), tmp_path / "run")["steps"] == 24
    assert lines(tmp_path / "run") == lines(undisturbed)
    assert json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))["train"]["epochs"] == 3.0
    with pytest.raises(RunFinishedError):
        fit(smoke(), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"another configuration \(train\.epochs: 3\.0 there, 2\.0 here\)"):
        fit(smoke(train__epochs=2.0), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "longer", "shorter"),
    [({"steps": 8}, {"epochs": 3.0}, {"epochs": 1.0}), ({"epochs": 1.0}, {"steps": 24}, {"steps": 8})],
    ids=["steps-epochs", "epochs-steps"],
)
def test_a_length_in_epochs_and_one_in_steps_are_compared(first, longer, shorter, finished, tmp_path) -> None:
    def with_length(length):
        return smoke(**{f"train__{name}": value for name, value in length.items()})

    undisturbed, _ = finished
    fit(with_length(first), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"another configuration \(train\."):
        fit(with_length(shorter), tmp_path / "run")
    assert fit(with_length(longer), tmp_path / "run")["steps"] == 24
    assert lines(tmp_path / "run") == lines(undisturbed)


@pytest.mark.slow
def test_a_longer_run_that_is_stopped_before_its_first_step_has_not_ended(tmp_path, monkeypatch) -> None:
    def stop(*arguments):
        raise KeyboardInterrupt

    fit(smoke(train__epochs=1.0), tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "restore_newest", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(smoke(train__epochs=2.0), tmp_path / "run")
    assert fit(smoke(train__epochs=2.0), tmp_path / "run")["steps"] == 16


def test_other_devices_and_versions_are_one_line_each(tmp_path) -> None:
    fit(smoke(train__epochs=1.0), tmp_path / "run")
    path = tmp_path / "run" / "environment.json"
    environment = json.loads(path.read_text("utf-8"))
    environment["devices"]["count"] = 77
    environment["versions"]["jax"] = "0.0.1"
    path.write_text(json.dumps(environment), "utf-8")
    fit(smoke(train__epochs=2.0), tmp_path / "run")
    log = (tmp_path / "run" / "log.txt").read_text("utf-8").splitlines()
    assert [line for line in log if line.startswith("going on with")] == [
        f"going on with jax {jax.__version__}, begun with 0.0.1",
        "going on with devices 1 × cpu, begun with 77 × cpu: last digits can differ",
    ]


@pytest.mark.slow
def test_a_schedule_that_depends_on_the_length_is_not_trained_longer(tmp_path) -> None:
    fit(smoke(train__epochs=1.0, optimizer__schedule="cosine"), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"config\.optimizer\.schedule=cosine depends on the length of the run"):
        fit(smoke(optimizer__schedule="cosine"), tmp_path / "run")


def test_training_stops_by_patience_and_by_tolerance(tmp_path) -> None:
    # At a learning rate of nearly nothing the loss stays where it is, up to noise.
    patient = fit(smoke(train__epochs=50.0, eval__patience=2, optimizer__learning_rate=1e-30), tmp_path / "patience")
    assert (patient["steps"], patient["best_step"]) == (24, 8)
    tolerant = fit(smoke(eval__tolerance=100.0), tmp_path / "tolerance")
    assert tolerant["steps"] == 8


def test_the_test_split_is_looked_at_only_for_its_curve(tmp_path, monkeypatch) -> None:
    class Guarded(dict):
        def __getitem__(self, key):
            assert key != "test", "training looked at the test split"
            return super().__getitem__(key)

    made = PoemTask.__init__

    def guarded(self, *arguments, **options):
        made(self, *arguments, **options)
        self.splits = Guarded(self.splits)

    with monkeypatch.context() as patch:
        patch.setattr(PoemTask, "__init__", guarded)
        fit(smoke(train__epochs=1.0), tmp_path / "without")
        with pytest.raises(AssertionError, match="looked at the test split"):
            fit(smoke(train__epochs=1.0, eval__test_curve=True), tmp_path / "guarded")
    fit(smoke(train__epochs=1.0, eval__test_curve=True), tmp_path / "curve")
    assert [line["split"] for line in lines(tmp_path / "without")] == ["train", "valid"]
    assert [line["split"] for line in lines(tmp_path / "curve")] == ["train", "valid", "test"]


def test_a_run_that_diverges_says_so(tmp_path) -> None:
    config = smoke(optimizer__learning_rate=1e30, optimizer__name="sgd", optimizer__clip_norm=0.0)
    with pytest.raises(DivergedError, match="not finite at step"):
        fit(config, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))["status"] == "diverged"
    assert lines(tmp_path / "run")[-1]["diverged"] is True


@pytest.mark.slow
def test_seeds_are_apart(tmp_path) -> None:
    trained = {}
    for name, changed in (("same", {}), ("init", {"init": 1}), ("data", {"data": 1}), ("dropout", {"dropout": 1})):
        config = smoke(train__steps=1, eval__every_steps=1)
        config.seeds.update(changed)
        fit(config, tmp_path / name)
        trained[name] = load_run(tmp_path / name).params
    base = trained.pop("same")
    for name, parameters in trained.items():
        assert any(not np.array_equal(parameters[key], base[key]) for key in base), name
    moved = {name: np.abs(trained[name]["softmax/kernel"] - base["softmax/kernel"]).max() for name in trained}
    # Other batches or masks move a parameter by two of Adam's steps of 0.002 at most, other initial values by more.
    assert moved["data"] <= 0.0041
    assert moved["dropout"] <= 0.0041
    assert moved["init"] > 0.1


@pytest.mark.slow
def test_neither_the_evaluation_batch_nor_the_call_size_changes_a_metric(finished, tmp_path) -> None:
    undisturbed, _ = finished
    fit(smoke(eval__batch_size=24, train__steps_per_call=5), tmp_path / "run")
    for ours, theirs in zip(lines(tmp_path / "run"), lines(undisturbed), strict=True):
        assert ours["log_loss"] == pytest.approx(theirs["log_loss"], rel=1e-6)


@pytest.mark.slow
def test_sales_report_errors_beside_the_log_loss(tmp_path) -> None:
    summary = fit(sales.get_config("cell=lstm,smoke"), tmp_path / "run")
    assert set(summary["valid"]) == {"log_loss", "mse", "rmse_clipped"}


@pytest.mark.slow
def test_the_notebooks_protocol_trains_without_a_validation_split(tmp_path) -> None:
    config = sales.get_config("cell=nlstm,smoke")
    config.data.protocol = "notebook"
    config.cell.gating = "add"
    summary = fit(config, tmp_path / "run")
    assert {line["split"] for line in lines(tmp_path / "run")} == {"train"}
    assert summary["best_step"] == summary["steps"]
    assert "valid" not in summary
