"""Where a number of a table comes from: runs, settings, data, versions, hardware and commands."""

from __future__ import annotations

import json
import math
import textwrap
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cdsp.evaluation.evaluate import class_indices
from cdsp.experiment.variants import method_row
from cdsp.io.files import (
    METRICS_FORMAT,
    METRICS_VERSION,
    TABLE_FORMAT,
    TABLE_VERSION,
    read_json,
)
from cdsp.metrics import scores
from cdsp.reporting.runs import RunRecord, read_record
from cdsp.settings import nearest

WIDTH = 96
RESULT_COLUMNS = {
    "pseudo_label_miou",
    "miou_mean",
    "miou_std",
    "num_seeds",
    "feature_variance",
    "source",
    "reported",
    "reported_test",
    "citation",
}
"""Columns of a table that do not tell what the row is."""

Facts = dict[str, dict[str, str]]
"""What is known of a run: heading → name → value."""


@dataclass(frozen=True)
class Row:
    """A row of a table: its texts and the ``metrics.json`` of each of its runs."""

    number: int
    values: dict[str, str]
    metrics: tuple[Path, ...]


@dataclass(frozen=True)
class EvaluatedRun:
    """A run behind a row.

    Attributes:
        path: its ``metrics.json``.
        name: what the run and its evaluation are, by the columns of the table.
        seed: of the training.
        stated: mean IoU by ``metrics.json``, a fraction.
        computed: the same from the confusion matrix beside it; None where that is missing.
        command: the command line of the evaluation; None where it is not recorded.
        trained_again: whether the run's folder now holds another network than was evaluated.
        record: what the training left.
        facts: all that can be compared with other runs.
    """

    path: Path
    name: dict[str, str]
    seed: int
    stated: float
    computed: float | None
    command: str | None
    trained_again: bool
    record: RunRecord
    facts: Facts


@dataclass(frozen=True)
class Explanation:
    """What is known of one or more rows, to be read.

    Attributes:
        text: lines of at most `WIDTH` characters, but for commands and paths.
        confirmed: whether every number follows from its runs as they are now.
    """

    text: str
    confirmed: bool


