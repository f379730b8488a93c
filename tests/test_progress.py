"""What reaches the workflow's terminal from a job whose output goes to a log."""

import os
import subprocess
import sys

import pytest

from cdsp import progress
from cdsp.progress import duration
from cdsp.training import report
from cdsp.training.report import TrainingReport, run_title

JOB = """
import logging, os, subprocess, sys
from cdsp.progress import find_terminal, tell
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
find_terminal("scribbles import")
tell("epoch 1")
logging.getLogger("cdsp").info("for the log alone")
logging.getLogger("cdsp").warning("2 of 47 images have no scribble")
print(os.environ.get("CDSP_TERMINAL"))
"""


def run_job(tmp_path, terminal):
    """Standard output of a job, and what reached a terminal that is open as file 3."""
    shell = f"exec 3>{tmp_path / 'terminal'}; exec {sys.executable} -c '{JOB}' 2>{tmp_path / 'log'}"
    environment = {**os.environ, **terminal}
    done = subprocess.run(["sh", "-c", shell], env=environment, text=True, capture_output=True)
    assert done.returncode == 0, (tmp_path / "log").read_text()
    assert "for the log alone" in (tmp_path / "log").read_text()
    assert "2 of 47 images" in (tmp_path / "log").read_text()
    return done.stdout, (tmp_path / "terminal").read_text()


def test_told_lines_and_warnings_reach_the_terminal(tmp_path):
    printed, shown = run_job(tmp_path, {"CDSP_TERMINAL": "3"})
    assert shown.splitlines() == [
        "epoch 1",
        "cdsp scribbles import: 2 of 47 images have no scribble",
    ]
    assert printed == "None\n"  # no child takes another file for the terminal


@pytest.mark.parametrize("number", ["", "x", "9"])
def test_without_a_terminal_nothing_is_lost_but_the_lines(tmp_path, number):
    assert run_job(tmp_path, {"CDSP_TERMINAL": number})[1] == ""


def test_times_are_told_in_words():
    told = {0.4: "0 s", 59.6: "1 min 0 s", 61: "1 min 1 s", 3599: "59 min 59 s", 7320: "2 h 2 min"}
    assert {seconds: duration(seconds) for seconds in told} == told


@pytest.fixture
def told(monkeypatch):
    """The lines for the terminal; and a clock that the test sets."""
    lines, clock = [], [0.0]
    monkeypatch.setattr(report, "tell", lines.append)
    monkeypatch.setattr(report.time, "monotonic", lambda: clock[0])
    return lines, clock


def test_a_training_tells_epoch_losses_speed_and_the_time_left(told):
    lines, clock = told
    with TrainingReport("both seed 0", epochs=3, steps_per_epoch=10, done=10) as shown:
        for step in range(20):
            clock[0] += 2.0
            shown.step()
            shown.show({"loss": 1.0 / (step + 1)}, 4.0)
    assert lines[0] == ("both seed 0: epoch 2/3, step 18/30  loss 0.125  4.0 images/s  24 s left")
    assert lines[-1] == "both seed 0: epoch 3/3, step 30/30  loss 0.050  4.0 images/s  took 40 s"
    assert len(lines) == 3  # one in 15 seconds, and the last


def test_the_last_step_is_told_however_short_a_training_was(told):
    with TrainingReport("x", epochs=1, steps_per_epoch=1, done=0) as shown:
        shown.step()
        shown.show({"loss": 1.0}, 4.0)
    assert len(told[0]) == 1


def test_a_run_is_called_by_what_it_is():
    name = {"method": "both", "network": "v3", "scribbles": "full", "pseudo_labels": "none"}
    assert run_title({"name": {**name, "seed": 2}}, "segmentation") == "both v3 full seed 2"
    assert run_title({}, "classifier") == "classifier"


def test_a_terminal_that_is_gone_is_no_error(monkeypatch):
    monkeypatch.setattr(progress, "_terminal", 987654)
    progress.tell("x")
