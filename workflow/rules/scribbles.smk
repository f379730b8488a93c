"""Stage scribbles: strokes, their degradations, scribble labels and image-level classes.

From dataset.json, and annotations where people drew them, into results/<dataset>/scribbles:
strokes.jsonl, validation.h5 (strokes of validation images without masks), and <degradation>/{strokes.jsonl, labels.h5, image_classes.json} for full,
shrink-<ratio>, drop-<ratio> and hold_out-<ratio>.
"""


rule scribbles_strokes:
    input:
        PATHS.dataset,
    output:
        PATHS.strokes,
    log:
        PATHS.log("scribbles_strokes"),
    benchmark:
        PATHS.benchmark("scribbles_strokes")
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        version=version(f"scribbles {PLAN.strokes_command}"),
        command=PLAN.strokes_command,
        settings=settings_json(CONFIG.stroke_settings),
        content=USER_FILES.annotations(),
    shell:
        "cdsp scribbles {params.command} --dataset {input} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule scribbles_validation:
    """The strokes of validation images that have no masks, to measure on."""
    input:
        PATHS.dataset,
    output:
        PATHS.validation_strokes,
    log:
        PATHS.log("scribbles_validation"),
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        version=version("scribbles validation"),
        settings=settings_json(CONFIG.stroke_settings),
        content=USER_FILES.annotations(),
    shell:
        "cdsp scribbles validation --dataset {input} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule scribbles_degrade:
    input:
        dataset=PATHS.dataset,
        strokes=PATHS.strokes,
    output:
        strokes=PATHS.degraded_strokes("{scribbles}"),
        labels=PATHS.scribble_labels("{scribbles}"),
        classes=PATHS.image_classes("{scribbles}"),
    log:
        PATHS.log("scribbles_degrade/{scribbles}"),
    benchmark:
        PATHS.benchmark("scribbles_degrade/{scribbles}")
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        mem_mb=grows(2000),
        runtime=grows(15),
    params:
        version=version("scribbles degrade"),
        folder=subpath(output.labels, parent=True),
        settings=lambda wildcards: PLAN.degradation_settings(wildcards.scribbles),
    shell:
        "cdsp scribbles degrade {input.strokes} --dataset {input.dataset}"
        " --degradation {wildcards.scribbles} --settings {params.settings:q}"
        " --output {params.folder} > {log} 2>&1"
