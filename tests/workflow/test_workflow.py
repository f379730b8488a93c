"""The workflow as a user runs it: `snakemake`, in a folder of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
import tomllib
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from snakemake.utils import update_config
from workflow_runner import (
    BIN,
    NETWORK,
    ROOT,
    copy_workflow,
    environment,
    planned,
    shared_folder,
    snakemake,
)

from cdsp.experiment.methods import METHODS
from cdsp.experiment.read import parse_config
from cdsp.experiment.user_files import named_files, own_folder
from cdsp.experiment.variants import method_row

pytestmark = pytest.mark.workflow

pytest.importorskip("snakemake")

TINY = Path(__file__).with_name("tiny.yaml")
RULE_FILES = sorted((ROOT / "workflow/rules").glob("*.smk"))
LAID_OVER = {  # file → the experiment that it is laid over
    "quick": ROOT / "config.yaml",
    "full": ROOT / "config.yaml",
    "table1_all": ROOT / "config.yaml",
    "published_labels": ROOT / "configs/scribblesup.yaml",
    "mix_transformers": ROOT / "configs/scribblesup.yaml",
}
CONFIGURATIONS = [
    (LAID_OVER[path.stem], path) if path.stem in LAID_OVER else (path,)
    for path in (ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml")))
]
STAGES = (
    "dataset",
    "scribbles",
    "pseudo_labels",
    "distance_maps",
    "segmentation",
    "evaluation",
    "reporting",
)


def make_project(folder: Path) -> Path:
    """A copy of the workflow with the tiny configuration."""
    shutil.copy(TINY, copy_workflow(folder) / "config.yaml")
    return folder


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The tiny configuration, changed in place by a function."""
    configuration = yaml.safe_load(TINY.read_text())
    change(configuration)
    return configuration


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A project whose tables are finished; not to be written into. Parallel workers share it."""

    def make(folder: Path) -> None:
        targets = ("results/table1.csv", "results/shrunk.csv")
        printed = snakemake(make_project(folder), "--cores", "2", *targets)
        (folder / "printed.txt").write_text(printed)

    return shared_folder(tmp_path_factory, "project", make)


# --- the files of the workflow ------------------------------------------------------------------


def test_snakemake_finds_nothing_to_criticise(tmp_path):
    printed = snakemake(make_project(tmp_path), "--lint")
    assert "your workflow is in a good condition" in printed


def test_the_rules_are_formatted():
    pytest.importorskip("snakefmt")
    subprocess.run([BIN / "snakefmt", "--check", "Snakefile", "workflow"], cwd=ROOT, check=True)


def test_the_snakefile_is_a_table_of_contents():
    text = (ROOT / "Snakefile").read_text()
    assert len(text.splitlines()) < 70
    included = re.findall(r'^include: "(.*)"$', text, flags=re.MULTILINE)
    assert included == [f"workflow/rules/{name}.smk" for name in ("common", *STAGES)]
    assert sorted(included) == [str(path.relative_to(ROOT)) for path in RULE_FILES]


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_has_one_name(stage):
    """Rule file, rules, package, command and tests are all called the same."""
    text = (ROOT / f"workflow/rules/{stage}.smk").read_text()
    assert text.startswith(f'"""Stage {stage}: ')
    rules = re.findall(r"^rule (\w+):", text, flags=re.MULTILINE)
    assert rules
    assert all(name.startswith(stage) for name in rules)
    assert set(re.findall(r'["}]cdsp (\w+) ', text)) == {stage}
    assert (ROOT / f"cdsp/{stage}").is_dir() or (ROOT / f"cdsp/{stage}.py").is_file()
    assert (ROOT / f"tests/{stage}").is_dir()


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: path.stem)
def test_every_rule_names_its_environment_and_its_log(path):
    text = path.read_text()
    own = re.sub(r"^use rule .*?(?=^\S|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    for rule in re.split(r"^ *rule(?: \w+)?:$", own, flags=re.MULTILINE)[1:]:
        assert rule.count("        version=version(") == ("cdsp " in rule.partition("shell:")[2])
        (environment_file,) = re.findall(r"^ +conda:\n +\"(.*)\"$", rule, flags=re.MULTILINE)
        assert (path.parent / environment_file).is_file()
        assert rule.count("    log:\n") == 1
        assert "> {log} 2>&1" in rule


def test_the_conda_environment_has_the_packages_of_the_project():
    content = yaml.safe_load((ROOT / "envs/cdsp.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (installed,) = (part["pip"] for part in content["dependencies"] if isinstance(part, dict))
    needed = [name for name in project["dependencies"] if not name.startswith("snakemake")]
    assert installed == needed  # the jobs themselves need no Snakemake


def test_the_conda_environment_gets_the_project_itself(tmp_path):
    """The script that Snakemake runs in it, with a `python` that tells what it was asked for."""
    script = ROOT / "envs/cdsp.post-deploy.sh"
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "python").chmod(0o755)
    variables = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    def deploy(folder: Path) -> subprocess.CompletedProcess[str]:
        command = ["bash", script]
        return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)

    assert deploy(ROOT).stdout.split() == ["-m", "pip", "install", "--no-deps", "--editable", "."]
    elsewhere = deploy(tmp_path)
    assert elsewhere.returncode == 1
    assert "start snakemake --sdm conda in the folder of the Snakefile" in elsewhere.stderr


# --- plans --------------------------------------------------------------------------------------


@pytest.mark.parametrize("paths", CONFIGURATIONS, ids=lambda paths: paths[-1].stem)
def test_every_table_of_every_configuration_can_be_planned(tmp_path, paths):
    configuration: dict[str, Any] = {}
    for path in paths:
        update_config(configuration, yaml.safe_load(path.read_text()))
    for _, path in named_files(parse_config(configuration)):  # a user's own
        (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / path).touch() if path.suffix else (tmp_path / path).mkdir(exist_ok=True)
    folder = own_folder(parse_config(configuration))
    if folder is not None:
        lists, masks = (
            tmp_path / folder / name
            for name in ("ImageSets/SegmentationAug", "SegmentationClassAug")
        )
        lists.mkdir(parents=True)
        masks.mkdir()
        (lists / "val.txt").write_text("one\n")
        (masks / "one.png").touch()
    tables = configuration["tables"]
    targets = [f"results/{name}.{kind}" for name in tables for kind in ("csv", "md", "json")]
    targets += [
        f"results/{name}_{figure}.png"
        for name, table in parse_config(configuration).tables.items()
        for figure in table.figures
    ]
    printed = snakemake(
        tmp_path,
        *("--snakefile", ROOT / "Snakefile", "--directory", tmp_path),
        *("--dry-run", "--printshellcmds", *targets, "--configfile", *paths),
    )
    jobs = planned(printed)
    assert {(f"reporting_publish_{name}",) for name in tables} <= jobs
    for table in tables.values():
        for method in table["methods"]:
            runs = [
                job for job in jobs if job[0] == "segmentation" and method_row(job[1]) == method
            ]
            assert {job[2] for job in runs} >= set(table["networks"])
            assert {int(job[-1]) for job in runs} >= set(table["seeds"])
    assert {job[0] for job in jobs} >= {"dataset", "evaluation", "pseudo_labels_measure"}

    # The file stands alone: what it does not say is the default, not what config.yaml says.
    epochs = configuration.get("segmentation", {}).get("epochs", 50)
    commands = re.findall(r"cdsp segmentation .*", printed)
    assert commands
    assert all(f'"epochs":{epochs},' in command for command in commands)


def plan(folder: Path, configuration: dict[str, Any]) -> set[tuple[str, ...]]:
    """The jobs that make the table of a configuration from nothing."""
    path = folder / "planned.yaml"
    path.write_text(yaml.safe_dump(configuration, sort_keys=False))
    return planned(
        snakemake(
            folder,
            *("--snakefile", ROOT / "Snakefile", "--directory", folder),
            *("--dry-run", "results/table1.csv", "--configfile", path),
        )
    )


def recipes_of(jobs: set[tuple[str, ...]], rule: str) -> set[tuple[str, ...]]:
    return {job[1:] for job in jobs if job[0] == rule}


def test_recipes_with_equal_settings_share_classifier_and_cams(tmp_path):
    def add_recipes(configuration: dict[str, Any]) -> None:
        recipes, table = configuration["pseudo_labels"], configuration["tables"]["table1"]
        cam = recipes["cam"]
        recipes["cam_walk"] = {**cam, "labels": {"refinement": "random_walk"}}
        recipes["scales"] = {**cam, "cams": {"scales": [1, 2]}}
        recipes["longer"] = {**cam, "classifier": {**cam["classifier"], "epochs": 2}}
        recipes["all_classes"] = {**cam, "classes_from": "full"}
        table["measured_labels"] = ["cam_walk", "scales", "longer", "all_classes"]
        table["scribbles"] = ["drop-0.5"]

    jobs = plan(tmp_path, changed(add_recipes))
    recipes = ("cam", "cam_walk", "scales", "longer", "all_classes")
    # All classes are those of the full scribbles: `all_classes` has a classifier and maps there.
    number = Counter((job[0], job[1]) for job in jobs if len(job) > 1)
    assert number["pseudo_labels_classifier", "drop-0.5"] == 2
    assert number["pseudo_labels_classifier", "full"] == 1
    assert number["pseudo_labels_cams", "drop-0.5"] == 3
    assert number["pseudo_labels_cams", "full"] == 1
    for rule in ("pseudo_labels", "pseudo_labels_measure"):
        assert recipes_of(jobs, rule) == {("drop-0.5", recipe) for recipe in recipes}


def test_shrunk_strokes_share_the_classifier_of_the_full_ones(tmp_path):
    degradations = ["shrink-0.5", "shrink-1", "drop-0.5"]

    def shrink(configuration: dict[str, Any]) -> None:
        configuration["tables"]["table1"] |= {"scribbles": degradations, "measured_labels": []}

    def scribbles_of(jobs: set[tuple[str, ...]], rule: str) -> list[str]:
        return sorted(job[1] for job in jobs if job[0] == rule)

    jobs = plan(tmp_path, changed(shrink))
    for rule in ("pseudo_labels_classifier", "pseudo_labels_cams"):
        assert scribbles_of(jobs, rule) == ["drop-0.5", "full"]
    assert scribbles_of(jobs, "pseudo_labels") == sorted(degradations)

    def learn_from_pixels(configuration: dict[str, Any]) -> None:
        shrink(configuration)
        configuration["pseudo_labels"]["cam"]["classifier"]["stroke_weight"] = 1

    # What learns from the pixels of strokes must not see those that a degradation took away.
    jobs = plan(tmp_path, changed(learn_from_pixels))
    for rule in ("pseudo_labels_classifier", "pseudo_labels_cams"):
        assert scribbles_of(jobs, rule) == sorted(degradations)


def test_labels_with_all_classes_are_made_where_strokes_are_dropped_alone(tmp_path):
    def add_recipe(configuration: dict[str, Any]) -> None:
        recipes = configuration["pseudo_labels"]
        recipes["all_classes"] = {**recipes["cam"], "classes_from": "full"}
        configuration["tables"]["table1"] |= {
            "scribbles": ["full", "shrink-0.5", "drop-0.5"],
            "pseudo_labels": ["cam", "all_classes"],
            "measured_labels": ["all_classes"],
        }

    jobs = plan(tmp_path, changed(add_recipe))
    made = {(name, "cam") for name in ("full", "shrink-0.5", "drop-0.5")}
    for rule in ("pseudo_labels", "pseudo_labels_measure"):
        assert recipes_of(jobs, rule) == made | {("drop-0.5", "all_classes")}


def test_a_classifier_gets_the_scribbles_that_teach_it_and_masks_need_none(tmp_path):
    def add_recipes(configuration: dict[str, Any]) -> None:
        recipes, table = configuration["pseudo_labels"], configuration["tables"]["table1"]
        classifier = recipes["cam"]["classifier"]
        recipes["taught"] = {"classifier": {**classifier, "stroke_weight": 0.5}}
        recipes["worse"] = {"evidence": "masks", "corruption": {"displacement": 4}}
        table |= {
            "methods": ["pseudo_label_only"],
            "pseudo_labels": ["worse"],
            "measured_labels": ["cam", "taught"],
            "scribbles": ["drop-0.5"],
        }

    path = tmp_path / "planned.yaml"
    path.write_text(yaml.safe_dump(changed(add_recipes)))
    printed = snakemake(
        tmp_path,
        *("--snakefile", ROOT / "Snakefile", "--directory", tmp_path, "--printshellcmds"),
        *("--dry-run", "results/table1.csv", "--configfile", path),
    )
    commands = re.findall(r"cdsp pseudo_labels classifier .*", printed)
    taught = {line: '"stroke_weight":0.5' in line for line in commands}
    assert sorted(taught.values()) == [False, True]
    assert all(("--scribbles" in line) == is_taught for line, is_taught in taught.items())
    assert "--scribbles results/tiny/scribbles/drop-0.5/labels.h5" in printed
    jobs = planned(printed)
    assert recipes_of(jobs, "pseudo_labels_corrupt") == {("drop-0.5", "worse")}
    assert recipes_of(jobs, "pseudo_labels") == {("drop-0.5", "cam"), ("drop-0.5", "taught")}


def test_a_second_round_follows_a_network_that_strokes_alone_have_taught(tmp_path):
    def follow(configuration: dict[str, Any]) -> None:
        evidence = configuration["pseudo_labels"]["second_round"]["network"]
        evidence |= {"method": "pseudo_label_only", "pseudo_labels": "walk", "seed": 3}
        configuration["tables"]["table1"] |= {
            "methods": ["pseudo_label_only"],
            "scribbles": ["shrink-0.5"],
            "pseudo_labels": ["second_round"],
            "measured_labels": [],
        }

    first = ("pseudo_label_only", NETWORK, "shrink-0.5", "walk", "3")
    second = ("pseudo_label_only", NETWORK, "shrink-0.5", "second_round", "0")
    jobs = plan(tmp_path, changed(follow))
    assert {job for job in jobs if job[0].split("_")[0] in ("pseudo", "segmentation")} == {
        ("pseudo_labels", "shrink-0.5", "walk"),
        ("segmentation", *first),
        ("pseudo_labels_probabilities", "shrink-0.5", "second_round"),
        ("pseudo_labels", "shrink-0.5", "second_round"),
        ("pseudo_labels_measure", "shrink-0.5", "second_round"),
        ("segmentation", *second),
    }
    assert recipes_of(jobs, "evaluation") == {(*second, "quick")}


def test_a_mistyped_key_ends_in_a_message(tmp_path):
    make_project(tmp_path)
    for change, message in (
        ("segmentaton={}", "unknown key 'segmentaton'; did you mean 'segmentation'?"),
        ("segmentation={epoch: 2}", "unknown key 'epoch'; did you mean 'epochs'?"),
    ):
        printed = snakemake(tmp_path, "--dry-run", "--config", change, fails=True)
        assert message in printed
        assert "Traceback" not in printed
        assert len(printed) < 2000


@pytest.mark.parametrize("section", ["datasets", "pseudo_labels", "methods", "evaluation"])
def test_a_name_that_a_shell_would_split_is_refused(section):
    def add(configuration: dict[str, Any]) -> None:
        rows = configuration.get(section) or {"first": {"scribble": 1}}
        configuration[section] = {**rows, "my own": next(iter(rows.values()))}

    with pytest.raises(ValueError, match=rf"{section}: 'my own' .* without spaces"):
        parse_config(changed(add))


@pytest.mark.parametrize("kind", ["methods", "networks", "scribbles", "pseudo_labels", "seeds"])
def test_a_table_without_rows_is_refused(kind):
    def clear(configuration: dict[str, Any]) -> None:
        configuration["tables"]["table1"][kind] = []

    with pytest.raises(ValueError, match=rf"tables\.table1\.{kind}: the list is empty"):
        parse_config(changed(clear))


# --- a whole run --------------------------------------------------------------------------------


def test_a_table_is_made_from_nothing(project):
    table = pd.read_csv(project / "results/table1.csv")
    configuration = yaml.safe_load(TINY.read_text())
    assert table["method"].tolist() == configuration["tables"]["table1"]["methods"]
    assert set(table["dataset"]) == {"tiny"}
    assert set(table["num_seeds"]) == {1}
    assert all(0 <= score <= 100 for score in table["miou_mean"].tolist())
    markdown = (project / "results/table1.md").read_text()
    for method, score in zip(table["method"], table["miou_mean"], strict=True):
        assert re.search(rf"^\| {method} .* {score:.2f} ", markdown, flags=re.MULTILINE)
    labels = pd.read_csv(project / "results/table1_labels.csv")
    assert labels["pseudo_labels"].tolist() == ["walk", "second_round", "cam"]
    assert set(labels["scribbles"]) == {"full"}
    assert labels["held_out"].isna().all()  # nothing is held out of the full scribbles
    for column in ("miou", "precision", "coverage"):
        assert labels[column].between(0, 100).all()
    assert re.search(r"^\| full .* walk ", markdown, flags=re.MULTILINE)
    for figure in configuration["tables"]["table1"]["figures"]:
        with Image.open(project / f"results/table1_{figure}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 10
            assert min(picture.size) > 300
    assert (project / "results/table1_training.svg").read_text().startswith("<?xml")


def test_a_table_of_variants_and_degradations_is_made_and_drawn(project):
    table = pd.read_csv(project / "results/shrunk.csv")
    assert table[["method", "scribble.weight", "scribbles"]].values.tolist() == [
        ["scribble_only", 1.0, "full"],
        ["scribble_only", 1.0, "shrink-1"],
        ["scribble_only", 0.5, "full"],
        ["scribble_only", 0.5, "shrink-1"],
    ]
    # What a variant does not change is the row's own run, shared with the other table.
    first = pd.read_csv(project / "results/table1.csv")["miou_mean"][0]
    assert table["miou_mean"][0] == first
    variant = project / f"results/tiny/segmentation/scribble_only@scribble.weight=0.5/{NETWORK}"
    settings = json.loads((variant / "shrink-1/none/seed-0/settings.json").read_text())
    assert settings["terms"] == {"scribble": {"weight": 0.5}}
    assert (project / "results/shrunk_curves.svg").is_file()


def test_the_report_holds_every_table_and_figure(project, tmp_path):
    snakemake(project, "--report", tmp_path / "report.zip", "results/table1.csv")
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
        page = archive.read("report/report.html").decode()
    expected = {
        "table1.csv",
        "table1.html",
        "table1_labels.csv",
        "table1_panel.png",
        "table1_training.svg",
    }
    assert expected <= names
    assert "cdsp reporting explain results/table1.csv" in page  # the caption
    # It opens from a file: nothing is fetched from elsewhere.
    assert not re.search(r"""<(script|link|img)[^>]*(src|href)=["']https?:""", page)


def test_every_job_leaves_a_log_and_its_costs(project):
    printed = (project / "printed.txt").read_text()
    logs = re.findall(r"^    log: (.*)$", printed, flags=re.MULTILINE)
    benchmarks = re.findall(r"^    benchmark: (.*)$", printed, flags=re.MULTILINE)
    assert len(logs) == len(set(logs)) == len(planned(printed))
    assert len(benchmarks) == len(set(benchmarks)) >= 18
    assert all((project / path).is_file() for path in logs)
    for path in benchmarks:
        assert min(pd.read_csv(project / path, sep="\t")["s"].tolist()) > 0


def test_runs_are_found_by_their_names(project):
    results = project / "results/tiny"
    for method, scribbles, recipe in (
        ("scribble_only", "full", "none"),
        ("cdsp", "full", "cam"),
        ("full_supervision", "none", "none"),
    ):
        run = f"{method}/{NETWORK}/{scribbles}/{recipe}/seed-0"
        assert sorted(path.name for path in (results / "segmentation" / run).glob("[!.]*")) == [
            "environment.json",
            "log.jsonl",
            "settings.json",
            "weights.pt",
        ]
        metrics = json.loads((results / "evaluation" / run / "quick/metrics.json").read_text())
        assert metrics["name"]["method"] == method
        assert (metrics["name"]["scribbles"], metrics["name"]["pseudo_labels"]) == (
            scribbles,
            recipe,
        )


NUMBERS = {("reporting_publish_table1",), ("reporting_table", "table1")}
PLOTS = {("reporting_runs", "table1", name) for name in ("training", "class_iou", "confusion")}
PANELS = {("reporting_panel", "table1", name) for name in ("panel", "comparison")}
DISTANCES = {("reporting_distance_maps", "table1")}
REPORTING = NUMBERS | PLOTS | PANELS
CDSP = ("cdsp", NETWORK, "full", "cam", "0")
LEARN_FROM_CAM = ("pseudo_label_only", "scribble_and_pseudo_label", "cdsp")
SECOND_LABELS = {
    ("pseudo_labels", "full", "second_round"),
    ("pseudo_labels_measure", "full", "second_round"),
}


def weigh_lorm(configuration: dict[str, Any]) -> None:
    configuration["methods"] = {"cdsp": {**METHODS["cdsp"], "lorm": 0.5}}


def change_exponent(configuration: dict[str, Any]) -> None:
    distance = {"weight": 1, "exponent": 6}
    configuration["methods"] = {"cdsp": {**METHODS["cdsp"], "pseudo_label_distance": distance}}


def weigh_the_evidence(configuration: dict[str, Any]) -> None:
    configuration["pseudo_labels"]["cam"]["labels"] = {"prior_weight": 0.02}


def weigh_the_network(configuration: dict[str, Any]) -> None:
    configuration["pseudo_labels"]["second_round"]["labels"]["prior_weight"] = 0.02


def reorder_methods(configuration: dict[str, Any]) -> None:
    configuration["tables"]["table1"]["methods"].reverse()


def drop_a_method_and_an_image(configuration: dict[str, Any]) -> None:
    configuration["tables"]["table1"]["methods"].remove("pseudo_label_only")
    configuration["panel_images"] = 1


def change_what_is_not_used(configuration: dict[str, Any]) -> None:
    configuration["evaluation"]["paper"] = {"flip": True}
    configuration["evaluation"]["another"] = {}
    configuration["methods"] = {"another": {"mask": 2}}
    configuration["datasets"]["another"] = {"source": "shapes"}
    recipes = configuration["pseudo_labels"]
    # Equal to one that tables use, and before it: what is shared must not move.
    configuration["pseudo_labels"] = {"another": recipes["cam"], **recipes, "default": {}}
    # Tables of these names were rules of the workflow.
    for name in ("another", "plot", "runs", "panel", "table", "distance_maps"):
        configuration["tables"][name] = configuration["tables"]["table1"]
    configuration["degradation"] = {"drop_background": True, "seed": 7}  # nothing is dropped


def add_a_seed(configuration: dict[str, Any]) -> None:
    configuration["tables"]["table1"]["seeds"] = [0, 1]
    configuration["tables"]["table1"]["methods"] = ["full_supervision"]


def change_the_protocol(configuration: dict[str, Any]) -> None:
    configuration["evaluation"]["quick"]["flip"] = True
    configuration["tables"]["table1"]["methods"] = ["cdsp"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (change_what_is_not_used, set()),
        (reorder_methods, REPORTING),
        (drop_a_method_and_an_image, REPORTING | DISTANCES),
        (weigh_lorm, REPORTING | {("segmentation", *CDSP), ("evaluation", *CDSP, "quick")}),
        (
            change_exponent,
            REPORTING
            | DISTANCES
            | {("distance_maps_pseudo_labels", "full", "cam", "6")}
            | {("segmentation", *CDSP), ("evaluation", *CDSP, "quick")},
        ),
        (
            add_a_seed,
            REPORTING
            | DISTANCES
            | {("segmentation", "full_supervision", NETWORK, "none", "none", "1")}
            | {("evaluation", "full_supervision", NETWORK, "none", "none", "1", "quick")},
        ),
        (
            weigh_the_evidence,
            REPORTING
            | DISTANCES
            | {("pseudo_labels", "full", "cam"), ("pseudo_labels_measure", "full", "cam")}
            | {("distance_maps_pseudo_labels", "full", "cam", "7")}
            | {("segmentation", name, *CDSP[1:]) for name in LEARN_FROM_CAM}
            | {("evaluation", name, *CDSP[1:], "quick") for name in LEARN_FROM_CAM},
        ),
        (
            weigh_the_network,
            NUMBERS | SECOND_LABELS,
        ),
        (
            change_the_protocol,
            REPORTING
            | {("evaluation", *CDSP, "quick")}
            | {("pseudo_labels_probabilities", "full", "second_round")}
            | SECOND_LABELS,
        ),
    ],
)
def test_a_change_remakes_what_depends_on_it_alone(project, tmp_path, change, expected):
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(changed(change)))
    printed = snakemake(project, "--dry-run", "results/table1.csv", "--configfile", path)
    assert planned(printed) == expected
    assert ("Nothing to be done" in printed) == (not expected)


