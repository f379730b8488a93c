"""Stage scribbles: strokes, their degradations, scribble labels and image-level classes.

From dataset.json, and annotations where people drew them, into results/<dataset>/scribbles:
strokes.jsonl, and <degradation>/{strokes.jsonl, labels.h5, image_classes.json} for full,
shrink-<ratio> and drop-<ratio>.
"""


rule scribbles_strokes:
    input:
        rules.dataset.output,
    output:
        f"{STAGES}/scribbles/strokes.jsonl",
    log:
        f"{STAGES}/logs/scribbles_strokes.log",
    benchmark:
        f"{STAGES}/benchmarks/scribbles_strokes.tsv"
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    params:
        command=strokes_command,
        settings=settings_json(CONFIG.stroke_settings),
        content=strokes_fingerprint,
    shell:
        "cdsp scribbles {params.command} --dataset {input} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule scribbles_degrade:
    input:
        dataset=rules.dataset.output,
        strokes=rules.scribbles_strokes.output,
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
        "cdsp scribbles degrade {input.strokes} --dataset {input.dataset}"
        " --degradation {wildcards.scribbles} --settings {params.settings:q}"
        " --output {params.folder} > {log} 2>&1"
