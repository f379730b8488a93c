"""What the paper and its peers report, to stand beside what is measured here."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cdsp.settings import nearest

REPORTED = Path(__file__).with_name("reported.csv")
NUMBERS = ["pseudo_label_miou", "reported", "reported_test"]


def load_reported(table: str) -> pd.DataFrame:
    """The numbers that stand in a table of the paper, or belong beside it.

    All are of PASCAL VOC 2012 and, where scribbles are the supervision, of ScribbleSup.

    Args:
        table: "table1" (methods), "table2" (loss terms) or "table3" (sources of pseudo-labels).

    Returns:
        A data frame of the rows in the order of the file. Text, empty where it is not known:
        method (a row of this project's `methods` where it is the same one), supervision,
        head, backbone, pseudo_labels and citation. Percent, NaN where it is not known:
        pseudo_label_miou (of the labels themselves), reported (mIoU on the validation images) and
        reported_test (on the test images).

    Raises:
        ValueError: another table.
    """
    frame = pd.read_csv(REPORTED, dtype=str, keep_default_na=False)
    tables = frame.pop("table")
    if table not in set(tables):
        raise ValueError(
            f"no numbers are reported for the table {table!r}{nearest(table, set(tables))}"
        )
    for name in NUMBERS:
        frame[name] = pd.to_numeric(frame[name])
    return frame.loc[tables == table].reset_index(drop=True)
