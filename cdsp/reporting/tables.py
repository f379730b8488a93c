"""Tables of measured results: one row for each experiment, mean and spread over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cdsp.experiment.variants import method_row
from cdsp.io.files import (
    QUALITY_FORMAT,
    QUALITY_VERSION,
    TABLE_FORMAT,
    TABLE_VERSION,
    write_text,
)
from cdsp.io.json_files import read_json, write_json
from cdsp.io.outputs import check_outputs
from cdsp.metrics import mean_share, read_shares
from cdsp.reporting.arithmetic import describe_arithmetic
from cdsp.reporting.reported import load_reported
from cdsp.reporting.runs import SCORES, Score, read_evaluation, table_score
from cdsp.reporting.table_rows import read_rows
from cdsp.reporting.table_text import as_markdown, as_page, as_text, explained

COLUMNS = (
    "method",
    "supervision",
    "network",
    "head",
    "backbone",
    "dataset",
    "scribbles",
    "pseudo_labels",
    "protocol",
)
LAST = "last"
"""In the column `checkpoint`: the network at the end of its training."""

LABEL_COLUMNS = [
    "scribbles",
    "pseudo_labels",
    "miou",
    "precision",
    "coverage",
    "held_out",
    "held_out_low",
    "held_out_high",
]


def make_table(
    metrics: Sequence[Path],
    *,
    options: Sequence[str] = (),
    labels: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Gather the metrics of runs; runs that differ only in their seed share a row.

    Args:
        metrics: ``metrics.json`` of each run; rows stand in the order of their first one.
        options: of loss terms or the training, such as "lorm.weight" or
            "segmentation.learning_rate"; each becomes a column.
        labels: the pseudo-labels behind the runs, see `make_labels_table`.

    Returns:
        A data frame with `COLUMNS`, the options after the method, checkpoint where some network is
        not the last of its training ("last" or "best_on_val"), and, in percent: on masks
        pseudo_label_miou (on the training images), miou_mean and miou_std (the sample standard
        deviation, empty for one seed); on held-out strokes pseudo_label_held_out, held_out_mean and
        held_out_std, and held_out_low and held_out_high, the interval of its number of strokes,
        mean over the seeds. Then num_seeds, feature_variance (at the end of the training, mean over
        seeds; empty where the run's log is gone), own_labels_miou (percent, between predictions of
        training images and what was learnt there), probe_accuracy (percent, mean over seeds, see
        `cdsp.evaluation.probe`), source, and metrics, the list of the files.

    Raises:
        ValueError: a damaged file, one run given twice, or runs measured by different scores.
    """
    score = _score_of(metrics)
    frame = pd.DataFrame([_read_run(path, options) for path in metrics])
    columns = [COLUMNS[0], *options, *COLUMNS[1:]]
    if set(frame["checkpoint"]) - {LAST}:
        columns.append("checkpoint")
    keys = [*columns, "seed"]
    repeated = frame[frame.duplicated(keys)]
    if len(repeated):
        raise ValueError(f"the run {repeated.iloc[0][keys].to_dict()} is given twice")
    has_interval = score is not SCORES["masks"]
    table = frame.groupby(columns, sort=False, dropna=False, as_index=False).agg(
        **{
            f"{score.column}_mean": ("score", "mean"),
            f"{score.column}_std": ("score", "std"),
            **({f"{score.column}_{of}": (of, "mean") for of in ("low", "high") if has_interval}),
        },
        num_seeds=("score", "count"),
        feature_variance=("feature_variance", "mean"),
        own_labels_miou=("agreement", "mean"),
        probe_accuracy=("probe_accuracy", "mean"),
        metrics=("path", list),
    )
    known = {}  # labels are of training images, and have no score on others' strokes
    if labels is not None and score.column in labels:
        known = labels.set_index(LABEL_COLUMNS[:2])[score.column].to_dict()
    sources = zip(table["scribbles"], table["pseudo_labels"], strict=True)
    own = pd.Series([known.get(source) for source in sources], dtype=float)
    place = table.columns.tolist().index(f"{score.column}_mean")
    table.insert(place, f"pseudo_label_{score.column}", own)
    table["source"] = "measured"
    return table


def _score_of(metrics: Sequence[Path]) -> Score:
    """The score by which all runs were measured.

    Raises:
        ValueError: they were measured by different ones.
    """
    runs = [read_evaluation(path) for path in metrics]
    for run in runs:
        if run.truth != runs[0].truth:
            raise ValueError(
                f"{run.path}: compared with {run.truth}, and {runs[0].path} with {runs[0].truth}; "
                "make a table of each"
            )
    return SCORES[runs[0].truth if runs else "masks"]


