"""Tables of measured results: one row for each experiment, mean and spread over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cdsp.files import (
    METRICS_FORMAT,
    METRICS_VERSION,
    QUALITY_FORMAT,
    QUALITY_VERSION,
    read_json,
    write_text,
)

COLUMNS = (
    "method",
    "supervision",
    "segmentor",
    "backbone",
    "dataset",
    "scribbles",
    "pseudo_labels",
    "protocol",
)
LABEL_COLUMNS = [
    "scribbles",
    "pseudo_labels",
    "miou",
    "precision",
    "coverage",
    "held_out_accuracy",
]


def make_table(metrics: Sequence[Path]) -> pd.DataFrame:
    """Gather the metrics of runs; runs that differ only in their seed share a row.

    Args:
        metrics: ``metrics.json`` of each run; rows stand in the order of their first one.

    Returns:
        A data frame with `COLUMNS`, and miou_mean and miou_std (percent; the sample standard
        deviation, empty for one seed), num_seeds and source.

    Raises:
        ValueError: a damaged file, or one run given twice.
    """
    records: list[dict[str, Any]] = []
    for path in metrics:
        value = read_json(path, METRICS_FORMAT, METRICS_VERSION)
        record = {**value["name"], "protocol": value["protocol"], "miou": 100 * value["mean_iou"]}
        records.append(record)
    frame = pd.DataFrame(records)
    keys = [*COLUMNS, "seed"]
    repeated = frame[frame.duplicated(keys)]
    if len(repeated):
        raise ValueError(f"the run {repeated.iloc[0][keys].to_dict()} is given twice")
    groups = frame.groupby(list(COLUMNS), sort=False)["miou"]
    table = groups.agg(miou_mean="mean", miou_std="std", num_seeds="count").reset_index()
    table["source"] = "measured"
    return table.round({"miou_mean": 2, "miou_std": 2})


def make_labels_table(quality: Sequence[Path], classes: Sequence[str] = ()) -> pd.DataFrame:
    """Gather what was measured of pseudo-labels, one row for each.

    Args:
        quality: what `cdsp.pseudo_labels.quality` wrote, in the order of the rows.
        classes: the classes that mIoU and precision are averaged over; none: all that occur.

    Returns:
        A data frame with scribbles, pseudo_labels and, in percent, miou, precision, coverage and
        held_out_accuracy; empty where unknown.

    Raises:
        ValueError: a damaged file, or one of a data set without one of the classes.
    """
    rows = []
    for path in quality:
        value = read_json(path, QUALITY_FORMAT, QUALITY_VERSION)
        unknown = sorted(set(classes) - set(value["class_iou"]))
        if unknown:
            raise ValueError(f"{path}: measured without the class {unknown[0]!r}")
        iou, precision = (
            pd.Series(value[name], dtype=float)[list(classes or value[name])].mean()
            for name in ("class_iou", "class_precision")
        )
        fractions = (iou, precision, value["coverage"], value["held_out_accuracy"])
        rows.append([value["scribbles"], value["recipe"], *fractions])
    table = pd.DataFrame(rows, columns=LABEL_COLUMNS)
    numbers = LABEL_COLUMNS[2:]
    table[numbers] = (100 * table[numbers].astype(float)).round(2)
    return table


def write_table(metrics: Sequence[Path], output: Path, quality: Sequence[Path] = ()) -> None:
    """Write a table as CSV and, beside it, as Markdown to read.

    Args:
        metrics: ``metrics.json`` of each run.
        output: the CSV file; the Markdown has its name with ``.md``, and the table of the
            pseudo-labels behind the runs with ``_labels.csv``.
        quality: what was measured of the pseudo-labels.
    """
    table = make_table(metrics)
    shown = table.drop(columns=["miou_mean", "miou_std"])
    spread = table["miou_std"].map(lambda value: "" if pd.isna(value) else f" ± {value:.2f}")
    shown.insert(8, "mIoU (%)", table["miou_mean"].map("{:.2f}".format) + spread)
    lines = [shown.to_markdown(index=False, disable_numparse=True), ""]
    lines.append("mIoU on the validation images: mean ± standard deviation over the seeds.")
    protocols = {}
    for path in metrics:
        value = read_json(path, METRICS_FORMAT, METRICS_VERSION)
        protocols[value["protocol"]] = value["protocol_settings"]
    for name, settings in protocols.items():
        text = ", ".join(f"{key} {value}" for key, value in settings.items())
        lines.append(f"Protocol '{name}': {text}.")
    classes = next(iter(protocols.values()))["classes"]
    labels = make_labels_table(quality, classes)
    if len(labels):
        words = {"miou": "mIoU (%)", "precision": "precision (%)", "coverage": "coverage (%)"}
        words["held_out_accuracy"] = "held-out strokes right (%)"
        text = labels.copy()
        for column in words:
            text[column] = text[column].map(lambda value: "" if pd.isna(value) else f"{value:.2f}")
        text = text.rename(columns=words)
        lines += ["", text.to_markdown(index=False, disable_numparse=True), ""]
        lines.append(
            "The pseudo-labels on the training images, against masks that they have not seen. "
            "Held-out strokes are the pixels that the full scribbles label and the degraded ones "
            "do not."
        )
    write_text(output.with_suffix(".md"), "\n".join(lines) + "\n")
    for frame, path in (
        (labels, output.with_name(f"{output.stem}_labels.csv")),
        (table, output),
    ):
        write_text(path, frame.to_csv(index=False, lineterminator="\n", float_format="%.2f"))