def read_rows(table: Path) -> list[Row]:
    """Read a table and which runs stand behind it.

    Args:
        table: the CSV file; the JSON beside it names the runs.

    Raises:
        ValueError: a missing or damaged file, or two that do not belong together.
    """
    beside = table.with_suffix(".json")
    if not table.is_file() or not beside.is_file():
        missing = beside if table.is_file() else table
        raise ValueError(
            f"{missing}: no such file; a table is explained by its CSV and the JSON beside it, "
            "which is written with it and names its runs; make the table again"
        )
    try:
        frame = pd.read_csv(table, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{table}: not a readable table ({error}); make it again") from error
    runs = read_json(beside, TABLE_FORMAT, TABLE_VERSION).get("rows")
    try:
        metrics = [tuple(Path(path) for path in row["metrics"]) for row in runs]  # type: ignore[union-attr]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{beside}: damaged; make the table again") from error
    if len(metrics) != len(frame) or "method" not in frame:
        raise ValueError(f"{table}: not the table that {beside.name} tells of; make it again")
    values = frame.to_dict("records")
    return [
        Row(index + 1, {str(key): value for key, value in values[index].items()}, paths)
        for index, paths in enumerate(metrics)
    ]


def list_rows(table: Path) -> str:
    """The rows of a table with their numbers, results and what tells them apart.

    Raises:
        ValueError: see `read_rows`.
    """
    rows = read_rows(table)
    names = [name for name in (rows[0].values if rows else ()) if name not in RESULT_COLUMNS]
    groups = [[row for row in rows if bool(row.metrics) == measured] for measured in (True, False)]
    telling = [
        name
        for name in names
        if any(len({row.values[name] for row in group}) > 1 for group in groups)
    ]
    lines = [f"{table}: {len(rows)} rows", "", f"{'row':>4}  {'mIoU (%)':>13}  {'runs':>8}  what"]
    for row in rows:
        what = [row.values["method"]] + [row.values[n] for n in telling if n != "method"]
        known = ", ".join(value for value in what if value)
        runs = str(len(row.metrics)) if row.metrics else "reported"
        lines.append(f"{row.number:>4}  {_result(row):>13}  {runs:>8}  {known}")
    return "\n".join([*lines, "", f"One of them: cdsp reporting explain {table} ROW"])


def explain_rows(table: Path, wanted: str) -> Explanation:
    """Everything that is known of a row of a table.

    Args:
        table: the CSV file.
        wanted: the number of the row, counted from 1, or a method: all of its rows.

    Raises:
        ValueError: no such row; see also `read_rows`.
    """
    rows = read_rows(table)
    chosen = [row for row in rows if wanted in (str(row.number), row.values["method"])]
    if not chosen:
        methods = {row.values["method"] for row in rows}
        raise ValueError(
            f"{table}: no row {wanted!r}; expected a number from 1 to {len(rows)} or a method"
            f"{nearest(wanted, methods)}"
        )
    parts = [_explain(table, row) for row in chosen]
    text = ("\n\n" + "=" * WIDTH + "\n\n").join(part.text for part in parts)
    return Explanation(text, all(part.confirmed for part in parts))


def _explain(table: Path, row: Row) -> Explanation:
    what = {
        name: value for name, value in row.values.items() if value and name not in RESULT_COLUMNS
    }
    lines = [f"Row {row.number} of {table}", *_paragraph(what, "  "), ""]
    if not row.metrics:
        return Explanation("\n".join([*lines, *_reported(row)]), True)
    runs = [_read_run(path) for path in row.metrics if path.is_file()]
    absent = [path for path in row.metrics if not path.is_file()]
    absent += [run.path.with_name("confusion.npy") for run in runs if run.computed is None]
    changes = [change for run in runs for change in _differences_in_run(row, run)]
    lines += [f"mIoU {_result(row)} %", "  by the confusion matrix of each run:"]
    lines += [f"    seed {run.seed}  {_percent(run.computed)}" for run in runs]
    if not absent:
        series = pd.Series([run.computed for run in runs], dtype=float)
        mean, spread, count = series.agg(["mean", "std", "count"]).tolist()
        lines.append(f"  mean of {len(runs)}  {_percent(mean)}")
        lines.append(f"  sample standard deviation  {_percent(spread)}")
        changes += _differences_from_table(row, 100 * mean, 100 * spread, count)
    shared = _shared([run.facts for run in runs])
    lines += ["", "ALL RUNS" if len(runs) > 1 else "THE RUN", *_sections(shared)]
    for run in runs:
        lines += ["", *_one_run(run, shared)]
    lines += ["", *_verdict(changes, absent)]
    return Explanation("\n".join(lines), not changes and not absent)


def _reported(row: Row) -> list[str]:
    test = row.values.get("reported_test")
    numbers = f"{_result(row)} %" + (f", on the test images {test} %" if test else "")
    return [
        f"mIoU {numbers}: reported, not measured here",
        *_paragraph({"Source:": row.values.get("citation") or "not told"}, "  "),
    ]


def _percent(fraction: float | None) -> str:
    return "unknown" if fraction is None or math.isnan(fraction) else f"{100 * fraction:.6f}"


def _result(row: Row) -> str:
    """Mean ± spread of a row, or what is reported."""
    mean, spread = row.values.get("miou_mean", ""), row.values.get("miou_std", "")
    if not row.metrics:
        return row.values.get("reported", "")
    return f"{mean} ± {spread}" if spread else mean


def _read_run(path: Path) -> EvaluatedRun:
    metrics = read_json(path, METRICS_FORMAT, METRICS_VERSION)
    try:
        classes = list(metrics["class_iou"])
        averaged = class_indices(metrics["protocol_settings"]["classes"], classes)
        record = read_record(Path(metrics["weights"]).parent)
        training, name = metrics["training"], metrics["name"]
        return EvaluatedRun(
            path=path,
            name={
                **{key: str(value) for key, value in name.items()},
                "method": method_row(name["method"]),
                "protocol": metrics["protocol"],
            },
            seed=training["seed"],
            stated=math.nan if metrics["mean_iou"] is None else float(metrics["mean_iou"]),
            computed=_recompute(path.with_name("confusion.npy"), len(classes), averaged),
            command=metrics.get("command"),
            trained_again=record.settings not in (None, training),
            record=record,
            facts=_facts(metrics, record.environment or {"unknown": ""}),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: incomplete ({error!r}); evaluate the run again") from error


def _recompute(path: Path, num_classes: int, averaged: list[int] | None) -> float | None:
    """Mean IoU of a stored confusion matrix, a fraction; None where there is no file."""
    if not path.is_file():
        return None
    try:
        # Mapped, so that a header that lies about its size is refused before memory is taken.
        confusion = np.array(np.lib.format.open_memmap(path, mode="r"))
    except (OSError, ValueError, OverflowError, SyntaxError, tokenize.TokenError) as error:
        raise ValueError(f"{path}: not readable ({error}); evaluate the run again") from error
    if confusion.shape != (num_classes, num_classes) or confusion.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: expected {num_classes} × {num_classes} counts, found {confusion.dtype} of "
            f"shape {confusion.shape}; evaluate the run again"
        )
    return scores(confusion, averaged).mean_iou


def _differences_from_table(row: Row, mean: float, spread: float, count: int) -> list[str]:
    """Where the row's cells do not say what its runs do; mean and spread in percent."""
    expected = {"miou_mean": mean, "miou_std": spread, "num_seeds": count}
    return [
        f"{name} is {row.values.get(name, '')!r} in the table, and {number:g} by the runs"
        for name, number in expected.items()
        if not _same(row.values.get(name, ""), number)
    ]


def _same(text: str, number: float) -> bool:
    """Whether a cell of two decimals, empty for NaN, says the number."""
    if math.isnan(number) or not text:
        return math.isnan(number) and not text
    try:
        # Half a unit of the last decimal, and the error of adding up.
        return abs(float(text) - number) <= 0.005 + 1e-9
    except ValueError:
        return False


def _differences_in_run(row: Row, run: EvaluatedRun) -> list[str]:
    """Where a run's files contradict each other or the row."""
    differences = []
    if run.computed is not None and not np.isclose(
        run.computed, run.stated, rtol=1e-9, atol=0, equal_nan=True
    ):
        differences.append(
            f"{run.path}: mean_iou is {run.stated}, and {run.computed} by the confusion matrix "
            "beside it"
        )
    differences += [
        f"{run.path}: {key} is {value!r}, and {row.values[key]!r} in the table"
        for key, value in run.name.items()
        if row.values.get(key, value) != value
    ]
    if run.trained_again:
        differences.append(f"{run.record.folder}: trained again since it was evaluated")
    return differences


def _facts(metrics: dict[str, Any], environment: dict[str, Any]) -> Facts:
    """What a run's files tell, as texts that can be compared with another run's."""
    training, data = metrics["training"], metrics["dataset"]
    protocol = dict(metrics["protocol_settings"])
    classes = protocol.pop("classes")
    evaluated = {
        key: value
        for key, value in metrics["environment"].items()
        if key != "command" and environment.get(key) != value
    }
    sections = {
        "Data set": {
            data["name"]: "",
            "digest": data["digest"],
            "validation images": data["num_images"],
            "digest when it was trained": training["dataset"],
        },
        "Loss terms": {term: f"({_text(options)})" for term, options in training["terms"].items()},
        "Settings of the training": training["settings"],
        "Digests of the stores that it read": training["stores"],
        "Versions and hardware of the training": {
            key: value for key, value in environment.items() if key != "command"
        },
        f"Protocol '{metrics['protocol']}'": protocol,
        "Classes that the mean IoU is taken over": {", ".join(classes) or "all that occur": ""},
        "Versions and hardware of the evaluation": evaluated or {"the same": ""},
    }
    return {
        heading: {key: _text(value) for key, value in section.items()}
        for heading, section in sections.items()
    }


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def _shared(facts: Sequence[Facts]) -> Facts:
    """What all runs have in common."""
    return {
        heading: {
            key: value
            for key, value in section.items()
            if all(other.get(heading, {}).get(key) == value for other in facts)
        }
        for heading, section in (facts[0] if facts else {}).items()
    }


def _sections(facts: Facts) -> list[str]:
    lines = []
    for heading, section in facts.items():
        if section:
            lines += [f"  {heading}", *_paragraph(section, "    ")]
    return lines


def _paragraph(values: Mapping[str, str], indent: str) -> list[str]:
    return textwrap.wrap(
        "; ".join(f"{key} {value}".strip() for key, value in values.items()),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _one_run(run: EvaluatedRun, shared: Facts) -> list[str]:
    """Where a run's files lie, when and how it was made, and what it does not share."""
    record = run.record
    lines = [f"SEED {run.seed}", f"  metrics   {run.path}"]
    if record.finished:
        weights = record.folder / "weights.pt"
        written = datetime.fromtimestamp(weights.stat().st_mtime).astimezone()
        lines.append(f"  weights   {weights}, of {written:%Y-%m-%d %H:%M %Z}")
    if record.seconds is not None:
        lines.append(
            f"  training  {len(record.seconds)} epochs in {_duration(sum(record.seconds))}"
        )
    lines += [f"  missing   {path}" for path in record.missing]
    if record.missing:
        lines.append("  What is told of the training is what metrics.json holds of it.")
    lines += _sections(
        {
            heading: {
                key: value for key, value in section.items() if key not in shared.get(heading, {})
            }
            for heading, section in run.facts.items()
        }
    )
    commands = {
        "Trained by": (record.environment or {}).get("command"),
        "Evaluated by": run.command,
        "Made again, once out of date, with the --configfile of the experiment, by": _workflow(
            run.path
        ),
    }
    for heading, command in commands.items():
        if command:
            lines += [f"  {heading}", f"    {command}"]
    return lines


def _workflow(metrics: Path) -> str:
    return f"snakemake --cores 8 {metrics}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _verdict(changes: Sequence[str], absent: Sequence[Path]) -> list[str]:
    lines = []
    if changes:
        lines.append("The results changed since the table was written; make it again:")
        lines += [f"  {change}" for change in changes]
    if absent:
        lines.append("The number cannot be made from its runs; these files are missing:")
        lines += [f"  {path}" for path in absent]
        lines.append("The workflow makes them again, with the --configfile of the experiment:")
        lines += [f"  {_workflow(path.with_name('metrics.json'))}" for path in absent]
    return lines or ["Checked: confusion matrices, metrics.json and the table agree."]
