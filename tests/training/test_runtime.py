import platform
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
