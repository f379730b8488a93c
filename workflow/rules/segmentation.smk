"""Stage segmentation: trains one network for each run.

From images and the maps that the run's method reads into
results/<dataset>/segmentation/<method>/<network>/<scribbles>/<recipe>/seed-<seed>: weights.pt, and
beside it settings.json, environment.json and log.jsonl. Until it is finished, these and a state to
resume from are in its folder unfinished-<digest>.
"""


rule segmentation:
    input:
        dataset=PATHS.dataset,
        stores=lambda wildcards: list(PLAN.run_stores(run_of(wildcards)).values()),
    # To be updated: Snakemake leaves an earlier network where it is until the new one is complete.
    output:
        weights=update(PATHS.run(RUN)),
        settings=update(PATHS.run(RUN, "settings.json")),
        environment=update(PATHS.run(RUN, "environment.json")),
        epochs=update(PATHS.run(RUN, "log.jsonl")),
        best=[update(PATHS.run(RUN, BEST_ON_VAL))] if CONFIG.best_on_val else [],
    log:
        PATHS.log(f"segmentation/{RUN}"),
    benchmark:
        PATHS.benchmark(f"segmentation/{RUN}")
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(CONFIG.segmentation.cpu_threads)
    resources:
        gpu=1,
        mem_mb=grows(16000),
        runtime=grows(480),
    params:
        version=version("segmentation"),
        launch=lambda wildcards, resources: launcher(resources),
        folder=subpath(output.weights, parent=True),
        stores=lambda wildcards: as_options(PLAN.run_stores(run_of(wildcards))),
        terms=lambda wildcards: PLAN.run_terms(run_of(wildcards)),
        network=lambda wildcards: PLAN.run_network(run_of(wildcards)),
        settings=lambda wildcards: PLAN.run_training(run_of(wildcards)),
        # One parameter for both, so that it is empty, and no reason to train again, without them.
        start=lambda wildcards: as_options(PLAN.run_extras(run_of(wildcards))),
        earlier=lambda wildcards: USER_FILES.earlier_weights(run_of(wildcards)),
        # A parameter that names `input` is none whose change trains again: weights do not depend on it.
        protocol=lambda wildcards, input: PLAN.run_protocol(run_of(wildcards)),
        backbone=lambda wildcards: USER_FILES.run_backbone(run_of(wildcards)),
    shell:
        "{params.launch}cdsp segmentation --dataset {input.dataset} {params.stores} --method {wildcards.method}"
        " --terms {params.terms:q} --network {params.network:q} --network-name {wildcards.network} --settings {params.settings:q} --seed {wildcards.seed} {params.start}"
        " --protocol={params.protocol:q}"
        " --output {params.folder} > {log} 2>&1"
