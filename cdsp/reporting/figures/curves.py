"""Robustness curves of a table (Fig. 7): mIoU over what a degradation removed of the scribbles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from cdsp.pictures.style import add_legend, style
from cdsp.reporting.figures.measured_rows import (
    GRID,
    TableRow,
    draw_series,
    group_rows,
    listed,
    measured_rows,
)
from cdsp.reporting.runs import table_score
from cdsp.scribbles.degrade import Degradation

DEGRADATION_NAMES = {
    "shrink": "fraction of each stroke removed (shrink)",
    "drop": "fraction of the strokes removed (drop)",
}


def draw_curves(table: pd.DataFrame) -> Figure:
    """Robustness: mIoU over the fraction of the scribbles that a degradation removed.

    One line for each method, combination of varied options, network and recipe, with error bars of
    one standard deviation over the seeds. A row that reads no scribbles is a dashed line. A recipe
    without a row of its own on full scribbles begins at that of the only recipe that has one.

    Args:
        table: a table as its CSV holds it; reported rows are left out.

    Raises:
        ValueError: nothing but full scribbles, two rows for one point, or a damaged table.
    """
    rows = measured_rows(table)
    names = dict.fromkeys(row.names["scribbles"] for row in rows)
    degradations = {name: Degradation.parse(name) if name else None for name in names}
    found = {degradation.kind for degradation in degradations.values() if degradation}
    kinds = [kind for kind in DEGRADATION_NAMES if kind in found]
    if not kinds:
        raise ValueError(
            f"curves: the table has the scribbles {listed(names)}; expected some of "
            "'shrink-<ratio>' or 'drop-<ratio>'; list them under the table's 'scribbles'"
        )

    def ratio(row: TableRow) -> float | None:
        degradation = degradations[row.names["scribbles"]]
        return None if degradation is None else degradation.ratio

    series = group_rows(rows, ["scribbles"])
    entries: dict[str, Any] = {}
    with style():
        figure = Figure(figsize=(1 + 3.2 * len(kinds), 3), layout="constrained")
        axes = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
        for axis, kind in zip(axes, kinds, strict=True):
            left_out = {
                name
                for name, value in degradations.items()
                if value and value.kind not in ("full", kind)
            }
            chosen = {
                name: _from_full(
                    [row for row in line if row.names["scribbles"] not in left_out], rows
                )
                for name, line in series.items()
            }
            entries |= draw_series(axis, chosen, ratio)
            axis.set_xlabel(DEGRADATION_NAMES[kind])
            axis.grid(**GRID)
        axes[0].set_ylabel(table_score(table.columns).title)
        add_legend(figure, entries)
    return figure


def _from_full(line: list[TableRow], rows: Sequence[TableRow]) -> list[TableRow]:
    """A line with a row of full scribbles: another recipe's, where `Config.recipe` made it once."""
    if not line or any(row.names["scribbles"] in ("", "full") for row in line):
        return line
    others = [name for name in line[0].names if name not in ("scribbles", "pseudo_labels")]
    starts = [
        row
        for row in rows
        if row.names["scribbles"] == "full"
        and all(row.names[name] == line[0].names[name] for name in others)
    ]
    return starts + line if len(starts) == 1 else line
