"""What forecasts without a network reach, beside trained runs of sales or stocks, as one table.

    python -m experiments.baselines --config=configs/sales.py --config.data.path=sales/ 'runs/sales*' --out=table.md
    python -m experiments.baselines --config=configs/stocks.py:variant=sequence --config.data.path=share.csv 'runs/*'

Run folders (patterns in quotes) that differ in their seeds only become one row: mean and 95 % t-interval. The table is
of the validation split; --split=test shows the test split, of runs that `evaluate --split=test` has looked at. With
--archive also a JSON file beside --out, from which experiments.results writes the table anew.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from nlstm_jax import command, settings, tasks
from nlstm_jax.analysis.forecasts import forecast_table
from nlstm_jax.analysis.results import save_baselines
from nlstm_jax.errors import ConfigError
from nlstm_jax.installation import find_config
from nlstm_jax.runs import Run, find_runs
from nlstm_jax.tasks.abilities import Baselines, missing_ability
from nlstm_jax.types import JsonObject

_CONFIG = config_flags.DEFINE_config_file(
    "config", str(find_config("sales")), "a config of sales or stocks; its data are read"
)
_SPLIT = flags.DEFINE_enum("split", "valid", ["valid", "test"], "which part")
_OUT = command.define_path("out", None, "also write the table there, as Markdown")
_ARCHIVE = flags.DEFINE_bool("archive", False, "also write the errors of the baselines beside --out")


def main(arguments: list[str]) -> None:
    """Read the data and the runs, then print and write the table."""
    config = command.read_config(_CONFIG).to_dict()
    settings.check(config)
    task = tasks.build(config)
    if not isinstance(task, Baselines):
        raise missing_ability("baselines", "--config: a config", config["task"])
    split = _SPLIT.value
    if split not in task.splits:
        raise ConfigError(f"baselines: a task with {split} expected, which validates or tests; found one without")

    runs: list[Run] = []
    notes: list[str] = []
    if arguments[1:]:
        runs, notes = find_runs(arguments[1:], settings.with_defaults)
    question = settings.describe_question(config, task.metadata["checksums"])
    for run in runs:
        _check_question(run, question)

    errors = task.baselines(split)
    table = forecast_table(errors, runs, split, task.baseline_metric)
    for text in (*notes, table):
        Console().print(text, highlight=False, markup=False, soft_wrap=True)
    if _OUT.value:
        out = Path(_OUT.value)
        out.write_text(table + "\n", encoding="utf-8")
        if _ARCHIVE.value:
            save_baselines(out.with_suffix(".json"), errors, split, task.baseline_metric)


def _check_question(run: Run, question: JsonObject) -> None:
    """Raise a ConfigError for a run that answers another question than the baselines.

    Args:
        run: The run.
        question: The question of the baselines, from `settings.describe_question`.
    """
    if run.config["task"] != question["task"]:
        raise ConfigError(f"{run.path}: a run of {question['task']} expected, found one of {run.config['task']}")

    checksums = run.environment.get("data", {}).get("checksums", question["checksums"])
    # Runs of earlier versions have not recorded their question. Its version was 1 then.
    recorded = run.question or {**settings.describe_question(run.config, checksums), "version": 1}
    if recorded["version"] != question["version"]:
        raise ConfigError(
            f"{run.path}: a run whose question has version {question['version']} expected, found "
            f"{recorded['version']}; it is to be trained anew"
        )
    for name, expected in question["settings"].items():
        value = recorded["settings"].get(name)
        if value != expected:
            raise ConfigError(f"{run.path}: config.{name}={expected!r}, as in --config, expected, found {value!r}")
    if recorded["checksums"] != question["checksums"]:
        raise ConfigError(f"{run.path}: a run on the data of --config expected, found one on other data")


if __name__ == "__main__":
    command.run(main)
