"""Stage scribbles: strokes, their degradations, scribble labels and image-level classes.

From dataset.json into results/<dataset>/scribbles: strokes.jsonl, and <degradation>/{strokes.jsonl,
labels.h5, image_classes.json} for full, shrink-<ratio> and drop-<ratio>.
"""


rule scribbles_simulate:
    input:
        rules.dataset.output,
    output:
        f"{STAGES}/scribbles/strokes.jsonl",
    log:
        f"{STAGES}/logs/scribbles_simulate.log",
    benchmark:
        f"{STAGES}/benchmarks/scribbles_simulate.tsv"
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    params:
        settings=settings_json(CONFIG.scribbles),
    shell:
        "cdsp scribbles simulate --dataset {input} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule scribbles_degrade:
    input:
        rules.scribbles_simulate.output,
    output:
        strokes=f"{STAGES}/scribbles/{{scribbles}}/strokes.jsonl",
        labels=f"{STAGES}/scribbles/{{scribbles}}/labels.h5",
        classes=f"{STAGES}/scribbles/{{scribbles}}/image_classes.json",
    log:
        f"{STAGES}/logs/scribbles_degrade/{{scribbles}}.log",
    benchmark:
        f"{STAGES}/benchmarks/scribbles_degrade/{{scribbles}}.tsv"
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    params:
        folder=subpath(output.labels, parent=True),
        settings=settings_json(CONFIG.degradation),
    shell:
        "cdsp scribbles degrade {input} --degradation {wildcards.scribbles} --settings {params.settings:q}"
        " --output {params.folder} > {log} 2>&1"
