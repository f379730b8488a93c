"""The runs that figures draw, gathered into rows: runs of one row differ in their seed alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cdsp.experiment.variants import method_title
from cdsp.reporting.figures.measured_rows import row_labels
from cdsp.reporting.runs import Evaluation, read_evaluation


def group_runs(metrics: Sequence[Path]) -> dict[str, list[Evaluation]]:
    """Gather runs that differ only in their seed: label → runs, in the order of the files.

    Args:
        metrics: ``metrics.json`` of each run.

    Raises:
        ValueError: no file, a damaged one, or one run given twice.
    """
    if not metrics:
        raise ValueError("no metrics.json given; nothing to draw")
    runs = [read_evaluation(path) for path in metrics]
    labels = row_labels([_parts(run) for run in runs])
    rows: dict[str, list[Evaluation]] = {}
    for label, run in zip(labels, runs, strict=True):
        row = rows.setdefault(label, [])
        if any(run.name["seed"] == other.name["seed"] for other in row):
            raise ValueError(f"{run.path}: the run '{label}' of this seed is given twice")
        row.append(run)
    return rows


def _parts(run: Evaluation) -> dict[str, str]:
    """What tells a run apart from others, but for its seed; "" for what it does not read."""
    name = run.name
    return {
        "method": method_title(name["method"]),
        "network": f"{name['head']}-{name['backbone']}",
        "scribbles": "" if name["scribbles"] == "none" else name["scribbles"],
        "pseudo_labels": "" if name["pseudo_labels"] == "none" else name["pseudo_labels"],
        "dataset": name["dataset"],
        "protocol": run.protocol,
    }


def shared_classes(rows: Mapping[str, Sequence[Evaluation]]) -> list[str]:
    """The classes of all runs.

    Raises:
        ValueError: the runs are of different classes.
    """
    runs = [run for row in rows.values() for run in row]
    classes = list(runs[0].class_scores)
    for run in runs:
        if list(run.class_scores) != classes:
            raise ValueError(
                f"{run.path}: of other classes than {runs[0].path}; draw the runs of one data set"
            )
    return classes
