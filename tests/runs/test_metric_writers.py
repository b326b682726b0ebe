"""Metric writers: what the readers of the programs themselves find after a kill and a resume."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from requirements import requires

from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import RunFolder, check_metric_writers

CONFIG = {"task": "poems", "cell": {"name": "lstm", "layers": 2, "units": None, "sizes": [3, 4]}}
SUMMARY = {"status": "finished", "steps": 4, "best_step": 3, "train": {"log_loss": 1.5}, "valid": {"log_loss": 2.0}}
BEST = {("train", "log_loss", 3): 1.5, ("valid", "log_loss", 3): 2.0}
Points = dict[tuple[str, str, int], float]
"""A number by split, metric and step."""


def lines(*steps: int, shift: float = 0.0) -> list[dict]:
    return [
        {"step": step, "split": split, "log_loss": 5.0 / step + loss, "wall_seconds": float(step), "diverged": False}
        for step in steps
        for split, loss in (("train", shift), ("valid", shift + 0.5))
    ]


def expected(*steps: int, shift: float = 0.0) -> Points:
    return {
        (line["split"], name, line["step"]): line[name]
        for line in lines(*steps, shift=shift)
        for name in ("log_loss", "wall_seconds")
    }


def train(folder: Path, kind: str, until: int, *steps: int, overwrite: bool = False, killed: bool = False) -> None:
    """Resume a run after the step `until` and train it, in a process of its own that ends regularly or is killed."""
    done = call_in_process(f"train_here({str(folder)!r}, {kind!r}, {until}, {steps}, {overwrite}, {killed})")
    assert done.returncode == (-signal.SIGKILL if killed else 0), done.stderr
    assert done.stdout == ""


def call_in_process(call: str) -> subprocess.CompletedProcess[str]:
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    program = f"import sys; sys.path[:0] = {folders}; import test_metric_writers; test_metric_writers.{call}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)


def train_here(folder: str, kind: str, until: int, steps: tuple[int, ...], overwrite: bool, killed: bool) -> None:
    with RunFolder(Path(folder), CONFIG, metric_writers=[kind], overwrite=overwrite) as run:
        run.truncate_metrics(until)
        for step in steps:
            run.append_metrics(lines(step))
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)
        run.write_summary(SUMMARY)


def read_json_lines(*command: str) -> Iterator[dict]:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120, check=True)
    return map(json.loads, done.stdout.splitlines())


def seen_by_tensorboard(folder: Path) -> tuple[Points, Points, list[tuple[dict, dict, int]]]:
    """Return the points, the best values, and the sessions of the HPARAMS tab: settings, best values and status."""
    requires("tensorboardX")
    requires("tensorboard")
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    scalars = EventAccumulator(str(folder / "tensorboard")).Reload()
    points: Points = {}
    best: Points = {}
    for tag in scalars.Tags()["scalars"]:
        *prefix, name, split = tag.split("/")
        for event in scalars.Scalars(tag):
            seen = best if prefix == ["best"] else points
            assert (split, name, event.step) not in seen
            seen[split, name, event.step] = event.value

    events = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    provider = MultiplexerDataProvider(events, str(folder))
    context = backend_context.Context(TBContext(data_provider=provider))
    names = [api_pb2.MetricName(tag=f"best/log_loss/{split}") for split in ("train", "valid")]
    request = api_pb2.ListSessionGroupsRequest(
        slice_size=10,
        allowed_statuses=list(api_pb2.Status.values()),
        col_params=[api_pb2.ColParams(metric=name) for name in names],
    )
    groups = list_session_groups.Handler(RequestContext(), context, "", request).run().session_groups
    sessions = []
    for group in groups:
        settings = {key: getattr(value, value.WhichOneof("kind")) for key, value in group.hparams.items()}
        values = {value.name.tag: value.value for value in group.metric_values if value.name.tag.startswith("best/")}
        sessions.append((settings, values, group.sessions[0].status))
    return points, best, sessions


def seen_by_wandb(folder: Path) -> tuple[Points, list[dict], dict, set[str]]:
    """Return the points of all offline files, their configs, the summary, and the ids of the runs."""
    requires("wandb")
    points: Points = {}
    configs = []
    summary: dict = {}
    ids = set()
    for file in sorted((folder / "wandb").glob("offline-run-*/run-*.wandb")):
        for record in read_json_lines("-m", "wandb", "leet", "inspect", "--json", str(file)):
            if record["type"] == "run":
                ids.add(record["run"]["run_id"])
                configs.append(record["run"]["config"]["update"])
            if record["type"] == "summary":
                summary |= record["summary"]["update"]
            if record["type"] == "history":
                step = record["history"]["step"]["num"]
                values = {key: value for key, value in record["history"]["item"].items() if "/" in key}
                for key, value in values.items():
                    split, name = key.split("/")
                    assert (split, name, step) not in points
                    points[split, name, step] = value
    return points, configs, summary, ids


def seen_by_trackio() -> tuple[dict[str, Points], dict[str, Points], dict[str, dict]]:
    """Return the points, the best values and the configs of all runs on this machine, by the names of the runs."""
    requires("trackio")
    script = (
        "import json; from trackio import Api; from trackio.sqlite_storage import SQLiteStorage as s; "
        "[print(json.dumps([r.name, r.config, s.get_logs('nlstm_jax', r.name, run_id=r.id)])) "
        "for r in Api().runs('nlstm_jax')]"
    )
    points: dict[str, Points] = {}
    best: dict[str, Points] = {}
    configs = {}
    for name, config, logs in read_json_lines("-c", script):
        configs[name] = config
        points[name] = {}
        best[name] = {}
        for log in logs:
            for key in filter(lambda key: "/" in key, log):
                *prefix, split, metric = key.split("/")
                seen = best[name] if prefix == ["best"] else points[name]
                assert (split, metric, log["step"]) not in seen
                seen[split, metric, log["step"]] = log[key]
    return points, best, configs


@pytest.mark.slow
def test_tensorboard_has_every_number_settings_and_best_values_after_a_kill(tmp_path) -> None:
    requires("tensorboardX")
    run = tmp_path / "run"
    train(run, "tensorboard", 0, 1, 2, 3, killed=True)
    train(run, "tensorboard", 2, 3, 4)
    points, best, ((settings, values, status),) = seen_by_tensorboard(run)
    assert points == pytest.approx(expected(1, 2, 3, 4))
    assert best == BEST
    assert settings == {"task": "poems", "cell.name": "lstm", "cell.layers": 2.0, "cell.sizes": "[3, 4]"}
    assert values == {"best/log_loss/train": 1.5, "best/log_loss/valid": 2.0}
    assert status == 1


@pytest.mark.slow
def test_wandb_offline_has_one_run_with_every_number_and_the_summary_after_a_kill(tmp_path, monkeypatch) -> None:
    requires("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "run"
    train(run, "wandb", 0, 1, 2, 3, killed=True)
    run_id = (run / "wandb" / "id").read_text("utf-8")
    # The newest checkpoint is of step 2.
    train(run, "wandb", 2, 3, 4)
    points, configs, summary, ids = seen_by_wandb(run)
    assert points == pytest.approx(expected(1, 2, 3, 4))
    assert ids == {run_id}
    (config,) = configs
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert (summary["best/train/log_loss"], summary["best/valid/log_loss"]) == (1.5, 2.0)
    assert (summary["status"], summary["best_step"]) == ("finished", 3)

    # What has been sent is not logged again.
    (part,) = (run / "wandb").glob("offline-run-*")
    (part / f"run-{run_id}.wandb.synced").touch()
    (run / "summary.json").unlink()
    train(run, "wandb", 3, 4, 5)
    assert len(list((run / "wandb").glob("offline-run-*"))) == 2
    points, _, _, ids = seen_by_wandb(run)
    assert points == pytest.approx(expected(1, 2, 3, 4, 5))
    assert ids == {run_id}

    train(run, "wandb", 0, 1, overwrite=True)
    points, _, _, ids = seen_by_wandb(run)
    assert points == pytest.approx(expected(1))
    assert run_id not in ids


@pytest.mark.slow
def test_trackio_has_one_run_with_every_number_settings_and_best_values_after_a_kill(tmp_path, monkeypatch) -> None:
    requires("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    train(tmp_path / "run", "trackio", 0, 1, 2, 3, killed=True)
    train(tmp_path / "run", "trackio", 2, 3, 4)
    train(tmp_path / "other" / "run", "trackio", 0, 1)
    points, best, configs = seen_by_trackio()
    folders = (tmp_path / "run", tmp_path / "other" / "run")
    first, other = (f"run-{(folder / 'trackio' / 'id').read_text('utf-8')[:6]}" for folder in folders)
    assert points == {first: pytest.approx(expected(1, 2, 3, 4)), other: pytest.approx(expected(1))}
    assert best == {first: BEST, other: BEST}
    for config in configs.values():
        assert (config["task"], config["cell.name"], config["cell.layers"]) == ("poems", "lstm", 2)


def train_two_here(folder: str, kind: str) -> None:
    with (
        RunFolder(Path(folder, "a"), CONFIG, metric_writers=[kind]) as first,
        RunFolder(Path(folder, "b"), CONFIG, metric_writers=[kind]) as second,
    ):
        for run in (first, second):
            run.truncate_metrics(0)
        for step in (1, 2):
            first.append_metrics(lines(step))
            second.append_metrics(lines(step, shift=9.0))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wandb", "trackio"])
def test_runs_that_are_trained_together_are_shown_apart(tmp_path, monkeypatch, kind: str) -> None:
    requires(kind)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    done = call_in_process(f"train_two_here({str(tmp_path)!r}, {kind!r})")
    assert done.returncode == 0, done.stderr
    if kind == "wandb":
        seen = [seen_by_wandb(tmp_path / name)[0] for name in ("a", "b")]
    else:
        points = seen_by_trackio()[0]
        seen = [points[name] for name in sorted(points)]
    assert seen == [pytest.approx(expected(1, 2)), pytest.approx(expected(1, 2, shift=9.0))]


@pytest.mark.slow
def test_wandb_has_the_steps_from_before_it_was_asked_for(tmp_path, monkeypatch) -> None:
    requires("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with RunFolder(tmp_path / "run", CONFIG) as run:
        run.append_metrics(lines(1, 2))
    train(tmp_path / "run", "wandb", 2, 3)
    assert seen_by_wandb(tmp_path / "run")[0] == pytest.approx(expected(1, 2, 3))


def test_a_mirror_that_is_not_installed_names_the_extra(monkeypatch) -> None:
    with pytest.raises(ConfigError, match="one of tensorboard, wandb, trackio expected, found 'mlflow'"):
        check_metric_writers(["mlflow"])
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r'wandb expected: pip install -e "\.\[wandb\]"'):
        check_metric_writers(["wandb"])
