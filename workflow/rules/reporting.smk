"""Stage reporting: tables, figures and what the report says of them.

From the metrics of all runs of a table into results/<dataset>/<table>.{csv,md,html,json},
<table>_labels.csv and <table>_<figure>.{png,svg}; for the configured data set, into results/ and
into Snakemake's report.
"""


rule reporting_table:
    input:
        metrics=table_metrics,
        quality=lambda wildcards: PLAN.table_quality(wildcards.table),
    output:
        csv=PATHS.table("{table}", ".csv"),
        markdown=PATHS.table("{table}", ".md"),
        page=PATHS.table("{table}", ".html"),
        runs=PATHS.table("{table}", ".json"),
        labels=PATHS.table("{table}", "_labels.csv"),
    log:
        PATHS.log("reporting_table/{table}"),
    conda:
        "../../envs/cdsp.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(10),
    params:
        version=version("reporting"),
        metrics=lambda wildcards: PLAN.table_metrics(wildcards.table),  # here for their order, which is that of the rows
        quality=lambda wildcards, input: " ".join(
            f"--quality {path}" for path in input.quality
        ),
        options=lambda wildcards: table_options(CONFIG.tables[wildcards.table]),
    shell:
        "cdsp reporting table {params.metrics} {params.quality} {params.options}"
        " --output {output.csv} > {log} 2>&1"


rule reporting_plot:
    """A figure of the table's numbers."""
    input:
        PATHS.table("{table}", ".csv"),
    output:
        png=PATHS.table("{table}", "_{plot}.png"),
        svg=PATHS.table("{table}", "_{plot}.svg"),
    log:
        PATHS.log("reporting_plot/{table}_{plot}"),
    wildcard_constraints:
        plot=one_of(figures_of("plot")),
    conda:
        "../../envs/cdsp.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(10),
    params:
        version=version("reporting"),
    shell:
        "cdsp reporting plot {wildcards.plot} {input} --output {output.png} > {log} 2>&1"


rule reporting_runs:
    """A figure of what the runs logged or confused."""
    input:
        lambda wildcards: FIGURES.first_metrics(wildcards.table),
    output:
        png=PATHS.table("{table}", "_{plot}.png"),
        svg=PATHS.table("{table}", "_{plot}.svg"),
    log:
        PATHS.log("reporting_runs/{table}_{plot}"),
    wildcard_constraints:
        plot=one_of(figures_of("runs")),
    conda:
        "../../envs/cdsp.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(10),
    params:
        version=version("reporting"),
        metrics=lambda wildcards: FIGURES.first_metrics(wildcards.table),  # here for their order
    shell:
        "cdsp reporting runs {wildcards.plot} {params.metrics} --output {output.png} > {log} 2>&1"


rule reporting_panel:
    """Training images with all that was made of them, or validation images."""
    input:
        dataset=PATHS.dataset,
        weights=lambda wildcards: FIGURES.panel_weights(wildcards.table),
        stores=lambda wildcards: list(panel_stores(wildcards).values()),
    output:
        PATHS.table("{table}", "_{panel}.png"),
    log:
        PATHS.log("reporting_panel/{table}_{panel}"),
    wildcard_constraints:
        panel="panel|comparison",
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        gpu=1,
        mem_mb=grows(8000),
        runtime=grows(15),
    params:
        version=version("reporting"),
        weights=lambda wildcards: FIGURES.panel_weights(wildcards.table),  # here for their order, which is that of the columns
        stores=lambda wildcards: as_options(panel_stores(wildcards)),
        split=lambda wildcards: "train" if wildcards.panel == "panel" else "val",
        number=CONFIG.panel_images,
        settings=lambda wildcards: PLAN.protocol(wildcards.table),
    shell:
        "cdsp reporting panel {params.weights} --dataset {input.dataset} {params.stores}"
        " --split {params.split} --num-images {params.number} --settings {params.settings:q}"
        " --output {output} > {log} 2>&1"


rule reporting_distance_maps:
    """Distance maps under every λ of the table."""
    input:
        dataset=PATHS.dataset,
        stores=lambda wildcards: list(
            FIGURES.distance_map_stores(wildcards.table).values()
        ),
    output:
        png=PATHS.table("{table}", "_distance_maps.png"),
        svg=PATHS.table("{table}", "_distance_maps.svg"),
    log:
        PATHS.log("reporting_distance_maps/{table}"),
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        mem_mb=grows(2000),
        runtime=grows(15),
    params:
        version=version("reporting"),
        stores=lambda wildcards: as_options(
            FIGURES.distance_map_stores(wildcards.table)
        ),
        exponents=lambda wildcards: " ".join(
            f"--{option} {value}"
            for option, value in FIGURES.distance_map_exponents(wildcards.table)
        ),
        number=CONFIG.panel_images,
    shell:
        "cdsp reporting distance_maps --dataset {input.dataset} {params.stores} {params.exponents}"
        " --num-images {params.number} --output {output.png} > {log} 2>&1"


# One rule for each table: its figures are its own, so that a wildcard could not name them.
for table, settings in CONFIG.tables.items():

    rule:
        name:
            f"reporting_publish_{table}"
        input:
            [
                PATHS.table(table, ending)
                for ending in (*TABLE_ENDINGS, *figure_endings(settings))
            ],
        output:
            [
                in_report(table, ending)
                for ending in (*TABLE_ENDINGS, *figure_endings(settings))
            ],
        log:
            PATHS.log(f"reporting_publish/{table}"),
        localrule: True
        conda:
            "../../envs/cdsp.yaml"
        params:
            caption=FIGURES.caption(table),
        shell:
            "cp {input} results > {log} 2>&1"
