"""Stage dataset: draws or verifies the data set.

From nothing (`source: shapes`) or a folder (`source: folder`) into results/<dataset>/dataset:
dataset.json, which describes a verified VOC-layout folder.
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
    shell:
        "cdsp dataset {params.command} --name {params.name} --settings {params.settings:q} > {log} 2>&1"
