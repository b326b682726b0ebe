"""The validation curves as a picture for a README or a paper, readable without color vision."""

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

from nlstm_jax.analysis.comparison import Comparison
from nlstm_jax.analysis.curves import AXES, Curve
from nlstm_jax.analysis.facts import facts_of
from nlstm_jax.analysis.group_style import GroupStyle, group_styles
from nlstm_jax.analysis.statistics import format_estimate
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import is_number

STYLES: dict[str, dict[str, Any]] = {
    "valid": {"linestyle": "-", "linewidth": 1.8},
    "test": {"linestyle": ":", "linewidth": 1.6},
    "train": {"linestyle": "-", "linewidth": 0.8, "alpha": 0.45},
}
"""The line style of each split."""

GRAY = "#555555"
"""The color of everything that belongs to no group."""

BAND_ALPHA = 0.16
"""The opacity of the band around a mean."""


class PlotOptions(NamedTuple):
    """Options of a plot.

    Attributes:
        metric: The metric on the vertical axis.
        axis: The horizontal axis, one of `curves.AXES`. A group whose positions on it are unknown is left out.
        log_y: True for a logarithmic vertical axis.
        show_train: True to draw the training curves as well, thin and faint. They are always drawn if nothing was
            validated.
    """

    metric: str
    axis: str = "step"
    log_y: bool = False
    show_train: bool = False


class _PlottedCurve(NamedTuple):
    """A curve in the picture.

    Attributes:
        style: The style of its group.
        split: The split of the data.
        curve: The values.
        along: The position of each value on the horizontal axis.
    """

    style: GroupStyle
    split: str
    curve: Curve
    along: tuple[float, ...]


def draw(comparison: Comparison, look: PlotOptions) -> Figure:
    """Draw the mean curves of every group, with bands of the 95 % t-interval.

    Validation curves are solid. Test curves are dotted and drawn where they exist.
    """
    labels = [textwrap.fill(group.label, 40, break_long_words=False) for group in comparison.groups]
    lines_per_label = 1 + max((label.count("\n") for label in labels), default=0)
    height = max(4.2, 0.26 * lines_per_label * len(labels) + 1.2)
    figure = Figure(figsize=(7.2, height), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot()
    styles = group_styles(comparison.groups)

    plotted = _draw_panel(axes, comparison, look, styles)
    _draw_legend(figure, plotted)
    _label_lines(figure, axes, dict(enumerate(labels)), plotted, 0.21 * lines_per_label)
    return figure


def draw_facets(facets: Mapping[str, Comparison], look: PlotOptions) -> Figure:
    """Draw one panel per comparison, all with the same scale.

    Groups with the same label have the same color and marker in all panels.

    Args:
        facets: The comparisons by their titles.
        look: The options of every panel.
    """
    columns = min(3, len(facets))
    rows = math.ceil(len(facets) / columns)
    styles = group_styles(group for comparison in facets.values() for group in comparison.groups)
    figure = Figure(figsize=(3.6 * columns + 0.4, 3.1 * rows + 0.22 * len(styles) + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    panels = all_axes[: len(facets)]

    for axes, (title, comparison) in zip(panels, facets.items(), strict=True):
        _draw_panel(axes, comparison, look, styles)
        axes.set_title(title, fontsize=9.5, parse_math=False)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], integer=True))
    limits = [axes.get_ylim() for axes in panels]
    for axes in panels:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    for axes in all_axes[len(facets) :]:
        axes.set_visible(False)

    handles = []
    for label, style in styles.items():
        handles.append(Line2D([], [], color=style.color, label=label, **_marker_style(style)))
    figure.legend(handles=handles, loc="outside lower left", frameon=False, fontsize=8.5)
    return figure


