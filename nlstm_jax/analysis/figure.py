"""The validation curves as a picture that stands on its own: in a README, in a paper, without colour vision."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from nlstm_jax.analysis.comparison import Comparison, facts_of
from nlstm_jax.analysis.curves import AXES, Curve, is_number
from nlstm_jax.analysis.statistics import format_estimate
from nlstm_jax.analysis.verdict import unit
from nlstm_jax.errors import ConfigError

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's palette without its yellow, which is too faint for a line on white; blue and vermilion first."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

STYLES: dict[str, dict[str, Any]] = {
    "valid": {"linestyle": "-", "linewidth": 1.8},
    "test": {"linestyle": ":", "linewidth": 1.6},
    "train": {"linestyle": "-", "linewidth": 0.8, "alpha": 0.45},
}
GREY = "#555555"
BAND = 0.16


class _Drawn(NamedTuple):
    """One curve in the picture: of which group, which split, and where its points lie."""

    place: int
    split: str
    curve: Curve
    along: tuple[float, ...]


class PlotOptions(NamedTuple):
    """What is drawn, and how.

    Attributes:
        metric: what is drawn.
        axis: along what, one of `curves.AXES`; a group of which it is not known is left out.
        log_y: a logarithmic axis.
        show_train: also the training curves, thin and faint; always where nothing was validated.
    """

    metric: str
    axis: str = "step"
    log_y: bool = False
    show_train: bool = False


def draw(comparison: Comparison, look: PlotOptions) -> Figure:
    """Mean curves of every group: validation solid, test dotted where there is one, bands of the 95 % t-interval."""
    labels = [textwrap.fill(group.label, 40, break_long_words=False) for group in comparison.groups]
    lines = 1 + max((label.count("\n") for label in labels), default=0)
    figure = Figure(figsize=(7.2, max(4.2, 0.26 * lines * len(labels) + 1.2)), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot()
    places = {group.label: place for place, group in enumerate(comparison.groups)}
    drawn = _panel(axes, comparison, look, places)
    _label_lines(axes, labels, drawn, 0.21 * lines)
    _legend(axes, drawn)
    return figure


def draw_facets(facets: Mapping[str, Comparison], look: PlotOptions) -> Figure:
    """A panel for each comparison, by its title, all at one scale; a group of one name looks the same in all."""
    columns = min(3, len(facets))
    rows = -(-len(facets) // columns)
    labels = dict.fromkeys(group.label for comparison in facets.values() for group in comparison.groups)
    places = {label: place for place, label in enumerate(labels)}
    figure = Figure(figsize=(3.6 * columns + 0.4, 3.1 * rows + 0.22 * len(places) + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (title, comparison) in zip(panels, facets.items(), strict=False):
        _panel(axes, comparison, look, places)
        axes.set_title(title, fontsize=9.5, parse_math=False)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], integer=True))
    ends = [axes.get_ylim() for axes in panels[: len(facets)]]
    for axes in panels[: len(facets)]:
        axes.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
    for axes in panels[len(facets) :]:
        axes.set_visible(False)
    handles = [
        Line2D([], [], color=COLOURS[place % len(COLOURS)], marker=MARKERS[place % len(MARKERS)], label=label)
        for label, place in places.items()
    ]
    figure.legend(handles=handles, loc="outside lower left", frameon=False, fontsize=8.5)
    return figure


def draw_against(facets: Mapping[str, Comparison], key: str, look: PlotOptions) -> Figure:
    """The best validation value of every group against the setting in which the comparisons differ.

    A line is the mean, a dot a seed: where some seeds succeed and others fail an interval would say less.

    Raises:
        ConfigError: the setting is no number.
    """
    values: list[Any] = [facts_of(comparison.groups[0].runs[0]).get(key) for comparison in facets.values()]
    for value in values:
        if not is_number(value):
            raise ConfigError(f"--against={key}: a setting that is a number expected, found {value!r}")
    labels = list(dict.fromkeys(group.label for comparison in facets.values() for group in comparison.groups))
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot()
    _style(axes, look, {"valid"})
    axes.set_xlabel(key)
    drawn = []
    for place, label in enumerate(labels):
        seeds = {
            value: [best.valid for best in group.bests(look.metric)]
            for value, comparison in zip(values, facets.values(), strict=True)
            for group in comparison.groups
            if group.label == label and group.bests(look.metric)
        }
        means = tuple(math.fsum(of_one) / len(of_one) for of_one in seeds.values())
        drawn.append(_Drawn(place, "valid", Curve(tuple(range(len(seeds))), means, None), tuple(seeds)))
        _draw_curve(axes, drawn[-1])
        dots = [(value, best) for value, of_one in seeds.items() for best in of_one]
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(*zip(*dots, strict=True), ".", color=colour, alpha=0.6, markersize=5, gid=f"seeds {place}")
    _label_lines(axes, labels, drawn, 0.21)
    handles = [
        Line2D([], [], color=GREY, label="mean", **STYLES["valid"]),
        Line2D([], [], color=GREY, marker=".", linestyle="", label="a seed"),
    ]
    axes.legend(handles=handles, loc="best", facecolor="white", edgecolor="none", fontsize=8.5)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG; the same figure gives the same bytes."""
    figure.savefig(path, dpi=200, bbox_inches="tight", metadata={"Software": None})


