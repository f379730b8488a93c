"""Stage pseudo_labels: image-level classes → classifier → CAMs → labels, or labels made elsewhere.

From dataset.json and scribbles into results/<dataset>/pseudo_labels/<scribbles>/<recipe>:
classifier.pt, cams.h5, labels.h5, quality.json (against the training masks, for reading only).
"""

RECIPE = f"{STAGES}/pseudo_labels/{{scribbles}}/{{recipe}}"
RECIPE_LOG = f"{STAGES}/logs/{{rule}}/{{{{scribbles}}}}/{{{{recipe}}}}"
RECIPE_BENCHMARK = f"{STAGES}/benchmarks/{{rule}}/{{{{scribbles}}}}/{{{{recipe}}}}.tsv"
IMPORTED = [name for name, recipe in CONFIG.pseudo_labels.items() if recipe.folder]
MADE_HERE = [name for name in CONFIG.pseudo_labels if name not in IMPORTED]


rule pseudo_labels_classifier:
    input:
        dataset=rules.dataset.output,
        classes=image_classes,
        backbone=lambda wildcards: weight_file(
            CONFIG.pseudo_labels[wildcards.recipe].classifier.backbone_weights
        ),
    output:
        f"{RECIPE}/classifier.pt",
    log:
        RECIPE_LOG.format(rule="pseudo_labels_classifier") + ".log",
    benchmark:
        RECIPE_BENCHMARK.format(rule="pseudo_labels_classifier")
    # First of all that could start: most of the runs wait for it.
    priority: 1
    conda:
        "../../envs/cdsp.yaml"
    threads:
        lambda wildcards: real_cores(
            CONFIG.pseudo_labels[wildcards.recipe].classifier.cpu_threads
        )
    resources:
        gpu=GPU,
    params:
        settings=recipe_settings("classifier"),
    shell:
        "cdsp pseudo_labels classifier --dataset {input.dataset} --image-classes {input.classes}"
        " --settings {params.settings:q} --output {output} > {log} 2>&1"


rule pseudo_labels_cams:
    input:
        dataset=rules.dataset.output,
        classes=image_classes,
        classifier=rules.pseudo_labels_classifier.output,
    output:
        f"{RECIPE}/cams.h5",
    log:
        RECIPE_LOG.format(rule="pseudo_labels_cams") + ".log",
    benchmark:
        RECIPE_BENCHMARK.format(rule="pseudo_labels_cams")
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        gpu=GPU,
    params:
        settings=recipe_settings("cams"),
    shell:
        "cdsp pseudo_labels cams --dataset {input.dataset} --image-classes {input.classes}"
        " --classifier {input.classifier} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule pseudo_labels:
    input:
        cams=rules.pseudo_labels_cams.output,
        scribbles=rules.scribbles_degrade.output.labels,
    output:
        f"{RECIPE}/labels.h5",
    log:
        RECIPE_LOG.format(rule="pseudo_labels") + ".log",
    benchmark:
        RECIPE_BENCHMARK.format(rule="pseudo_labels")
    wildcard_constraints:
        recipe="|".join(MADE_HERE) or "-",
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    params:
        settings=recipe_settings("labels"),
    shell:
        "cdsp pseudo_labels labels --cams {input.cams} --scribbles {input.scribbles}"
        " --recipe {wildcards.recipe} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule pseudo_labels_import:
    input:
        rules.dataset.output,
    output:
        f"{RECIPE}/labels.h5",
    log:
        RECIPE_LOG.format(rule="pseudo_labels_import") + ".log",
    benchmark:
        RECIPE_BENCHMARK.format(rule="pseudo_labels_import")
    wildcard_constraints:
        recipe="|".join(IMPORTED) or "-",
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    params:
        folder=lambda wildcards: CONFIG.pseudo_labels[wildcards.recipe].folder,
    shell:
        "cdsp pseudo_labels import {params.folder:q} --dataset {input} --recipe {wildcards.recipe}"
        " --scribbles {wildcards.scribbles} --output {output} > {log} 2>&1"


rule pseudo_labels_measure:
    input:
        dataset=rules.dataset.output,
        labels=f"{RECIPE}/labels.h5",
    output:
        f"{RECIPE}/quality.json",
    log:
        RECIPE_LOG.format(rule="pseudo_labels_measure") + ".log",
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    shell:
        "cdsp pseudo_labels measure {input.labels} --dataset {input.dataset} --output {output} > {log} 2>&1"
