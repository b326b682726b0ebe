"""What forecasts without a network reach, beside trained runs of sales or stocks, as one table.

    python -m experiments.baselines --config=configs/sales.py --config.data.path=sales/ 'runs/sales*' --out=table.md
    python -m experiments.baselines --config=configs/stocks.py:variant=sequence --config.data.path=share.csv 'runs/*'

Run folders (patterns in quotes) that differ in their seeds only become one row: mean and 95 % t-interval. The table is
of the validation split; --split=test shows the test split, of runs that `evaluate --split=test` has looked at.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from experiments import command
from nlstm_jax import settings, tasks
from nlstm_jax.analysis.forecasts import forecast_table
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import Run, find_runs
from nlstm_jax.tasks.sales import SalesTask
from nlstm_jax.tasks.stocks import StocksTask

_CONFIG = config_flags.DEFINE_config_file(
    "config", "configs/sales.py", "a config of sales or stocks; its data are read"
)
_SPLIT = flags.DEFINE_enum("split", "valid", ["valid", "test"], "which part")
_OUT = flags.DEFINE_string("out", None, "also write the table there, as Markdown")
_FORECAST_SETTINGS = {
    "sales": ("protocol", "origins"),
    "stocks": (
        "columns",
        "date_format",
        "window",
        "inputs",
        "horizon",
        "target",
        "lag",
        "largest_gap",
        "valid_fraction",
        "test_fraction",
    ),
}
"""The data settings that decide which values are forecast, and for which dates, by task."""


def main(arguments: list[str]) -> None:
    """Read the data and the runs, then print and write the table."""
    config = command.read_config(_CONFIG).to_dict()
    settings.check(config)
    task = tasks.build(config)
    if not isinstance(task, SalesTask | StocksTask):
        raise ConfigError(f"--config: a config of sales or stocks expected, found one of {config['task']}")
    try:
        from nlstm_jax.tasks.baselines import baselines
    except ImportError:
        raise ConfigError('baselines: scikit-learn expected; pip install -e ".[report]" brings it') from None

    runs: list[Run] = []
    notes: list[str] = []
    if arguments[1:]:
        runs, notes = find_runs(arguments[1:], settings.with_defaults)
    for run in runs:
        _check_comparable(run, config, task.metadata["checksums"])

    metric = "rmse_clipped" if isinstance(task, SalesTask) else "rmse"
    table = forecast_table(baselines(task, _SPLIT.value), runs, _SPLIT.value, metric)
    for text in (*notes, table):
        Console().print(text, highlight=False, markup=False, soft_wrap=True)
    if _OUT.value:
        Path(_OUT.value).write_text(table + "\n", encoding="utf-8")


def _check_comparable(run: Run, config: Mapping[str, Any], checksums: Mapping[str, str]) -> None:
    """Raise a ConfigError for a run of another task, on other data, or with another forecast."""
    if run.config["task"] != config["task"]:
        raise ConfigError(f"{run.path}: a run of {config['task']} expected, found one of {run.config['task']}")
    if run.environment.get("data", {}).get("checksums", checksums) != checksums:
        raise ConfigError(f"{run.path}: a run on the data of --config expected, found one on other data")
    for name in _FORECAST_SETTINGS[config["task"]]:
        expected = config["data"].get(name)
        value = run.config["data"].get(name)
        if value != expected:
            raise ConfigError(
                f"{run.path}: config.data.{name}={expected!r}, as in --config, expected, found {value!r}"
            )


if __name__ == "__main__":
    command.run(main)
