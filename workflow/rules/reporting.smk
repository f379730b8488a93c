"""Stage reporting: tables and the panel figure.

From the metrics of all runs of a table into results/<dataset>/<table>.{csv,md} and <table>.png, and
into results/<table>.{csv,md,png} for the configured data set.
"""


rule reporting_table:
    input:
        metrics=table_metrics,
        quality=table_quality,
    output:
        csv=f"{STAGES}/{{table}}.csv",
        markdown=f"{STAGES}/{{table}}.md",
        labels=f"{STAGES}/{{table}}_labels.csv",
    log:
        f"{STAGES}/logs/reporting_table/{{table}}.log",
    conda:
        "../../envs/cdsp.yaml"
    params:
        metrics=table_metrics,  # here for their order, which is that of the rows
        quality=lambda wildcards, input: " ".join(
            f"--quality {path}" for path in input.quality
        ),
    shell:
        "cdsp reporting table {params.metrics} {params.quality} --output {output.csv} > {log} 2>&1"


rule reporting_panel:
    input:
        dataset=rules.dataset.output,
        weights=panel_weights,
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
        weights=panel_weights,  # here for their order, which is that of the columns
        stores=lambda wildcards: as_options(panel_stores(wildcards)),
        number=CONFIG.panel_images,
        settings=lambda wildcards: settings_json(
            CONFIG.evaluation[CONFIG.tables[wildcards.table].protocol]
        ),
    shell:
        "cdsp reporting panel {params.weights} --dataset {input.dataset} {params.stores}"
        " --num-images {params.number} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule reporting:
    """The table of the configured data set, where people look for it."""
    input:
        csv=rules.reporting_table.output.csv,
        markdown=rules.reporting_table.output.markdown,
        labels=rules.reporting_table.output.labels,
        panel=rules.reporting_panel.output,
    output:
        csv="results/{table}.csv",
        markdown="results/{table}.md",
        labels="results/{table}_labels.csv",
        panel="results/{table}.png",
    log:
        f"{STAGES}/logs/reporting/{{table}}.log",
    localrule: True
    conda:
        "../../envs/cdsp.yaml"
    shell:
        "(cp {input.csv} {output.csv} && cp {input.markdown} {output.markdown}"
        " && cp {input.labels} {output.labels} && cp {input.panel} {output.panel}) > {log} 2>&1"
