"""Stage evaluation: scores of a trained network on validation masks, or on strokes.

From weights.pt into results/<dataset>/evaluation/<run>/<protocol>: confusion.npy, metrics.json.
"""


rule evaluation:
    input:
        dataset=PATHS.dataset,
        weights=PATHS.run(RUN),
        labels=lambda wildcards: PLAN.own_labels(run_of(wildcards)),
        stores=lambda wildcards: list(
            PLAN.truth_stores(wildcards.scribbles, wildcards.protocol).values()
        ),
    output:
        metrics=PATHS.metrics(RUN, "{protocol}"),
        confusion=PATHS.metrics(RUN, "{protocol}", "confusion.npy"),
    log:
        PATHS.log(f"evaluation/{RUN}/{{protocol}}"),
    benchmark:
        PATHS.benchmark(f"evaluation/{RUN}/{{protocol}}")
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        gpu=1,
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        version=version("evaluation"),
        launch=lambda wildcards, resources: launcher(resources),
        folder=subpath(output.metrics, parent=True),
        labels=lambda wildcards, input: optional("labels", input.labels),
        stores=lambda wildcards: as_options(
            PLAN.truth_stores(wildcards.scribbles, wildcards.protocol)
        ),
        settings=lambda wildcards: settings_json(CONFIG.evaluation[wildcards.protocol]),
    shell:
        "{params.launch}cdsp evaluation {input.weights} --dataset {input.dataset} --protocol {wildcards.protocol}"
        " {params.labels} {params.stores} --settings {params.settings:q} --output {params.folder} > {log} 2>&1"


use rule evaluation as evaluation_best_on_val with:
    input:
        dataset=PATHS.dataset,
        weights=PATHS.run(RUN, BEST_ON_VAL),
        labels=lambda wildcards: PLAN.own_labels(run_of(wildcards)),
        stores=lambda wildcards: list(
            PLAN.truth_stores(wildcards.scribbles, wildcards.protocol).values()
        ),
    output:
        metrics=PATHS.best_metrics(RUN, "{protocol}"),
        confusion=PATHS.best_metrics(RUN, "{protocol}", "confusion.npy"),
    log:
        PATHS.log(f"evaluation/{RUN}/{{protocol}}-best_on_val"),
    benchmark:
        PATHS.benchmark(f"evaluation/{RUN}/{{protocol}}-best_on_val")


rule evaluation_pixels:
    """The pixel classifier of a recipe, as a row that a network has to beat."""
    input:
        dataset=PATHS.dataset,
        scribbles=PATHS.scribble_labels("{scribbles}"),
        stores=lambda wildcards: list(
            PLAN.truth_stores(wildcards.scribbles, wildcards.protocol).values()
        ),
    output:
        PATHS.pixel_metrics("{scribbles}", "{recipe}", "{protocol}"),
    log:
        PATHS.log("evaluation/pixel_classifier/{recipe}/{scribbles}/{protocol}"),
    benchmark:
        PATHS.benchmark("evaluation/pixel_classifier/{recipe}/{scribbles}/{protocol}")
    wildcard_constraints:
        recipe=one_of(PLAN.recipes_by("pixels")),
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        version=version("evaluation"),
        folder=subpath(output[0], parent=True),
        stores=lambda wildcards, input: as_options(
            {
                "scribbles": input.scribbles,
                **PLAN.truth_stores(wildcards.scribbles, wildcards.protocol),
            }
        ),
        pixels=lambda wildcards: settings_json(
            CONFIG.pseudo_labels[wildcards.recipe].pixels
        ),
        backbone=lambda wildcards: USER_FILES.pixel_backbone(
            CONFIG.pseudo_labels[wildcards.recipe].pixels
        ),
        settings=lambda wildcards: settings_json(CONFIG.evaluation[wildcards.protocol]),
    shell:
        "cdsp evaluation --pixels {params.pixels:q} --dataset {input.dataset} {params.stores}"
        " --protocol {wildcards.protocol} --settings {params.settings:q} --output {params.folder} > {log} 2>&1"
