import math
import subprocess
import sys

import numpy as np
import pytest
from run_files import metrics_content

from cdsp.io.json_files import digest, write_json, write_json_lines
from cdsp.io.outputs import file_digest
from cdsp.reporting.runs import read_evaluation
from cdsp.training.record import RUN, read_training


@pytest.fixture
def write(tmp_path):
    """Function that writes a metrics.json, with other values for some of its entries."""

    def write(**changes):
        path = tmp_path / "metrics.json"
        write_json(path, metrics_content(**changes))
        return path

    return write


def test_an_evaluation_is_what_its_file_says(write):
    run = read_evaluation(write())
    assert (run.name["method"], run.name["seed"], run.protocol) == ("cdsp", "0", "quick")
    assert (run.score, run.class_scores["background"]) == (0.5, 0.9)
    assert math.isnan(run.class_scores["cat"])
    assert run.training["terms"] == {"scribble": {"weight": 1.0}}
    assert run.environment["cpu"] == "abacus"


def test_a_mean_that_is_null_is_not_a_number(write):
    assert math.isnan(read_evaluation(write(mean_iou=None)).score)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": {"method": "cdsp"}},
        {"weights": None},
        {"mean_iou": "x"},
        {"mean_iou": [0.5]},
        {"class_iou": {}},
        *({key: 5} for key in ("name", "dataset", "training", "environment", "class_iou")),
    ],
)
def test_damaged_metrics_are_named(write, changes):
    with pytest.raises(ValueError, match=r"metrics\.json: damaged .*evaluate the network again"):
        read_evaluation(write(**changes))


def test_the_confusion_matrix_lies_beside_the_metrics(write):
    run = read_evaluation(write())
    with pytest.raises(ValueError, match=r"confusion\.npy: no such file"):
        run.read_confusion()
    np.save(run.confusion_path, np.array([[3, 1], [0, 5]]))
    assert run.read_confusion().tolist() == [[3, 1], [0, 5]]
    run = read_evaluation(write(confusion=file_digest(run.confusion_path)))
    assert run.read_confusion().tolist() == [[3, 1], [0, 5]]
    np.save(run.confusion_path, np.array([[3, 1], [0, 6]]))
    with pytest.raises(ValueError, match=r"confusion\.npy: damaged, or of another evaluation"):
        run.read_confusion()


def test_a_training_is_read_as_far_as_it_is_there(tmp_path):
    assert read_training(tmp_path / "nowhere").log is None
    record = read_training(tmp_path)
    assert [path.name for path in record.missing] == [
        "weights.pt",
        "settings.json",
        "environment.json",
        "log.jsonl",
    ]
    assert record.seconds is None
    write_json_lines(tmp_path / "log.jsonl", [{"epoch": 1, "seconds": 2.5}])
    record = read_training(tmp_path)
    assert record.log == ({"epoch": 1.0, "seconds": 2.5},)
    assert record.seconds == (2.5,)


def test_a_folder_that_was_trained_again_is_not_the_evaluated_run(write, tmp_path):
    training = {"seed": 0, "settings": {"epochs": 3}}
    run = read_evaluation(write(training=training, weights=str(tmp_path / "weights.pt")))
    assert run.read_training().log is None
    log = [{RUN: digest(training), "epoch": 1}, {RUN: digest(training), "epoch": 2}]
    write_json_lines(tmp_path / "log.jsonl", log)
    assert run.read_training().log == ({"epoch": 1.0}, {"epoch": 2.0})
    write_json_lines(tmp_path / "log.jsonl", [log[0], {RUN: digest({"seed": 1}), "epoch": 2}])
    with pytest.raises(ValueError, match=r"log\.jsonl:2: of another training than line 1"):
        run.read_training()
    write_json_lines(tmp_path / "log.jsonl", [{RUN: digest({"seed": 1}), "epoch": 1}])
    with pytest.raises(
        ValueError,
        match=r"metrics\.json: of another training than log\.jsonl in .*"
        r"evaluate it again",
    ):
        run.read_training()


def test_reading_runs_loads_neither_torch_nor_matplotlib():
    script = """
import sys, cdsp.reporting.runs, cdsp.reporting.settings
assert not {"torch", "matplotlib"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
