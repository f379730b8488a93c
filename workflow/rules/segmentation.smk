"""Stage segmentation: trains one network for each run.

From images and the maps that the run's method reads into
results/<dataset>/segmentation/<method>/<network>/<scribbles>/<recipe>/seed-<seed>: weights.pt, and
beside it settings.json, environment.json, log.jsonl and, until it is finished, a state to resume.
"""

RUN = "{method}/{network}/{scribbles}/{recipe}/seed-{seed}"


rule segmentation:
    input:
        dataset=rules.dataset.output,
        stores=lambda wildcards: list(run_stores(wildcards).values()),
        backbone=weight_file(CONFIG.segmentation.backbone_weights),
    output:
        f"{STAGES}/segmentation/{RUN}/weights.pt",
    log:
        f"{STAGES}/logs/segmentation/{RUN}.log",
    benchmark:
        f"{STAGES}/benchmarks/segmentation/{RUN}.tsv"
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(CONFIG.segmentation.cpu_threads)
    resources:
        gpu=GPU,
    params:
        folder=subpath(output[0], parent=True),
        stores=lambda wildcards: as_options(run_stores(wildcards)),
        terms=lambda wildcards: canonical_json(
            {
                name: settings_dict(term)
                for name, term in CONFIG.method(wildcards.method).terms.items()
            }
        ),
        settings=lambda wildcards: settings_json(
            CONFIG.segmentation_settings(wildcards.network)
        ),
    shell:
        "cdsp segmentation --dataset {input.dataset} {params.stores} --method {wildcards.method}"
        " --terms {params.terms:q} --settings {params.settings:q} --seed {wildcards.seed}"
        " --output {params.folder} > {log} 2>&1"