def draw_against(facets: Mapping[str, Comparison], key: str, look: PlotOptions) -> Figure:
    """Draw the best validation value of every group against the setting in which the comparisons differ.

    A line shows the mean and a dot shows one seed. An interval would say less where some seeds succeed and others
    fail.

    Args:
        facets: The comparisons by their titles.
        key: The dotted key of the setting.
        look: The options of the plot.

    Raises:
        ConfigError: The setting is not a number.
    """
    settings: list[Any] = [facts_of(comparison.groups[0].runs[0]).get(key) for comparison in facets.values()]
    for setting in settings:
        if not is_number(setting):
            raise ConfigError(f"--against={key}: a setting that is a number expected, found {setting!r}")
    styles = group_styles(group for comparison in facets.values() for group in comparison.groups)
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot()
    _style_axes(axes, next(iter(facets.values())), look, {"valid"})
    axes.set_xlabel(key)

    plotted = []
    for label, style in styles.items():
        values = _best_values(label, settings, list(facets.values()), look.metric)
        if not values:
            # Nothing has been evaluated yet, or this group has other metrics.
            continue
        means = tuple(math.fsum(seeds) / len(seeds) for seeds in values.values())
        curve = Curve(tuple(range(len(values))), means, None)
        plotted.append(_PlottedCurve(style, "valid", curve, tuple(values)))
        _draw_curve(axes, plotted[-1])
        dots = [(setting, value) for setting, seeds in values.items() for value in seeds]
        axes.plot(
            *zip(*dots, strict=True), ".", color=style.color, alpha=0.6, markersize=5, gid=f"seeds {style.group_index}"
        )

    handles = [
        Line2D([], [], color=GRAY, label="mean", **STYLES["valid"]),
        Line2D([], [], color=GRAY, marker=".", linestyle="", label="a seed"),
    ]
    _draw_row_of_handles(figure, handles)
    _label_lines(figure, axes, {style.group_index: label for label, style in styles.items()}, plotted, 0.21)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG. The same figure gives the same bytes."""
    figure.savefig(path, dpi=200, bbox_inches="tight", metadata={"Software": None})


def _marker_style(style: GroupStyle) -> dict[str, Any]:
    """Return Matplotlib's options for the markers of a group."""
    if style.hollow:
        return {"marker": style.marker, "markerfacecolor": "white", "markeredgecolor": style.color}
    return {"marker": style.marker, "markeredgecolor": "white"}


def _best_values(
    label: str, settings: Sequence[float], comparisons: Sequence[Comparison], metric: str
) -> dict[float, list[float]]:
    """Return the best validation values of a group's seeds, by the setting of the comparison they are in."""
    values = {}
    for setting, comparison in zip(settings, comparisons, strict=True):
        for group in comparison.groups:
            bests = group.bests(metric)
            if group.label == label and bests:
                values[setting] = [best.valid for best in bests]
    return values


def _draw_panel(
    axes: Axes, comparison: Comparison, look: PlotOptions, styles: Mapping[str, GroupStyle]
) -> list[_PlottedCurve]:
    """Draw all curves of a comparison and its floor, and return the curves."""
    splits = ["test", "valid"]
    if look.show_train:
        splits.insert(0, "train")
    plotted = _curves(comparison, look, splits, styles) or _curves(comparison, look, ["train"], styles)
    _style_axes(axes, comparison, look, {item.split for item in plotted})

    floor = comparison.floor(look.metric)
    low, high = _limits([item.curve for item in plotted], floor, look.log_y)
    axes.set_ylim(low, high)
    if look.log_y:
        _use_plain_ticks(axes, wide=high > 30 * low)

    for item in plotted:
        _draw_curve(axes, item)
    axes.set_xlim(left=0)
    if floor is not None:
        _draw_floor(axes, floor)
    return plotted


def _curves(
    comparison: Comparison, look: PlotOptions, splits: Sequence[str], styles: Mapping[str, GroupStyle]
) -> list[_PlottedCurve]:
    """Return the curves of all groups on some splits, as far as they exist and their positions are known."""
    curves = []
    for split in splits:
        for group in comparison.groups:
            curve = group.curve(split, look.metric)
            if curve is None:
                continue
            along = group.along(look.axis, curve.steps)
            if along:
                curves.append(_PlottedCurve(styles[group.label], split, curve, along))
    return curves


def _style_axes(axes: Axes, comparison: Comparison, look: PlotOptions, splits: set[str]) -> None:
    """Set the titles, the grid and the ticks of a panel that shows curves of these splits."""
    metric = look.metric
    unit = comparison.groups[0].runs[0].unit(metric)
    metric_unit = f" ({unit})" if unit else ""
    prefix = "valid " if splits == {"valid"} else ""
    axes.set_xlabel(AXES[look.axis])
    axes.set_ylabel(f"{prefix}{metric}{metric_unit}", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10], integer=True))
    if look.log_y:
        axes.set_yscale("log")


