"""CDSP: scribble-supervised semantic segmentation, from strokes to tables.

    snakemake --cores 8 results/table1.csv

draws the embedded data set, prepares scribbles, trains the classifier, exports pseudo-labels,
precomputes distance maps, trains and evaluates every method and writes Table 1. Another experiment
is the same workflow with another configuration file:

    snakemake --cores 8 results/table1.csv --configfile configs/scribblesup.yaml
"""

from snakemake.utils import min_version

min_version("9.0")


# Another configuration file replaces the shipped one instead of being mixed into it.
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


report: "workflow/report/workflow.rst"


# For --sdm apptainer, and for nothing else; envs/cdsp.def says how it is built.
container: "envs/cdsp.sif"


include: "workflow/rules/common.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/scribbles.smk"
include: "workflow/rules/pseudo_labels.smk"
include: "workflow/rules/distance_maps.smk"
include: "workflow/rules/segmentation.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/reporting.smk"


# A job's output goes to its log; what a person should see at once goes to file 3, the terminal.
shell.prefix("set -euo pipefail; exec 3>&2; export CDSP_TERMINAL=3; ")


onstart:
    require_gpu_partition()
    for notice in (*replaced_tables(PLAN), *stopped_trainings(PLAN)):
        logger.warning(notice)


onerror:
    mark_failed_jobs()


onsuccess:
    for line in finished_tables():
        logger.info(line)


rule all:
    default_target: True
    input:
        expand("results/{table}.csv", table=CONFIG.tables),


# Every network of every table, without evaluation: for photographs that have no masks at all.
rule networks:
    input:
        PLAN.all_weights(),
