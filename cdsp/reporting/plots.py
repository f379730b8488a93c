"""Figures of a table: robustness curves, heat maps of two options, the worth of better labels."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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

from cdsp.pictures.style import add_legend, ink, line_style, reference_style, style
from cdsp.scribbles.degrade import Degradation

NAMES = ("method", "segmentor", "backbone", "dataset", "scribbles", "pseudo_labels", "protocol")
"""Columns that tell the rows of a table apart, with those of the varied options."""

OPTION_NAMES = {
    "scribble_distance.exponent": "λ of the scribble distance",
    "pseudo_label_distance.exponent": "λ of the pseudo-label distance",
}

DEGRADATION_NAMES = {
    "shrink": "fraction of each stroke removed (shrink)",
    "drop": "fraction of the strokes removed (drop)",
}

_GRID: dict[str, Any] = {"color": "0.9", "linewidth": 0.6}


@dataclass(frozen=True)
class _Row:
    """A measured row of a table.

    Attributes:
        names: what tells it apart, as text: method, varied options, network, scribbles,
            pseudo_labels, dataset and protocol; "" where it has none.
        options: varied option → value; None where its method lacks the term.
        mean: mIoU, percent.
        spread: standard deviation over the seeds, percent; NaN for one seed.
        quality: mIoU of its pseudo-labels, percent; NaN where there are none, or no masks.
    """

    names: dict[str, str]
    options: dict[str, Any]
    mean: float
    spread: float
    quality: float


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
    rows = _measured_rows(table)
    names = dict.fromkeys(row.names["scribbles"] for row in rows)
    degradations = {name: Degradation.parse(name) if name else None for name in names}
    found = {degradation.kind for degradation in degradations.values() if degradation}
    kinds = [kind for kind in DEGRADATION_NAMES if kind in found]
    if not kinds:
        raise ValueError(
            f"curves: the table has the scribbles {_listed(names)}; expected some of "
            "'shrink-<ratio>' or 'drop-<ratio>'; list them under the table's 'scribbles'"
        )

    def ratio(row: _Row) -> float | None:
        degradation = degradations[row.names["scribbles"]]
        return None if degradation is None else degradation.ratio

    series = _series(rows, ["scribbles"])
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
            entries |= _draw_series(axis, chosen, ratio)
            axis.set_xlabel(DEGRADATION_NAMES[kind])
            axis.grid(**_GRID)
        axes[0].set_ylabel("mIoU (%)")
        add_legend(figure, entries)
    return figure


def _from_full(line: list[_Row], rows: Sequence[_Row]) -> list[_Row]:
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


def draw_heat_map(table: pd.DataFrame) -> Figure:
    """MIoU over two varied options: one map for each combination of everything else.

    The first varied option of the table is the vertical axis, the second the horizontal one. Cells
    without a run are hatched, the best of each map is outlined.

    Args:
        table: a table as its CSV holds it; reported rows are left out, and those of methods
            without one of the two options.

    Raises:
        ValueError: fewer than two options with several values, two rows for one cell, no row with
            both options, or a damaged table.
    """
    rows = _measured_rows(table)
    varied = [option for option in rows[0].options if len(_axis_values(rows, option)) > 1]
    if len(varied) < 2:
        raise ValueError(
            f"heat map: the table has the options {_listed(varied)} with several values; "
            "expected two; list them under the table's 'vary'"
        )
    vertical, horizontal = varied[:2]
    rows = [row for row in rows if row.names[vertical] and row.names[horizontal]]
    if not rows:
        raise ValueError(
            f"heat map: no method of the table has both {vertical!r} and {horizontal!r}; "
            "vary two options that one method has"
        )
    maps = _series(rows, [vertical, horizontal])
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
            axis.set_yticks(range(len(ys)), [_text(value) for value in ys])
            axis.set_xticks(range(len(xs)), [_text(value) for value in xs])
            axis.set_ylabel(OPTION_NAMES.get(vertical, vertical))
            axis.set_xlabel(OPTION_NAMES.get(horizontal, horizontal))
        for axis in axes[len(maps) :]:
            axis.remove()
        colours = ScalarMappable(norm, "viridis")
        figure.colorbar(colours, ax=axes[: len(maps)].tolist(), label="mIoU (%)")
    return figure


def draw_label_quality(table: pd.DataFrame) -> Figure:
    """What better pseudo-labels are worth: mIoU of the networks over that of their labels.

    One line for each method and network; rows without pseudo-labels are dashed lines.

    Args:
        table: a table as its CSV holds it; reported rows are left out, and those whose
            pseudo-labels were not measured.

    Raises:
        ValueError: fewer than two qualities, two rows for one point, or a damaged table.
    """
    rows = _measured_rows(table)
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
            f"{_listed(row.names['pseudo_labels'] for row in rows)} and {len(qualities)} measured "
            "qualities of them; expected two or more; list several recipes under the table's "
            "'pseudo_labels', for a data set with training masks"
        )

    def quality(row: _Row) -> float | None:
        return row.quality if row.names["pseudo_labels"] else None

    with style():
        above = 0.065 * max(len(name) for name in qualities.values())
        figure = Figure(figsize=(5.5, 3.2 + above), layout="constrained")
        axis = figure.subplots()
        entries = _draw_series(axis, _series(rows, ["pseudo_labels"]), quality)
        _name_qualities(axis, qualities)
        axis.set_xlabel("mIoU of the pseudo-labels on the training images (%)")
        axis.set_ylabel("mIoU on the validation images (%)")
        axis.grid(axis="y", **_GRID)
        add_legend(figure, entries)
    return figure


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


def _measured_rows(table: pd.DataFrame) -> list[_Row]:
    """The measured rows, at least one.

    Raises:
        ValueError: a column that is missing or holds something else, or no measured row.
    """
    missing = [name for name in (*NAMES, "miou_mean", "source") if name not in table.columns]
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
        names = {name: _text(record[name]) for name in [*NAMES, *options]}
        for name in NAMES:
            if not names[name]:
                raise ValueError(f"the table has an empty cell in the column {name!r}; fill it")
        mean = _percent(record, "miou_mean")
        if math.isnan(mean):
            raise ValueError(f"the table has no 'miou_mean' for {', '.join(names.values())}")
        row = _Row(
            names=_parts(names, options),
            options={name: record[name] if names[name] else None for name in options},
            mean=mean,
            spread=_percent(record, "miou_std"),
            quality=_percent(record, "pseudo_label_miou"),
        )
        rows.append(row)
    if not rows:
        raise ValueError(f"the table has no measured row among its {len(table)}; nothing to draw")
    return rows


def _parts(names: dict[str, str], options: list[str]) -> dict[str, str]:
    """What tells a row apart, in the order in which it is said."""
    parts = {name: names[name] for name in ["method", *options]}
    parts["network"] = f"{names['segmentor']}-{names['backbone']}"
    for name in ("scribbles", "pseudo_labels"):
        parts[name] = "" if names[name] == "none" else names[name]
    return parts | {name: names[name] for name in ("dataset", "protocol")}


def _text(value: Any) -> str:
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


def _listed(names: Any) -> str:
    """Different names for a message, "none" for "" and for no name at all."""
    return ", ".join(name or "none" for name in list(dict.fromkeys(names))[:10]) or "none"


def _series(rows: Sequence[_Row], along: Sequence[str]) -> dict[str, list[_Row]]:
    """Gather the rows that differ in nothing but ``along``: label → rows.

    Raises:
        ValueError: rows that do not even differ in that.
    """
    labels = row_labels([{k: v for k, v in row.names.items() if k not in along} for row in rows])
    series: dict[str, list[_Row]] = {}
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


def _draw_series(
    axis: Axes, series: Mapping[str, Sequence[_Row]], x: Callable[[_Row], float | None]
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


def _axis_values(rows: Sequence[_Row], option: str) -> list[Any]:
    """The values of an option: numbers in their order, words in that of the table."""
    values = list(dict.fromkeys(row.options[option] for row in rows if row.names[option]))
    try:
        return sorted(values, key=float)
    except ValueError:
        return values


def _draw_cells(
    axis: Axes,
    cells: Mapping[tuple[int, int], _Row],
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


PLOTS = {"curves": draw_curves, "heat_map": draw_heat_map, "label_quality": draw_label_quality}
"""Figure of a table → what draws it."""