def _panel(axes: Axes, comparison: Comparison, look: PlotOptions, places: Mapping[str, int]) -> list[_Drawn]:
    """All curves of a comparison, and its floor."""
    splits = ["train", "test", "valid"] if look.show_train else ["test", "valid"]
    drawn = _curves(comparison, look, splits, places) or _curves(comparison, look, ["train"], places)
    _style(axes, look, {item.split for item in drawn})
    floor = comparison.floor(look.metric)
    low, high = _limits([item.curve for item in drawn], floor, look.log_y)
    axes.set_ylim(low, high)
    if look.log_y:
        _plain_ticks(axes, wide=high > 30 * low)
    for item in drawn:
        _draw_curve(axes, item)
    axes.set_xlim(left=0)
    if floor is not None:
        _draw_floor(axes, floor)
    return drawn


def _curves(
    comparison: Comparison, look: PlotOptions, splits: Sequence[str], places: Mapping[str, int]
) -> list[_Drawn]:
    return [
        _Drawn(places[group.label], split, curve, along)
        for split in splits
        for group in comparison.groups
        if (curve := group.curve(split, look.metric)) and (along := group.along(look.axis, curve.steps))
    ]


def _style(axes: Axes, look: PlotOptions, splits: set[str]) -> None:
    metric = look.metric
    counted = f" ({unit(metric)})" if unit(metric) else ""
    axes.set_xlabel(AXES[look.axis])
    axes.set_ylabel(f"{'valid ' if splits == {'valid'} else ''}{metric}{counted}", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10], integer=True))
    if look.log_y:
        axes.set_yscale("log")


