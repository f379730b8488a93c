"""Figures of runs, from their ``metrics.json``: training, IoU of each class, confusion."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from cdsp.experiment.variants import method_title
from cdsp.io.files import IGNORE, METRICS_FORMAT, METRICS_VERSION, read_json
from cdsp.pictures.style import add_legend, bar_style, ink, line_style, style
from cdsp.reporting.plots import row_labels
from cdsp.reporting.runs import AGAIN, read_log

NOT_DRAWN = ("epoch", "learning_rate", "images_per_second", "seconds")
"""What ``log.jsonl`` holds besides losses and the feature variance."""

MOST_CLASSES_WITH_TEXT = 21
"""A confusion matrix of more classes has no numbers in its cells."""

_MOST_BARS = 66  # in one line of bars
_NAMES = ("method", "segmentor", "backbone", "scribbles", "pseudo_labels", "dataset", "seed")


@dataclass(frozen=True)
class _Run:
    """A run's metrics.

    Attributes:
        path: of its ``metrics.json``.
        names: what tells it apart, as text; "" for the "none" of what it does not read.
        weights: the network's file.
        class_iou: class → IoU, 0..1; NaN for a class that does not occur.
    """

    path: Path
    names: dict[str, str]
    weights: Path
    class_iou: dict[str, float]


def draw_training(metrics: Sequence[Path]) -> Figure:
    """The logged losses and the feature variance over the epochs, one axis for each.

    One line for each row, the mean over its seeds; the seeds themselves are drawn lightly.

    Args:
        metrics: ``metrics.json`` of each run, beside whose weights lies ``log.jsonl``.

    Raises:
        ValueError: a log that is missing or damaged, damaged metrics, or one run given twice.
    """
    logs = {label: [_read_log(run) for run in runs] for label, runs in _rows(metrics).items()}
    names = {name for seeds in logs.values() for log in seeds for record in log for name in record}
    last = sorted(names & {"feature_variance", "feature_variance_share"})
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


def draw_class_iou(metrics: Sequence[Path]) -> Figure:
    """The IoU of each class as a group of bars, one for each row: mean and spread over its seeds.

    Classes stand in the data set's order; those that occur in no run are left out.

    Args:
        metrics: ``metrics.json`` of each run.

    Raises:
        ValueError: runs of different classes, no class that occurs, damaged metrics, or one run
            given twice.
    """
    rows = _rows(metrics)
    classes = np.array(_classes(rows))
    values = {
        label: 100 * np.array([[run.class_iou[name] for name in classes] for run in runs])
        for label, runs in rows.items()
    }
    occurs = ~np.isnan(np.concatenate(list(values.values()))).all(axis=0)
    if not occurs.any():
        raise ValueError(f"{metrics[0]}: no class has an IoU; evaluate on images that have classes")
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
            axis.set_ylabel("IoU (%)")
            axis.grid(axis="y", color="0.9", linewidth=0.6)
            axis.set_axisbelow(True)
        axes[0].set_ylim(bottom=0)
        add_legend(figure, entries)
    return figure


def draw_confusion(metrics: Sequence[Path]) -> Figure:
    """A confusion matrix for each row: where the pixels of each true class went, in percent.

    The pixels of a row's seeds are counted together. A class without true pixels has an empty line.

    Args:
        metrics: ``metrics.json`` of each run, beside which lies ``confusion.npy``.

    Raises:
        ValueError: a matrix that is missing or damaged, runs of different classes, damaged
            metrics, or one run given twice.
    """
    rows = _rows(metrics)
    classes = _classes(rows)
    columns = min(len(rows), max(1, 60 // len(classes)), 3)
    lines = -(-len(rows) // columns)
    side = 0.24 * len(classes) + 0.9
    norm = Normalize(0, 100)
    with style():
        figure = Figure(figsize=(columns * side + 0.8, lines * (side + 0.2)), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for axis, (label, runs) in zip(axes, rows.items(), strict=False):
            counts = np.sum([_read_confusion(run, len(classes)) for run in runs], axis=0)
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


def _rows(metrics: Sequence[Path]) -> dict[str, list[_Run]]:
    """Gather runs that differ only in their seed: label → runs, in the order of the files."""
    if not metrics:
        raise ValueError("no metrics.json given; nothing to draw")
    runs = [_read_run(path) for path in metrics]
    labels = row_labels([{k: v for k, v in run.names.items() if k != "seed"} for run in runs])
    rows: dict[str, list[_Run]] = {}
    for label, run in zip(labels, runs, strict=True):
        row = rows.setdefault(label, [])
        if any(run.names == other.names for other in row):
            raise ValueError(f"{run.path}: the run '{label}' of this seed is given twice")
        row.append(run)
    return rows


def _read_run(path: Path) -> _Run:
    value = read_json(path, METRICS_FORMAT, METRICS_VERSION)
    try:
        name = {key: str(value["name"][key]) for key in _NAMES}
        names = {
            "method": method_title(name["method"]),
            "network": f"{name['segmentor']}-{name['backbone']}",
            "scribbles": "" if name["scribbles"] == "none" else name["scribbles"],
            "pseudo_labels": "" if name["pseudo_labels"] == "none" else name["pseudo_labels"],
            "dataset": name["dataset"],
            "protocol": str(value["protocol"]),
            "seed": name["seed"],
        }
        class_iou = {
            key: np.nan if iou is None else float(iou) for key, iou in value["class_iou"].items()
        }
        if not 0 < len(class_iou) <= IGNORE:
            raise ValueError(f"{len(class_iou)} classes")
        return _Run(path, names, Path(value["weights"]), class_iou)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}: damaged ({error!r}); evaluate the network again") from error


def _classes(rows: Mapping[str, Sequence[_Run]]) -> list[str]:
    """The classes of all runs, which must be the same."""
    runs = [run for row in rows.values() for run in row]
    classes = list(runs[0].class_iou)
    for run in runs:
        if list(run.class_iou) != classes:
            raise ValueError(
                f"{run.path}: of other classes than {runs[0].path}; draw the runs of one data set"
            )
    return classes


def _read_log(run: _Run) -> list[dict[str, float]]:
    """What a run logged: one record for each epoch."""
    folder = run.weights.parent
    records = read_log(folder)
    if not records:
        raise ValueError(
            f"{folder / 'log.jsonl'}: no such log, or empty (named by {run.path}); draw in the "
            "folder in which the run was evaluated, or train it again and evaluate it"
        )
    if any(not {"epoch", "loss"} <= record.keys() for record in records):
        raise ValueError(
            f"{folder / 'log.jsonl'}: expected 'epoch' and 'loss' in every line; {AGAIN}"
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


def _read_confusion(run: _Run, num_classes: int) -> np.ndarray:
    path = run.path.with_name("confusion.npy")
    try:
        # Mapped, not read: a header that promises more than the file holds costs no memory.
        counts = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file; evaluate the network again") from error
    except Exception as error:  # NumPy reads the header as Python, and fails in as many ways
        raise ValueError(f"{path}: not a NumPy array ({error}); evaluate again") from error
    if counts.shape != (num_classes, num_classes) or counts.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: expected ({num_classes}, {num_classes}) integers, found {counts.shape} of "
            f"{counts.dtype}; evaluate again"
        )
    return np.array(counts, dtype=np.float64)


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


RUN_FIGURES = {"training": draw_training, "class_iou": draw_class_iou, "confusion": draw_confusion}
"""Figure of runs → what draws it."""
