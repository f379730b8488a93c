"""What runs logged: losses and feature variance over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from cdsp.pictures.style import add_legend, line_style, style
from cdsp.reporting.figures.grouped_runs import group_runs
from cdsp.reporting.runs import Evaluation
from cdsp.training.record import TRAIN_AGAIN

NOT_DRAWN = ("epoch", "learning_rate", "images_per_second", "seconds")
"""What ``log.jsonl`` holds besides losses and the feature variance."""


def draw_training(metrics: Sequence[Path]) -> Figure:
    """The logged losses and the feature variance over the epochs, one axis for each.

    One line for each row, the mean over its seeds; the seeds themselves are drawn lightly.

    Args:
        metrics: ``metrics.json`` of each run, beside whose weights lies ``log.jsonl``.

    Raises:
        ValueError: a log that is missing or damaged, damaged metrics, or one run given twice.
    """
    logs = {label: [_read_log(run) for run in runs] for label, runs in group_runs(metrics).items()}
    names = {name for seeds in logs.values() for log in seeds for record in log for name in record}
    last = sorted(names & {"feature_variance", "feature_variance_share", "validation_miou"})
    quantities = ["loss", *sorted(names - {"loss", *last, *NOT_DRAWN}), *last]
    columns = min(len(quantities), 4)
    lines = -(-len(quantities) // columns)
    with style():
        figure = Figure(figsize=(2.4 * columns, 1.9 * lines), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        entries: dict[str, Any] = {}
        for axis, quantity in zip(axes, quantities, strict=False):
            for index, (label, seeds) in enumerate(logs.items()):
                mean = _draw_seeds(axis, quantity, seeds, line_style(index))
                if mean is not None:
                    entries[label] = mean
            units = {
                "loss": "loss",
                "feature_variance": "variance",
                "feature_variance_share": "variance ÷ mean square",
                "validation_miou": "mIoU, a fraction",
            }
            title = "total loss" if quantity == "loss" else quantity.replace("_", " ")
            axis.set(title=title, xlabel="epoch", ylabel=units.get(quantity, "unweighted loss"))
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axis.grid(color="0.9", linewidth=0.6)
            if quantity == "feature_variance":
                _scale_by_powers(axis)
        for axis in axes[len(quantities) :]:
            axis.remove()
        add_legend(figure, entries)
    return figure


def _read_log(run: Evaluation) -> tuple[dict[str, float], ...]:
    """What a run logged: one record for each epoch."""
    training = run.read_training()
    folder, records = training.folder, training.log
    if not records:
        raise ValueError(
            f"{folder / 'log.jsonl'}: no such log, or empty (named by {run.path}); draw in the "
            "folder in which the run was evaluated, or train it again and evaluate it"
        )
    if any(not {"epoch", "loss"} <= record.keys() for record in records):
        raise ValueError(
            f"{folder / 'log.jsonl'}: expected 'epoch' and 'loss' in every line; {TRAIN_AGAIN}"
        )
    return records


def _draw_seeds(
    axis: Axes, quantity: str, seeds: Sequence[Sequence[Mapping[str, float]]], look: dict[str, Any]
) -> Line2D | None:
    """Draw a quantity's mean over the seeds and, where there are several, each of them.

    Returns:
        The line of the mean; None where the row does not log the quantity.
    """
    epochs: dict[float, list[float]] = {}
    for log in seeds:
        points = {record["epoch"]: record[quantity] for record in log if quantity in record}
        for epoch, value in points.items():
            epochs.setdefault(epoch, []).append(value)
        if len(seeds) > 1 and points:
            axis.plot(*zip(*points.items(), strict=True), color=look["color"], alpha=0.35, lw=0.6)
    if not epochs:
        return None
    places = sorted(epochs)
    means = [float(np.mean(epochs[epoch])) for epoch in places]
    return axis.plot(places, means, **look, markevery=max(1, len(places) // 8))[0]


def _scale_by_powers(axis: Axes) -> None:
    """A logarithmic scale, which is linear below the least number above 0 where there is a 0."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axis.get_lines()])
    above = values[(values > 0) & np.isfinite(values)]
    if not len(above):
        return
    if (values <= 0).any():
        axis.set_yscale("symlog", linthresh=10 ** np.floor(np.log10(above.min())))
    else:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.yaxis.set_minor_formatter(NullFormatter())
