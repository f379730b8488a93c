"""Stage pseudo_labels: strokes and evidence → labels, or labels made elsewhere.

Two more ways use the training masks: pseudo_labels_corrupt, for studying label quality alone, and
pseudo_labels_boxes, for supervision by boxes.

From dataset.json and scribbles into results/<dataset>/pseudo_labels/<scribbles>: classifier-<digest>,
cams-<digest> and pixels-<digest>, which recipes with equal settings share, and <recipe>/labels.h5 and quality.json
(against training masks and held-out strokes, for reading only); for a second round, <recipe>/probabilities.h5
of a trained network.
"""

CLASSIFIER = "{scribbles}/classifier-{classifier}"
CAMS = "{scribbles}/cams-{cams}"
PIXELS = "{scribbles}/pixels-{pixels}"
RECIPE = "{scribbles}/{recipe}"


rule pseudo_labels_classifier:
    input:
        dataset=PATHS.dataset,
        classes=lambda wildcards: PLAN.named_classes(
            wildcards.scribbles, PLAN.classifiers[wildcards.classifier].classes_from
        ),
        scribbles=lambda wildcards: PLAN.classifier_scribbles(
            wildcards.classifier, wildcards.scribbles
        ),
    # To be updated: Snakemake leaves an earlier one where it is until the new one is complete.
    output:
        weights=update(PATHS.classifier("{scribbles}", "{classifier}")),
        precision=update(PATHS.average_precision("{scribbles}", "{classifier}")),
    log:
        PATHS.log(f"pseudo_labels_classifier/{CLASSIFIER}"),
    benchmark:
        PATHS.benchmark(f"pseudo_labels_classifier/{CLASSIFIER}")
    # First of all that could start: most of the runs wait for it.
    priority: 1
    conda:
        "../../envs/cdsp.yaml"
    threads:
        lambda wildcards: real_cores(
            PLAN.classifiers[wildcards.classifier].settings.cpu_threads
        )
    resources:
        gpu=1,
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        version=version("pseudo_labels classifier"),
        launch=lambda wildcards, resources: launcher(resources),
        settings=lambda wildcards: settings_json(
            PLAN.classifiers[wildcards.classifier].settings
        ),
        scribbles=lambda wildcards, input: optional("scribbles", input.scribbles),
        backbone=lambda wildcards: USER_FILES.classifier_backbone(wildcards.classifier),
    shell:
        "{params.launch}cdsp pseudo_labels classifier --dataset {input.dataset} --image-classes {input.classes}"
        " {params.scribbles} --settings {params.settings:q} --output {output.weights} > {log} 2>&1"


