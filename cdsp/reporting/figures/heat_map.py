"""Heat maps of a table: mIoU over two options that it varies."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cdsp.pictures.style import ink, style
from cdsp.reporting.figures.measured_rows import (
    TableRow,
    cell_text,
    group_rows,
    listed,
    measured_rows,
)
from cdsp.reporting.runs import table_score

OPTION_NAMES = {
    "scribble_distance.exponent": "λ of the scribble distance",
    "pseudo_label_distance.exponent": "λ of the pseudo-label distance",
}


def draw_heat_map(table: pd.DataFrame) -> Figure:
    """Draw the mIoU over two varied options: one map for each combination of everything else.

    The first varied option of the table is the vertical axis, the second the horizontal one. Cells
    without a run are hatched, the best of each map is outlined.

    Args:
        table: a table as its CSV holds it; reported rows are left out, and those of methods
            without one of the two options.

    Raises:
        ValueError: fewer than two options with several values, two rows for one cell, no row with
            both options, or a damaged table.
    """
    rows = measured_rows(table)
    varied = [option for option in rows[0].options if len(_axis_values(rows, option)) > 1]
    if len(varied) < 2:
        raise ValueError(
            f"heat map: the table has the options {listed(varied)} with several values; "
            "expected two; list them under the table's 'vary'"
        )
    vertical, horizontal = varied[:2]
    rows = [row for row in rows if row.names[vertical] and row.names[horizontal]]
    if not rows:
        raise ValueError(
            f"heat map: no method of the table has both {vertical!r} and {horizontal!r}; "
            "vary two options that one method has"
        )
    maps = group_rows(rows, [vertical, horizontal])
    ys, xs = _axis_values(rows, vertical), _axis_values(rows, horizontal)
    norm = Normalize(min(row.mean for row in rows), max(row.mean for row in rows))
    lines = -(-len(maps) // min(4, max(1, 12 // len(xs))))
    columns = -(-len(maps) // lines)
    # High and wide enough for the names of the axes as well as for the cells.
    width, height = max(2.2, 0.8 + 0.55 * len(xs)), max(2.6, 0.9 + 0.42 * len(ys))
    with style():
        figure = Figure(figsize=(columns * width + 0.9, lines * height), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for axis, (name, cells) in zip(axes, maps.items(), strict=False):
            places = [
                (ys.index(row.options[vertical]), xs.index(row.options[horizontal]))
                for row in cells
            ]
            _draw_cells(axis, dict(zip(places, cells, strict=True)), (len(ys), len(xs)), norm)
            axis.set_title(textwrap.fill(name, round(13 * width)), fontsize=8)
            axis.set_yticks(range(len(ys)), [cell_text(value) for value in ys])
            axis.set_xticks(range(len(xs)), [cell_text(value) for value in xs])
            axis.set_ylabel(OPTION_NAMES.get(vertical, vertical))
            axis.set_xlabel(OPTION_NAMES.get(horizontal, horizontal))
        for axis in axes[len(maps) :]:
            axis.remove()
        colours = ScalarMappable(norm, "viridis")
        figure.colorbar(
            colours, ax=axes[: len(maps)].tolist(), label=table_score(table.columns).title
        )
    return figure


def _axis_values(rows: Sequence[TableRow], option: str) -> list[Any]:
    """The values of an option: numbers in their order, words in that of the table."""
    values = list(dict.fromkeys(row.options[option] for row in rows if row.names[option]))
    try:
        return sorted(values, key=float)
    except ValueError:
        return values


def _draw_cells(
    axis: Axes,
    cells: Mapping[tuple[int, int], TableRow],
    shape: tuple[int, int],
    norm: Normalize,
) -> None:
    """Draw a heat map: (y, x) → the row that is measured there."""
    means = np.full(shape, np.nan)
    for (y, x), row in cells.items():
        means[y, x] = row.mean
        spread = "" if math.isnan(row.spread) else f"\n± {row.spread:.1f}"
        colour = ink(mpl.colormaps["viridis"](float(norm(row.mean))))
        axis.text(x, y, f"{row.mean:.1f}{spread}", ha="center", va="center", size=7, color=colour)
    axis.imshow(means, norm=norm, cmap="viridis", origin="lower", aspect="auto")
    axis.patch.set(hatch="////", edgecolor="0.7", linewidth=0)  # seen where there is no run
    y, x = max(cells, key=lambda place: cells[place].mean)
    halo = [patheffects.withStroke(linewidth=4, foreground="white")]
    best = Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, linewidth=2, path_effects=halo)
    axis.add_patch(best).set_clip_on(False)