def test_the_same_command_again_does_nothing(project):
    weights = sorted((project / "results").rglob("weights.pt"))
    before = [path.stat().st_mtime_ns for path in weights]
    assert len(weights) == 8
    targets = ("results/table1.csv", "results/shrunk.csv")
    printed = snakemake(project, "--cores", "2", *targets)
    assert "Nothing to be done" in printed
    assert [path.stat().st_mtime_ns for path in weights] == before


# --- accidents ----------------------------------------------------------------------------------


def test_a_killed_training_goes_on_where_it_was(project, tmp_path):
    """SIGKILL to snakemake and all its jobs; then `--unlock`, and the same command again."""
    copy = shutil.copytree(project, tmp_path / "copy")
    run = Path("/".join(CDSP[:-1])) / "seed-0"
    folder = copy / "results/tiny/segmentation" / run
    shutil.rmtree(folder)
    target = f"results/tiny/evaluation/{run}/quick/metrics.json"
    (copy / target).unlink()

    process = subprocess.Popen(
        [BIN / "snakemake", "--cores", "2", target],
        cwd=copy,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not list(folder.glob("unfinished-*/state.pt")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "weights.pt").exists()

    snakemake(copy, "--unlock")
    snakemake(copy, "--cores", "2", target)
    log = (copy / f"results/tiny/logs/segmentation/{run}.log").read_text()
    assert re.search(r"^resuming after epoch [12] of 3$", log, flags=re.MULTILINE)
    for name in (target, f"results/tiny/segmentation/{run}/weights.pt"):
        assert (copy / name).read_bytes() == (project / name).read_bytes()


def test_a_finished_network_stays_when_another_training_fails(project, tmp_path):
    copy = shutil.copytree(project, tmp_path / "copy")
    folder = Path("results/tiny/segmentation", *CDSP[:-1], "seed-0")
    before = {path: path.read_bytes() for path in (copy / folder).glob("[!.]*")}
    (tmp_path / "failing.yaml").write_text("segmentation: { learning_rate: 1.0e+20 }")
    target = ("--cores", "2", str(folder / "weights.pt"))
    failing = ("--configfile", "config.yaml", tmp_path / "failing.yaml")
    for _ in range(2):  # the second time, the network that stays is no network of this training
        printed = snakemake(copy, *target, *failing, fails=True)
        other = "weights.pt: of another training (settings.learning_rate 0.001, now 1e+20)"
        assert other in printed
        assert "lower learning_rate" in printed
        assert {path: path.read_bytes() for path in before} == before
    snakemake(copy, *target)
    log = copy / "results/tiny/logs/segmentation" / folder.relative_to("results/tiny/segmentation")
    assert "trained already" in log.with_suffix(".log").read_text()
    assert {path: path.read_bytes() for path in before} == before


def test_another_version_of_a_command_remakes_what_depends_on_it_alone(project, tmp_path):
    shutil.copytree(ROOT / "cdsp", tmp_path / "cdsp")
    versions = tmp_path / "cdsp/versions.py"
    text = versions.read_text().replace('"pseudo_labels measure": ', '"pseudo_labels measure": 1')
    versions.write_text(text)
    printed = snakemake(project, "--dry-run", "results/table1.csv", code=tmp_path)
    recipes = {("full", "cam"), ("full", "walk"), ("full", "second_round")}
    assert planned(printed) == NUMBERS | {("pseudo_labels_measure", *recipe) for recipe in recipes}


def test_a_failed_job_tells_why_and_where(tmp_path):
    def lose_the_data(configuration: dict[str, Any]) -> None:
        configuration["datasets"]["tiny"] = {
            "source": "folder",
            "path": "data/nowhere",
            "classes": ["background", "cat"],
        }

    make_project(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(changed(lose_the_data)))
    printed = snakemake(tmp_path, "--cores", "1", fails=True)
    assert "datasets.tiny.path: data/nowhere: no such file or folder" in printed
    assert "Traceback" not in printed
    (tmp_path / "data/nowhere").mkdir(parents=True)
    printed = snakemake(tmp_path, "--cores", "1", "networks", fails=True)
    assert "log: results/tiny/logs/dataset.log" in printed
    assert "data/nowhere/JPEGImages: no such folder of images" in printed
    assert "Traceback" not in printed
