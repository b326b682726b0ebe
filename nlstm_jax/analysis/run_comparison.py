"""From run folders to all that a comparison says and writes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nlstm_jax.analysis import figure, page, table, tuning
from nlstm_jax.analysis.comparison import Comparison, check_keys, code_lines, compare, faceted
from nlstm_jax.analysis.report import report
from nlstm_jax.analysis.verdict import verdict
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import Run, make_folder, read_notes


@dataclass(frozen=True)
class ComparisonRequest:
    """What is asked of runs.

    Attributes:
        look: the metric, and how it is drawn.
        contrast: the groups that were named in advance.
        planned: the same, of a sweep's file: it is judged where both groups are there.
        group_by: settings that make a group; none: all but the seeds.
        facet: a setting, for each value of which there is a comparison; empty: one of all.
        against: the same, and the picture has the best values against it.
        tuned: settings of which every model is shown at its best.
        tags: that runs must have.
        level: of the metric, to be told how soon it was reached.
    """

    look: figure.PlotOptions
    contrast: tuple[str, str] | None = None
    planned: tuple[str, str] | None = None
    group_by: Sequence[str] = ()
    facet: str = ""
    against: str = ""
    tuned: Sequence[str] = ()
    tags: Sequence[str] = ()
    level: float | None = None


@dataclass(frozen=True)
class ComparisonReport:
    """What runs show.

    Attributes:
        question: what was asked.
        facets: comparisons by their titles.
        rows: of the table.
        warnings: what comes before all else, that the runs are not of one commit.
        lines: remarks and verdicts.
    """

    question: ComparisonRequest
    facets: dict[str, Comparison]
    rows: list[table.Row]
    warnings: list[str]
    lines: list[str]

    def write(self, out: Path, refresh: float = 0) -> list[str]:
        """Write picture, page and tables into a folder, which is made; their names are returned.

        Args:
            out: the folder.
            refresh: seconds after which the page reads itself anew, 0: never.
        """
        look, rows = self.question.look, self.rows
        if self.question.against:
            drawn = figure.draw_against(self.facets, self.question.against, look)
        elif self.question.facet:
            drawn = figure.draw_facets(self.facets, look)
        else:
            drawn = figure.draw(self.facets[""], look)
        make_folder(out, "--out")
        figure.save(drawn, out / "compare.png")
        written = {
            "compare.html": page.render(self.facets, look, level=self.question.level, refresh=refresh),
            "compare.md": report(self.facets, rows, look.metric),
            "table.csv": table.csv_text(rows, look.metric),
            "table.tex": table.latex(rows, look.metric),
        }
        for name, text in written.items():
            (out / name).write_text(text, "utf-8")
        return ["compare.png", *written]


def run_comparison(runs: Sequence[Run], question: ComparisonRequest) -> ComparisonReport:
    """Compare runs as a question asks.

    Raises:
        ConfigError: a tag, setting, metric or axis that the runs have not got.
    """
    look, remarks = question.look, list[str]()
    if question.level is not None and not math.isfinite(question.level):
        raise ConfigError(f"--reach: a finite number expected, found {question.level}")
    runs = _tagged(runs, question.tags)
    if question.tuned:
        tunings = tuning.tune(runs, question.tuned, look.metric)
        runs, remarks = [run for each in tunings for run in each.runs or (each.decided,)], tuning.remarks(tunings)
    check_keys(runs, question.group_by, "--group_by")
    if question.against and question.facet:
        raise ConfigError(
            f"--facet or --against: one of them expected, found both, {question.facet} and {question.against}"
        )
    apart = question.facet or question.against
    parts = faceted(runs, apart, "--facet" if question.facet else "--against") if apart else {"": list(runs)}
    facets = {title: compare(part, by=question.group_by, notes=remarks) for title, part in parts.items()}
    if contrast := question.contrast or question.planned:
        having = [title for title, each in facets.items() if set(each.labels).issuperset(contrast)]
        for title in having or list(facets)[: bool(question.contrast)]:
            facets[title] = facets[title].named(contrast)
        if not having:
            remarks.append(f"named in advance, and not here: {contrast[0]} vs {contrast[1]}")
    lacking = {title for title, each in facets.items() if look.metric not in each.metrics}
    if len(lacking) == len(facets):
        next(iter(facets.values())).check_metric(look.metric)
    facets = {title: each for title, each in facets.items() if title not in lacking}
    remarks += [f"{title}: left out, as its runs have no {look.metric}" for title in parts if title in lacking]
    for group in (group for each in facets.values() for group in each.groups):
        if group.along(look.axis, ()) is None:
            remarks.append(f"{group.label}: not in the picture, as its {look.axis} are not known")
    if not any(group.along(look.axis, ()) is not None for each in facets.values() for group in each.groups):
        raise ConfigError(f"--along={look.axis}: runs that say how far they came so expected, found none")
    lines = list(dict.fromkeys([*remarks, *(remark for each in facets.values() for remark in each.remarks)]))
    lines += [f"{title}: {verdict(each, look.metric)}".removeprefix(": ") for title, each in facets.items()]
    return ComparisonReport(
        question, facets, table.facet_rows(facets, look.metric, question.level), code_lines(facets), lines
    )


def _tagged(runs: Sequence[Run], tags: Sequence[str]) -> Sequence[Run]:
    """Those that have all tags asked for."""
    found = {run.path: set(read_notes(run.path).tags) for run in runs}
    for tag in tags:
        if not any(tag in own for own in found.values()):
            known = ", ".join(sorted({tag for own in found.values() for tag in own})) or "none"
            raise ConfigError(f"--tag={tag}: a tag of these runs expected, which have {known}")
    return [run for run in runs if found[run.path].issuperset(tags)]