def _limits(curves: Sequence[Curve], floor: float | None, log_y: bool) -> tuple[float, float]:
    """From the lowest value to the highest after the first fifth of the steps, where curves plunge."""
    last = max((curve.steps[-1] for curve in curves), default=0)
    low, high = math.inf, -math.inf
    for curve in curves:
        late = [n for n, step in enumerate(curve.steps) if step >= last / 5] or [len(curve.steps) - 1]
        low, high = min(low, *curve.mean), max(high, *(curve.mean[n] for n in late), curve.mean[-1])
    if not curves:
        return 0.1, 1.0
    # A floor far below would flatten the curves; it is then named at the lower edge.
    if floor is not None and low - floor < 1.5 * (high - low):
        low = min(low, floor)
    if log_y and low > 0:
        margin = max(0.05 * math.log(high / low), 1e-3)
        return low * math.exp(-margin), high * math.exp(margin)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _plain_ticks(axes: Axes, wide: bool) -> None:
    """Ticks of a logarithmic axis as plain numbers; evenly spaced values where it spans little."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def _draw_curve(axes: Axes, item: _Drawn) -> None:
    curve, colour = item.curve, COLOURS[item.place % len(COLOURS)]
    marked = item.split == "valid"
    count = len(curve.steps)
    # Markers of different groups stand at different places, so that close curves stay apart.
    every = max(1, count // 8)
    axes.plot(
        item.along,
        curve.mean,
        color=colour,
        **STYLES[item.split],
        marker=MARKERS[item.place % len(MARKERS)] if marked else None,
        markevery=(item.place * every // 3 % every if every > 1 else 0, every),
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        gid=f"{item.split} {item.place}",
    )
    if curve.half_width and marked:
        low = [mean - half for mean, half in zip(curve.mean, curve.half_width, strict=True)]
        high = [mean + half for mean, half in zip(curve.mean, curve.half_width, strict=True)]
        axes.fill_between(item.along, low, high, color=colour, alpha=BAND, linewidth=0)


def _draw_floor(axes: Axes, floor: float) -> None:
    text = f"generator's own log-loss {format_estimate(floor)}"
    bottom = axes.get_ylim()[0]
    if floor < bottom:
        axes.annotate(f"{text} ↓ below", (0.01, 0.015), xycoords="axes fraction", color=GREY, fontsize=8)
        return
    axes.axhline(floor, color=GREY, linestyle="--", linewidth=1.1, gid="floor", zorder=1)
    across = axes.get_yaxis_transform()
    axes.annotate(text, (0.01, floor), (0, 3), xycoords=across, textcoords="offset points", color=GREY, fontsize=8)


def _label_lines(axes: Axes, labels: Sequence[str], drawn: Sequence[_Drawn], inches: float) -> None:
    """Each group's name beside the end of its curve, pushed `inches` apart where curves end close together."""
    ends = {item.place: axes.transData.transform((0, item.curve.mean[-1]))[1] for item in drawn}
    box = axes.get_window_extent()
    heights = {place: min(max((end - box.y0) / box.height, 0.0), 1.0) for place, end in ends.items()}
    order = sorted(heights, key=heights.__getitem__)
    gap = inches / (box.height / axes.figure.dpi)
    spread = _spread([heights[place] for place in order], gap)
    for place, height in zip(order, spread, strict=True):
        colour = COLOURS[place % len(COLOURS)]
        marker: dict[str, Any] = {
            "marker": MARKERS[place % len(MARKERS)],
            "markersize": 6,
            "markeredgecolor": "white",
        }
        inside: dict[str, Any] = {"transform": axes.transAxes, "color": colour}
        axes.plot([1.03], [height], clip_on=False, gid="label", **inside, **marker)
        axes.text(1.05, height, labels[place], va="center", parse_math=False, **inside)


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights moved as little as it takes to be `gap` apart, their middle kept where groups meet."""
    clusters: list[list[float]] = []
    for height in heights:
        clusters.append([height])
        while len(clusters) > 1:
            lower, upper = clusters[-2:]
            if _bottom(upper, gap) >= _bottom(lower, gap) + gap * len(lower):
                break
            clusters[-2:] = [lower + upper]
    return [_bottom(cluster, gap) + gap * n for cluster in clusters for n in range(len(cluster))]


def _bottom(cluster: Sequence[float], gap: float) -> float:
    return sum(cluster) / len(cluster) - gap * (len(cluster) - 1) / 2


def _legend(axes: Axes, drawn: Sequence[_Drawn]) -> None:
    """What solid, dotted and shaded mean; the groups are named at their lines."""
    splits = [split for split in STYLES if any(item.split == split for item in drawn)]
    handles: list[Line2D | Patch] = [Line2D([], [], color=GREY, label=split, **STYLES[split]) for split in splits]
    if any(item.curve.half_width for item in drawn if item.split == "valid"):
        handles.append(Patch(color=GREY, alpha=BAND, linewidth=0, label="95 % t-interval over seeds"))
    if len(handles) > 1 or splits != ["valid"]:  # else the axis says it all
        axes.legend(handles=handles, loc="best", facecolor="white", edgecolor="none", fontsize=8.5)
