"""Compare runs: curves, a table, and what the difference is worth.

    python -m experiments.compare runs/lstm2 runs/nlstm2
    python -m experiments.compare 'runs/*' --metric=perplexity --out=comparison --log_y
    python -m experiments.compare 'sweeps/depth/trials/*' --group_by=cell.name,cell.layers --facet=data.window
    python -m experiments.compare 'runs/*' --tuned=optimizer.learning_rate --reach=2.6 --along=seconds --watch=30

Takes run folders and patterns. A pattern in quotes skips what is no run; a folder that is named has to be one.
Runs that differ in nothing but their seeds are one group; its curve is their mean, its band the 95 percent t-interval.
An unfinished run counts as far as it has come. Cells that differ by more than 1 percent in parameters are marked.

Prints the table, best group first, and one sentence on the best group against the next: the difference with its
interval, or how many seeds it would take to see one. Writes to --out:

    compare.png            for a README or a paper: validation solid, test dotted
    compare.html           one page, no network: hover, metrics, axes, smoothing, sortable table
    compare.md             to keep: picture, table, verdict, commits and versions, notes
    table.csv, table.tex   numbers in full; the table for a paper (needs booktabs)
"""

import sys
import time
from pathlib import Path

from absl import flags
from rich.console import Console

from experiments import command
from nlstm_jax import settings
from nlstm_jax.analysis import table, tuning
from nlstm_jax.analysis.comparison import compare, faceted
from nlstm_jax.analysis.curves import AXES
from nlstm_jax.analysis.report import report
from nlstm_jax.analysis.verdict import verdict
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import Run, find_runs, make_folder, read_notes
from nlstm_jax.sweeps.folder import contrast_of

_METRIC = flags.DEFINE_string("metric", "log_loss", "What is compared, on the validation split.")
_CONTRAST = flags.DEFINE_string("contrast", "", "'A vs B': the groups named in advance; empty: as the sweep says.")
_GROUP_BY = flags.DEFINE_list(
    "group_by", [], "Settings that make a group, whatever else differs: cell.name,cell.layers"
)
_FACET = flags.DEFINE_string("facet", "", "A setting, for each value of which there is a picture of its own.")
_TUNED = flags.DEFINE_list("tuned", [], "Settings that were tuned: every model is shown at its best ones.")
_TAG = flags.DEFINE_list("tag", [], "Only runs with these tags, see experiments.annotate.")
_REACH = flags.DEFINE_float("reach", None, "A level of the metric: how soon was it reached?")
_ALONG = flags.DEFINE_enum("along", "step", list(AXES), "What the curves are drawn along.")
_OUT = flags.DEFINE_string("out", "comparison", "Folder for picture, page and tables.")
_LOG_Y = flags.DEFINE_bool("log_y", False, "A logarithmic axis in the picture.")
_SHOW_TRAIN = flags.DEFINE_bool("show_train", False, "Training curves in the picture, thin.")
_WATCH = flags.DEFINE_float("watch", 0, "Compare anew every so many seconds until all runs have ended.", lower_bound=0)

FILES = ("compare.png", "compare.html", "compare.md", "table.csv", "table.tex")


def main(arguments: list[str]) -> None:
    """Compare the run folders named, once or as they go on."""
    # In a pipe or file nothing is gained by being narrow.
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 400)
    out = Path(_OUT.value)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out={out}: a folder expected, a file found")
    while True:
        runs, notes = find_runs(arguments[1:], settings.completed)
        going = sum(run.summary is None for run in runs) if _WATCH.value else 0
        _compare(runs, notes, out, console, refresh=_WATCH.value if going else 0)
        if not going:
            return
        console.print(f"{going:,} of {len(runs):,} runs go on; Ctrl-C ends the watch, not them", markup=False)
        time.sleep(_WATCH.value)


def _compare(runs: list[Run], notes: list[str], out: Path, console: Console, refresh: float) -> None:
    """Say and write what the runs show."""
    try:
        from nlstm_jax.analysis import figure, page
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("matplotlib", "plotly"):
            raise
        raise ConfigError(f'compare draws with {missing}: pip install "nlstm_jax[report]"') from None
    metric, remarks = _METRIC.value, list[str]()
    runs = _tagged(runs)
    contrast = _contrast(runs)
    if _TUNED.value:
        tunings = tuning.tune(runs, _TUNED.value, metric)
        runs, remarks = [run for each in tunings for run in each.runs or (each.decided,)], tuning.remarks(tunings)
    parts = faceted(runs, _FACET.value) if _FACET.value else {"": runs}
    facets = {title: compare(part, contrast, _GROUP_BY.value, remarks) for title, part in parts.items()}
    look = figure.Look(metric, _ALONG.value, _LOG_Y.value, _SHOW_TRAIN.value)
    for comparison in facets.values():
        comparison.check_metric(metric)
    rows = table.facet_rows(facets, metric, _REACH.value)
    if not any(group.along(look.axis, ()) is not None for each in facets.values() for group in each.groups):
        raise ConfigError(f"--along={look.axis}: runs that say how far they came so expected, found none")
    console.print(table.terminal(rows, metric, console.width))
    lines = [*notes, "", *dict.fromkeys(remark for each in facets.values() for remark in each.remarks)]
    lines += [
        f"{title}: {verdict(each, metric)}" if title else verdict(each, metric) for title, each in facets.items()
    ]
    for line in lines:
        console.print(line, markup=False)
    picture = figure.draw_facets(facets, look) if _FACET.value else figure.draw(facets[""], look)
    make_folder(out, "--out")
    figure.save(picture, out / "compare.png")
    written = {
        "compare.html": page.render(facets, look, level=_REACH.value, refresh=refresh),
        "compare.md": report(facets, rows, metric),
        "table.csv": table.csv_text(rows, metric),
        "table.tex": table.latex(rows, metric),
    }
    for name, text in written.items():
        (out / name).write_text(text, "utf-8")
    console.print(f"wrote {', '.join(FILES)} to {out}", markup=False)


def _tagged(runs: list[Run]) -> list[Run]:
    """Those that have all tags asked for."""
    found = {run.path: set(read_notes(run.path).tags) for run in runs}
    for tag in _TAG.value:
        if not any(tag in tags for tags in found.values()):
            known = ", ".join(sorted({tag for tags in found.values() for tag in tags})) or "none"
            raise ConfigError(f"--tag={tag}: a tag of these runs expected, which have {known}")
    return [run for run in runs if found[run.path].issuperset(_TAG.value)]


def _contrast(runs: list[Run]) -> tuple[str, str] | None:
    """The groups that were named in advance, by the flag or in the sweep's file."""
    named = _CONTRAST.value.split(" vs ") if _CONTRAST.value else None
    if named is None and not _GROUP_BY.value:
        named = contrast_of(run.path for run in runs)
    if named is not None and len(named) != 2:
        raise ConfigError(f"--contrast={_CONTRAST.value}: two groups expected, e.g. 'nlstm depth=2 vs lstm layers=2'")
    return named and (named[0], named[1])


if __name__ == "__main__":
    command.run(main)
