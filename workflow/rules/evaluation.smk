"""Stage evaluation: scores of a trained network on the validation images.

From weights.pt into results/<dataset>/evaluation/<run>/<protocol>: confusion.npy, metrics.json.
"""


rule evaluation:
    input:
        dataset=PATHS.dataset,
        weights=PATHS.run(RUN),
    output:
        metrics=PATHS.metrics(RUN, "{protocol}"),
        confusion=PATHS.confusion(RUN, "{protocol}"),
    log:
        PATHS.log(f"evaluation/{RUN}/{{protocol}}"),
    benchmark:
        PATHS.benchmark(f"evaluation/{RUN}/{{protocol}}")
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        gpu=GPU,
    params:
        folder=subpath(output.metrics, parent=True),
        settings=lambda wildcards: settings_json(CONFIG.evaluation[wildcards.protocol]),
    shell:
        "cdsp evaluation {input.weights} --dataset {input.dataset} --protocol {wildcards.protocol}"
        " --settings {params.settings:q} --output {params.folder} > {log} 2>&1"
