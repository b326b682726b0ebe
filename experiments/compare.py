"""Compare runs: curves, a table, and what the difference is worth.

    python -m experiments.compare runs/lstm2 runs/nlstm2
    python -m experiments.compare 'runs/*' --metric=perplexity --out=comparison --log_y
    python -m experiments.compare 'sweeps/depth/trials/*' --group_by=cell.name,cell.layers --facet=data.window
    python -m experiments.compare 'sweeps/length/trials/*' --metric=token_accuracy --against=data.length
    python -m experiments.compare 'runs/*' --margin=0.02 --contrast='nlstm depth=2 vs lstm layers=2'
    python -m experiments.compare 'runs/*' --tuned=optimizer.learning_rate --reach=2.6 --along=seconds --watch=30

Takes run folders and patterns; a pattern in quotes skips what is no run. Runs that differ in nothing but their seeds
are one group; its curve is their mean, its band the 95 percent t-interval. An unfinished run counts as far as it has
come. Prints the table and what the difference is worth; docs/comparing.md has more. Writes to --out:
    compare.png, compare.html   for a paper: validation solid, test dotted; one page, no network: hover, metrics, axes
    compare.md                  to keep: picture, table, verdict, commits and versions, notes
    table.csv, table.tex        numbers in full; the table for a paper (needs booktabs)
    forest.png, margin.json     with --margin: the differences in units of the margin, and their verdicts
With --archive also runs.tar.gz and request.json, from which experiments.results draws all of it anew.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from rich.console import Console

from nlstm_jax import command, settings
from nlstm_jax.analysis import table
from nlstm_jax.analysis.curves import AXES
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import Run, find_runs, is_locked
from nlstm_jax.sweeps.folder import contrast_of

_METRIC = flags.DEFINE_string(
    "metric", "", "What is compared, on the validation split; empty: log_loss, or the runs' eval.metric without it."
)
_CONTRAST = flags.DEFINE_string("contrast", "", "'A vs B': the groups named in advance; empty: as the sweep says.")
_GROUP_BY = flags.DEFINE_list(
    "group_by", [], "Settings that make a group, whatever else differs: cell.name,cell.layers"
)
_FACET = flags.DEFINE_string("facet", "", "A setting, for each value of which there is a picture of its own.")
_AGAINST = flags.DEFINE_string("against", "", "A setting, against which the picture has the best values.")
_TUNED = flags.DEFINE_list("tuned", [], "Settings that were tuned: every model is shown at its best ones.")
_TAG = flags.DEFINE_list("tag", [], "Only runs with these tags, see experiments.annotate.")
_REACH = flags.DEFINE_float("reach", None, "A level of the metric: how soon was it reached?")
_MARGIN = flags.DEFINE_float(
    "margin", None, "The largest difference that does not matter: better, equivalent or undecided. With --reach: log2."
)
_PAIRED = flags.DEFINE_bool("paired", False, "With --margin: runs with the same seeds are a pair.")
_ALONG = flags.DEFINE_enum("along", "step", list(AXES), "What the curves are drawn along.")
_OUT = command.define_path("out", "comparison", "Folder for picture, page and tables.")
_LOG_Y = flags.DEFINE_bool("log_y", False, "A logarithmic axis in the picture.")
_SHOW_TRAIN = flags.DEFINE_bool("show_train", False, "Training curves in the picture, thin.")
_ARCHIVE = flags.DEFINE_bool("archive", False, "Also write the metrics of the runs, to draw them anew from --out.")
_WATCH = flags.DEFINE_integer("watch", 0, "Compare anew every so many seconds until all runs have ended.", 0, 86_400)


def main(arguments: list[str]) -> None:
    """Compare the named run folders once, or with --watch until all runs have ended."""
    try:
        from nlstm_jax.analysis.results import save_result
        from nlstm_jax.analysis.run_comparison import ComparisonRequest, figure, run_comparison
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("matplotlib", "plotly"):
            raise
        raise ConfigError(f'compare draws with {missing}: pip install -e ".[report]"') from None
    # In a pipe or file lines need not fit a terminal.
    width = None if sys.stdout.isatty() else 400
    console = Console(highlight=False, soft_wrap=True, width=width)
    out = Path(_OUT.value)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out={out}: a folder expected, a file found")
    while True:
        runs, notes = find_runs(arguments[1:], settings.with_defaults)
        metric = _METRIC.value or _default_metric(runs)
        plot_options = figure.PlotOptions(metric, _ALONG.value, _LOG_Y.value, _SHOW_TRAIN.value)
        planned_contrast = None
        if not _CONTRAST.value and not _GROUP_BY.value:
            planned_contrast = contrast_of(run.path for run in runs)
        request = ComparisonRequest(
            plot_options,
            contrast=_parse_contrast(),
            planned=planned_contrast,
            group_by=_GROUP_BY.value,
            facet=_FACET.value,
            against=_AGAINST.value,
            tuned=_TUNED.value,
            tags=_TAG.value,
            level=_REACH.value,
            margin=_MARGIN.value,
            paired=_PAIRED.value,
        )
        report = run_comparison(runs, request)

        for line in report.warnings:
            console.print(line, markup=False, style="bold")
        console.print(table.terminal(report.rows, plot_options.metric, console.width))
        for line in (*notes, "", *report.lines):
            console.print(line, markup=False)

        unfinished = [run.path for run in runs if run.summary is None] if _WATCH.value else []
        running = sum(is_locked(path) for path in unfinished)
        files = report.write(out, refresh=_WATCH.value if running else 0)
        if _ARCHIVE.value:
            files += save_result(out, runs, request)
        console.print(f"wrote {', '.join(files)} to {out}", markup=False)
        if not running:
            for path in unfinished:
                console.print(f"{path}: stopped before its end, and no process trains it", markup=False)
            return
        console.print(f"{running:,} of {len(runs):,} runs go on; Ctrl-C ends the watch, not them", markup=False)
        time.sleep(_WATCH.value)


def _default_metric(runs: Sequence[Run]) -> str:
    """Return `log_loss`, or the metric that decided the best step of all runs if none of them has a log-loss."""
    deciding = {run.config.get("eval", {}).get("metric", "log_loss") for run in runs}
    has_log_loss = any("log_loss" in line for run in runs for line in run.metrics)
    if has_log_loss or len(deciding) != 1:
        return "log_loss"
    return str(deciding.pop())


def _parse_contrast() -> tuple[str, str] | None:
    """Return the two groups that --contrast names, or None if it is empty."""
    if not _CONTRAST.value:
        return None
    groups = _CONTRAST.value.split(" vs ")
    if len(groups) != 2:
        raise ConfigError(f"--contrast={_CONTRAST.value}: two groups expected, e.g. 'nlstm depth=2 vs lstm layers=2'")
    return groups[0], groups[1]


if __name__ == "__main__":
    command.run(main)
