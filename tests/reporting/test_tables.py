import csv
import html
import json
import re
import statistics

import numpy as np
import pandas as pd
import pytest
from run_files import NAME, metrics_content

from cdsp.io.json_files import accept_changes, write_json, write_json_lines
from cdsp.reporting.table_text import as_markdown, explained
from cdsp.reporting.tables import COLUMNS, LABEL_COLUMNS, make_table, read_table, write_table


@pytest.fixture
def metrics(tmp_path):
    """Function that writes the metrics.json of a run."""
    paths = []

    def write(mean_iou, seed=0, protocol="quick", terms=None, settings=None, probe=None, **name):
        path = tmp_path / f"run-{len(paths)}" / "metrics.json"
        path.parent.mkdir()
        window = 0 if protocol == "quick" else 465
        content = metrics_content(
            name={**NAME, "seed": seed, **name},
            weights=str(path.parent / "weights.pt"),
            protocol=protocol,
            protocol_settings={"scales": [1.0], "window": window, "classes": []},
            mean_iou=mean_iou,
            probe_accuracy=probe,
            training={"terms": terms or {"scribble": {"weight": 1.0}}, "settings": settings or {}},
        )
        path.write_text(json.dumps(content))
        accept_changes(path)
        paths.append(path)
        return path

    return write


def test_runs_that_differ_in_their_seed_share_a_row(metrics):
    values = [0.51234, 0.5, 0.5678]
    table = make_table([metrics(value, seed) for seed, value in enumerate(values)])
    (row,) = table.to_dict("records")
    assert row["miou_mean"] == pytest.approx(100 * statistics.mean(values))
    assert row["miou_std"] == pytest.approx(100 * statistics.stdev(values))
    assert (row["num_seeds"], row["source"]) == (3, "measured")
    assert {key: row[key] for key in NAME} == NAME


@pytest.mark.parametrize("key", [key for key in COLUMNS if key != "protocol"])
def test_runs_that_differ_in_anything_else_do_not(metrics, key):
    table = make_table([metrics(0.5), metrics(0.7, **{key: "other"}), metrics(0.6, seed=1)])
    assert table["miou_mean"].tolist() == [55, 70]
    assert table[key].tolist() == [NAME[key], "other"]


def test_rows_stand_in_the_order_of_their_first_run(metrics):
    order = ["zebra", "apple", "middle", "apple", "zebra"]
    table = make_table([metrics(0.1, seed, method=name) for seed, name in enumerate(order)])
    assert table["method"].tolist() == ["zebra", "apple", "middle"]
    assert table["num_seeds"].tolist() == [2, 2, 1]


def test_protocols_are_rows_of_their_own(metrics):
    table = make_table([metrics(0.5), metrics(0.6, protocol="paper")])
    assert table["protocol"].tolist() == ["quick", "paper"]


def test_one_run_twice_is_refused(metrics):
    paths = [metrics(0.5), metrics(0.6, seed=1)]
    with pytest.raises(ValueError, match="given twice") as caught:
        make_table([*paths, paths[1]])
    assert "'method': 'cdsp'" in str(caught.value)
    assert "'seed': '1'" in str(caught.value)


def test_damaged_metrics_are_named(metrics, tmp_path):
    good, bad = metrics(0.5), metrics(0.6, seed=1)
    content = bad.read_text()
    for text, message in (
        (content[:100], "not a readable JSON file"),
        ("", "not a readable JSON file"),
        ("[]", "expected a JSON object"),
        (content.replace('"version": 3', '"version": 7'), "expected format 'cdsp-metrics'"),
    ):
        bad.write_text(text)
        with pytest.raises(ValueError, match=message) as caught:
            write_table([good, bad], tmp_path / "table.csv")
        assert str(bad) in str(caught.value)
    with pytest.raises(ValueError, match=r"absent\.json: no such file"):
        make_table([tmp_path / "absent.json"])
    assert not list(tmp_path.glob("table.*"))


def test_a_setting_of_the_training_can_be_a_column(metrics):
    rates = {"cdsp@segmentation.learning_rate=0.5": 0.5, "cdsp": 0.25}
    runs = [
        metrics(0.5, method=method, settings={"learning_rate": rate})
        for method, rate in rates.items()
    ]
    table = make_table(runs, options=["segmentation.learning_rate"])
    assert table["segmentation.learning_rate"].tolist() == [0.5, 0.25]
    assert table["method"].tolist() == ["cdsp", "cdsp"]


def test_a_mean_over_nothing_is_an_empty_cell_and_no_nan(metrics, tmp_path):
    write_table([metrics(None)], tmp_path / "table.csv")
    for path in tmp_path.glob("table*"):
        assert "nan" not in path.read_text().lower(), path
    value = json.loads((tmp_path / "table.json").read_text(), parse_constant=pytest.fail)
    assert value["rows"][0]["row"]["miou_mean"] == ""


