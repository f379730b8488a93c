"""How many jobs that use a GPU run at a time on one machine: as many as are visible."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from slurm_cluster import BIN, HERE, ROOT

pytestmark = pytest.mark.cluster

# Stands for `cdsp segmentation`, and notes when it begins and ends.
FAKE = """#!/usr/bin/env bash
while [ "$1" != --output ]; do shift; done
mkdir -p "$2"
echo 1 >> times.txt
sleep 1
echo -1 >> times.txt
touch "$2"/{weights.pt,settings.json,environment.json,log.jsonl}
"""


@pytest.mark.parametrize(("visible", "expected"), [("0", 1), ("GPU-1f,GPU-2e", 2), ("", 2)])
def test_as_many_jobs_as_gpus(tmp_path, visible, expected):
    """On two processors, as here: without a GPU, one job to each."""
    for name in ("workflow", "profiles", "envs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "Snakefile", tmp_path)
    configuration = yaml.safe_load((HERE / "experiment.yaml").read_text())
    configuration["tables"]["cluster"] |= {"methods": ["full_supervision"], "seeds": [0, 1, 2, 3]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(configuration))
    (tmp_path / "results/tiny/dataset").mkdir(parents=True)
    (tmp_path / "results/tiny/dataset/dataset.json").touch()
    fake = tmp_path / "bin/cdsp"
    fake.parent.mkdir()
    fake.write_text(FAKE)
    fake.chmod(0o755)
    subprocess.run(
        [BIN / "snakemake", "--cores", "2", "networks"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{fake.parent}:{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "CUDA_VISIBLE_DEVICES": visible,
        },
        check=True,
    )
    running, most = 0, 0
    for change in Path(tmp_path / "times.txt").read_text().split():
        running += int(change)
        most = max(most, running)
    assert most == expected
