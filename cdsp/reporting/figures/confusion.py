"""Confusion matrices: where the pixels of each true class went."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from cdsp.pictures.style import ink, style
from cdsp.reporting.figures.grouped_runs import group_runs, shared_classes

MOST_CLASSES_WITH_TEXT = 21
"""A confusion matrix of more classes has no numbers in its cells."""


def draw_confusion(metrics: Sequence[Path]) -> Figure:
    """A confusion matrix for each row: where the pixels of each true class went, in percent.

    The pixels of a row's seeds are counted together. A class without true pixels has an empty line.

    Args:
        metrics: ``metrics.json`` of each run, beside which lies ``confusion.npy``.

    Raises:
        ValueError: a matrix that is missing or damaged, runs of different classes, damaged
            metrics, or one run given twice.
    """
    rows = group_runs(metrics)
    classes = shared_classes(rows)
    columns = min(len(rows), max(1, 60 // len(classes)), 3)
    lines = -(-len(rows) // columns)
    side = 0.24 * len(classes) + 0.9
    norm = Normalize(0, 100)
    with style():
        figure = Figure(figsize=(columns * side + 0.8, lines * (side + 0.2)), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for axis, (label, runs) in zip(axes, rows.items(), strict=False):
            counts = np.sum([run.read_confusion() for run in runs], axis=0)
            totals = counts.sum(axis=1, keepdims=True)
            percent = 100 * counts / np.where(totals, totals, np.nan)
            _draw_matrix(axis, percent, classes, norm)
            axis.set_title(textwrap.fill(label, round(13 * side)), fontsize=8)
        for axis in axes[len(rows) :]:
            axis.remove()
        figure.colorbar(
            ScalarMappable(norm, "Blues"),
            ax=axes[: len(rows)].tolist(),
            label="pixels of the true class (%)",
            fraction=0.3 / (columns * side),
            shrink=1 / lines,
        )
    return figure


def _draw_matrix(axis: Axes, percent: np.ndarray, classes: Sequence[str], norm: Normalize) -> None:
    axis.imshow(percent, norm=norm, cmap="Blues")
    axis.set_xticks(range(len(classes)), classes, rotation=90, fontsize=7)
    axis.set_yticks(range(len(classes)), classes, fontsize=7)
    axis.set(xlabel="predicted class", ylabel="true class")
    if len(classes) > MOST_CLASSES_WITH_TEXT:
        return
    for y, x in np.argwhere(percent >= 0.5):
        value = percent[y, x]
        axis.text(
            x, y, f"{np.floor(value + 0.5):.0f}", ha="center", va="center", fontsize=6,
            color=ink(mpl.colormaps["Blues"](value / 100)),
        )  # fmt: skip
