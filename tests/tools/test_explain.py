import csv
import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from run_files import NAME, metrics_content
from typer.testing import CliRunner

from cdsp import cli
from cdsp.io.files import TABLE_FORMAT, TABLE_VERSION
from cdsp.io.json_files import accept_changes
from cdsp.reporting.table_rows import list_rows
from cdsp.reporting.tables import write_table
from cdsp.tools.explain import WIDTH, explain_rows

TABLE = Path("results/table1.csv")
# Intersection over union by hand: 8/10 and 10/12; 5/15 twice.
CONFUSIONS = ([[8, 2], [0, 10]], [[5, 5], [5, 5]])
MEANS = (0.5 * (8 / 10 + 10 / 12), 5 / 15)
ENVIRONMENT = {"torch": "9.8.7", "device": "cpu", "cpu": "abacus"}


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    with suppress(ValueError):  # what is no JSON has no checksum
        accept_changes(path)


def change(path, **values):
    write(path, {**json.loads(path.read_text()), **values})


def write_run(seed=0, *, method="cdsp", confusion=None, mean_iou=None, classes=(), **settings):
    """The files of a run and its evaluation; returns its metrics.json."""
    name = {**NAME, "method": method, "seed": seed}
    training = {
        "version": 1,
        "name": name,
        "seed": seed,
        "settings": {"epochs": 3, "learning_rate": 0.125, **settings},
        "terms": {"scribble": {"weight": 1.0}, "lorm": {"weight": 0.25, "mask": "attended"}},
        "dataset": "d1d2d3d4",
        "stores": {"scribble": "5c51bb1e", "pseudo_label": "1abe1"},
    }
    run = Path(f"results/shapes/segmentation/{method}/seed-{seed}")
    write(run / "weights.pt", "weights")
    write(run / "settings.json", training)
    command = f"cdsp segmentation --method {method} --seed {seed}"
    environment = {**ENVIRONMENT, "commit": "c0ffee", "command": command}
    write(run / "environment.json", environment)
    log = [{"epoch": epoch, "seconds": 10.0 * epoch + seed} for epoch in (1, 2, 3)]
    write(run / "log.jsonl", "".join(json.dumps(line) + "\n" for line in log))
    metrics = Path(f"results/shapes/evaluation/{method}/seed-{seed}/quick/metrics.json")
    content = metrics_content(
        name=name,
        weights=str(run / "weights.pt"),
        protocol_settings={"scales": [1.0], "window": 321, "classes": list(classes)},
        mean_iou=MEANS[seed] if mean_iou is None else mean_iou,
        class_iou={"background": 0.5, "cat": 0.5},
        training=training,
        environment={**ENVIRONMENT, "command": f"cdsp evaluation {run}/weights.pt"},
    )
    write(metrics, content)
    np.save(
        metrics.with_name("confusion.npy"), CONFUSIONS[seed] if confusion is None else confusion
    )
    return metrics


def write_rows(*rows):
    """A table's CSV and JSON of (texts, metrics.json of its runs)."""
    names = list(dict.fromkeys(name for values, _ in rows for name in values))
    texts = [{name: str(values.get(name, "")) for name in names} for values, _ in rows]
    TABLE.parent.mkdir(exist_ok=True)
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(texts)
    entries = [
        {"row": text, "metrics": [str(path) for path in paths]}
        for text, (_, paths) in zip(texts, rows, strict=True)
    ]
    beside = {"format": TABLE_FORMAT, "version": TABLE_VERSION, "rows": entries}
    write(TABLE.with_suffix(".json"), beside)


def row(mean, spread="", seeds=1, **values):
    result = {"miou_mean": mean, "miou_std": spread, "num_seeds": seeds, "source": "measured"}
    return {**NAME, "protocol": "quick", **result, **values}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def two_runs():
    """A table of one row of two runs; the two metrics.json."""
    runs = [write_run(0), write_run(1)]
    write_rows((row("57.50", "34.18", 2), runs))  # √½ (81.6667 − 33.3333) = 34.1768
    return runs


