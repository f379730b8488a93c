"""The worth of better pseudo-labels: mIoU of networks over that of the labels behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cdsp.pictures.style import add_legend, style
from cdsp.reporting.figures.measured_rows import (
    GRID,
    TableRow,
    draw_series,
    group_rows,
    listed,
    measured_rows,
    row_labels,
)
from cdsp.reporting.runs import table_score


def draw_label_quality(table: pd.DataFrame) -> Figure:
    """What better pseudo-labels are worth: mIoU of the networks over that of their labels.

    One line for each method and network; rows without pseudo-labels are dashed lines.

    Args:
        table: a table as its CSV holds it; reported rows are left out, and those whose
            pseudo-labels were not measured.

    Raises:
        ValueError: fewer than two qualities, two rows for one point, or a damaged table.
    """
    rows = measured_rows(table)
    measured = [row for row in rows if not math.isnan(row.quality)]
    recipes = [
        {"method": row.names["pseudo_labels"], "scribbles": row.names["scribbles"]}
        for row in measured
    ]
    names: dict[float, dict[str, None]] = {}
    for row, name in zip(measured, row_labels(recipes), strict=True):
        names.setdefault(row.quality, {})[name] = None
    qualities = {quality: ", ".join(equal) for quality, equal in sorted(names.items())}
    if len(qualities) < 2:
        raise ValueError(
            f"label quality: the table has the pseudo-labels "
            f"{listed(row.names['pseudo_labels'] for row in rows)} and {len(qualities)} measured "
            "qualities of them; expected two or more; list several recipes under the table's "
            "'pseudo_labels', for a data set with training masks"
        )

    def quality(row: TableRow) -> float | None:
        return row.quality if row.names["pseudo_labels"] else None

    with style():
        above = 0.065 * max(len(name) for name in qualities.values())
        figure = Figure(figsize=(5.5, 3.2 + above), layout="constrained")
        axis = figure.subplots()
        entries = draw_series(axis, group_rows(rows, ["pseudo_labels"]), quality)
        _name_qualities(axis, qualities)
        title = table_score(table.columns).title
        axis.set_xlabel(f"{title}, the pseudo-labels on the training images")
        axis.set_ylabel(f"{title}, the networks")
        axis.grid(axis="y", **GRID)
        add_legend(figure, entries)
    return figure


def _name_qualities(axis: Axes, qualities: Mapping[float, str]) -> None:
    """Write the recipes of each quality above the axes, side by side where they lie close."""
    low, high = min(qualities), max(qualities)
    axis.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    place = -math.inf
    for quality, recipes in qualities.items():
        place = max(quality, place + 0.035 * (high - low))
        axis.axvline(quality, color="0.85", linewidth=0.6, zorder=0)
        text = axis.annotate(
            recipes,
            (quality, 1),
            (place, 1.06),
            xycoords=axis.get_xaxis_transform(),
            textcoords=axis.get_xaxis_transform(),
            arrowprops={"arrowstyle": "-", "color": "0.6", "shrinkB": 0, "relpos": (0.5, 0)},
        )
        text.set(rotation=90, ha="center", va="bottom", fontsize=7)
