"""The rows of a table as figures draw them: read, named and gathered into lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cdsp.pictures.style import line_style, reference_style
from cdsp.reporting.runs import table_score
from cdsp.reporting.tables import LAST

NAMES = ("method", "network", "dataset", "scribbles", "pseudo_labels", "protocol")
"""Columns that tell the rows of a table apart, with those of the varied options."""

GRID: dict[str, Any] = {"color": "0.9", "linewidth": 0.6}


@dataclass(frozen=True)
class TableRow:
    """A measured row of a table.

    Attributes:
        names: what tells it apart, as text: method, varied options, network, scribbles,
            pseudo_labels, dataset, protocol and a checkpoint other than the last; "" where it has
            none.
        options: varied option → value; None where its method lacks the term.
        mean: of its score, percent.
        spread: standard deviation over the seeds, percent; NaN for one seed.
        quality: the same score of its pseudo-labels, percent; NaN where it is unknown.
    """

    names: dict[str, str]
    options: dict[str, Any]
    mean: float
    spread: float
    quality: float


def row_labels(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """What to call each row: its method and, where rows differ in more, what sets it apart.

    Args:
        rows: what tells each row apart: part → text, among them the method; "" says nothing.
    """
    labels = [row["method"] for row in rows]
    for part in dict.fromkeys(part for row in rows for part in row if part != "method"):
        texts = [row.get(part, "") for row in rows]
        if len({*texts} - {""}) > 1:
            name = f"{part} " if "." in part else ""  # an option's value needs its name
            labels = [
                f"{label}, {name}{text}" if text else label
                for label, text in zip(labels, texts, strict=True)
            ]
    return labels


def measured_rows(table: pd.DataFrame) -> list[TableRow]:
    """The measured rows, at least one.

    Raises:
        ValueError: a column that is missing or holds something else, or no measured row.
    """
    column = table_score(table.columns).column
    missing = [name for name in (*NAMES, f"{column}_mean", "source") if name not in table.columns]
    if missing:
        raise ValueError(
            f"not a table of results: the column {missing[0]!r} is missing; expected the CSV that "
            "`cdsp reporting table` writes"
        )
    options = [name for name in table.columns if "." in name]
    rows = []
    for record in table.to_dict("records"):
        if record["source"] != "measured":
            continue
        names = {name: cell_text(record[name]) for name in [*NAMES, *options]}
        for name in NAMES:
            if not names[name]:
                raise ValueError(f"the table has an empty cell in the column {name!r}; fill it")
        checkpoint = cell_text(record.get("checkpoint")).replace(LAST, "")
        mean = _percent(record, f"{column}_mean")
        if math.isnan(mean):
            raise ValueError(f"the table has no '{column}_mean' for {', '.join(names.values())}")
        row = TableRow(
            names={**_parts(names, options), "checkpoint": checkpoint},
            options={name: record[name] if names[name] else None for name in options},
            mean=mean,
            spread=_percent(record, f"{column}_std"),
            quality=_percent(record, f"pseudo_label_{column}"),
        )
        rows.append(row)
    if not rows:
        raise ValueError(f"the table has no measured row among its {len(table)}; nothing to draw")
    return rows


def _parts(names: dict[str, str], options: list[str]) -> dict[str, str]:
    """What tells a row apart, in the order in which it is said."""
    parts = {name: names[name] for name in ["method", *options, "network"]}
    for name in ("scribbles", "pseudo_labels"):
        parts[name] = "" if names[name] == "none" else names[name]
    return parts | {name: names[name] for name in ("dataset", "protocol")}


def cell_text(value: Any) -> str:
    """The value of a cell in words; "" for an empty one."""
    if pd.isna(value):
        return ""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.10g}" if is_number else str(value)


def _percent(record: Mapping[Any, Any], column: str) -> float:
    """The number in a cell; NaN where it is empty, or where the table has no such column."""
    value = record.get(column, math.nan)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not (math.isnan(number) or 0 <= number <= 100):
        raise ValueError(f"the table's column {column!r} holds {value!r}; expected percent, 0..100")
    return number


def listed(names: Any) -> str:
    """Different names for a message, "none" for "" and for no name at all."""
    return ", ".join(name or "none" for name in list(dict.fromkeys(names))[:10]) or "none"


def group_rows(rows: Sequence[TableRow], along: Sequence[str]) -> dict[str, list[TableRow]]:
    """Gather the rows that differ in nothing but ``along``: label → rows.

    Raises:
        ValueError: rows that do not even differ in that.
    """
    labels = row_labels([{k: v for k, v in row.names.items() if k not in along} for row in rows])
    series: dict[str, list[TableRow]] = {}
    places = set()
    for label, row in zip(labels, rows, strict=True):
        place = (label, *(row.names[name] for name in along))
        if place in places:
            raise ValueError(
                f"the table has two rows for {', '.join(place)}; leave one of them out"
            )
        places.add(place)
        series.setdefault(label, []).append(row)
    return series


def draw_series(
    axis: Axes, series: Mapping[str, Sequence[TableRow]], x: Callable[[TableRow], float | None]
) -> dict[str, Any]:
    """Draw each series as a line with error bars, and rows without an x as dashed lines.

    Returns:
        Name → what was drawn, for the legend.
    """
    entries: dict[str, Any] = {}
    num_lines = num_references = 0
    for name, rows in series.items():
        placed = [(x(row), row) for row in rows]
        references = [row.mean for place, row in placed if place is None]
        for mean in references:
            entries[name] = axis.axhline(mean, **reference_style(num_references))
            num_references += 1
        points = sorted(
            (place, row.mean, row.spread)
            for place, row in placed
            if place is not None and not math.isnan(place)
        )
        if points:
            line = np.array(points).T
            entries[name] = axis.errorbar(*line, capsize=2, elinewidth=0.7, **line_style(num_lines))
        num_lines += not references  # counted without points too: the same line on every axis
    return entries