def _limits(curves: Sequence[Curve], floor: float | None, log_y: bool) -> tuple[float, float]:
    """Return the limits of the vertical axis, with a margin.

    The upper limit ignores the first fifth of the steps, in which curves drop steeply.
    """
    if not curves:
        return 0.1, 1.0
    last_step = max(curve.steps[-1] for curve in curves)
    low = math.inf
    high = -math.inf
    for curve in curves:
        late = [mean for step, mean in zip(curve.steps, curve.mean, strict=True) if step >= last_step / 5]
        low = min(low, *curve.mean)
        high = max(high, *late, curve.mean[-1])

    # A floor far below would flatten the curves. It is then named at the lower edge of the panel.
    if floor is not None and low - floor < 1.5 * (high - low):
        low = min(low, floor)
    if log_y and low > 0:
        margin = max(0.05 * math.log(high / low), 1e-3)
        return low * math.exp(-margin), high * math.exp(margin)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _use_plain_ticks(axes: Axes, wide: bool) -> None:
    """Label the ticks of a logarithmic axis with plain numbers.

    The ticks are evenly spaced unless the axis is wide, that is, spans a large factor.
    """
    if wide:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def _draw_curve(axes: Axes, item: _PlottedCurve) -> None:
    """Draw one curve. Validation curves have markers, and a band if there are several seeds."""
    curve = item.curve
    style = item.style
    is_validation = item.split == "valid"

    # Markers of different groups are shifted against each other, so that close curves can be told apart.
    marker_spacing = max(1, len(curve.steps) // 8)
    first_marker = style.group_index * marker_spacing // 3 % marker_spacing
    axes.plot(
        item.along,
        curve.mean,
        color=style.color,
        **STYLES[item.split],
        **(_marker_style(style) if is_validation else {}),
        markevery=(first_marker, marker_spacing),
        markersize=5,
        markeredgewidth=1.2 if style.hollow else 0.6,
        gid=f"{item.split} {style.group_index}",
    )
    if curve.half_width and is_validation:
        low = [mean - half_width for mean, half_width in zip(curve.mean, curve.half_width, strict=True)]
        high = [mean + half_width for mean, half_width in zip(curve.mean, curve.half_width, strict=True)]
        axes.fill_between(item.along, low, high, color=style.color, alpha=BAND_ALPHA, linewidth=0)


def _draw_floor(axes: Axes, floor: float) -> None:
    """Draw the generator's own value as a dashed line, or name it at the lower edge if it is below the panel."""
    text = f"generator's own log-loss {format_estimate(floor)}"
    bottom = axes.get_ylim()[0]
    if floor < bottom:
        axes.annotate(f"{text} ↓ below", (0.01, 0.015), xycoords="axes fraction", color=GRAY, fontsize=8)
        return
    axes.axhline(floor, color=GRAY, linestyle="--", linewidth=1.1, gid="floor", zorder=1)
    across = axes.get_yaxis_transform()
    axes.annotate(text, (0.01, floor), (0, 3), xycoords=across, textcoords="offset points", color=GRAY, fontsize=8)


def _label_lines(
    figure: Figure, axes: Axes, labels: Mapping[int, str], plotted: Sequence[_PlottedCurve], gap_inches: float
) -> None:
    """Write each group's label, given by its index, beside the end of its curve.

    Labels of curves that end close together are pushed `gap_inches` apart.
    """
    figure.draw_without_rendering()
    box = axes.get_window_extent()
    styles = {item.style.group_index: item.style for item in plotted}
    heights: dict[int, float] = {}
    for item in plotted:
        end = axes.transData.transform((0, item.curve.mean[-1]))[1]
        heights[item.style.group_index] = min(max((end - box.y0) / box.height, 0.0), 1.0)

    ascending = sorted(heights, key=heights.__getitem__)
    gap = gap_inches / (box.height / figure.dpi)
    spread = _spread([heights[index] for index in ascending], gap)
    for index, height in zip(ascending, spread, strict=True):
        style = styles[index]
        place: dict[str, Any] = {"transform": axes.transAxes, "color": style.color}
        axes.plot([1.03], [height], clip_on=False, gid="label", markersize=6, **place, **_marker_style(style))
        axes.text(1.05, height, labels[index], va="center", parse_math=False, **place)


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move ascending heights as little as possible, so that they are at least `gap` apart.

    Heights that are pushed apart form a cluster, whose center stays where it is.
    """
    clusters: list[list[float]] = []
    for height in heights:
        clusters.append([height])
        while len(clusters) > 1:
            lower, upper = clusters[-2:]
            if _bottom(upper, gap) >= _bottom(lower, gap) + gap * len(lower):
                break
            clusters[-2:] = [lower + upper]
    return [_bottom(cluster, gap) + gap * index for cluster in clusters for index in range(len(cluster))]


def _bottom(cluster: Sequence[float], gap: float) -> float:
    """Return the lowest height of a cluster after its heights have been pushed apart."""
    return sum(cluster) / len(cluster) - gap * (len(cluster) - 1) / 2


def _draw_legend(figure: Figure, plotted: Sequence[_PlottedCurve]) -> None:
    """Explain the line styles and the band below the axes. The groups are named at their lines."""
    splits = [split for split in STYLES if any(item.split == split for item in plotted)]
    handles: list[Line2D | Patch] = [Line2D([], [], color=GRAY, label=split, **STYLES[split]) for split in splits]
    if any(item.curve.half_width for item in plotted if item.split == "valid"):
        handles.append(Patch(color=GRAY, alpha=BAND_ALPHA, linewidth=0, label="95 % t-interval over seeds"))
    # Validation curves alone, without bands, are explained by the title of the axis.
    if len(handles) > 1 or splits != ["valid"]:
        _draw_row_of_handles(figure, handles)


def _draw_row_of_handles(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    """Draw a legend in one row below the axes, where it covers no curve."""
    figure.legend(handles=handles, loc="outside lower left", ncols=max(1, len(handles)), frameon=False, fontsize=8.5)
