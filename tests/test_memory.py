import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import numpy as np
from cdsp.cli import main

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**26, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
try:
    main(["--version"])
except SystemExit:
    pass
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_an_array_of_a_command_takes_the_memory_of_the_one_before():
    """By default each array of 64 MiB takes pages of its own, of 4 KiB or, if huge, 2 MiB."""
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True
    )
    before, *_, after = found.stdout.split()
    assert int(before) >= 32
    assert int(after) < 8
