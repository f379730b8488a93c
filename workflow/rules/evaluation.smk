"""Stage evaluation: scores of a trained network on the validation images.

From weights.pt into results/<dataset>/evaluation/<run>/<protocol>: confusion.npy, metrics.json.
"""


rule evaluation:
    input:
        dataset=rules.dataset.output,
        weights=rules.segmentation.output,
    output:
        f"{STAGES}/evaluation/{RUN}/{{protocol}}/metrics.json",
    log:
        f"{STAGES}/logs/evaluation/{RUN}/{{protocol}}.log",
    benchmark:
        f"{STAGES}/benchmarks/evaluation/{RUN}/{{protocol}}.tsv"
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        gpu=GPU,
    params:
        folder=subpath(output[0], parent=True),
        settings=lambda wildcards: settings_json(CONFIG.evaluation[wildcards.protocol]),
    shell:
        "cdsp evaluation {input.weights} --dataset {input.dataset} --protocol {wildcards.protocol}"
        " --settings {params.settings:q} --output {params.folder} > {log} 2>&1"
