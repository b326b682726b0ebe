"""The pages of a suite: tables of all tasks and one page for each task, written from the committed metrics alone."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.figure import Figure

from nlstm_jax.analysis import figure
from nlstm_jax.analysis.forest import draw_forest
from nlstm_jax.analysis.statistics import format_estimate
from nlstm_jax.errors import DataError
from nlstm_jax.runs import files
from nlstm_jax.runs.reader import ConfigTransform
from nlstm_jax.suite.published import published_text
from nlstm_jax.suite.results import TaskResult, read_results
from nlstm_jax.suite.rows import ROW_PAGE, ROWS, read_rows, row_page
from nlstm_jax.suite.spec import SuiteSpec
from nlstm_jax.suite.tables import bootstrap_sentence, contrast_table, design_tables
from nlstm_jax.suite.verdicts import Contrast, contrast, corrected, diverged_runs, interaction, sign_count

PAGE = "answer.md"
"""The page of the whole suite, and of each task in its folder."""
WRITTEN_BY = "Written by `python -m experiments.answer` from the committed metrics."


@dataclass(frozen=True)
class SuiteReport:
    """The verdicts of a suite, as far as its tasks have run.

    Attributes:
        spec: The suite.
        results: The complete tasks, by name.
        missing: Why the other tasks have no result, by name.
        primary: The primary contrasts, corrected over all tasks of the suite.
        exploratory: All other contrasts of the subject, corrected together.
        published: The text on published figures. Empty if the suite has none.
    """

    spec: SuiteSpec
    results: Mapping[str, TaskResult]
    missing: Mapping[str, str]
    primary: Sequence[Contrast]
    exploratory: Sequence[Contrast]
    published: str = ""

    @classmethod
    def from_results(
        cls, spec: SuiteSpec, results: Mapping[str, TaskResult], missing: Mapping[str, str], published: str = ""
    ) -> "SuiteReport":
        """Judge all contrasts of the complete tasks."""
        primary: list[Contrast] = []
        exploratory: list[Contrast] = []
        for result in results.values():
            subject = result.designs[spec.subject]
            for other in spec.others:
                judged = contrast(result, subject, result.designs[other])
                target = primary if other == spec.primary else exploratory
                target.append(judged)
        count = len(spec.tasks)
        further = count * (len(spec.others) - 1)
        return cls(spec, results, missing, corrected(primary, count), corrected(exploratory, further), published)

    def contrasts(self, task: str) -> list[Contrast]:
        """Return the contrasts of one task, the primary one first."""
        return [item for item in (*self.primary, *self.exploratory) if item.task.name == task]

    def parts(self, base: str = "") -> dict[str, str]:
        """Return the generated parts of a page on the suite, by their names.

        Args:
            base: The path from the page to the folder of the suite, with a slash at its end.
        """
        return {
            "status": self._status(base),
            "verdicts": self._verdicts(),
            "exploratory": contrast_table(self.exploratory, self._missing_titles()),
            "signs": self._signs(),
            "interaction": self._interaction(),
            "designs": self._designs(),
            "published": self.published,
        }

    def task_page(self, name: str) -> str:
        """Return the page of one task."""
        result = self.results[name]
        task = result.task
        parts = [
            f"# {self.spec.name}: {task.title}",
            f"{WRITTEN_BY} See [the protocol](../protocol.md) and [all tasks](../answer.md).",
            contrast_table(self.contrasts(name)),
            self._correction_note(),
            _capitalized(_end_note(result)),
            design_tables([result]),
            _memory_note([result]),
            bootstrap_sentence(result, self.spec.subject, self.spec.primary),
            _diverged_note(result),
            "[The runs](compare.md), with curves. The differences, in units of the margin:",
            "![Differences of the designs in units of the margin](answer.png)",
        ]
        return "\n\n".join(filter(None, parts)) + "\n"

    def suite_page(self) -> str:
        """Return the page with the tables of all tasks."""
        parts = self.parts()
        designs = ", ".join(f"{name}: {text}" for name, text in self.spec.designs.items())
        titles = {
            "status": "",
            "verdicts": f"## {self.spec.subject} − {self.spec.primary}",
            "signs": "",
            "exploratory": "## Exploratory contrasts",
            "interaction": "## Interaction of design and process",
            "designs": "## Losses, steps and costs",
            "published": "## Published figures" if self.published else "",
        }
        blocks = [f"# {self.spec.name}: all tasks", f"{WRITTEN_BY} Designs: {designs}."]
        for name, title in titles.items():
            blocks += [title, parts[name]]
        if self.results:
            blocks.append("![Differences of the designs in units of their margins](answer.png)")
        return "\n\n".join(filter(None, blocks)) + "\n"

    def figures(self) -> dict[str, Figure]:
        """Draw the differences of all tasks, and of each task, by the paths of the files."""
        if not self.results:
            return {}
        figures = {"answer.png": draw_forest(self._json_of((*self.primary, *self.exploratory)))}
        for name in self.results:
            figures[f"{name}/answer.png"] = draw_forest(self._json_of(self.contrasts(name)))
        return figures

    def json_text(self) -> str:
        """Return all contrasts as JSON, and the reasons why tasks are missing."""
        rows = self._json_of((*self.primary, *self.exploratory))
        document = {"schema": 1, "suite": self.spec.name, "missing": dict(self.missing), "contrasts": rows}
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"

    def _json_of(self, contrasts: Sequence[Contrast]) -> list[dict[str, object]]:
        return [item.as_json(is_primary=item.second == self.spec.primary) for item in contrasts]

    def _status(self, base: str) -> str:
        """Return which tasks have run, and why the others have not."""
        titles = {task.name: task.title for task in self.spec.tasks}
        done = ", ".join(f"[{titles[name]}]({base}{name}/{PAGE})" for name in self.results) or "none"
        lines = [f"Tasks that have run, {len(self.results)} of {len(titles)}: {done}."]
        if self.missing:
            by_reason: dict[str, list[str]] = {}
            for name, reason in self.missing.items():
                by_reason.setdefault(reason, []).append(titles[name])
            reasons = [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
            lines.append(f"Tasks without a result. {'; '.join(reasons)}.")
        return "\n\n".join(lines)

    def _verdicts(self) -> str:
        """Return the table of the primary contrasts, in which missing tasks have a row too."""
        return "\n\n".join([contrast_table(self.primary, self._missing_titles()), self._correction_note()])

    def _missing_titles(self) -> list[str]:
        return [task.title for task in self.spec.tasks if task.name in self.missing]

    def _correction_note(self) -> str:
        """Return how the p-values are corrected."""
        count = len(self.spec.tasks)
        rest = count * (len(self.spec.others) - 1)
        text = (
            f"Holm's method corrects the p-values of {self.spec.subject} − {self.spec.primary} over the {count} tasks "
            f"of the protocol, and those of all other contrasts together, {rest} in number."
        )
        if self.missing:
            text += " Tests that have not been done count with p = 1, so no corrected p-value grows when they are."
        return text

    def _signs(self) -> str:
        """Return the sign count."""
        wins, total, p = sign_count(self.primary, self.spec.subject)
        if not total:
            return "Sign count: no task has run."
        return (
            f"Sign count: {self.spec.subject} is ahead of {self.spec.primary} on {wins} of {total} "
            f"task{'s' if total > 1 else ''} that {'have' if total > 1 else 'has'} run, of "
            f"{len(self.spec.tasks)} (two-sided binomial p = {p:.2g})."
        )

    def _designs(self) -> str:
        """Return the tables of losses, steps and costs of all tasks."""
        results = list(self.results.values())
        ends = [f"{result.task.title}: {_end_note(result)}" for result in results if _end_note(result)]
        return "\n\n".join(filter(None, [design_tables(results), *ends, _memory_note(results)]))

    def _interaction(self) -> str:
        """Return the interaction of design and process."""
        first, second = self.spec.subject, self.spec.primary
        name = f"({first} − {second} on gates) − ({first} − {second} on feeds)"
        if "gates" not in self.results or "feeds" not in self.results:
            return f"{name}: not known, as both processes must have run."
        difference = interaction(self.results["gates"], self.results["feeds"], first, second)
        if difference is None:
            return f"{name}: no interval, as the runs have no spread."
        return (
            f"{name} = {format_estimate(difference.value, difference.half_width)} nats per symbol "
            f"(95 % t-interval by Welch and Satterthwaite, p = {difference.p:.2g}, not corrected)."
        )


def _end_note(result: TaskResult) -> str:
    """Return what is known of chance and the optimum."""
    task = result.task
    if task.level is not None:
        return ""
    known = []
    if result.chance is not None:
        known.append(f"chance is {format_estimate(result.chance)}")
    if task.optimum is not None:
        known.append(f"the optimum is {task.optimum:g}")
    if not known:
        return "the loss of chance is not committed, so it is not tested whether the designs differ from it."
    return f"on the test split {' and '.join(known)} {task.unit}."


def _capitalized(text: str) -> str:
    """Return a text whose first letter is a capital one."""
    return text[:1].upper() + text[1:]


def _diverged_note(result: TaskResult) -> str:
    """Name the runs that diverged and count with the loss of their best step."""
    names = diverged_runs(result.designs)
    return f"Diverged, and counted with the best step: {', '.join(names)}." if names else ""


def _memory_note(results: Sequence[TaskResult]) -> str:
    """Tell how peak memory was measured, and name the tasks where it was not."""
    lines = []
    if any(result.memory for result in results):
        lines.append(
            "Peak memory is the maximum resident set size of a process that trains 100 steps, by the commit that is "
            "named in `memory.json`."
        )
    titles = [result.task.title for result in results if not result.memory]
    if titles:
        lines.append(f"Peak memory has not been measured yet: {', '.join(titles)}.")
    return " ".join(lines)


def suite_texts(folder: Path, spec: SuiteSpec, with_defaults: ConfigTransform) -> dict[Path, str]:
    """Return the generated pages of a suite by their paths, as they follow from the committed metrics.

    The page `answer.md` beside the folder of the suite is included if it exists. Its parts stand between markers.

    Args:
        folder: The folder of the suite.
        spec: The suite.
        with_defaults: The function that is applied to every configuration, e.g. `settings.with_defaults`.

    Raises:
        DataError: A file of the results is damaged, or a marker of the page is missing.
    """
    with TemporaryDirectory() as scratch:
        report = _read_report(folder, spec, Path(scratch), with_defaults)
        texts = {folder / PAGE: report.suite_page(), folder / "answer.json": report.json_text()}
        for name in report.results:
            texts[folder / name / PAGE] = report.task_page(name)
        for name, row in read_rows(folder, spec, Path(scratch), with_defaults).items():
            texts[folder / ROWS / name / ROW_PAGE] = row_page(spec, report.results, row)
        page = folder.parent / PAGE
        if page.exists():
            texts[page] = fill_parts(page.read_text("utf-8"), report.parts(f"{folder.name}/"), str(page))
    return texts


def write_suite(folder: Path, spec: SuiteSpec, with_defaults: ConfigTransform) -> list[Path]:
    """Write the pages and figures of a suite, and return their paths. See `suite_texts`."""
    texts = suite_texts(folder, spec, with_defaults)
    with TemporaryDirectory() as scratch:
        figures = _read_report(folder, spec, Path(scratch), with_defaults).figures()
    for path, text in texts.items():
        files.write_text_atomically(path, text)
    for name, picture in figures.items():
        figure.save(picture, folder / name)
    return [*texts, *(folder / name for name in figures)]


def fill_parts(page: str, parts: Mapping[str, str], name: str) -> str:
    """Replace the text between the markers of each part.

    Args:
        page: The page. A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
        parts: The new parts by name. The page may lack some of them.
        name: The name of the page in error messages.

    Raises:
        DataError: A marker is unknown, or its end is missing.

    >>> fill_parts("a <!-- begin b -->old<!-- end b -->", {"b": "new"}, "page.md")
    'a <!-- begin b -->\\n\\nnew\\n\\n<!-- end b -->'
    """
    for marked in re.findall(r"<!-- begin (\w+) -->", page):
        pattern = rf"(<!-- begin {marked} -->).*?(<!-- end {marked} -->)"
        if marked not in parts or not re.search(pattern, page, re.DOTALL):
            raise DataError(f"{name}: a known part with a marker at its end expected, found {marked}")
        begin, _, rest = page.partition(f"<!-- begin {marked} -->")
        _, _, end = rest.partition(f"<!-- end {marked} -->")
        page = f"{begin}<!-- begin {marked} -->\n\n{parts[marked]}\n\n<!-- end {marked} -->{end}"
    return page


def _read_report(folder: Path, spec: SuiteSpec, scratch: Path, with_defaults: ConfigTransform) -> SuiteReport:
    """Read the committed results, and judge them."""
    results, missing = read_results(folder, spec, scratch, with_defaults)
    published = ""
    if spec.published is not None:
        published = published_text(folder, spec.published, scratch, with_defaults)
    return SuiteReport.from_results(spec, results, missing, published)
