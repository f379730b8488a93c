"""Stage dataset: draws, fetches or verifies the data set.

From nothing (`source: shapes`), a folder (`source: folder`) or archives (`source: scribblesup`)
into results/<dataset>/dataset: dataset.json, which describes a verified VOC-layout folder.
"""


rule dataset:
    output:
        PATHS.dataset,
    log:
        PATHS.log("dataset"),
    benchmark:
        PATHS.benchmark("dataset")
    # Archives are fetched where the network is: on the machine that plans.
    localrule: PLAN.dataset_command == "scribblesup"
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        version=version("dataset"),
        command=PLAN.dataset_command,
        name=CONFIG.dataset,
        # A function: in a text, Snakemake would take a class called {word} for a wildcard.
        settings=lambda wildcards: settings_json(
            CONFIG.dataset_settings(CONFIG.dataset)
        ),
        content=USER_FILES.dataset(),
    shell:
        "cdsp dataset {params.command} --name {params.name} --settings {params.settings:q} > {log} 2>&1"