def parts(text):
    """The text before and after each heading in capitals."""
    found = re.split(r"^(ALL RUNS|THE RUN|SEED \d+)$", text, flags=re.MULTILINE)
    return {"": found[0], **dict(zip(found[1::2], found[2::2], strict=True))}


def words(text):
    return " ".join(text.split())


@pytest.mark.usefixtures("two_runs")
def test_mean_and_spread_are_made_from_the_confusion_matrices():
    explanation = explain_rows(TABLE, "1")
    assert explanation.confirmed
    head = parts(explanation.text)[""]
    assert "mIoU (%) 57.50 ± 34.18" in head
    for line in ("seed 0  81.666667", "seed 1  33.333333", "mean of 2  57.500000"):
        assert line in head
    assert "sample standard deviation  34.176828" in head
    assert "Checked" in explanation.text
    assert "changed" not in explanation.text


def test_what_runs_share_is_told_once_and_what_differs_with_each():
    runs = [write_run(0, flip=True), write_run(1, flip=False)]
    write_rows((row("57.50", "34.18", 2), runs))
    text = parts(explain_rows(TABLE, "cdsp").text)
    shared = words(text["ALL RUNS"])
    for fact in (
        "digest d1d2d3d4",
        "evaluated images 120",
        "lorm (weight 0.25, mask attended)",
        "scribble (weight 1.0)",
        "learning_rate 0.125",
        "window 321",
        "pseudo_label 1abe1",
        "torch 9.8.7",
        "cpu abacus",
        "commit c0ffee",
        "all that occur",
    ):
        assert fact in shared
        for seed in (0, 1):
            assert fact not in words(text[f"SEED {seed}"])
    assert "flip" not in shared
    assert "flip true" in text["SEED 0"]
    assert "flip false" in text["SEED 1"]
    for seed, seconds in ((0, 60), (1, 63)):
        own = text[f"SEED {seed}"]
        assert f"3 epochs in {seconds // 60} min {seconds % 60} s" in own
        assert f"cdsp segmentation --method cdsp --seed {seed}\n" in own
        assert f"cdsp evaluation results/shapes/segmentation/cdsp/seed-{seed}/weights.pt\n" in own
        assert f"snakemake --cores 8 {runs[seed]}\n" in own
        assert f"results/shapes/segmentation/cdsp/seed-{seed}/weights.pt, of 20" in own


def test_the_evaluation_tells_of_its_hardware_where_it_is_another():
    path = write_run(0)
    change(path, environment={**ENVIRONMENT, "device": "gigantic GPU"})
    write_rows((row("81.67"), [path]))
    text = words(explain_rows(TABLE, "1").text)
    assert "hardware of the evaluation device gigantic GPU SEED 0" in text


def test_a_row_of_one_run_has_no_spread():
    write_rows((row("81.67"), [write_run(0)]))
    explanation = explain_rows(TABLE, "1")
    assert explanation.confirmed
    assert "ALL RUNS" not in explanation.text
    assert "learning_rate 0.125" in parts(explanation.text)["THE RUN"]


def test_means_over_named_classes_follow_the_protocol():
    path = write_run(0, classes=["cat"], mean_iou=10 / 12)
    write_rows((row("83.33"), [path]))
    explanation = explain_rows(TABLE, "1")
    assert explanation.confirmed
    assert "83.333333" in explanation.text
    assert "averaged over cat Versions" in words(explanation.text)
    change(path, protocol_settings={"classes": ["cow"]})
    with pytest.raises(ValueError, match="unknown class 'cow'"):
        explain_rows(TABLE, "1")


