import math

import pandas as pd
import pytest

from cdsp.reporting.reported import NUMBERS, REPORTED, load_reported
from cdsp.reporting.settings import REPORTED_TABLES

COLUMNS = [
    "method",
    "supervision",
    "head",
    "backbone",
    "pseudo_labels",
    "pseudo_label_miou",
    "reported",
    "reported_test",
    "citation",
]


def cell(table, number="reported", **which):
    """The one number of a table's row with these texts."""
    frame = load_reported(table)
    for name, value in which.items():
        frame = frame[frame[name] == value]
    (value,) = frame[number]
    return value


@pytest.mark.parametrize("table", REPORTED_TABLES)
def test_tables_have_the_columns_that_they_promise(table):
    frame = load_reported(table)
    assert list(frame.columns) == COLUMNS
    assert frame.index.tolist() == list(range(len(frame)))
    assert len(frame)
    for name in COLUMNS:
        if name in NUMBERS:
            assert frame[name].dropna().between(50, 90).all()
        else:
            assert frame[name].map(type).eq(str).all()
    assert frame["reported"].notna().all()
    for name in ("method", "supervision", "citation"):
        assert frame[name].ne("").all()


def test_every_row_of_the_file_is_in_one_table():
    rows = pd.concat([load_reported(table) for table in REPORTED_TABLES])
    assert len(rows) == len(REPORTED.read_text(encoding="utf-8").splitlines()) - 1


def test_numbers_of_the_paper():
    network = {"head": "deeplabv3plus", "backbone": "resnet101"}
    assert cell("table1", method="cdsp", **network) == 75.9
    assert cell("table1", "reported_test", method="cdsp", **network) == 76.0
    assert cell("table1", method="full_supervision", **network) == 78.14
    assert cell("table1", method="AGMM") == 74.2
    assert cell("table1", "reported_test", method="TEL") == 75.6
    assert math.isnan(cell("table1", "reported_test", method="ScribbleSup"))
    assert cell("table2", method="scribble_and_pseudo_label") == 72.13
    assert cell("table2", method="cdsp") == 73.91
    labels = {"pseudo_labels": "SEAM", "backbone": "resnet50"}
    assert cell("table3", "pseudo_label_miou", **labels) == 64.5
    assert cell("table3", **labels) == 69.8


def test_table_3_lists_better_labels_with_better_networks():
    frame = load_reported("table3").sort_values("pseudo_label_miou")
    for _, rows in frame.groupby("backbone"):
        assert rows["pseudo_labels"].tolist() == ["SEAM", "AFA", "BMP"]
        assert rows["reported"].is_monotonic_increasing


def test_rows_whose_terms_are_not_known_do_not_claim_a_method():
    frame = load_reported("table2")
    unknown = frame.loc[frame["method"] == "not identified", "reported"]
    assert sorted(unknown) == [73.26, 73.38, 73.51, 73.58]
    assert frame.loc[frame["method"] != "not identified", "method"].is_unique


def test_an_unknown_table_is_refused():
    with pytest.raises(ValueError, match="'tabel1'; did you mean 'table1'"):
        load_reported("tabel1")
