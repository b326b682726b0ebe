"""A whole comparison, from run folders to remarks, tables and files."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from nlstm_jax.analysis import figure, page, table, tuning
from nlstm_jax.analysis.comparison import Comparison, code_lines, compare, faceted
from nlstm_jax.analysis.curves import Group
from nlstm_jax.analysis.facts import check_keys
from nlstm_jax.analysis.forest import draw_forest
from nlstm_jax.analysis.margin import MarginOptions, judge_all, sentence
from nlstm_jax.analysis.report import report
from nlstm_jax.analysis.rows import Row, facet_rows
from nlstm_jax.analysis.verdict import verdict
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import Run, make_folder, read_notes
from nlstm_jax.types import JsonObject


@dataclass(frozen=True)
class ComparisonRequest:
    """A request to compare runs.

    Attributes:
        look: The metric, and the options of the plots.
        contrast: The labels of the two groups whose difference was named in advance. A group that does not exist is
            an error.
        planned: The two labels that a sweep's file names in advance. They are used where both groups exist.
        group_by: The settings that make a group, as dotted keys. If empty, runs that differ only in their seeds form
            a group.
        facet: A setting with one comparison for each of its values. Empty for one comparison of all runs.
        against: The same, but the picture shows the best values against the setting.
        tuned: The settings that were tuned. Every model is shown at its best values of them.
        tags: The tags that a run must have.
        level: A level of the metric, to show how soon it was reached.
        margin: The largest difference that does not matter. None for no verdicts with a margin. With `level` the
            verdicts are on the steps until it is reached, and the margin is in log₂ of steps.
        paired: True if runs with the same seeds are a pair in the verdicts with a margin.
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
    margin: float | None = None
    paired: bool = False


@dataclass(frozen=True)
class ComparisonReport:
    """The result of a comparison.

    Attributes:
        question: The request.
        facets: The comparisons by their titles. The title of a single comparison is empty.
        rows: The rows of the table.
        warnings: Lines to show before all others: the runs are not of one commit.
        lines: Remarks and verdicts.
        judgements: The verdicts with a margin, see `margin.judge_all`, each with the title of its comparison.
    """

    question: ComparisonRequest
    facets: dict[str, Comparison]
    rows: list[Row]
    warnings: list[str]
    lines: list[str]
    judgements: list[JsonObject]

    def write(self, out: Path, refresh: float = 0) -> list[str]:
        """Write picture, page and tables into a folder, which is created if necessary.

        Args:
            out: The folder.
            refresh: The seconds after which the page reloads itself. 0 means never.

        Returns:
            The names of the files.
        """
        look = self.question.look
        pictures = self.pictures()
        make_folder(out, "--out")
        for name, picture in pictures.items():
            figure.save(picture, out / name)
        judged = [sentence(judgement) for judgement in self.judgements]
        html = page.render(self.facets, look, level=self.question.level, refresh=refresh, judged=judged)
        texts = {"compare.html": html, **self.tables()}
        for name, text in texts.items():
            (out / name).write_text(text, "utf-8")
        return [*pictures, *texts]

    def tables(self) -> dict[str, str]:
        """Return the Markdown page, the tables and the verdicts with a margin by their file names."""
        metric = self.question.look.metric
        texts = {
            "compare.md": report(self.facets, self.rows, metric, list(map(sentence, self.judgements))),
            "table.csv": table.csv_text(self.rows, metric),
            "table.tex": table.latex(self.rows, metric),
        }
        if self.judgements:
            texts["margin.json"] = json.dumps(self.judgements, indent=1, ensure_ascii=False) + "\n"
        return texts

    def pictures(self) -> dict[str, Figure]:
        """Draw the picture that was requested, and the forest plot if there is a margin, by their file names."""
        pictures = {"compare.png": self.draw()}
        if self.judgements:
            pictures["forest.png"] = draw_forest(self.judgements)
        return pictures

    def draw(self) -> Figure:
        """Draw the picture that was requested."""
        look = self.question.look
        if self.question.against:
            return figure.draw_against(self.facets, self.question.against, look)
        if self.question.facet:
            return figure.draw_facets(self.facets, look)
        return figure.draw(self.facets[""], look)