def test_a_variant_of_a_method_belongs_to_the_row_of_its_method():
    path = write_run(0, method="cdsp@lorm.weight=0.25")
    write_rows((row("81.67", **{"lorm.weight": "0.25"}), [path]))
    assert explain_rows(TABLE, "1").confirmed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"miou_mean": "57.52"}, r"miou_mean is '57\.52' in the table, and 57\.5 by the runs"),
        ({"miou_mean": ""}, "miou_mean is ''"),
        ({"miou_mean": "many"}, "miou_mean is 'many'"),
        ({"miou_std": "34.16"}, r"miou_std is '34\.16' in the table, and 34\.1768 by the runs"),
        ({"miou_std": ""}, "miou_std is ''"),
        ({"num_seeds": "3"}, "num_seeds is '3' in the table, and 2 by the runs"),
        ({"scribbles": "drop-0.5"}, r"scribbles is 'full', and 'drop-0\.5' in the table"),
        ({"method": "else"}, "method is 'cdsp', and 'else' in the table"),
        ({"protocol": "paper"}, "protocol is 'quick', and 'paper' in the table"),
    ],
)
def test_a_table_that_its_runs_do_not_confirm_is_told(two_runs, changes, message):
    write_rows(({**row("57.50", "34.18", 2), **changes}, two_runs))
    explanation = explain_rows(TABLE, "1")
    assert not explanation.confirmed
    assert re.search(rf"changed since the table was written(.|\n)*{message}", explanation.text)


def test_metrics_that_their_confusion_matrix_does_not_confirm_are_told(two_runs):
    change(two_runs[1], mean_iou=0.334)
    explanation = explain_rows(TABLE, "1")
    assert not explanation.confirmed
    assert f"{two_runs[1]}: mean_iou is 0.334, and 0.3333333333333333 by" in explanation.text


def test_a_run_that_was_evaluated_again_changes_the_number(two_runs):
    np.save(two_runs[0].with_name("confusion.npy"), [[9, 1], [0, 10]])
    change(two_runs[0], mean_iou=0.5 * (9 / 10 + 10 / 11))
    explanation = explain_rows(TABLE, "1")
    assert not explanation.confirmed
    assert "make it again" in explanation.text
    assert "miou_mean" in explanation.text


@pytest.mark.usefixtures("two_runs")
def test_a_run_that_was_trained_again_is_told():
    change(Path("results/shapes/segmentation/cdsp/seed-1/settings.json"), dataset="0ther")
    explanation = explain_rows(TABLE, "1")
    assert not explanation.confirmed
    assert "segmentation/cdsp/seed-1: trained again since" in explanation.text


@pytest.mark.usefixtures("two_runs")
def test_the_number_stands_where_only_the_training_moved_away():
    shutil.rmtree("results/shapes/segmentation/cdsp/seed-1")
    explanation = explain_rows(TABLE, "1")
    assert explanation.confirmed
    text = parts(explanation.text)
    for name in ("weights.pt", "settings.json", "environment.json", "log.jsonl"):
        assert f"missing   results/shapes/segmentation/cdsp/seed-1/{name}\n" in text["SEED 1"]
        assert "missing" not in text["SEED 0"]
    assert "learning_rate 0.125" in text["ALL RUNS"]
    assert "Trained by" not in text["SEED 1"]
    assert "cpu abacus" in words(text["SEED 1"])  # by the evaluation


def test_missing_evaluations_are_named(two_runs):
    two_runs[0].unlink()
    two_runs[1].with_name("confusion.npy").unlink()
    explanation = explain_rows(TABLE, "1")
    assert not explanation.confirmed
    assert "cannot be made from its runs" in explanation.text
    for path in (two_runs[0], two_runs[1].with_name("confusion.npy")):
        assert f"  {path}\n" in explanation.text
    assert "seed 1  unknown" in explanation.text
    assert "learning_rate 0.125" in explanation.text
    assert f"  snakemake --cores 8 {two_runs[0]}" in explanation.text
    shutil.rmtree("results/shapes/evaluation")
    explanation = explain_rows(TABLE, "1")
    assert not explanation.confirmed
    assert "changed" not in explanation.text


def test_a_reported_row_tells_its_source():
    texts = {"method": "TEL", "reported": "75.20", "reported_test": "75.60", "citation": "Liang"}
    write_rows((row("81.67"), [write_run(0)]), (texts, []))
    explanation = explain_rows(TABLE, "TEL")
    assert explanation.confirmed
    assert "75.20 %, on the test images 75.60 %: reported, not measured here" in explanation.text
    assert "Source: Liang" in explanation.text