def _read_run(path: Path, options: Sequence[str]) -> dict[str, Any]:
    """What a table tells of one run."""
    run = read_evaluation(path)
    sections = {
        "segmentation": run.training.get("settings", {}),
        "networks": run.training.get("network", {}),
        **run.training.get("terms", {}),
    }
    varied = {}
    for option in options:
        section, _, key = option.partition(".")
        varied[option] = sections.get(section, {}).get(key)
    log = run.read_training().log
    epoch = int(run.name.get("epoch", 0))  # 0, and so the last, of the last network
    return {
        "checkpoint": LAST,
        **run.name,
        "method": method_row(run.name["method"]),
        **varied,
        "protocol": run.protocol,
        "score": 100 * run.score,
        "low": None if run.interval is None else 100 * run.interval[0],
        "high": None if run.interval is None else 100 * run.interval[1],
        "feature_variance": log[epoch - 1].get("feature_variance") if log else None,
        "agreement": None if run.agreement is None else 100 * run.agreement,
        "probe_accuracy": 100 * run.probe_accuracy,
        "path": str(path),
    }


def read_table(path: Path) -> pd.DataFrame:
    """The CSV of a table, as `write_table` wrote it.

    A CSV has no checksum. It is compared with the JSON that is written beside it; where that is
    missing, the table counts as its user's own.

    Raises:
        ValueError: no such file, not a table of this project, or not the table that the JSON tells.
    """
    try:
        table = pd.read_csv(
            path, dtype=dict.fromkeys(COLUMNS, str), keep_default_na=False, na_values=[""]
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable table ({error})") from error
    score = table_score(table.columns)
    missing = [name for name in (*COLUMNS, f"{score.column}_mean", "source") if name not in table]
    if missing:
        raise ValueError(f"{path}: expected a table with the column {missing[0]!r}; make it again")
    if path.with_suffix(".json").is_file():
        read_rows(path)
    return table


def make_labels_table(quality: Sequence[Path], classes: Sequence[str] = ()) -> pd.DataFrame:
    """Gather what was measured of pseudo-labels, one row for each.

    Args:
        quality: what `cdsp.pseudo_labels.quality` wrote, in the order of the rows.
        classes: the classes that all but the coverage is averaged over; none: all that occur.

    Returns:
        A data frame with scribbles, pseudo_labels and, in percent, miou, precision, coverage,
        held_out and the limits of its interval, held_out_low and held_out_high; empty where
        unknown.

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
        shares = read_shares(value)
        held_out = mean_share([s for name in classes or shares if (s := shares[name])])
        fractions = (iou, precision, value["coverage"], *(held_out or (None,) * 3))
        rows.append([value["scribbles"], value["recipe"], *fractions])
    table = pd.DataFrame(rows, columns=LABEL_COLUMNS)
    numbers = LABEL_COLUMNS[2:]
    table[numbers] = (100 * table[numbers].astype(float)).round(2)
    return table


def write_table(
    metrics: Sequence[Path],
    output: Path,
    quality: Sequence[Path] = (),
    *,
    options: Sequence[str] = (),
    reported: str | None = None,
) -> None:
    """Write a table as CSV and, beside it, to be read, and as JSON that names the runs.

    Args:
        metrics: ``metrics.json`` of each run.
        output: the CSV file; the others have its name with ``.md`` and ``.html`` to be read,
            ``.json`` for the runs, and ``_labels.csv`` for the pseudo-labels behind them.
        quality: what was measured of the pseudo-labels.
        options: of loss terms or the training, such as "lorm.weight" or
            "segmentation.learning_rate"; each becomes a column.
        reported: the paper's table whose numbers follow the measured rows, in columns of their own.
    """
    check_outputs(_files(output), inputs=[*metrics, *quality])
    evaluations = [read_evaluation(path) for path in metrics]
    protocols = {run.protocol: run.protocol_settings for run in evaluations}
    labels = make_labels_table(quality, next(iter(protocols.values()))["classes"])
    table = make_table(metrics, options=options, labels=labels)
    runs = table.pop("metrics").tolist()
    text = as_text(table)
    if reported is not None:
        others = as_text(load_reported(reported)).assign(source="reported")
        text = pd.concat([text, others], ignore_index=True).fillna("")
        runs += [[]] * (len(text) - len(runs))
    arithmetic = describe_arithmetic(run.read_training() for run in evaluations)
    contents = explained(text, as_text(labels), protocols, arithmetic)
    write_text(output.with_suffix(".md"), as_markdown(contents))
    write_text(output.with_suffix(".html"), as_page(contents))
    rows = [
        {"row": row, "metrics": files}
        for row, files in zip(text.to_dict("records"), runs, strict=True)
    ]
    value = {"format": TABLE_FORMAT, "version": TABLE_VERSION, "rows": rows}
    write_json(output.with_suffix(".json"), value)
    for frame, path in (
        (as_text(labels), output.with_name(f"{output.stem}_labels.csv")),
        (text, output),
    ):
        write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def _files(output: Path) -> list[Path]:
    """Every file of a table whose CSV is ``output``."""
    beside = [output.with_suffix(suffix) for suffix in (".md", ".html", ".json")]
    return [output, *beside, output.with_name(f"{output.stem}_labels.csv")]
