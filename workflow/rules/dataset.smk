"""Stage dataset: draws, fetches or verifies the data set.

From nothing (`source: shapes`), a folder (`source: folder`) or archives (`source: scribblesup`)
into results/<dataset>/dataset: dataset.json, which describes a verified VOC-layout folder.
"""


rule dataset:
    output:
        f"{STAGES}/dataset/dataset.json",
    log:
        f"{STAGES}/logs/dataset.log",
    benchmark:
        f"{STAGES}/benchmarks/dataset.tsv"
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    params:
        command=dataset_command,
        name=CONFIG.dataset,
        settings=settings_json(CONFIG.dataset_settings(CONFIG.dataset)),
        content=dataset_fingerprint,
    shell:
        "cdsp dataset {params.command} --name {params.name} --settings {params.settings:q} > {log} 2>&1"
