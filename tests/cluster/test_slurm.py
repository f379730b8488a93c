"""The workflow on a real Slurm, and what happens when jobs, nodes and heads die.

Not among the tests that run by default: `pytest -m cluster`.
"""

import os
import re
import signal
import subprocess

import pytest
from slurm_cluster import RUN, WEIGHTS, Project, wait_for

pytestmark = pytest.mark.cluster


def same_weights(one: Project, other: Project) -> bool:
    return (one.folder / WEIGHTS).read_bytes() == (other.folder / WEIGHTS).read_bytes()


def test_a_table_is_made_by_any_submit_command(finished):
    rows = (finished.folder / "results/cluster.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == [
        "method",
        "scribble_only",
        "scribble_and_pseudo_label",
    ]
    described = finished.cluster.call("squeue", "--noheader", "--states=all", "--format=%P %b")
    jobs = [line.split() for line in described.splitlines()]
    assert sum(gres.endswith("gpu:1") for _, gres in jobs) >= 4  # two trainings, two evaluations
    assert all((partition == "gpu") == gres.endswith("gpu:1") for partition, gres in jobs)


@pytest.mark.parametrize("block", ["", "gres", "cpu"], ids=["plain", "gres", "cpu"])
def test_the_plugin_for_slurm_makes_it_as_well(project, finished, block):
    """With GPUs, with GPUs that are known as gres only, without any."""
    profile = project.folder / "profiles/slurm/profile.yaml"
    if block:
        profile.write_text(re.sub(rf"(?m)^#{block} ", "", profile.read_text()))
    before = set(project.cluster.jobs())
    project.snakemake("slurm", WEIGHTS)
    assert same_weights(project, finished)
    (job,) = set(project.cluster.jobs()) - before
    asked = project.cluster.call(
        "squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%P %b"
    )
    assert asked.split()[0] == ("cpu" if block == "cpu" else "gpu")
    described = project.cluster.call("scontrol", "show", "job", job)
    assert ("gres/gpu" in described or "gres:gpu" in described) == (block != "cpu")


def test_a_profile_without_a_gpu_partition_is_refused_in_words(cluster, tmp_path):
    project = Project(tmp_path, cluster)
    partitions = project.folder / "profiles/slurm/partitions.yaml"
    partitions.write_text(re.sub(r"(?m)^    max_gpu: .*\n", "", partitions.read_text()))
    printed = project.snakemake("slurm", WEIGHTS, fails=True)
    assert "no partition has GPUs (max_gpu), for which these rules ask: segmentation. " in printed
    assert "uncomment the lines that begin with #cpu" in printed
    assert not (project.folder / "results").exists()


def test_more_gpus_for_a_job_are_no_reason_to_run_it_again(finished):
    printed = finished.snakemake(
        "generic", "--dry-run", "--set-resources", "segmentation:gpu=2", "--", "results/cluster.csv"
    )
    assert "Nothing to be done" in printed


def resumed_at(project: Project) -> int:
    """The step of all after which the training went on."""
    found = re.search(r"resuming after (?:step (\d+) of epoch|epoch) (\d+) of ", project.log)
    assert found, project.log
    return int(found[2]) * 3 if found[1] is None else (int(found[2]) - 1) * 3 + int(found[1])


def test_scancel_saves_and_the_retry_goes_on(project, finished):
    head = project.start("generic", WEIGHTS)
    project.wait_for_steps()
    (job,) = project.cluster.jobs("RUNNING")
    subprocess.run(["scancel", job], env=project.cluster.environment, check=True)
    wait_for(lambda: list((project.folder / RUN).glob("unfinished-*/state.pt")))
    assert head.wait(timeout=1800) == 0, project.printed
    assert resumed_at(project) > 0
    assert same_weights(project, finished)


def test_a_time_limit_saves_and_the_retry_goes_on(project, finished):
    head = project.start("generic", WEIGHTS, "--set-resources", "segmentation:runtime=1")
    project.wait_for_steps()
    (job,) = project.cluster.jobs("RUNNING")
    with project.cluster.frozen(job):
        wait_for(lambda: job in project.cluster.jobs("TIMEOUT", "COMPLETING"), seconds=600)
    assert head.wait(timeout=1800) == 0, project.printed
    assert resumed_at(project) > 0
    assert same_weights(project, finished)


def test_a_node_whose_daemon_is_killed(project, finished):
    head = project.start("generic", WEIGHTS)
    project.wait_for_steps()
    os.kill(project.cluster.daemon("slurmd"), signal.SIGKILL)
    project.cluster.script("node")
    assert head.wait(timeout=1800) == 0, project.printed
    assert same_weights(project, finished)


def test_a_killed_head_and_the_same_command_beside_the_job_that_is_still_running(project, finished):
    head = project.start("generic", WEIGHTS)
    project.wait_for_steps()
    (first,) = project.cluster.jobs("RUNNING")
    with project.cluster.frozen(first):
        head.kill()
        head.wait()
        printed = project.snakemake("generic", WEIGHTS, fails=True)
        assert "--unlock" in printed
        project.snakemake("generic", "--unlock")
        printed = project.snakemake("generic", "--retries", "0", WEIGHTS, fails=True)
        assert "another process is training this run; wait for it or stop it first" in printed
        assert first in project.cluster.jobs("RUNNING")

    wait_for(lambda: first not in project.cluster.jobs("RUNNING"), seconds=900)
    printed = project.snakemake("generic", WEIGHTS)
    assert "Nothing to be done" in printed or "trained already" in project.log
    assert same_weights(project, finished)


def test_two_heads_at_once(project):
    head = project.start("generic", WEIGHTS)
    project.wait_for_steps()
    (job,) = project.cluster.jobs("RUNNING")
    with project.cluster.frozen(job):
        other = subprocess.run(
            ["snakemake", "--workflow-profile", "profiles/generic", WEIGHTS],
            cwd=project.folder,
            env=project.cluster.environment,
            capture_output=True,
            text=True,
        )
    assert other.returncode != 0
    assert "Directory cannot be locked" in other.stderr + other.stdout
    assert head.wait(timeout=1800) == 0, project.printed