def test_rows_are_listed_with_what_tells_them_apart():
    runs, other = [write_run(0), write_run(1)], [write_run(1, method="other")]
    reported = [
        {"method": "TEL", "backbone": "resnet101", "reported": "75.20", "citation": "Liang"},
        {"method": "TEL", "backbone": "vgg16", "reported": "77.60", "citation": "Liang"},
    ]
    measured = [(row("57.50", "34.18", 2), runs), (row("33.33", method="other"), other)]
    write_rows(*measured)
    lines = list_rows(TABLE).splitlines()
    assert lines[0] == "results/table1.csv: 2 rows"
    assert [words(line) for line in lines[3:5]] == ["1 57.50 ± 34.18 2 cdsp", "2 33.33 1 other"]
    write_rows(*measured, *((values, []) for values in reported))
    assert [words(line) for line in list_rows(TABLE).splitlines()[3:7]] == [
        "1 57.50 ± 34.18 2 cdsp, resnet18",
        "2 33.33 1 other, resnet18",
        "3 75.20 reported TEL, resnet101",
        "4 77.60 reported TEL, vgg16",
    ]


def test_a_method_stands_for_all_of_its_rows():
    paths = [write_run(0), write_run(1), write_run(1, method="other")]
    write_rows(
        (row("81.67"), paths[:1]),
        (row("33.33", method="other"), paths[2:]),
        (row("33.40"), paths[1:2]),
    )
    explanation = explain_rows(TABLE, "cdsp")
    assert re.findall(r"^Row (\d)", explanation.text, re.MULTILINE) == ["1", "3"]
    assert not explanation.confirmed  # the third
    assert explain_rows(TABLE, "1").confirmed
    assert explain_rows(TABLE, "other").confirmed
    for wanted in ("0", "4", "odher", ""):
        with pytest.raises(ValueError, match=f"no row '{wanted}'; expected a number from 1 to 3"):
            explain_rows(TABLE, wanted)
    with pytest.raises(ValueError, match="did you mean 'other'"):
        explain_rows(TABLE, "odher")


@pytest.mark.usefixtures("two_runs")
def test_prose_fits_a_terminal():
    settings = {f"a_setting_with_a_long_name_{index}": index for index in range(40)}
    write_rows((row("81.67"), [write_run(0, **settings)]))
    for line in explain_rows(TABLE, "1").text.splitlines():
        assert len(line) <= WIDTH or "/" in line
    assert "a_setting_with_a_long_name_39 39" in words(explain_rows(TABLE, "1").text)


def test_the_table_that_the_reporting_stage_writes_is_explained():
    runs = [write_run(0), write_run(1), write_run(1, method="other")]
    for path in Path("results/shapes/segmentation").rglob("log.jsonl"):
        path.write_text('{"seconds": 5.0, "feature_variance": 1.5}\n')
        accept_changes(path)
    write_table(runs, TABLE, options=["lorm.weight"], reported="table2")
    explanation = explain_rows(TABLE, "1")
    assert explanation.confirmed
    assert "mean of 2  57.500000" in explanation.text
    assert "lorm.weight 0.25" in explanation.text
    assert "Zhang et al." in explain_rows(TABLE, "scribble_only").text
    assert explain_rows(TABLE, "other").confirmed
    assert "9  " in list_rows(TABLE)


@pytest.mark.usefixtures("two_runs")
def test_the_command_fails_where_the_table_is_not_confirmed():
    def run(*arguments):
        return CliRunner().invoke(
            cli.build_app("reporting"), ["reporting", "explain", str(TABLE), *arguments]
        )

    assert run().exit_code == 0
    assert "57.50 ± 34.18" in run().output
    assert run("1").exit_code == 0
    np.save("results/shapes/evaluation/cdsp/seed-0/quick/confusion.npy", [[1, 0], [0, 1]])
    result = run("1")
    assert result.exit_code == 1
    assert "changed since the table was written" in result.output


