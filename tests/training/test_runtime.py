import platform
import subprocess
from pathlib import Path

import pytest
import torch

from cdsp.training import runtime

CPUINFO = """processor\t: 0
vendor_id\t: Abacus
model\t\t: 7
model name\t: Abacus Wood(tm) 12 beads @ 1 Hz

processor\t: 1
model name\t: another
"""


def test_the_model_of_the_processor_is_recorded(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO)
    assert runtime.cpu_model(path) == "Abacus Wood(tm) 12 beads @ 1 Hz"
    monkeypatch.setattr(platform, "machine", lambda: "abacus64")
    for processor, expected in (("Beads", "Beads"), ("", "abacus64")):
        monkeypatch.setattr(platform, "processor", lambda processor=processor: processor)
        path.write_text("processor\t: 0\nmodel name\t:\n")
        assert runtime.cpu_model(path) == expected
        assert runtime.cpu_model(tmp_path / "absent") == expected


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux has /proc/cpuinfo")
def test_this_machines_processor_has_a_name():
    recorded = runtime.describe(torch.device("cpu"))["cpu"]
    assert recorded
    assert recorded in Path("/proc/cpuinfo").read_text() or recorded == platform.machine()


@pytest.fixture
def as_before():
    yield
    runtime.prepare(1, "cpu")


@pytest.mark.parametrize(
    ("deterministic", "expected"), [("auto", True), (True, True), (False, False)]
)
def test_operations_are_deterministic_on_a_cpu_unless_told_otherwise(
    as_before, deterministic, expected
):
    device = runtime.prepare(1, "cpu", deterministic=deterministic, fixed_sizes=True)
    assert runtime.describe(device)["deterministic"] is expected
    assert torch.backends.cudnn.benchmark is not expected
    assert torch.get_float32_matmul_precision() == ("highest" if expected else "high")


def test_a_cpu_computes_in_float32_and_loads_in_its_own_process_unless_told_otherwise():
    cpu = torch.device("cpu")
    assert runtime.precision_of("auto", cpu) is torch.float32
    assert runtime.precision_of("bfloat16", cpu) is torch.bfloat16
    assert runtime.workers_of(None, cpu) == 0
    assert runtime.workers_of(3, cpu) == 3


def test_a_gpu_is_fed_by_at_most_eight_of_the_processors_that_the_job_may_use(monkeypatch):
    gpu = torch.device("cuda")
    for processors, expected in ((2, 2), (64, 8)):
        monkeypatch.setattr(
            "os.sched_getaffinity", lambda _, n=processors: set(range(n)), raising=False
        )
        assert runtime.workers_of(None, gpu) == expected
    assert runtime.workers_of(0, gpu) == 0


def test_a_new_file_of_the_package_makes_the_commit_dirty(tmp_path, monkeypatch):
    def git(*arguments):
        names = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *names, *arguments], cwd=tmp_path, check=True, capture_output=True)

    here = tmp_path / "cdsp/training/runtime.py"
    here.parent.mkdir(parents=True)
    here.write_text("")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setattr(runtime, "__file__", str(here))
    clean = runtime.describe_command()["commit"]
    assert clean is not None
    assert len(clean) == 40
    (tmp_path / "notes.txt").write_text("beside the package")
    assert runtime.describe_command()["commit"] == clean
    (tmp_path / "cdsp/losses").mkdir()
    (tmp_path / "cdsp/losses/own.py").write_text("")
    assert runtime.describe_command()["commit"] == f"{clean}-dirty"
    here.write_text("changed")
    assert runtime.describe_command()["commit"] == f"{clean}-dirty"
