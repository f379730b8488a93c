"""Runs the workflow as a user does: `snakemake`, in a folder of its own."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NETWORK = "deeplabv3plus-mobilenet_v2"


def environment(code: Path = ROOT) -> dict[str, str]:
    """Variables under which `cdsp` is the one in the folder `code`."""
    return {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(code),
        "COLUMNS": "200",
    }


def snakemake(folder: Path, *arguments: str | Path, fails: bool = False, code: Path = ROOT) -> str:
    """Run snakemake in a folder; what it printed."""
    result = subprocess.run(
        [BIN / "snakemake", *arguments],
        cwd=folder,
        env=environment(code),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (result.returncode != 0) == fails, result.stdout
    return result.stdout


def planned(printed: str) -> set[tuple[str, ...]]:
    """The jobs that snakemake announced: rule and values of its wildcards."""
    jobs = re.split(r"^(?:local)?rule (?=\w+:$)", printed, flags=re.MULTILINE)[1:]
    found = set()
    for job in jobs:
        wildcards = re.search(r"^    wildcards: (.*)$", job, flags=re.MULTILINE)
        values = re.findall(r"=([^,]+)", wildcards[1]) if wildcards else []
        found.add((job[: job.index(":")], *values))
    return found


def copy_workflow(folder: Path) -> Path:
    """The workflow alone, without a configuration."""
    for name in ("workflow", "profiles", "envs"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


def shared_folder(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """A folder that is made once, and that parallel workers share."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / name
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make(folder)
    return folder
