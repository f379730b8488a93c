import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import RUN, Cluster, Project


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = [name for name in ("sbatch", "srun") if shutil.which(name) is None]
    sbin = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing += [
        name for name in ("slurmctld", "slurmd", "munged") if not shutil.which(name, path=sbin)
    ]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here: apt-get install slurm-wlm slurm-client munge")
    pytest.importorskip(
        "snakemake_executor_plugin_cluster_generic", reason="pip install '.[slurm]'"
    )
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="pip install '.[slurm]'")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    cluster.script("up")
    yield cluster
    for job in cluster.jobs():
        subprocess.run(["scancel", "--quiet", job], env=cluster.environment)
    cluster.script("down")


@pytest.fixture(scope="session")
def finished(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose table was made on the cluster, by any submit command."""
    project = Project(tmp_path_factory.mktemp("finished"), cluster)
    project.snakemake("generic", "results/cluster.csv")
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A project in which one training is to be made, and then all is."""
    project = Project(tmp_path, finished.cluster)
    project.take(finished)
    shutil.rmtree(project.folder / RUN)
    return project