def corrupt_header(path):
    """An array file that claims a petabyte."""
    header = "{'descr': '<i8', 'fortran_order': False, 'shape': (10000000, 10000000), }"
    header = header.ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("results/table1.csv", Path.unlink, r"table1\.csv: no such file"),
        ("results/table1.json", Path.unlink, r"table1\.json: no such file.*make the table again"),
        ("results/table1.json", "[", r"table1\.json: not a readable JSON"),
        ("results/table1.json", "{}", r"table1\.json: expected format 'cdsp-table'"),
        ("results/table1.csv", "", r"table1\.csv: not a readable table"),
        ("results/table1.csv", 'method\n"x', r"table1\.csv: not a readable table"),
        ("results/table1.csv", "method\na\nb\n", r"table1\.csv: not the table that table1\.json"),
        ("results/table1.csv", "name\na\n", r"table1\.csv: not the table that table1\.json"),
        ("EVALUATION/metrics.json", "{", r"metrics\.json: not a readable JSON"),
        ("EVALUATION/confusion.npy", "text", r"confusion\.npy: not readable"),
        ("EVALUATION/confusion.npy", "", r"confusion\.npy: not readable"),
        ("EVALUATION/confusion.npy", corrupt_header, r"confusion\.npy: not readable"),
        ("RUN/settings.json", "{", r"settings\.json: not a readable JSON"),
        ("RUN/settings.json", "[" * 100_000, r"settings\.json: not a readable JSON"),
        ("RUN/environment.json", "[]", r"environment\.json: expected a JSON object"),
        ("RUN/log.jsonl", '{"seconds": 1}\n{"sec', r"log\.jsonl: damaged"),
        ("RUN/log.jsonl", '{"seconds": "x"}\n', r"log\.jsonl:1: expected 'seconds'"),
    ],
)
def test_damaged_files_are_named(two_runs, name, damage, message):
    folders = {"EVALUATION": two_runs[1].parent, "RUN": "results/shapes/segmentation/cdsp/seed-1"}
    for key, folder in folders.items():
        name = name.replace(key, str(folder))
    path = Path(name)
    if callable(damage):
        damage(path)
    else:
        path.write_text(damage)
    if path.suffix == ".jsonl" and str(damage).endswith("\n"):
        accept_changes(path)
    with pytest.raises(ValueError, match=message):
        explain_rows(TABLE, "1")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 3), int),
        np.zeros(4, int),
        np.zeros((2, 2)),
        np.array([[1, "a"], [2, 3]], object),
    ],
    ids=["three classes", "flat", "fractions", "objects"],
)
def test_other_arrays_are_no_confusion_matrix(two_runs, array):
    np.save(two_runs[0].with_name("confusion.npy"), array)
    with pytest.raises(ValueError, match=r"seed-0/quick/confusion\.npy"):
        explain_rows(TABLE, "1")


@pytest.mark.parametrize(
    "key", ["name", "protocol_settings", "dataset", "mean_iou", "class_iou", "training", "weights"]
)
def test_incomplete_metrics_are_named(two_runs, key):
    for value in (None, 5):
        if key == "mean_iou":
            value = "x"
        change(two_runs[0], **{key: value})
        with pytest.raises(ValueError, match=r"seed-0/quick/metrics\.json: damaged"):
            explain_rows(TABLE, "1")


@pytest.mark.usefixtures("two_runs")
def test_the_command_of_the_evaluation_is_told():
    text = parts(explain_rows(TABLE, "1").text)["SEED 1"]
    command = "cdsp evaluation results/shapes/segmentation/cdsp/seed-1/weights.pt"
    assert f"  Evaluated by\n    {command}\n" in text


@pytest.mark.usefixtures("two_runs")
def test_nothing_is_written():
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    explain_rows(TABLE, "1")
    list_rows(TABLE)
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before
    assert os.listdir() == ["results"]
