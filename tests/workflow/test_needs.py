"""What jobs need, and what profiles say of it."""

import re

import pytest
import yaml
from workflow_runner import ROOT

RULES = {
    name: text
    for path in sorted((ROOT / "workflow/rules").glob("*.smk"))
    for name, text in re.findall(
        r"^rule (\w+):\n(.*?)(?=^rule |\Z)", path.read_text(), flags=re.MULTILINE | re.DOTALL
    )
}
LIKE = dict(re.findall(r"use rule (\w+) as (\w+)", "".join(RULES.values())))
"""Rule → another with the same needs."""
ON_A_GPU = {name for name, text in RULES.items() if "        gpu=1,\n" in text}
ON_A_GPU |= {LIKE[name] for name in ON_A_GPU & LIKE.keys()}


def profile(name: str, block: str = "") -> dict:
    text = (ROOT / f"profiles/{name}/profile.yaml").read_text()
    return yaml.safe_load(re.sub(rf"(?m)^#{block} ", "", text) if block else text)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_states_what_it_needs(name):
    rule = RULES[name]
    (needs,) = re.findall(r"^    resources:\n((?: {8}.*\n)+)", rule, flags=re.MULTILINE)
    assert set(re.findall(r"(\w+)=", needs)) in (
        {"mem_mb", "runtime"},
        {"mem_mb", "runtime", "gpu"},
    )
    # More for each attempt, but for GPUs.
    assert needs.count("=grows(") == 2


def test_profiles_for_clusters_without_gpus_know_every_job_that_asks_for_one():
    assert "segmentation" in ON_A_GPU
    for block in ("gres", "cpu"):
        said = profile("slurm", block)["set-resources"]
        assert set(said) == ON_A_GPU
        assert all(needs["gpu"] == 0 for needs in said.values())


@pytest.mark.parametrize("name", ["slurm", "generic"])
def test_jobs_that_go_together_are_short_and_use_no_gpu(name):
    grouped = set(profile(name)["groups"])
    assert grouped <= RULES.keys() - ON_A_GPU
