"""What a workflow says at its end: where the tables are, their best rows, how to use a network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from cdsp.evaluation.settings import PIXEL_CLASSIFIER
from cdsp.reporting.runs import read_evaluation
from cdsp.reporting.table_rows import Row, read_rows
from cdsp.reporting.tables import LAST


def describe_tables(tables: Iterable[Path]) -> list[str]:
    """A paragraph for each table: its file, its best row, its pictures, the command to predict.

    Args:
        tables: CSV files, with the JSON beside each.

    Raises:
        ValueError: a damaged file.
    """
    lines: list[str] = []
    for table in tables:
        rows = [row for row in read_rows(table) if row.metrics and _is_last(row)]
        lines += ["", f"{table} ({table.with_suffix('.html')} to read)"]
        pictures = sorted(table.parent.glob(f"{table.stem}_*.png"))
        if pictures:
            lines.append(f"  pictures: {', '.join(map(str, pictures))}")
        best = max(rows, key=_mean, default=None)
        if best is None or math.isinf(_mean(best)):
            continue
        what = [best.values[key] for key in ("method", "network", "scribbles", "pseudo_labels")]
        told = ", ".join(part for part in what if part not in ("", "none"))
        lines.append(f"  best of {len(rows)} rows: {told}: {best.score.title} {best.result}")
        if best.values["method"] == PIXEL_CLASSIFIER:
            lines.append("  no network is better than it: train longer, or draw more strokes")
            continue
        lines.append("  its network on photographs of your own:")
        weights = read_evaluation(best.metrics[0]).weights
        lines.append(f"    cdsp predict photo.jpg --run {weights} --output predictions")
    return lines


def _is_last(row: Row) -> bool:
    """Whether a row's networks are the last of their trainings, not chosen by their scores."""
    return row.values.get("checkpoint", LAST) == LAST


def _mean(row: Row) -> float:
    text = row.values[f"{row.score.column}_mean"]
    return float(text) if text else -math.inf
