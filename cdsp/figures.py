"""Figures of many pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch


def picture_grid(
    columns: Sequence[tuple[str, Sequence[np.ndarray]]],
    rows: Sequence[str],
    legend: Mapping[str, np.ndarray],
    *,
    size: float = 1.45,
) -> Figure:
    """Pictures in columns with titles, names beside the rows and a legend of colours below.

    Args:
        columns: title and pictures, (H, W, 3) uint8 RGB or (H, W) uint8, one for each row.
        rows: names of the rows.
        legend: name → colour, (3,) uint8.
        size: width of a picture, inches.
    """
    legend_rows = -(-len(legend) // max(len(columns), 1))
    height = size * len(rows) + 0.5 + 0.25 * legend_rows
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(size * len(columns), height), layout="constrained")
        axes = figure.subplots(len(rows), len(columns), squeeze=False)
        for column, (title, pictures) in enumerate(columns):
            axes[0, column].set_title(textwrap.fill(title.replace("_", " "), round(12 * size)))
            for row, picture in enumerate(pictures):
                axes[row, column].imshow(picture, cmap="viridis", vmin=0, vmax=255)
        for row, name in enumerate(rows):
            axes[row, 0].set_ylabel(name, fontsize=6)
        for axis in axes.flat:
            axis.set(xticks=[], yticks=[])
        handles = [Patch(color=tuple(colour / 255), label=name) for name, colour in legend.items()]
        drawn = figure.legend(
            handles=handles, loc="outside lower center", ncols=len(columns), frameon=False
        )
        for text in drawn.get_texts():
            text.set_parse_math(False)  # names of classes are no formulas
    return figure