NOTHING = dict.fromkeys(("background", "cat", "dog"))


def held_out(accuracy):
    """What files tell of held-out strokes: intervals from 0.1 below to 0.05 above."""
    interval = {name: v and [v - 0.1, v + 0.05] for name, v in accuracy.items()}
    return {"class_held_out_accuracy": accuracy, "class_held_out_interval": interval}


def write_quality(path, **changes):
    """What the measurement of pseudo-labels writes."""
    content = {
        "format": "cdsp-pseudo-label-quality",
        "version": 4,
        "recipe": "cam",
        "scribbles": "full",
        "class_iou": {"background": 0.9, "cat": 0.0134, "dog": None},
        "class_precision": {"background": 0.9, "cat": 0.5, "dog": None},
        "coverage": 0.987,
        **held_out({"background": 0.9, "cat": 0.212, "dog": None}),
    }
    path.write_text(json.dumps({**content, **changes}))
    accept_changes(path)
    return path


def read_markdown(text):
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip() for cell in row] for row in rows]
    return [dict(zip(head, row, strict=True)) for row in body]


def test_csv_and_markdown_say_the_same(metrics, tmp_path):
    qualities = [
        write_quality(tmp_path / "cam.json", recipe="cam", scribbles="shrink-0.5"),
        write_quality(tmp_path / "walk.json", recipe="walk", **held_out(NOTHING)),
    ]
    runs = [
        metrics(0.70304, 0),
        metrics(0.5, 3, "paper", method="masks", supervision="masks", pseudo_labels="none"),
        metrics(0.721, 1),
    ]
    write_table(runs, tmp_path / "tables" / "table1.csv", qualities)
    with (tmp_path / "tables" / "table1.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["cdsp", "masks"]
    assert rows[0]["miou_mean"] == "71.20"
    assert rows[0]["miou_std"] == f"{statistics.stdev([70.304, 72.1]):.2f}"
    assert (rows[1]["miou_mean"], rows[1]["miou_std"]) == ("50.00", "")
    assert [row["num_seeds"] for row in rows] == ["2", "1"]
    assert rows[1]["pseudo_labels"] == "none"

    text = (tmp_path / "tables" / "table1.md").read_text()
    shown = read_markdown(text.split("mIoU on the masks")[0])
    assert [row["mIoU (%)"] for row in shown] == [f"71.20 ± {rows[0]['miou_std']}", "50.00"]
    for one, other in zip(rows, shown, strict=True):
        for key in (*COLUMNS, "num_seeds", "source"):
            assert one[key] == other[key]
    assert "feature variance" not in shown[0]  # nothing is known of it
    page = (tmp_path / "tables" / "table1.html").read_text()
    cells = [html.unescape(cell) for cell in re.findall(r"<t[hd]>(.*)</t[hd]>", page)]
    expected = [*shown[0], *(value for row in shown for value in row.values())]
    assert cells[: len(expected)] == expected
    assert "mean ± standard deviation over the seeds" in text
    assert "Protocol 'quick': scales [1.0], window 0, classes []." in text
    assert "Protocol 'paper': scales [1.0], window 465, classes []." in text

    with (tmp_path / "tables" / "table1_labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {
            "scribbles": "shrink-0.5",
            "pseudo_labels": "cam",
            "miou": "45.67",
            "precision": "70.00",
            "coverage": "98.70",
            "held_out": "55.60",
            "held_out_low": f"{100 * (0.556 - np.hypot(0.1, 0.1) / 2):.2f}",
            "held_out_high": f"{100 * (0.556 + np.hypot(0.05, 0.05) / 2):.2f}",
        },
        {
            **rows[0],
            "scribbles": "full",
            "pseudo_labels": "walk",
            "held_out": "",
            "held_out_low": "",
            "held_out_high": "",
        },
    ]
    shown = read_markdown(text.rsplit("Protocol '", 1)[1])
    low, high = rows[0]["held_out_low"], rows[0]["held_out_high"]
    assert [row["95 % interval"] for row in shown] == [f"{low} to {high}", ""]
    for one, other in zip(rows, shown, strict=True):
        assert list(one.values())[:-2] == list(other.values())[:-1]


def test_a_csv_that_its_json_does_not_confirm_is_refused(metrics, tmp_path):
    output = tmp_path / "table.csv"
    write_table([metrics(0.625)], output)
    assert read_table(output)["miou_mean"].tolist() == [62.5]
    output.write_text(output.read_text().replace("62.50", "63.50"))
    with pytest.raises(ValueError, match=r"table\.csv: not the table that table\.json tells of"):
        read_table(output)
    output.with_suffix(".json").unlink()  # a table of one's own
    assert read_table(output)["miou_mean"].tolist() == [63.5]


