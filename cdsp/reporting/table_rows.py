"""The rows of a written table, and the runs behind each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cdsp.io.files import TABLE_FORMAT, TABLE_VERSION
from cdsp.io.json_files import read_json
from cdsp.reporting.runs import SCORES, Score

RESULT_COLUMNS = {
    *(f"pseudo_label_{s.column}" for s in SCORES.values()),
    *(f"{s.column}_{of}" for s in SCORES.values() for of in ("mean", "std", "low", "high")),
    "num_seeds",
    "feature_variance",
    "own_labels_miou",
    "probe_accuracy",
    "source",
    "reported",
    "reported_test",
    "citation",
}
"""Columns of a table that do not tell what the row is."""


@dataclass(frozen=True)
class Row:
    """A row of a table: its texts and the ``metrics.json`` of each of its runs."""

    number: int
    values: dict[str, str]
    metrics: tuple[Path, ...]

    @property
    def score(self) -> Score:
        """The score that its table tells."""
        return next(s for s in SCORES.values() if f"{s.column}_mean" in self.values)

    @property
    def result(self) -> str:
        """Mean ± spread of its score, or what is reported of it; percent."""
        if not self.metrics:
            return self.values.get("reported", "")
        column = self.score.column
        mean, spread = self.values[f"{column}_mean"], self.values.get(f"{column}_std", "")
        return f"{mean} ± {spread}" if spread else mean


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
    values = frame.to_dict("records")
    try:
        metrics = [tuple(Path(path) for path in row["metrics"]) for row in runs]  # type: ignore[union-attr]
        written = [row["row"] for row in runs]  # type: ignore[union-attr]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{beside}: damaged; make the table again") from error
    scored = any(f"{score.column}_mean" in frame for score in SCORES.values())
    if written != values or "method" not in frame or not scored:
        raise ValueError(
            f"{table}: not the table that {beside.name} tells of: damaged or changed by hand; make "
            "it again"
        )
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
    title = rows[0].score.title if rows else ""
    width = max(13, len(title))
    lines = [f"{table}: {len(rows)} rows", "", f"{'row':>4}  {title:>{width}}  {'runs':>8}  what"]
    for row in rows:
        what = [row.values["method"]] + [row.values[n] for n in telling if n != "method"]
        known = ", ".join(value for value in what if value)
        runs = str(len(row.metrics)) if row.metrics else "reported"
        lines.append(f"{row.number:>4}  {row.result:>{width}}  {runs:>8}  {known}")
    return "\n".join([*lines, "", f"One of them: cdsp reporting explain {table} ROW"])