def run_comparison(runs: Sequence[Run], question: ComparisonRequest) -> ComparisonReport:
    """Compare runs as requested.

    Raises:
        ConfigError: The runs lack a tag, a setting, the metric or the axis of the request, or its arguments are
            invalid.
    """
    look = question.look
    remarks: list[str] = []
    if question.level is not None and not math.isfinite(question.level):
        raise ConfigError(f"--reach: a finite number expected, found {question.level}")
    runs = _with_tags(runs, question.tags)

    if question.tuned:
        tunings = tuning.tune(runs, question.tuned, look.metric)
        runs = _judging_runs(tunings)
        remarks = tuning.remarks(tunings)
    check_keys(runs, question.group_by, "--group_by")

    parts = _split_into_facets(runs, question)
    facets = {title: compare(part, by=question.group_by, notes=remarks) for title, part in parts.items()}
    facets, contrast_remarks = _with_contrast(facets, question)
    remarks += contrast_remarks

    without_metric = [title for title, comparison in facets.items() if look.metric not in comparison.metrics]
    if len(without_metric) == len(facets):
        next(iter(facets.values())).check_metric(look.metric)
    for title in without_metric:
        del facets[title]
        remarks.append(f"{title}: left out, as its runs have no {look.metric}")
    remarks += _axis_remarks(facets, look.axis)

    lines = list(remarks)
    for comparison in facets.values():
        lines += comparison.remarks
    lines = list(dict.fromkeys(lines))
    for title, comparison in facets.items():
        lines.append(f"{title}: {verdict(comparison, look.metric)}".removeprefix(": "))

    judgements = _judge_facets(facets, question)
    lines += map(sentence, judgements)

    rows = facet_rows(facets, look.metric, question.level)
    return ComparisonReport(question, facets, rows, code_lines(facets), lines, judgements)


def _judge_facets(facets: Mapping[str, Comparison], question: ComparisonRequest) -> list[JsonObject]:
    """Return the verdicts with a margin of all comparisons. There are none without a margin.

    Raises:
        ConfigError: The margin is not positive, pairs were asked for without one, or groups have other seeds.
    """
    if question.margin is None:
        if question.paired:
            raise ConfigError("--paired: --margin beside it expected, found none")
        return []
    if not (math.isfinite(question.margin) and question.margin > 0):
        raise ConfigError(f"--margin: a positive number expected, found {question.margin}")
    if question.paired and question.level is not None:
        raise ConfigError("--paired or --reach: one of them expected beside --margin, found both")
    options = MarginOptions(question.margin, question.paired, question.level)
    judgements = []
    for title, comparison in facets.items():
        task = comparison.groups[0].runs[0].config.get("task", "")
        for judgement in judge_all(comparison, question.look.metric, options):
            judgements.append({"title": title or task, **judgement})
    return judgements


def _with_tags(runs: Sequence[Run], tags: Sequence[str]) -> Sequence[Run]:
    """Return the runs that have all of the tags.

    Raises:
        ConfigError: None of the runs has one of the tags.
    """
    tags_of = {run.path: set(read_notes(run.path).tags) for run in runs}
    known: set[str] = set().union(*tags_of.values())
    for tag in tags:
        if tag not in known:
            known_text = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"--tag={tag}: a tag of these runs expected, which have {known_text}")
    return [run for run in runs if tags_of[run.path].issuperset(tags)]


def _judging_runs(tunings: Sequence[tuning.Tuning]) -> list[Run]:
    """Return the runs that judge the tuned models. A model without further seeds is judged by the deciding run."""
    runs: list[Run] = []
    for model in tunings:
        runs += model.runs or (model.decided,)
    return runs


def _split_into_facets(runs: Sequence[Run], question: ComparisonRequest) -> dict[str, list[Run]]:
    """Return the runs of each comparison by its title. The title of a single comparison is empty."""
    if question.against and question.facet:
        raise ConfigError(
            f"--facet or --against: one of them expected, found both, {question.facet} and {question.against}"
        )
    if question.facet:
        return faceted(runs, question.facet, "--facet")
    if question.against:
        return faceted(runs, question.against, "--against")
    return {"": list(runs)}


def _with_contrast(
    facets: Mapping[str, Comparison], question: ComparisonRequest
) -> tuple[dict[str, Comparison], list[str]]:
    """Return the comparisons with the difference that was named in advance, and a remark if none has its groups.

    Raises:
        ConfigError: The request names groups that are in no comparison.
    """
    changed = dict(facets)
    contrast = question.contrast or question.planned
    if not contrast:
        return changed, []
    titles = [title for title, comparison in facets.items() if set(comparison.labels).issuperset(contrast)]
    for title in titles:
        changed[title] = facets[title].named(contrast)
    if titles:
        return changed, []
    if question.contrast:
        # Raises the error that names the groups there are.
        next(iter(facets.values())).named(contrast)
    return changed, [f"named in advance, and not here: {contrast[0]} vs {contrast[1]}"]


def _axis_remarks(facets: Mapping[str, Comparison], axis: str) -> list[str]:
    """Return lines on the groups that are not drawn because their positions on the axis are unknown.

    Raises:
        ConfigError: The positions of all groups are unknown.
    """
    groups: list[Group] = [group for comparison in facets.values() for group in comparison.groups]
    hidden = [group for group in groups if group.along(axis, ()) is None]
    if len(hidden) == len(groups):
        raise ConfigError(f"--along={axis}: runs that say how far they came so expected, found none")
    return [f"{group.label}: not in the picture, as its {axis} are not known" for group in hidden]
