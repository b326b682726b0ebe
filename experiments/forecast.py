"""Next month's sales from a trained run: a Kaggle submission, and items ranked by expected sales.

    python -m experiments.forecast --workdir=runs/sales --out=forecast.csv

Writes ID,item_cnt_month in [0, 20] in the order of test.csv (default: WORKDIR/forecast.csv), and beside it
ranking.csv, the items by what is expected to be sold of them in all shops together.
"""

from pathlib import Path

from absl import flags
from rich.console import Console
from rich.table import Table

from experiments import command
from nlstm_jax.data.sales import write_submission
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs.files import FORECAST, RANKING
from nlstm_jax.tasks.forecasts import forecast, rank_items, write_ranking
from nlstm_jax.tasks.sales import SalesTask
from nlstm_jax.training import restore

_WORKDIR = flags.DEFINE_string("workdir", None, "the run folder of a sales run", required=True)
_OUT = flags.DEFINE_string("out", None, "the submission; default: forecast.csv in the run folder")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "which checkpoint")
_MAX_SHOWN = 10
"""The number of items that the printed ranking has at most."""


def main(arguments: list[str]) -> None:
    """Restore a run, write its forecast and the ranking of the items, and show the top of the ranking."""
    command.reject_positional(arguments)
    workdir = Path(_WORKDIR.value)
    out = Path(_OUT.value) if _OUT.value else workdir / FORECAST
    if not out.parent.is_dir() or out.is_dir():
        raise ConfigError(f"--out: a file in an existing folder expected, found {out}")
    restored = restore(workdir, _CHECKPOINT.value)
    task = restored.task
    if not isinstance(task, SalesTask):
        raise ConfigError(f"--workdir: a sales run expected, {workdir} is one of {restored.run.config['task']}")

    predictions = forecast(task, restored.model)
    write_submission(out, task.test_pairs.ids, predictions)
    ranking = rank_items(task, predictions)
    write_ranking(out.with_name(RANKING), ranking)

    table = Table("rank", "item", "name", "expected sales")
    for rank, item in enumerate(ranking[:_MAX_SHOWN], start=1):
        table.add_row(str(rank), str(item.item_id), item.name, f"{item.expected:.1f}")
    console = Console()
    console.print(table)
    console.print(f"{len(predictions):,} rows in {out}, all items in {out.with_name(RANKING)}", highlight=False)


if __name__ == "__main__":
    command.run(main)
