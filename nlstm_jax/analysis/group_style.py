"""The color and the marker of each group, which belong to its cell in every picture and page."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_hex, to_rgb

from nlstm_jax.analysis.curves import Group

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

DESIGNS = {
    "lstm": "#0072B2",
    "nlstm depth=2": "#D55E00",
    "lstm layers=2": "#009E73",
    "nlstm depth=3": "#CC79A7",
    "lstm layers=3": "#56B4E9",
    "gru": "#E69F00",
    "peephole": "#000000",
    "elman": "#8C564B",
}
"""The cells that have the same color and marker in every picture, in the order of `MARKERS`.

The colors are Okabe and Ito's without the yellow, which is too faint for a line on white, and a brown.
"""

OTHER_COLORS = ("#6A3D9A", "#7A7A00", "#7F7F7F")
"""The colors of all other cells."""

SHADES = (0.0, 0.4, 0.2, 0.55)
"""The shares of white or black in the colors of the groups that have the same cell."""


class GroupStyle(NamedTuple):
    """The style of a group in all panels of a picture.

    Attributes:
        group_index: The index of the group.
        color: The color, as `#rrggbb`.
        marker: The marker, one of `MARKERS`.
        hollow: True if the marker is drawn as an outline.
    """

    group_index: int
    color: str
    marker: str
    hollow: bool


def group_styles(groups: Iterable[Group]) -> dict[str, GroupStyle]:
    """Return the style of each group by its label.

    The color and the marker belong to the cell. A cell of `DESIGNS` has the same ones in every picture. Further groups
    with the same cell have another lightness, and every second one has hollow markers.
    """
    first_groups: dict[str, Group] = {}
    for group in groups:
        first_groups.setdefault(group.label, group)

    numbers = {design: number for number, design in enumerate(DESIGNS)}
    group_counts: Counter[str] = Counter()
    styles = {}
    for index, (label, group) in enumerate(first_groups.items()):
        design = _design(group)
        number = numbers.setdefault(design, len(numbers))
        color = DESIGNS.get(design) or OTHER_COLORS[(number - len(DESIGNS)) % len(OTHER_COLORS)]
        repetition = group_counts[design]
        group_counts[design] += 1
        round_number, shade_number = divmod(repetition, len(SHADES))
        marker = MARKERS[(number + round_number) % len(MARKERS)]
        styles[label] = GroupStyle(index, _shaded(color, SHADES[shade_number]), marker, hollow=shade_number % 2 == 1)
    return styles


def _design(group: Group) -> str:
    """Return the cell of a group, its depth and its number of layers, as `DESIGNS` names them."""
    cell = group.runs[0].config.get("cell", {})
    design = str(cell.get("name", ""))
    if design == "nlstm":
        design += f" depth={cell.get('depth')}"
    if cell.get("layers", 1) > 1:
        design += f" layers={cell['layers']}"
    return design


def _shaded(color: str, share: float) -> str:
    """Return a color mixed with a share of black, or of white if the color is dark."""
    channels = np.array(to_rgb(color))
    is_dark = channels @ (0.30, 0.59, 0.11) < 0.4
    return to_hex((1 - share) * channels + share * is_dark)
