"""Stage reporting: tables and the panel figure.

From the metrics of all runs of a table into results/<dataset>/<table>.{csv,md} and <table>.png, and
into results/<table>.{csv,md,png} for the configured data set.
"""


def table_metrics(wildcards):
    protocol = CONFIG.tables[wildcards.table].protocol
    return [
        f"{STAGES}/evaluation/{run.folder}/{protocol}/metrics.json"
        for run in CONFIG.runs(wildcards.table)
    ]


def table_quality(wildcards):
    made = {
        (run.scribbles, run.pseudo_labels)
        for run in CONFIG.runs(wildcards.table)
        if run.pseudo_labels != "none"
    }
    return [
        f"{STAGES}/pseudo_labels/{scribbles}/{recipe}/quality.json"
        for scribbles, recipe in sorted(made)
    ]


def panel_runs(wildcards):
    """The table's first network, scribbles, recipe and seed, with every method."""
    table = CONFIG.tables[wildcards.table]
    return [
        run
        for run in CONFIG.runs(wildcards.table)
        if run.network == table.networks[0]
        and run.scribbles in (table.scribbles[0], "none")
        and run.pseudo_labels in (table.pseudo_labels[0], "none")
        and run.seed == table.seeds[0]
    ]


def panel_stores(wildcards):
    table = CONFIG.tables[wildcards.table]
    stores = {}
    for run in panel_runs(wildcards):
        for option, path in store_options(
            run.method, run.scribbles, run.pseudo_labels
        ).items():
            stores.setdefault(option, path)
    return stores


rule reporting_table:
    input:
        metrics=table_metrics,
        quality=table_quality,
    output:
        csv=f"{STAGES}/{{table}}.csv",
        markdown=f"{STAGES}/{{table}}.md",
    log:
        f"{STAGES}/logs/reporting_table/{{table}}.log",
    conda:
        "../../envs/cdsp.yaml"
    params:
        quality=lambda wildcards, input: " ".join(
            f"--quality {path}" for path in input.quality
        ),
    shell:
        "cdsp reporting table {input.metrics} {params.quality} --output {output.csv} > {log} 2>&1"


rule reporting_panel:
    input:
        dataset=rules.dataset.output,
        weights=lambda wildcards: [
            f"{STAGES}/segmentation/{run.folder}/weights.pt"
            for run in panel_runs(wildcards)
        ],
        stores=lambda wildcards: list(panel_stores(wildcards).values()),
    output:
        f"{STAGES}/{{table}}.png",
    log:
        f"{STAGES}/logs/reporting_panel/{{table}}.log",
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        gpu=GPU,
    params:
        stores=lambda wildcards: as_options(panel_stores(wildcards)),
        number=CONFIG.panel_images,
        settings=lambda wildcards: settings_json(
            CONFIG.evaluation[CONFIG.tables[wildcards.table].protocol]
        ),
    shell:
        "cdsp reporting panel {input.weights} --dataset {input.dataset} {params.stores}"
        " --num-images {params.number} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule reporting:
    """The table of the configured data set, where people look for it."""
    input:
        csv=rules.reporting_table.output.csv,
        markdown=rules.reporting_table.output.markdown,
        panel=rules.reporting_panel.output,
    output:
        csv="results/{table}.csv",
        markdown="results/{table}.md",
        panel="results/{table}.png",
    localrule: True
    shell:
        "cp {input.csv} {output.csv} && cp {input.markdown} {output.markdown} && cp {input.panel} {output.panel}"
