"""Stage reporting: tables, figures and what the report says of them.

From the metrics of all runs of a table into results/<dataset>/<table>.{csv,md,html,json},
<table>_labels.csv and <table>_<figure>.{png,svg}; for the configured data set, into results/ and
into Snakemake's report.
"""


rule reporting_table:
    input:
        metrics=table_metrics,
        quality=table_quality,
    output:
        csv=f"{STAGES}/{{table}}.csv",
        markdown=f"{STAGES}/{{table}}.md",
        page=f"{STAGES}/{{table}}.html",
        runs=f"{STAGES}/{{table}}.json",
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
        options=table_options,
    shell:
        "cdsp reporting table {params.metrics} {params.quality} {params.options}"
        " --output {output.csv} > {log} 2>&1"


rule reporting_plot:
    """A figure of the table's numbers."""
    input:
        rules.reporting_table.output.csv,
    output:
        png=f"{STAGES}/{{table}}_{{plot}}.png",
        svg=f"{STAGES}/{{table}}_{{plot}}.svg",
    log:
        f"{STAGES}/logs/reporting_plot/{{table}}_{{plot}}.log",
    wildcard_constraints:
        plot="curves|heat_map|label_quality",
    conda:
        "../../envs/cdsp.yaml"
    shell:
        "cdsp reporting plot {wildcards.plot} {input} --output {output.png} > {log} 2>&1"


rule reporting_runs:
    """A figure of what the runs logged or confused."""
    input:
        first_metrics,
    output:
        png=f"{STAGES}/{{table}}_{{plot}}.png",
        svg=f"{STAGES}/{{table}}_{{plot}}.svg",
    log:
        f"{STAGES}/logs/reporting_runs/{{table}}_{{plot}}.log",
    wildcard_constraints:
        plot="training|class_iou|confusion",
    conda:
        "../../envs/cdsp.yaml"
    params:
        metrics=first_metrics,  # here for their order
    shell:
        "cdsp reporting runs {wildcards.plot} {params.metrics} --output {output.png} > {log} 2>&1"


rule reporting_panel:
    """Training images with all that was made of them, or validation images."""
    input:
        dataset=rules.dataset.output,
        weights=panel_weights,
        stores=lambda wildcards: list(panel_stores(wildcards).values()),
    output:
        f"{STAGES}/{{table}}_{{panel}}.png",
    log:
        f"{STAGES}/logs/reporting_panel/{{table}}_{{panel}}.log",
    wildcard_constraints:
        panel="panel|comparison",
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        gpu=GPU,
    params:
        weights=panel_weights,  # here for their order, which is that of the columns
        stores=lambda wildcards: as_options(panel_stores(wildcards)),
        split=lambda wildcards: "train" if wildcards.panel == "panel" else "val",
        number=CONFIG.panel_images,
        settings=panel_protocol,
    shell:
        "cdsp reporting panel {params.weights} --dataset {input.dataset} {params.stores}"
        " --split {params.split} --num-images {params.number} --settings {params.settings:q}"
        " --output {output} > {log} 2>&1"


rule reporting_distance_maps:
    """Distance maps under every λ of the table."""
    input:
        dataset=rules.dataset.output,
        stores=lambda wildcards: list(distance_map_stores(wildcards).values()),
    output:
        png=f"{STAGES}/{{table}}_distance_maps.png",
        svg=f"{STAGES}/{{table}}_distance_maps.svg",
    log:
        f"{STAGES}/logs/reporting_distance_maps/{{table}}.log",
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    params:
        stores=lambda wildcards: as_options(distance_map_stores(wildcards)),
        exponents=distance_map_exponents,
        number=CONFIG.panel_images,
    shell:
        "cdsp reporting distance_maps --dataset {input.dataset} {params.stores} {params.exponents}"
        " --num-images {params.number} --output {output.png} > {log} 2>&1"


# One rule for each table: its figures are its own, so that a wildcard could not name them.
for table in CONFIG.tables:

    rule:
        name:
            f"reporting_{table}"
        input:
            expand(
                f"{STAGES}/{table}{{ending}}",
                ending=[".csv", ".md", ".html", ".json", "_labels.csv"],
            ),
            figure_files(table, STAGES),
        output:
            report(
                f"results/{table}.csv",
                caption="../report/table.rst",
                category=table,
                labels={"content": "table", "format": "csv"},
            ),
            f"results/{table}.md",
            report(
                f"results/{table}.html",
                caption="../report/table.rst",
                category=table,
                labels={"content": "table", "format": "page"},
            ),
            f"results/{table}.json",
            report(
                f"results/{table}_labels.csv",
                caption="../report/labels.rst",
                category=table,
                labels={"content": "pseudo-labels", "format": "csv"},
            ),
            [
                report(
                    path,
                    caption="../report/figure.rst",
                    category=table,
                    labels={
                        "content": path.removeprefix(f"results/{table}_").partition(
                            "."
                        )[0],
                        "format": path.rpartition(".")[2],
                    },
                )
                for path in figure_files(table, "results")
            ],
        log:
            f"{STAGES}/logs/reporting/{table}.log",
        localrule: True
        conda:
            "../../envs/cdsp.yaml"
        params:
            caption=table_caption(table),
        shell:
            "cp {input} results > {log} 2>&1"
