"""What is said before a table takes the place of another experiment's."""

from __future__ import annotations

import csv
from pathlib import Path

from cdsp.experiment.plan import Plan
from cdsp.io.files import TABLE_FORMAT, TABLE_VERSION
from cdsp.io.json_files import read_json


def replaced_tables(plan: Plan) -> list[str]:
    """Name the tables that making the plan's would replace, and how to keep them.

    Each data set keeps its tables in a folder of its own, and the copies on top are those that were
    made last. Two experiments on one data set share its folder: a table there may have runs that
    the plan's table has not.
    """
    top, dataset = plan.paths.stages.rsplit("/", 1)
    notices = []
    for table in plan.config.tables:
        owner = _dataset_of(Path(top) / f"{table}.csv")
        if owner not in (None, dataset):
            notices.append(
                f"{top}/{table}.csv is the table of {owner} until {table} of {dataset} is made; "
                f"{top}/{owner}/{table}.csv keeps it"
            )
        path = plan.paths.table(table, ".csv")
        others = sorted(_runs_of(Path(path)) - set(plan.table_metrics(table)))
        if others:
            notices.append(
                f"{path} has {len(others)} runs that this configuration has not, such as "
                f"{others[0]}; making {table} replaces the table: copy it first to keep it (the "
                "runs stay)"
            )
    return notices


def _dataset_of(table: Path) -> str | None:
    """The data set of a table's first row; None where there is no such table."""
    if not table.is_file():
        return None
    with table.open(encoding="utf-8", newline="") as file:
        return next(csv.DictReader(file), {}).get("dataset")


def _runs_of(table: Path) -> set[str]:
    """The metrics that a table was made of; none where there is no such table to lose."""
    try:
        rows = read_json(table.with_suffix(".json"), TABLE_FORMAT, TABLE_VERSION).get("rows", [])
        return {metrics for row in rows for metrics in row["metrics"]}
    except (ValueError, KeyError, TypeError):
        return set()
