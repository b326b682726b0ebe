"""Markdown tables of a suite: contrasts with their verdicts, and the losses, steps and costs of the designs."""

import statistics
from collections.abc import Iterable, Sequence

from nlstm_jax.analysis.bootstrap import two_way_bootstrap
from nlstm_jax.analysis.curves import Group, timing_is_valid
from nlstm_jax.analysis.margin import steps_to_solve
from nlstm_jax.analysis.statistics import estimate, format_estimate
from nlstm_jax.runs import Run
from nlstm_jax.suite.markdown import NONE, table
from nlstm_jax.suite.results import TaskResult
from nlstm_jax.suite.spec import SuiteTask
from nlstm_jax.suite.verdicts import Contrast, test_values


def contrast_table(contrasts: Sequence[Contrast], missing: Sequence[str] = ()) -> str:
    """Return a table of contrasts. Tasks without a result have a row that says so.

    Args:
        contrasts: The contrasts.
        missing: The titles of the tasks without a result.
    """
    titles = ("task", "contrast", "difference", "unit", "margin", "p", "p, corrected", "p of equivalence", "verdict")
    rows = [_contrast_row(item) for item in contrasts]
    if not rows and not missing:
        return ""
    for title in missing:
        rows.append([title, *[NONE] * (len(titles) - 2), "not run"])
    return table(titles, rows, left=(0, 1, 3, 8))


def design_tables(results: Iterable[TaskResult]) -> str:
    """Return the losses of the designs and, in a table of its own, the steps to solve, with their costs beside them.

    The values are means over seeds with 95 % t-intervals, at the step that is best on validation unless a column says
    otherwise.
    """
    losses = []
    steps = []
    for result in results:
        for name, group in result.designs.items():
            shared = [result.task.title, name, _format_count(group.parameters)]
            costs = [_seconds_per_step(group), _format_count(result.memory.get(name))]
            if result.task.level is None:
                losses.append([*shared, *_losses(result.task, group), *costs])
            else:
                steps.append([*shared, *_steps(result.task, group), *costs])
    tables = []
    costs_titles = ("seconds a step", "peak MiB")
    if losses:
        loss_titles = ("task", "design", "parameters", "test", "valid", "valid, last step", "train", *costs_titles)
        tables.append(table(loss_titles, losses, left=(0, 1)))
    if steps:
        step_titles = ("task", "design", "parameters", "solved", "median steps", "test accuracy", *costs_titles)
        tables.append(table(step_titles, steps, left=(0, 1)))
    return "\n\n".join(tables)


def bootstrap_sentence(result: TaskResult, first: str, second: str) -> str:
    """Return the difference of two designs with an interval over seeds and validation examples.

    The sentence says so if the sums of single examples are not committed. It is empty if the protocol of the task
    asks for no such interval.
    """
    task = result.task
    if not task.has_bootstrap:
        return ""
    rows = [result.designs[name].by_example(task.metric) for name in (first, second)]
    opening = f"Bootstrap over seeds and validation examples, {first} − {second}"
    if rows[0] is None or rows[1] is None:
        return f"{opening}: not known, as the sums of single examples are not committed."
    (first_sums, weights), (second_sums, _) = rows[0], rows[1]
    difference = two_way_bootstrap(first_sums, second_sums, weights)
    amount = format_estimate(difference.value, difference.half_width)
    return f"{opening}: {amount} {task.unit} ({difference.examples:,} examples)."


def _contrast_row(item: Contrast) -> list[str]:
    """Return the cells of a contrast."""
    verdict = item.verdict
    difference = "censored" if verdict.value is None else format_estimate(verdict.value, verdict.half_width)
    words = item.words
    if words == "undecided":
        words += _seeds_clause(item)
    return [
        item.task.title,
        f"{item.first} − {item.second}",
        difference,
        item.task.unit,
        f"{item.task.margin:g}",
        _format_p(verdict.p),
        _format_p(item.p),
        _format_p(verdict.p_equivalence),
        words,
    ]


def _seeds_clause(item: Contrast) -> str:
    """Return the seeds that a verdict would take, each with a power of 80 %, in parentheses."""
    clauses = []
    if item.verdict.seeds is not None:
        clauses.append(f'"better" would take about {item.verdict.seeds:,} seeds each')
    if item.verdict.seeds_equivalence is not None:
        clauses.append(f'"equivalent" about {item.verdict.seeds_equivalence:,}')
    return f" ({', '.join(clauses)})" if clauses else ""


def _losses(task: SuiteTask, group: Group) -> list[str]:
    """Return the cells with the losses of a design."""
    bests = group.bests(task.metric)
    train = [best.train for best in bests if best.train is not None]
    last = [_last(run, task.metric) for run in group.runs]
    valid = [best.valid for best in bests]
    return [_format_mean(values) for values in (test_values(task, group), valid, last, train)]


def _steps(task: SuiteTask, group: Group) -> list[str]:
    """Return the cells with the steps to solve a task."""
    assert task.level is not None
    measured = steps_to_solve((group, group), task.metric, task.level)
    assert measured.first_solved is not None
    solved = sum(measured.first_solved)
    count = len(measured.first)
    # Censored runs have the most steps, so the median is known if more than half of the runs solve the task.
    median = f"{statistics.median(measured.first):,.0f}" if 2 * solved > count else NONE
    return [f"{solved} of {count}", median, _format_mean(test_values(task, group))]


def _last(run: Run, metric: str) -> float:
    """Return the validation value at the last step."""
    curve = run.curve("valid", metric)
    return curve[max(curve)]


def _seconds_per_step(group: Group) -> str:
    """Return the seconds of a step, evaluations included, of the runs with a valid timing."""
    seconds = []
    for run in group.runs:
        last = run.metrics[-1]
        if timing_is_valid(run) and "wall_seconds" in last and last["step"]:
            seconds.append(last["wall_seconds"] / last["step"])
    return f"{estimate(seconds).value:.3g}" if seconds else NONE


def _format_mean(values: Sequence[float]) -> str:
    """Return a mean with its interval as text."""
    if not values:
        return NONE
    mean = estimate(values)
    return format_estimate(mean.value, mean.half_width)


def _format_count(count: float | None) -> str:
    return NONE if count is None else f"{count:,.0f}"


def _format_p(p: float | None) -> str:
    return NONE if p is None else f"{p:.2g}"
