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


def write_table(metrics: Sequence[Path], output: Path, quality: Sequence[Path] = ()) -> None:
    """Write a table as CSV and, beside it, as Markdown to read.

    Args:
        metrics: ``metrics.json`` of each run.
        output: the CSV file; the Markdown has its name with ``.md``.
        quality: what `measure_pseudo_labels` wrote; shown below the Markdown table.
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
    for path in quality:
        value = read_json(path, QUALITY_FORMAT, QUALITY_VERSION)
        measured = "no training masks to measure them on"
        if value["mean_iou"] is not None:
            measured = f"mIoU {100 * value['mean_iou']:.2f} on the training masks"
        lines.append(
            f"Pseudo-labels '{value['recipe']}' from the scribbles '{value['scribbles']}': "
            f"{measured}, "
            f"{100 * value['coverage']:.1f} % of the pixels labelled."
        )
    write_text(output.with_suffix(".md"), "\n".join(lines) + "\n")
    write_text(output, table.to_csv(index=False, lineterminator="\n", float_format="%.2f"))