rule pseudo_labels_cams:
    input:
        dataset=PATHS.dataset,
        classes=lambda wildcards: PLAN.named_classes(
            wildcards.scribbles, PLAN.cams[wildcards.cams].classifier.classes_from
        ),
        classifier=lambda wildcards: PATHS.classifier(
            wildcards.scribbles, PLAN.cams[wildcards.cams].classifier.name
        ),
    output:
        PATHS.cams("{scribbles}", "{cams}"),
    log:
        PATHS.log(f"pseudo_labels_cams/{CAMS}"),
    benchmark:
        PATHS.benchmark(f"pseudo_labels_cams/{CAMS}")
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        gpu=1,
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        version=version("pseudo_labels cams"),
        settings=lambda wildcards: settings_json(PLAN.cams[wildcards.cams].settings),
    shell:
        "cdsp pseudo_labels cams --dataset {input.dataset} --image-classes {input.classes}"
        " --classifier {input.classifier} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule pseudo_labels_probabilities:
    input:
        dataset=PATHS.dataset,
        classes=lambda wildcards: PLAN.recipe_classes(
            wildcards.recipe, wildcards.scribbles
        ),
        weights=lambda wildcards: PLAN.evidence_weights(
            wildcards.recipe, wildcards.scribbles
        ),
    output:
        PATHS.probabilities("{scribbles}", "{recipe}"),
    log:
        PATHS.log(f"pseudo_labels_probabilities/{RECIPE}"),
    benchmark:
        PATHS.benchmark(f"pseudo_labels_probabilities/{RECIPE}")
    wildcard_constraints:
        recipe=one_of(PLAN.recipes_by("network")),
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        gpu=1,
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        version=version("pseudo_labels probabilities"),
        settings=lambda wildcards: PLAN.evidence_protocol(wildcards.recipe),
    shell:
        "cdsp pseudo_labels probabilities {input.weights} --dataset {input.dataset}"
        " --image-classes {input.classes} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule pseudo_labels_pixels:
    input:
        dataset=PATHS.dataset,
        scribbles=PATHS.scribble_labels("{scribbles}"),
        classes=lambda wildcards: PLAN.named_classes(
            wildcards.scribbles,
            PLAN.pixel_classifiers[wildcards.pixels].classes_from,
        ),
    output:
        PATHS.pixel_probabilities("{scribbles}", "{pixels}"),
    log:
        PATHS.log(f"pseudo_labels_pixels/{PIXELS}"),
    benchmark:
        PATHS.benchmark(f"pseudo_labels_pixels/{PIXELS}")
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        mem_mb=grows(4000),
        runtime=grows(120),
    params:
        version=version("pseudo_labels pixels"),
        settings=lambda wildcards: settings_json(
            PLAN.pixel_classifiers[wildcards.pixels].settings
        ),
        backbone=lambda wildcards: USER_FILES.pixel_backbone(
            PLAN.pixel_classifiers[wildcards.pixels].settings
        ),
    shell:
        "cdsp pseudo_labels pixels --dataset {input.dataset} --scribbles {input.scribbles}"
        " --image-classes {input.classes} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule pseudo_labels:
    input:
        dataset=PATHS.dataset,
        scribbles=PATHS.scribble_labels("{scribbles}"),
        evidence=lambda wildcards: PLAN.recipe_evidence(
            wildcards.recipe, wildcards.scribbles
        ),
    output:
        PATHS.pseudo_labels("{scribbles}", "{recipe}"),
    log:
        PATHS.log(f"pseudo_labels/{RECIPE}"),
    benchmark:
        PATHS.benchmark(f"pseudo_labels/{RECIPE}")
    wildcard_constraints:
        recipe=one_of(PLAN.recipes["made"]),
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        version=version("pseudo_labels labels"),
        settings=lambda wildcards: settings_json(
            CONFIG.pseudo_labels[wildcards.recipe].labels
        ),
        evidence=lambda wildcards, input: optional("evidence", input.evidence),
    shell:
        "cdsp pseudo_labels labels --dataset {input.dataset} --scribbles {input.scribbles}"
        " {params.evidence} --recipe {wildcards.recipe} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule pseudo_labels_import:
    input:
        PATHS.dataset,
    output:
        PATHS.pseudo_labels("{scribbles}", "{recipe}"),
    log:
        PATHS.log(f"pseudo_labels_import/{RECIPE}"),
    benchmark:
        PATHS.benchmark(f"pseudo_labels_import/{RECIPE}")
    wildcard_constraints:
        recipe=one_of(PLAN.recipes["imported"]),
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        mem_mb=grows(2000),
        runtime=grows(15),
    params:
        version=version("pseudo_labels import"),
        folder=lambda wildcards: CONFIG.pseudo_labels[wildcards.recipe].folder,
        content=lambda wildcards: USER_FILES.imported_labels(wildcards.recipe),
    shell:
        "cdsp pseudo_labels import {params.folder:q} --dataset {input} --recipe {wildcards.recipe}"
        " --scribbles {wildcards.scribbles} --output {output} > {log} 2>&1"


rule pseudo_labels_corrupt:
    input:
        PATHS.dataset,
    output:
        PATHS.pseudo_labels("{scribbles}", "{recipe}"),
    log:
        PATHS.log(f"pseudo_labels_corrupt/{RECIPE}"),
    benchmark:
        PATHS.benchmark(f"pseudo_labels_corrupt/{RECIPE}")
    wildcard_constraints:
        recipe=one_of(PLAN.recipes["corrupted"]),
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        mem_mb=grows(2000),
        runtime=grows(15),
    params:
        version=version("pseudo_labels corrupt"),
        settings=lambda wildcards: settings_json(
            CONFIG.pseudo_labels[wildcards.recipe].corruption
        ),
    shell:
        "cdsp pseudo_labels corrupt --dataset {input} --recipe {wildcards.recipe}"
        " --scribbles {wildcards.scribbles} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule pseudo_labels_boxes:
    input:
        PATHS.dataset,
    output:
        PATHS.pseudo_labels("{scribbles}", "{recipe}"),
    log:
        PATHS.log(f"pseudo_labels_boxes/{RECIPE}"),
    benchmark:
        PATHS.benchmark(f"pseudo_labels_boxes/{RECIPE}")
    wildcard_constraints:
        recipe=one_of(PLAN.recipes["boxes"]),
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        version=version("pseudo_labels boxes"),
    shell:
        "cdsp pseudo_labels boxes --dataset {input} --recipe {wildcards.recipe}"
        " --scribbles {wildcards.scribbles} --output {output} > {log} 2>&1"


rule pseudo_labels_measure:
    input:
        dataset=PATHS.dataset,
        labels=PATHS.pseudo_labels("{scribbles}", "{recipe}"),
        scribbles=PATHS.scribble_labels("{scribbles}"),
        full=PATHS.scribble_labels("full"),
    output:
        PATHS.quality("{scribbles}", "{recipe}"),
    log:
        PATHS.log(f"pseudo_labels_measure/{RECIPE}"),
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        mem_mb=grows(2000),
        runtime=grows(15),
    params:
        version=version("pseudo_labels measure"),
    shell:
        "cdsp pseudo_labels measure {input.labels} --dataset {input.dataset}"
        " --scribbles {input.scribbles} --full-scribbles {input.full} --output {output} > {log} 2>&1"
