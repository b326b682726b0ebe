"""Compare runs: curves, a table, and what the difference is worth.

    python -m experiments.compare runs/lstm2 runs/nlstm2
    python -m experiments.compare 'runs/*' --metric=perplexity --out=comparison --log_y

Takes run folders and patterns. A pattern in quotes skips what is no run; a folder that is named has to be one.
Runs that differ in nothing but their seeds are one group; its curve is their mean, its band the 95 percent t-interval.
An unfinished run counts as far as it has come. Cells that differ by more than 1 percent in parameters are marked.

Prints the table, best group first, and one sentence on the best group against the next: the difference with its
interval, or how many seeds it would take to see one. Writes to --out:

    compare.png            for a README or a paper: validation solid, test dotted
    compare.html           one page, no network: hover, metrics, log axis, smoothing
    compare.md             to keep: picture, table, verdict, commits and versions
    table.csv              numbers in full
"""

import sys
from pathlib import Path

from absl import flags
from rich.console import Console

from experiments import command
from nlstm_jax import settings
from nlstm_jax.analysis import table
from nlstm_jax.analysis.comparison import compare
from nlstm_jax.analysis.report import report
from nlstm_jax.analysis.verdict import verdict
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import find_runs, make_folder
from nlstm_jax.sweeps.folder import contrast_of

_METRIC = flags.DEFINE_string("metric", "log_loss", "What is compared, on the validation split.")
_CONTRAST = flags.DEFINE_string("contrast", "", "'A vs B': the groups named in advance; empty: as the sweep says.")
_OUT = flags.DEFINE_string("out", "comparison", "Folder for picture, page and tables.")
_LOG_Y = flags.DEFINE_bool("log_y", False, "A logarithmic axis in the picture.")
_SHOW_TRAIN = flags.DEFINE_bool("show_train", False, "Training curves in the picture, thin.")


def main(arguments: list[str]) -> None:
    """Compare the run folders named."""
    try:
        from nlstm_jax.analysis import figure, page
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("matplotlib", "plotly"):
            raise
        raise ConfigError(f'compare draws with {missing}: pip install "nlstm_jax[report]"') from None
    # In a pipe or file nothing is gained by being narrow.
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 400)
    out, metric = Path(_OUT.value), _METRIC.value
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out={out}: a folder expected, a file found")
    runs, notes = find_runs(arguments[1:], settings.completed)
    named = _CONTRAST.value.split(" vs ") if _CONTRAST.value else contrast_of(run.path for run in runs)
    if named is not None and len(named) != 2:
        raise ConfigError(f"--contrast={_CONTRAST.value}: two groups expected, e.g. 'nlstm depth=2 vs lstm layers=2'")
    comparison = compare(runs, named and (named[0], named[1]))
    comparison.check_metric(metric)
    rows, sentence = table.rows(comparison, metric), verdict(comparison, metric)
    console.print(table.terminal(rows, metric, console.width))
    for line in (*notes, "", *comparison.remarks, sentence):
        console.print(line, markup=False)
    picture = figure.draw(comparison, metric, log_y=_LOG_Y.value, show_train=_SHOW_TRAIN.value)
    make_folder(out, "--out")
    figure.save(picture, out / "compare.png")
    (out / "compare.html").write_text(page.render(comparison, metric), "utf-8")
    (out / "compare.md").write_text(report(comparison, rows, metric), "utf-8")
    (out / "table.csv").write_text(table.csv_text(rows, metric), "utf-8")
    console.print(f"wrote compare.png, compare.html, compare.md, table.csv to {out}", markup=False)


if __name__ == "__main__":
    command.run(main)
