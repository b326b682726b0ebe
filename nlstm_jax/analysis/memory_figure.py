"""Pictures of memories: their curves against the lag, what training adds to them, and one sequence under its words."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nlstm_jax.analysis.figure import GRAY
from nlstm_jax.analysis.group_style import DESIGNS
from nlstm_jax.analysis.memories import time_scale
from nlstm_jax.analysis.memory_report import GRADIENT_LAG, TIME_SCALE, MemoryMeasures, MemoryRow, RunMemories
from nlstm_jax.types import Float

_COLORS = tuple(DESIGNS.values())
_ROW_HEIGHT = 0.27
_UNITS_SHOWN = 48
"""The largest number of units of a memory in a heat map."""
_WORDS_SHOWN = 60
"""The largest number of words in a heat map."""

_Curve = Callable[[MemoryMeasures], Float[np.ndarray, "K"]]


def draw_curves(groups: Mapping[str, Sequence[RunMemories]]) -> Figure:
    """Draw the autocorrelation and the gradient of every memory against the lag, one column per group.

    Each line is the mean over the runs, solid for the trained models and dashed for the untrained ones.
    """
    figure = Figure(figsize=(1.2 + 3.7 * len(groups), 6.4), layout="constrained")
    panels = FigureCanvasAgg(figure).figure.subplots(2, len(groups), squeeze=False, sharex=True, sharey="row")
    for column, (label, runs) in enumerate(groups.items()):
        top, bottom = panels[:, column]
        seeds = "1 run" if len(runs) == 1 else f"mean of {len(runs)} runs"
        top.set_title(f"{label} ({seeds})", fontsize=10, parse_math=False)
        _draw_lines(top, runs, lambda measures: measures.correlations, first_lag=0)
        _draw_lines(bottom, runs, lambda measures: measures.gradients, first_lag=1)
        top.axhline(0, color=GRAY, linewidth=0.7)
        bottom.set_yscale("log")
        bottom.set_xlabel("lag k, steps")
        handles = [
            Line2D([], [], color=_COLORS[index % len(_COLORS)], label=memory)
            for index, memory in enumerate(runs[0].trained)
        ]
        top.legend(handles=handles, frameon=False, fontsize=8)
        for axes in (top, bottom):
            axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel("autocorrelation ρ(k)")
    panels[1, 0].set_ylabel("gradient norm of $y_t$ by $m_{t-k}$")
    styles = [Line2D([], [], color=GRAY, label="trained"), Line2D([], [], color=GRAY, ls="--", label="untrained")]
    figure.legend(handles=styles, loc="outside lower left", ncols=2, frameon=False, fontsize=8.5)
    return figure


def draw_excess(rows: Sequence[MemoryRow]) -> Figure:
    """Draw trained − untrained with its interval, one panel for the time scale and one for the gradient lag."""
    measures = (TIME_SCALE, GRADIENT_LAG)
    shown = {measure: [row for row in rows if row.measure == measure] for measure in measures}
    names = list(dict.fromkeys((row.group, row.memory) for row in rows if row.measure in measures))
    figure = Figure(figsize=(9.6, 1.3 + _ROW_HEIGHT * len(names)), layout="constrained")
    panels = FigureCanvasAgg(figure).figure.subplots(1, 2, sharey=True)
    for axes, measure in zip(panels, measures, strict=True):
        axes.axvline(0, color=GRAY, linewidth=0.8)
        for row in shown[measure]:
            position = names.index((row.group, row.memory))
            is_contrast = " − " in row.memory
            color = "#D55E00" if is_contrast else "#0072B2"
            half_width = row.excess.half_width or 0.0
            ends = [row.excess.value - half_width, row.excess.value + half_width]
            axes.plot(ends, [position] * 2, color=color, linewidth=1.6)
            axes.plot([row.excess.value], [position], "D" if is_contrast else "o", color=color, markersize=5)
        axes.set_xlabel(f"{measure}: trained − untrained, steps")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#e4e4e4", linewidth=0.7)
        axes.set_axisbelow(True)
    panels[0].set_yticks(range(len(names)), [f"{group}: {memory}" for group, memory in names], fontsize=8)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    handles = [
        Line2D([], [], color="#0072B2", marker="o", label="a memory"),
        Line2D([], [], color="#D55E00", marker="D", label="inner − outer"),
    ]
    text = "lines: 95 % t-interval over runs" if any(row.excess.half_width for row in rows) else "one run: no interval"
    legend_title = Line2D([], [], linestyle="", label=text)
    figure.legend(handles=[*handles, legend_title], loc="outside lower left", ncols=3, frameon=False, fontsize=8.5)
    return figure


def draw_words(run: RunMemories, title: str) -> Figure:
    """Draw the memories of one sequence as heat maps above its words, one for each memory.

    The units are in the order of their own time scales on this sequence, the slowest at the top. Every memory has its
    own symmetric scale of colors.

    Args:
        run: The measurements of a run that has words.
        title: The title.
    """
    words = list(run.words)[:_WORDS_SHOWN]
    count = len(run.pictured)
    figure = Figure(figsize=(2.2 + 0.19 * max(24, len(words)), 0.9 + 2.0 * count), layout="constrained")
    panels = FigureCanvasAgg(figure).figure.subplots(count, 1, squeeze=False, sharex=True)[:, 0]
    for axes, (memory, values) in zip(panels, run.pictured.items(), strict=True):
        shown = _slowest_first(values[: len(words)])[:, :_UNITS_SHOWN]
        limit = float(np.abs(shown).max()) or 1.0
        image = axes.imshow(shown.T, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_ylabel(f"{memory}\n{shown.shape[1]} of {values.shape[1]} units", fontsize=8, parse_math=False)
        axes.set_yticks([])
        figure.colorbar(image, ax=axes, pad=0.01, aspect=12)
    panels[0].set_title(title, fontsize=10, loc="left", parse_math=False)
    panels[-1].set_xticks(range(len(words)), words, rotation=90, fontsize=8, parse_math=False)
    return figure


def _draw_lines(axes: Axes, runs: Sequence[RunMemories], curve: _Curve, first_lag: int) -> None:
    """Draw the mean curve of every memory, trained and untrained."""
    for index, memory in enumerate(runs[0].trained):
        color = _COLORS[index % len(_COLORS)]
        for style, models in (("-", [run.trained for run in runs]), ("--", [run.untrained for run in runs])):
            mean = np.mean([curve(model[memory]) for model in models], axis=0)
            lags = np.arange(first_lag, first_lag + len(mean))
            axes.plot(lags, np.where(mean == 0, np.nan, mean), style, color=color, linewidth=1.5)


def _slowest_first(values: Float[np.ndarray, "T H"]) -> Float[np.ndarray, "T H"]:
    """Return the units of a memory in the order of their time scales on one sequence, constant ones last."""
    centered = values - values.mean(0)
    scales = []
    for unit in centered.T:
        power = float(unit @ unit)
        if power == 0:
            scales.append(-1.0)
            continue
        correlations = [float(unit[: len(unit) - lag] @ unit[lag:]) / power for lag in range(len(unit))]
        scales.append(time_scale(np.array(correlations)))
    return values[:, np.argsort(scales)[::-1]]
