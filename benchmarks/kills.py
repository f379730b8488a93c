"""Kill the whole workflow at random moments, and compare what it ends with.

    python benchmarks/kills.py --kills 16

runs the workflow of tests/workflow/tiny.yaml to its end, and then again in another folder, where
SIGKILL ends Snakemake and all its jobs at random moments; each time it is unlocked and started
again. Every file of the results must end with the same bytes, but for what tells times.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGETS = ("results/table1.csv", "results/shrunk.csv")
TIMES = ("logs", "benchmarks")
"""Folders of files that tell of times, which differ from one run to the next."""
TIMES_IN_LOGS = ("seconds", "images_per_second", "checksum")
"""What tells of times in each line of a training's log, and the checksum of all lines."""


def main() -> None:
    """Run, kill, compare; ends with 1 where a file differs or a temporary one is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        whole, killed = (make_project(Path(name) / each) for each in ("whole", "killed"))
        start = time.perf_counter()
        snakemake(whole).wait()
        seconds = time.perf_counter() - start
        kills = 0
        while kills < options.kills:
            process = snakemake(killed)
            try:
                process.wait(rng.uniform(0.02, 0.25) * seconds)
                shutil.rmtree(killed / "results")  # it has ended: once more from nothing
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
            snakemake(killed, "--unlock").wait()
        snakemake(killed).wait()
        expected, found = contents(whole), contents(killed)
    wrong = sorted(path for path in expected | found if expected.get(path) != found.get(path))
    print(f"{kills} kills, {len(expected)} files, {len(wrong)} of them different", *wrong, sep="\n")
    sys.exit(bool(wrong) or not expected)


def make_project(folder: Path) -> Path:
    """A copy of the workflow with the tiny configuration."""
    for name in ("workflow", "profiles", "envs"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Snakefile", folder)
    shutil.copy(ROOT / "tests/workflow/tiny.yaml", folder / "config.yaml")
    return folder


def snakemake(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start snakemake in a folder, as the head of a process group of its own."""
    return subprocess.Popen(
        ["snakemake", "--cores", "2", *(arguments or TARGETS)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def contents(folder: Path) -> dict[str, str]:
    """Path → digest of every result; of the hidden files, temporary ones alone."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(timeless(path)).hexdigest()
        for path in sorted((folder / "results").rglob("*"))
        if path.is_file()
        and not {*path.relative_to(folder).parts} & {*TIMES}
        and (path.name[0] != "." or ".tmp" in path.name)
    }


def timeless(path: Path) -> bytes:
    """The bytes of a file; of a training's log, without what tells of times."""
    if not path.name.endswith("log.jsonl"):
        return path.read_bytes()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [{k: v for k, v in line.items() if k not in TIMES_IN_LOGS} for line in lines]
    return json.dumps(kept).encode()


if __name__ == "__main__":
    main()
