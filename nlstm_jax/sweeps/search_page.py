"""A search as one HTML page: its best trial, the importances of what was searched, and every trial as a line."""

import html
import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING

from nlstm_jax.wording import count_of

if TYPE_CHECKING:
    import optuna

_REQUIRED_PACKAGES = ("plotly", "sklearn")
_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: 0.1rem 1rem 0.1rem 0; text-align: left; }}
</style>
<script>{plotly}</script>
</head>
<body>
<h1>{title}</h1>
<p>{counts}</p>
{sections}
</body>
</html>
"""


def missing_package() -> str | None:
    """Return the name of a package that the page needs and that is not installed, or None."""
    for name in _REQUIRED_PACKAGES:
        if importlib.util.find_spec(name) is None:
            return name
    return None


def render(study: "optuna.Study", metric: str, *, higher_is_better: bool) -> str:
    """Return the page of a study. It needs no network.

    Args:
        study: The study, which minimizes the metric, or its negative if higher is better.
        metric: The metric that decides, on the validation split.
        higher_is_better: True if a higher value of the metric is better.
    """
    import optuna
    from plotly.offline import get_plotlyjs

    sign = -1 if higher_is_better else 1
    target_name = f"best valid {metric}"
    states = optuna.trial.TrialState
    finished = study.get_trials(deepcopy=False, states=(states.COMPLETE,))
    pruned = study.get_trials(deepcopy=False, states=(states.PRUNED,))

    def target(trial: "optuna.trial.FrozenTrial") -> float:
        return sign * float(trial.values[0])

    sections = []
    if finished:
        sections.append(_describe_best(min(finished, key=lambda trial: trial.values[0]), target, target_name))
    if _has_importances(finished):
        figure = optuna.visualization.plot_param_importances(
            study,
            # The default of Optuna, with a seed.
            evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
            target=target,
            target_name=target_name,
        )
        explained = "The part of the variance over finished trials that each setting explains (fANOVA)."
        sections.append(_section("Importances", explained, figure.to_html(full_html=False, include_plotlyjs=False)))
    if finished:
        figure = optuna.visualization.plot_parallel_coordinate(study, target=target, target_name=target_name)
        explained = "Each line is a finished trial. A part of an axis is chosen by dragging along it."
        sections.append(_section("All trials", explained, figure.to_html(full_html=False, include_plotlyjs=False)))
    return _TEMPLATE.format(
        title=html.escape(f"Search {study.study_name}"),
        counts=f"{count_of(len(finished), 'trial')} finished, {len(pruned):,} stopped early or diverged.",
        sections="\n".join(sections),
        plotly=get_plotlyjs(),
    )


def _has_importances(finished: "list[optuna.trial.FrozenTrial]") -> bool:
    """Return True if several finished trials differ in the value and in a setting that all of them have."""
    if len({trial.values[0] for trial in finished}) < 2:
        return False
    common = set.intersection(*(set(trial.params) for trial in finished))
    return any(len({trial.params[name] for trial in finished}) > 1 for name in common)


def _describe_best(
    best: "optuna.trial.FrozenTrial", target: "Callable[[optuna.trial.FrozenTrial], float]", target_name: str
) -> str:
    """Return a section with the value and the settings of the best trial."""
    rows = []
    for name, value in best.params.items():
        rows.append(f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>")
    text = f"Trial {best.number}: {target_name} {target(best):.6g}."
    return _section("The best trial", text, f"<table>{''.join(rows)}</table>")


def _section(title: str, text: str, content: str) -> str:
    """Return a section of the page. The title and the text are escaped."""
    return f"<section><h2>{html.escape(title)}</h2><p>{html.escape(text)}</p>{content}</section>"
