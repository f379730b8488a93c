"""The IoU of each class, or the share of its held-out strokes that is right, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cdsp.pictures.style import add_legend, bar_style, style
from cdsp.reporting.figures.grouped_runs import group_runs, shared_classes
from cdsp.reporting.runs import SCORES

_MOST_BARS = 66  # in one line of bars


def draw_class_iou(metrics: Sequence[Path]) -> Figure:
    """The score of each class as a group of bars, one for each row: mean and spread over its seeds.

    Classes stand in the data set's order; those that occur in no run are left out.

    Args:
        metrics: ``metrics.json`` of each run.

    Raises:
        ValueError: runs of different classes or scores, no class that occurs, damaged metrics, or
            one run given twice.
    """
    rows = group_runs(metrics)
    titles = {SCORES[run.truth].of_class for runs in rows.values() for run in runs}
    if len(titles) > 1:
        raise ValueError(
            f"{metrics[0]}: scores of several kinds, {sorted(titles)}; draw them apart"
        )
    classes = np.array(shared_classes(rows))
    values = {
        label: 100 * np.array([[run.class_scores[name] for name in classes] for run in runs])
        for label, runs in rows.items()
    }
    occurs = ~np.isnan(np.concatenate(list(values.values()))).all(axis=0)
    if not occurs.any():
        raise ValueError(
            f"{metrics[0]}: no class has a score; evaluate on images that have classes"
        )
    shown = np.flatnonzero(occurs)
    num_lines = -(-len(shown) // max(1, _MOST_BARS // len(rows)))
    groups = np.array_split(shown, num_lines)
    width = 0.8 / len(rows)
    with style():
        inches = max(4.0, len(groups[0]) * (0.11 * len(rows) + 0.2))
        figure = Figure(figsize=(inches, 2.2 * num_lines), layout="constrained")
        axes = figure.subplots(num_lines, 1, squeeze=False, sharey=True).ravel()
        entries: dict[str, Any] = {}
        for axis, group in zip(axes, groups, strict=True):
            for index, (label, seeds) in enumerate(values.items()):
                places = np.arange(len(group)) + (index - (len(rows) - 1) / 2) * width
                mean, spread = _mean_and_spread(seeds[:, group])
                entries[label] = axis.bar(places, mean, width, **bar_style(index))
                axis.errorbar(places, mean, spread, fmt="none", ecolor="0.2", elinewidth=0.8)
            axis.set_xticks(range(len(group)), classes[group], rotation=40, ha="right")
            axis.set_xlim(-0.6, len(groups[0]) - 0.4)
            axis.set_ylabel(next(iter(titles)))
            axis.grid(axis="y", color="0.9", linewidth=0.6)
            axis.set_axisbelow(True)
        axes[0].set_ylim(bottom=0)
        add_legend(figure, entries)
    return figure


def _mean_and_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sample standard deviation down the columns of (seeds, classes), without NaN.

    Returns:
        Two of (classes,); NaN where there is no number, and for the deviation of one number.
    """
    given = ~np.isnan(values)
    number = given.sum(axis=0)
    mean = np.where(given, values, 0).sum(axis=0) / np.where(number > 0, number, np.nan)
    squares = np.where(given, (values - mean) ** 2, 0).sum(axis=0)
    return mean, np.sqrt(squares / np.where(number > 1, number - 1, np.nan))
