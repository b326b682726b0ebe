"""Next month's sales from a trained run: a Kaggle submission, and items ranked by expected sales.

    python -m experiments.forecast --workdir=runs/sales --out=forecast.csv

Writes ID,item_cnt_month in [0, 20] in the order of test.csv (default: WORKDIR/forecast.csv), and beside it
ranking.csv, the items by what is expected to be sold of them in all shops together.
"""

from pathlib import Path

from absl import flags
from rich.console import Console

from nlstm_jax import command
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs.files import FORECAST
from nlstm_jax.training import load_run

_WORKDIR = command.define_path("workdir", None, "the run folder of a sales run", required=True)
_OUT = command.define_path("out", None, "the submission; default: forecast.csv in the run folder")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "which checkpoint")


def main(arguments: list[str]) -> None:
    """Load a run, write its forecast and the ranking of the items, and show the top of the ranking."""
    command.reject_positional(arguments)
    workdir = Path(_WORKDIR.value)
    run = load_run(workdir, _CHECKPOINT.value)
    out = Path(_OUT.value) if _OUT.value else workdir / FORECAST
    if not out.parent.is_dir() or out.is_dir():
        raise ConfigError(f"--out: a file in an existing folder expected, found {out}")
    table, line = run.forecast(out)
    console = Console()
    console.print(table)
    console.print(line, highlight=False)


if __name__ == "__main__":
    command.run(main)
