"""Where a number of a table comes from: runs, settings, data, versions, hardware and commands."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cdsp.experiment.variants import method_row
from cdsp.metrics import class_indices, recall, scores
from cdsp.progress import duration
from cdsp.reporting.runs import SCORES, Evaluation, read_evaluation
from cdsp.reporting.table_rows import RESULT_COLUMNS, Row, read_rows
from cdsp.settings import nearest
from cdsp.training.record import TrainingRecord, read_training

WIDTH = 96
Facts = dict[str, dict[str, str]]
"""What is known of a run: heading → name → value."""


@dataclass(frozen=True)
class ExplainedRun:
    """A run behind a row.

    Attributes:
        evaluation: what ``metrics.json`` tells.
        training: what the training left.
        computed: mean IoU by the confusion matrix, a fraction; None where the file is missing.
        facts: all that can be compared with other runs.
    """

    evaluation: Evaluation
    training: TrainingRecord
    computed: float | None
    facts: Facts

    @property
    def seed(self) -> str:
        """Of the training."""
        return self.evaluation.name["seed"]

    @property
    def columns(self) -> dict[str, str]:
        """What the run and its evaluation are, by the columns of the table."""
        name = self.evaluation.name
        protocol = {"protocol": self.evaluation.protocol}
        return {**name, "method": method_row(name["method"]), **protocol}

    @property
    def trained_again(self) -> bool:
        """Whether the run's folder now holds another network than was evaluated."""
        return self.training.settings not in (None, self.evaluation.training)


@dataclass(frozen=True)
class Explanation:
    """What is known of one or more rows, to be read.

    Attributes:
        text: lines of at most `WIDTH` characters, but for commands and paths.
        confirmed: whether every number follows from its runs as they are now.
    """

    text: str
    confirmed: bool


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
    absent += [run.evaluation.confusion_path for run in runs if run.computed is None]
    changes = [change for run in runs for change in _differences_in_run(row, run)]
    lines += [f"{row.score.title} {row.result}", "  by the confusion matrix of each run:"]
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
    numbers = f"{row.result} %" + (f", on the test images {test} %" if test else "")
    return [
        f"mIoU {numbers}: reported, not measured here",
        *_paragraph({"Source:": row.values.get("citation") or "not told"}, "  "),
    ]


def _percent(fraction: float | None) -> str:
    return "unknown" if fraction is None or math.isnan(fraction) else f"{100 * fraction:.6f}"


def _read_run(path: Path) -> ExplainedRun:
    evaluation = read_evaluation(path)
    training = read_training(evaluation.weights.parent)
    _ = training.seconds  # a damaged log is told before anything else
    try:
        facts = _facts(evaluation, training.environment or {"unknown": ""})
        averaged = class_indices(
            evaluation.protocol_settings["classes"], list(evaluation.class_scores)
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: incomplete ({error!r}); evaluate the run again") from error
    computed = None
    if evaluation.confusion_path.is_file():
        confusion = evaluation.read_confusion()
        on_masks = evaluation.truth == "masks"
        computed = scores(confusion, averaged).mean_iou if on_masks else recall(confusion, averaged)
    return ExplainedRun(evaluation, training, computed, facts)


def _differences_from_table(row: Row, mean: float, spread: float, count: int) -> list[str]:
    """Where the row's cells do not say what its runs do; mean and spread in percent."""
    column = row.score.column
    expected = {f"{column}_mean": mean, f"{column}_std": spread, "num_seeds": count}
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


def _differences_in_run(row: Row, run: ExplainedRun) -> list[str]:
    """Where a run's files contradict each other or the row."""
    differences = []
    path, stated = run.evaluation.path, run.evaluation.score
    entry = SCORES[run.evaluation.truth].mean_entry
    if run.computed is not None and not np.isclose(
        run.computed, stated, rtol=1e-9, atol=0, equal_nan=True
    ):
        differences.append(
            f"{path}: {entry} is {stated}, and {run.computed} by the confusion matrix beside it"
        )
    differences += [
        f"{path}: {key} is {value!r}, and {row.values[key]!r} in the table"
        for key, value in run.columns.items()
        if row.values.get(key, value) != value
    ]
    if run.trained_again:
        differences.append(f"{run.training.folder}: trained again since it was evaluated")
    return differences


def _facts(evaluation: Evaluation, environment: dict[str, Any]) -> Facts:
    """What a run's files tell, as texts that can be compared with another run's."""
    training, data = evaluation.training, evaluation.dataset
    protocol = dict(evaluation.protocol_settings)
    classes = protocol.pop("classes")
    evaluated = {
        key: value
        for key, value in evaluation.environment.items()
        if key != "command" and environment.get(key) != value
    }
    sections = {
        "Data set": {
            data["name"]: "",
            "digest": data["digest"],
            "evaluated images": data["num_images"],
            "digest when it was trained": training["dataset"],
        },
        "Loss terms": {term: f"({_text(options)})" for term, options in training["terms"].items()},
        "Settings of the training": training["settings"],
        "Digests of the stores that it read": training["stores"],
        "Versions and hardware of the training": {
            key: value for key, value in environment.items() if key != "command"
        },
        f"Protocol '{evaluation.protocol}'": protocol,
        "Classes that the score is averaged over": {", ".join(classes) or "all that occur": ""},
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


def _one_run(run: ExplainedRun, shared: Facts) -> list[str]:
    """Where a run's files lie, when and how it was made, and what it does not share."""
    record, path = run.training, run.evaluation.path
    lines = [f"SEED {run.seed}", f"  metrics   {path}"]
    if record.finished:
        weights = record.folder / "weights.pt"
        written = datetime.fromtimestamp(weights.stat().st_mtime).astimezone()
        lines.append(f"  weights   {weights}, of {written:%Y-%m-%d %H:%M %Z}")
    if record.seconds is not None:
        lines.append(f"  training  {len(record.seconds)} epochs in {duration(sum(record.seconds))}")
    lines += [f"  missing   {path}" for path in record.missing]
    if record.missing:
        lines.append("  metrics.json alone tells of the training.")
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
        "Evaluated by": run.evaluation.environment.get("command"),
        "Made again, once out of date, with the --configfile of the experiment, by": _workflow(
            path
        ),
    }
    for heading, command in commands.items():
        if command:
            lines += [f"  {heading}", f"    {command}"]
    return lines


def _workflow(metrics: Path) -> str:
    return f"snakemake --cores 8 {metrics}"


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
