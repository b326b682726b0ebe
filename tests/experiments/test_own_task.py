"""The documented task, written outside of the package: trained in process, then swept, evaluated and compared."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from nlstm_jax import settings, tasks
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import read_run
from nlstm_jax.settings import Metric, Question
from nlstm_jax.training import fit

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "own_task_package"
"""The name of the package, other than that of the documented cell, which may have been imported in this process."""
SWEEP = """
def sweep(add):
    for cell in ("lstm", "gru"):
        add("{config}", cell=cell, smoke=True)
"""


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """Return a folder with a package that holds the two documented files, and nothing else."""
    page = (ROOT / "docs" / "extending.md").read_text("utf-8")
    folder = tmp_path_factory.mktemp("outside")
    (folder / "own_task_package" / "configs").mkdir(parents=True)
    for name in ("tasks.py", "configs/copying.py"):
        code = re.search(rf"```python\n# my_package/{name}\n(.*?)```", page, re.DOTALL)
        assert code is not None
        (folder / "own_task_package" / name).write_text(code[1].replace("my_package", PACKAGE), "utf-8")
    (folder / "own_task_package" / "__init__.py").touch()
    return folder


@pytest.fixture
def config(outside, monkeypatch) -> ConfigDict:
    monkeypatch.syspath_prepend(outside)
    importlib.invalidate_caches()
    return importlib.import_module("own_task_package.configs.copying").get_config("smoke,features=8")


def change_task(config: ConfigDict, monkeypatch: pytest.MonkeyPatch, changes: dict) -> None:
    """Make the task of a configuration a subclass of the documented one, with other attributes."""
    module = importlib.import_module("own_task_package.tasks")
    monkeypatch.setattr(module, "Wrong", type("Wrong", (module.Copying,), changes), raising=False)
    settings.find_task.cache_clear()
    config.task = "own_task_package.tasks:Wrong"


def assert_best_is_highest(folder: Path) -> None:
    """Check that the run folder declares the direction of f1, and that the best step has its highest value."""
    run = read_run(folder)
    assert run.higher_is_better("f1")
    assert run.unit("log_loss") == "nats per symbol"
    assert run.question["settings"]["data.delay"] == 10
    values = {line["step"]: line["f1"] for line in run.metrics if line["split"] == "valid"}
    assert len(set(values.values())) > 1
    assert run.summary["best_step"] == max(values, key=values.get)


def test_its_metric_is_maximized_and_declared_in_the_run_folder(config, outside, tmp_path):
    config.train.batch_size = 10
    config.eval.every_steps = 5
    fit(config, tmp_path / "run")
    assert_best_is_highest(tmp_path / "run")

    # The run goes on after the file of the task has changed, and says so.
    with (outside / "own_task_package" / "tasks.py").open("a") as file:
        file.write("# a later thought\n")
    config.train.epochs = 3.0
    fit(config, tmp_path / "run")
    line = "going on with another version of the file of own_task_package.tasks:Copying than the run was begun with"
    assert line in (tmp_path / "run" / "log.txt").read_text("utf-8")


def test_a_task_that_cannot_be_found_or_lacks_a_declaration_is_named(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"^config.task: one of poems, .* or package.module:Class expected, found"):
        settings.defaults("poem", "lstm")
    with pytest.raises(ConfigError, match=r"^config.task: 'nowhere:Task' cannot be imported: No module named"):
        settings.defaults("nowhere:Task", "lstm")
    (tmp_path / "half_a_task.py").write_text("class Half:\n    settings = {}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"'half_a_task:Half': settings, metrics, .* expected, found no metrics$"):
        settings.defaults("half_a_task:Half", "lstm")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": None}, "question: a Question expected, found None"),
        ({"question": Question(1, ("data.bit",))}, "question: settings of the task expected, found 'data.bit'"),
        ({"metrics": ("log_loss",)}, "metrics: a tuple of Metric expected, found .'log_loss',."),
    ],
)
def test_a_declaration_that_is_none_is_named(config, monkeypatch, changes, message):
    module = importlib.import_module("own_task_package.tasks")
    monkeypatch.setattr(module, "Wrong", type("Wrong", (module.Copying,), changes), raising=False)
    with pytest.raises(ConfigError, match=f"^config.task: 'own_task_package.tasks:Wrong': {message}"):
        settings.defaults("own_task_package.tasks:Wrong", "lstm")


def test_a_task_without_what_the_project_reads_is_named(config, monkeypatch):
    module = importlib.import_module("own_task_package.tasks")

    class Bare(module.Copying):
        def __init__(self, data):
            super().__init__(data)
            del self.metadata

    monkeypatch.setattr(module, "Bare", Bare, raising=False)
    config.task = "own_task_package.tasks:Bare"
    with pytest.raises(ConfigError, match=r"^config.task: 'own_task_package.tasks:Bare': metadata, a mapping with"):
        tasks.build(config.to_dict())


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        ("loss", lambda total: total.sum, "Wrong.loss: a WeightedSum expected, found an array of shape ()"),
        ("loss", tuple, "Wrong.loss: a WeightedSum expected, found a tuple"),
        (
            "loss",
            lambda total: total._replace(sum=total.sum * jnp.ones(3)),
            r"Wrong.loss: sum: a scalar expected, found an array of shape \(3,\)",
        ),
        ("train_loss", lambda pair: pair[0], "Wrong.train_loss: a pair, whose second is the carry, expected, found a"),
        ("measure", lambda sums: None, "Wrong.measure: a dict of WeightedSum expected, found None"),
        (
            "measure",
            lambda sums: {**sums, "f1": sums["f1"].sum},
            r"Wrong.measure: 'f1': a WeightedSum expected, found an array of shape \(\)",
        ),
    ],
)
def test_a_method_that_returns_something_else_is_named(config, monkeypatch, tmp_path, method, value, message):
    right = getattr(importlib.import_module("own_task_package.tasks").Copying, method)
    change_task(config, monkeypatch, {method: lambda *arguments: value(right(*arguments))})
    with pytest.raises(ConfigError, match=f"^{message}"):
        fit(config, tmp_path / "run")


def test_a_metric_that_is_declared_and_never_returned_is_told_once(config, monkeypatch, tmp_path):
    metrics = (Metric("log_loss"), Metric("f1", higher_is_better=True), Metric("accuracy", higher_is_better=True))
    change_task(config, monkeypatch, {"metrics": metrics})
    config.eval.every_steps = 1
    fit(config, tmp_path / "run")
    log = (tmp_path / "run" / "log.txt").read_text("utf-8")
    line = (
        "metrics: accuracy declared by own_task_package.tasks:Wrong, but not returned by the evaluation, "
        "which returned f1, log_loss\n"
    )
    assert log.count(line) == log.count("declared by") == 1


@pytest.mark.slow
def test_it_is_swept_evaluated_and_compared(outside):
    def run(script, *arguments, path):
        command = [sys.executable, "-m", f"experiments.{script}", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (outside / "sweep.py").write_text(SWEEP.format(config=outside / "own_task_package" / "configs" / "copying.py"))
    run("sweep", f"--sweep={outside / 'sweep.py'}", f"--workdir={outside / 'sweep'}", path=str(outside))
    trials = sorted((outside / "sweep" / "trials").iterdir())
    assert [path.name for path in trials] == ["cell=gru,smoke", "cell=lstm,smoke"]
    best = {}
    for path in trials:
        assert_best_is_highest(path)
        best[path.name] = json.loads((path / "summary.json").read_text())["valid"]["f1"]
        evaluated = run("evaluate", f"--workdir={path}", "--split=valid", path=str(outside))
        assert f"{best[path.name]:.4f}" in evaluated

    # Comparing needs the folders alone: the package cannot be imported here.
    run("compare", *trials, "--metric=f1", f"--out={outside / 'compared'}", path="")
    table = (outside / "compared" / "compare.md").read_text("utf-8")
    cells = list(dict.fromkeys(re.findall(r"^\| (gru|lstm) ", table, re.MULTILINE)))
    assert cells == sorted(["gru", "lstm"], key=lambda name: -best[f"cell={name},smoke"])
