"""What all rules use: the checked configuration, the plan made of it, processors and GPUs.

What an artefact depends on and where it lies is decided in cdsp/experiment; rules only name it.
Each command gets the settings of its own stage, as sorted JSON, and no others. A setting that
changes remakes what depends on it and nothing more.
"""

import re
import shlex
import time
from pathlib import Path

from cdsp.experiment.figure_plan import FigurePlan
from cdsp.experiment.plan import Plan, settings_json
from cdsp.experiment.read import parse_config
from cdsp.experiment.replaced_tables import replaced_tables
from cdsp.experiment.run import Run
from cdsp.experiment.stopped_trainings import stopped_trainings
from cdsp.experiment.user_files import UserFiles
from cdsp.processors import usable_processors
from cdsp.reporting.settings import figure_endings, figures_of, table_options
from cdsp.settings import read_yaml
from cdsp.training.gpus import visible_gpus
from cdsp.training.record import BEST_ON_VAL
from cdsp.versions import VERSIONS

try:
    for path in workflow.configfiles:
        read_yaml(
            str(path)
        )  # refuses what Snakemake reads without a word: keys that stand twice
    CONFIG = parse_config(config)
    PLAN = Plan(CONFIG)
    FIGURES = FigurePlan(PLAN)
    USER_FILES = UserFiles(PLAN)
except ValueError as error:
    raise WorkflowError(str(error))

PATHS = PLAN.paths
STARTED = time.time()


def one_of(names):
    """The pattern of a wildcard that is one of these names."""
    return "|".join(map(re.escape, names)) or "-"


wildcard_constraints:
    scribbles="full|(shrink|drop|hold_out)-[0-9.]+|none",
    recipe=one_of([*CONFIG.pseudo_labels, "none"]),
    classifier="[0-9a-f]{8}",
    cams="[0-9a-f]{8}",
    pixels="[0-9a-f]{8}",
    # A row, and the options that a variant of it changes.
    method=rf"({one_of(CONFIG.methods)})(@[\w.]+=[\w.+-]+)*",
    network=one_of(CONFIG.networks),
    protocol=one_of(CONFIG.evaluation),
    table=one_of(CONFIG.tables),
    exponent="[0-9.e+-]+",
    seed="[0-9]+",


RUN = Run("{method}", "{network}", "{scribbles}", "{recipe}", "{seed}").folder


def run_of(wildcards):
    """The run that a job's wildcards name."""
    return Run(
        wildcards.method,
        wildcards.network,
        wildcards.scribbles,
        wildcards.recipe,
        int(wildcards.seed),
    )


# Where jobs are submitted elsewhere, --jobs counts them; and on their machines, they are not planned.
ON_ONE_MACHINE = workflow.is_main_process and workflow.resource_settings.nodes is None


def as_options(values):
    return " ".join(
        f"--{option} {shlex.quote(value)}" for option, value in values.items()
    )


def optional(option, paths):
    """An option of a command, where there is a file for it."""
    return f"--{option} {paths}" if paths else ""


def version(command):
    """A parameter of each rule: another version of its command makes its results again."""
    return f"{command} version {VERSIONS[command]}"


def real_cores(number):
    """Threads for a job that keeps `number` processors busy.

    With more --cores than the machine has processors, each job counts for as many cores more, so
    that no processor gets two jobs.
    """
    if not ON_ONE_MACHINE:
        return number
    cores = workflow.resource_settings.cores or 1  # none for --unlock
    return number * max(1, cores // usable_processors())


def grows(amount):
    """A need of a job for each attempt: the first may have failed for want of it.

    Memory is in MB, time in minutes. Both are for the 10,582 training images of ScribbleSup, with
    room to spare; a profile's `set-resources` says otherwise.
    """
    return lambda wildcards, attempt: attempt * amount


# On one machine, as many jobs that use a GPU run at a time as it has GPUs; each takes a free one.
# Without any, nothing limits them but the processors. On a cluster, the scheduler has the GPUs.
if ON_ONE_MACHINE and "gpu" not in workflow.global_resources:
    if gpus := visible_gpus():
        workflow.global_resources["gpu"] = len(gpus)


def mark_failed_jobs():
    """Make the same command run them again.

    Snakemake puts the files that a job was to update back when it fails, and then takes them for
    its own: up to date by the settings that they were not made by.
    """
    for job in workflow.scheduler.failed:
        workflow.persistence.started(job)


def require_gpu_partition():
    """Refuse jobs that ask for a GPU where the profile names no partition that has one."""
    path = getattr(workflow.executor_settings, "partition_config", None)
    if path is None:
        return
    partitions = read_yaml(str(path))["partitions"].values()
    if any((limits or {}).get("max_gpu") for limits in partitions):
        return
    asking = sorted(
        {
            job.rule.name
            for job in workflow.dag.needrun_jobs()
            if job.resources.get("gpu")
        }
    )
    if asking:
        raise WorkflowError(
            f"{path}: no partition has GPUs (max_gpu), for which these rules ask: {', '.join(asking)}."
            " Say there which partition has them; on a cluster without any, uncomment the lines that"
            " begin with #cpu in the profile"
        )


def launcher(resources):
    """What a command that can be shared begins with: a process for each of several GPUs.

    A param that is made of resources is no reason for Snakemake to run a job again.
    """
    if resources.gpu < 2:
        return ""
    return f"torchrun --standalone --nproc-per-node {resources.gpu} --no-python "


# reporting


def table_metrics(wildcards):
    try:
        USER_FILES.require_validation_images(wildcards.table)
    except ValueError as error:
        raise WorkflowError(str(error))
    return PLAN.table_metrics(wildcards.table)


def panel_stores(wildcards):
    """The stores of the panel of training images; the validation images have none."""
    return FIGURES.panel_stores(wildcards.table) if wildcards.panel == "panel" else {}


TABLE_ENDINGS = (".csv", ".md", ".html", ".json", "_labels.csv")


def in_report(table, ending):
    """A file of a table, in Snakemake's report where it is to be looked at."""
    path = f"results/{table}{ending}"
    if ending in (".md", ".json"):
        return path
    captions = {".csv": "table", ".html": "table", "_labels.csv": "labels"}
    contents = {".csv": "table", ".html": "table", "_labels.csv": "pseudo-labels"}
    content = contents.get(ending, ending[1:].partition(".")[0])
    kind = ending.rpartition(".")[2]
    return report(
        path,
        caption=f"../report/{captions.get(ending, 'figure')}.rst",
        category=table,
        labels={"content": content, "format": "page" if kind == "html" else kind},
    )


def finished_tables():
    """What to say, at the end, of the tables that were made."""
    from cdsp.reporting.summary import (
        describe_tables,
    )  # loads pandas: not for every job

    tables = [Path(f"results/{table}.csv") for table in CONFIG.tables]
    made = [t for t in tables if t.is_file() and t.stat().st_mtime >= STARTED]
    try:
        return describe_tables(made)
    except ValueError as error:
        return [str(error)]