def test_a_table_without_pseudo_labels_has_none_beside_it(metrics, tmp_path):
    write_table([metrics(0.5)], tmp_path / "table.csv")
    assert (tmp_path / "table_labels.csv").read_text() == ",".join(LABEL_COLUMNS) + "\n"
    assert "pseudo-labels on the training images" not in (tmp_path / "table.md").read_text()


def test_pseudo_labels_are_averaged_over_the_classes_of_the_protocol(metrics, tmp_path):
    path = metrics(0.5)
    content = json.loads(path.read_text())
    content["protocol_settings"]["classes"] = ["cat", "background"]
    path.write_text(json.dumps(content))
    accept_changes(path)
    quality = write_quality(
        tmp_path / "quality.json",
        class_iou={"background": 0.9, "cat": 0.4, "dog": 0.1},
        class_precision={"background": 0.95, "cat": None, "dog": 0.2},
        **held_out({"background": 0.8, "cat": 0.7, "dog": 0.1}),
    )
    write_table([path], tmp_path / "table.csv", [quality])
    with (tmp_path / "table_labels.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["miou"], row["precision"]) == ("65.00", "95.00")
    assert row["held_out"] == "75.00"


def test_a_measurement_of_another_version_is_refused(metrics, tmp_path):
    old = write_quality(tmp_path / "old.json", version=1)
    with pytest.raises(ValueError, match=r"old\.json: expected format .* version 4, found"):
        write_table([metrics(0.5)], tmp_path / "table.csv", [old])
    assert not list(tmp_path.glob("table*"))


def lorm_terms(weight):
    return {"scribble": {"weight": 1.0}, "lorm": {"weight": weight, "mask": "attended"}}


def test_varied_options_are_columns_and_variants_rows(metrics, tmp_path):
    variant = {"method": "cdsp@lorm.weight=1e-05", "terms": lorm_terms(1e-5)}
    runs = [
        metrics(0.5, 0, terms=lorm_terms(1.0)),
        metrics(0.7, 0, **variant),
        metrics(0.6, 1, terms=lorm_terms(1.0)),
        metrics(0.4, 0, method="scribble_only"),
    ]
    write_table(runs, tmp_path / "table.csv", options=["lorm.weight", "lorm.mask"])
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shown = ("method", "lorm.weight", "lorm.mask", "miou_mean", "num_seeds")
    assert [[row[key] for key in shown] for row in rows] == [
        ["cdsp", "1", "attended", "55.00", "2"],
        ["cdsp", "1e-05", "attended", "70.00", "1"],
        ["scribble_only", "", "", "40.00", "1"],
    ]
    # The runs behind each row stand beside the table.
    sidecar = json.loads((tmp_path / "table.json").read_text())
    assert (sidecar["format"], sidecar["version"]) == ("cdsp-table", 1)
    assert [entry["row"] for entry in sidecar["rows"]] == rows
    assert [entry["metrics"] for entry in sidecar["rows"]] == [
        [str(runs[0]), str(runs[2])],
        [str(runs[1])],
        [str(runs[3])],
    ]


def test_the_last_feature_variance_of_each_run_is_averaged(metrics, tmp_path):
    runs = [metrics(0.5, seed) for seed in (0, 1)]
    for run, values in zip(runs, ((3.0, 1.5), (9.0, 0.0005)), strict=True):
        records = [{"epoch": 1, "feature_variance": value} for value in values]
        write_json_lines(run.parent / "log.jsonl", records)
    write_table(runs, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["feature_variance"] == "0.7502"
    assert "feature variance" in (tmp_path / "table.md").read_text()


def test_the_caption_tells_how_runs_were_computed_where_it_is_not_the_plain_way(metrics, tmp_path):
    plain = {"device": "cpu", "precision": "float32", "deterministic": True}
    on_gpu = {"device": "NVIDIA H200", "precision": "bfloat16", "deterministic": False}
    expected: list[tuple] = [
        ((), ""),
        (((0, plain), (1, {"device": "cpu"})), ""),
        (
            ((0, on_gpu), (1, on_gpu)),
            "Trained on NVIDIA H200 in bfloat16, not deterministic (equal seeds then agree within "
            "the spread of the seeds).\n",
        ),
        (
            ((0, plain), (1, on_gpu | {"deterministic": True})),
            "Trained 1 × on cpu in float32, deterministic; 1 × on NVIDIA H200 in bfloat16, "
            "deterministic.\n",
        ),
    ]
    runs = [metrics(0.5, seed) for seed in (0, 1)]
    csv_texts = set()
    for number, (environments, line) in enumerate(expected):
        for index, environment in environments:
            write_json(runs[index].parent / "environment.json", environment)
        output = tmp_path / f"table{number}.csv"
        write_table(runs, output)
        text = output.with_suffix(".md").read_text()
        assert (line in text) if line else ("Trained" not in text)
        csv_texts.add(output.read_text())
    assert len(csv_texts) == 1


def test_the_probes_of_a_rows_runs_are_averaged_where_there_are_any(metrics, tmp_path):
    runs = [metrics(0.5, 0, probe=0.25), metrics(0.5, 1, probe=0.5), metrics(0.5, method="other")]
    write_table(runs, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        assert [row["probe_accuracy"] for row in csv.DictReader(file)] == ["37.50", ""]
    assert "linear probe (%)" in (tmp_path / "table.md").read_text()


def test_each_row_knows_the_quality_of_its_pseudo_labels(metrics, tmp_path):
    qualities = [
        write_quality(tmp_path / "cam.json", recipe="cam", scribbles="full", class_iou={"a": 0.5}),
        write_quality(
            tmp_path / "other.json", recipe="cam", scribbles="drop-0.5", class_iou={"a": 0.3}
        ),
    ]
    runs = [
        metrics(0.5),
        metrics(0.5, scribbles="drop-0.5"),
        metrics(0.5, scribbles="shrink-0.5"),
        metrics(0.5, pseudo_labels="none"),
    ]
    write_table(runs, tmp_path / "table.csv", qualities)
    with (tmp_path / "table.csv").open(newline="") as file:
        assert [row["pseudo_label_miou"] for row in csv.DictReader(file)] == [
            "50.00",
            "30.00",
            "",
            "",
        ]


def test_reported_numbers_follow_in_columns_of_their_own(metrics, tmp_path):
    write_table([metrics(0.5), metrics(0.6, seed=1)], tmp_path / "table.csv", reported="table3")
    with (tmp_path / "table.csv").open(newline="") as file:
        measured, *reported = csv.DictReader(file)
    assert (measured["miou_mean"], measured["reported"], measured["citation"]) == ("55.00", "", "")
    assert measured["source"] == "measured"
    by_labels = {
        (row["pseudo_labels"], row["backbone"]): float(row["reported"]) for row in reported
    }
    assert by_labels["BMP", "resnet101"] == 75.9
    assert by_labels["SEAM", "resnet50"] == 69.8
    for row in reported:
        assert (row["miou_mean"], row["num_seeds"], row["source"]) == ("", "", "reported")
        assert row["citation"]
    sidecar = json.loads((tmp_path / "table.json").read_text())
    assert [entry["metrics"] for entry in sidecar["rows"][1:]] == [[]] * len(reported)


def test_the_same_runs_give_the_same_bytes(metrics, tmp_path):
    runs = [metrics(0.5), metrics(0.6, seed=1), metrics(0.7, method="other")]
    for name in ("one", "two"):
        write_table(runs, tmp_path / name / "table.csv")
    for name in ("table.csv", "table.md", "table.html", "table.json", "table_labels.csv"):
        one, two = (tmp_path / folder / name for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_the_best_networks_are_rows_of_their_own_named_as_such(metrics, tmp_path):
    paths = []
    for seed, (last, best) in enumerate([(0.5, 0.6), (0.52, 0.7)]):
        told = {"checkpoint": "best_on_val", "epoch": 1 + seed}
        paths += [metrics(last, seed), metrics(best, seed, **told)]
        log = [{"epoch": epoch, "feature_variance": float(epoch)} for epoch in (1, 2, 3)]
        for path in paths[-2:]:
            write_json_lines(path.with_name("log.jsonl"), log)
    write_table(paths, tmp_path / "table.csv")
    last, best = read_table(tmp_path / "table.csv").to_dict("records")
    assert (last["checkpoint"], last["miou_mean"], last["num_seeds"]) == ("last", 51, 2)
    assert (best["checkpoint"], best["miou_mean"], best["num_seeds"]) == ("best_on_val", 65, 2)
    # Of the epoch that was kept: the last of both seeds, and epochs 1 and 2.
    assert (last["feature_variance"], best["feature_variance"]) == (3, 1.5)
    assert "an upper bound" in (tmp_path / "table.md").read_text()
    write_table(paths[::2], tmp_path / "last.csv")
    assert "checkpoint" not in (tmp_path / "last.csv").read_text()
    assert "heckpoint" not in (tmp_path / "last.md").read_text()


def test_the_agreement_with_its_own_labels_is_explained_where_it_is_told(metrics, tmp_path):
    write_table([metrics(0.5, 0)], tmp_path / "table.csv")
    table = pd.read_csv(tmp_path / "table.csv", dtype=str, keep_default_na=False)
    for value, told in (("", False), ("12.00", True)):
        of_value = table.assign(own_labels_miou=value)
        text = as_markdown(explained(of_value, pd.DataFrame(), {}, ""))
        assert ("predictions of a few training images" in text) is told
