"""Stage pseudo_labels: strokes and evidence → labels, or labels made elsewhere.

A third way, pseudo_labels_corrupt, uses the training masks, for studying label quality alone.

From dataset.json and scribbles into results/<dataset>/pseudo_labels/<scribbles>/<recipe>: the
evidence (classifier.pt and cams.h5, or probabilities.h5 of a trained network), labels.h5 and
quality.json (against training masks and held-out strokes, for reading only).
"""

RECIPE = f"{STAGES}/pseudo_labels/{{scribbles}}/{{recipe}}"
RECIPE_LOG = f"{STAGES}/logs/{{rule}}/{{{{scribbles}}}}/{{{{recipe}}}}"
RECIPE_BENCHMARK = f"{STAGES}/benchmarks/{{rule}}/{{{{scribbles}}}}/{{{{recipe}}}}.tsv"


rule pseudo_labels_classifier:
    input:
        dataset=rules.dataset.output,
        classes=image_classes,
        backbone=lambda wildcards: weight_file(
            CONFIG.pseudo_labels[wildcards.recipe].classifier.backbone_weights
        ),
        scribbles=classifier_scribbles,
    output:
        weights=f"{RECIPE}/classifier.pt",
        precision=f"{RECIPE}/classifier.json",
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
        scribbles=lambda wildcards, input: (
            f"--scribbles {input.scribbles}" if input.scribbles else ""
        ),
    shell:
        "cdsp pseudo_labels classifier --dataset {input.dataset} --image-classes {input.classes}"
        " {params.scribbles} --settings {params.settings:q} --output {output.weights} > {log} 2>&1"


rule pseudo_labels_cams:
    input:
        dataset=rules.dataset.output,
        classes=image_classes,
        classifier=recipe_classifier,
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


rule pseudo_labels_probabilities:
    input:
        dataset=rules.dataset.output,
        classes=image_classes,
        weights=evidence_weights,
    output:
        f"{RECIPE}/probabilities.h5",
    log:
        RECIPE_LOG.format(rule="pseudo_labels_probabilities") + ".log",
    benchmark:
        RECIPE_BENCHMARK.format(rule="pseudo_labels_probabilities")
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        gpu=GPU,
    params:
        settings=evidence_protocol,
    shell:
        "cdsp pseudo_labels probabilities {input.weights} --dataset {input.dataset}"
        " --image-classes {input.classes} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule pseudo_labels:
    input:
        dataset=rules.dataset.output,
        scribbles=rules.scribbles_degrade.output.labels,
        evidence=recipe_evidence,
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
        evidence=lambda wildcards, input: (
            f"--evidence {input.evidence}" if input.evidence else ""
        ),
    shell:
        "cdsp pseudo_labels labels --dataset {input.dataset} --scribbles {input.scribbles}"
        " {params.evidence} --recipe {wildcards.recipe} --settings {params.settings:q} --output {output} > {log} 2>&1"


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


rule pseudo_labels_corrupt:
    input:
        rules.dataset.output,
    output:
        f"{RECIPE}/labels.h5",
    log:
        RECIPE_LOG.format(rule="pseudo_labels_corrupt") + ".log",
    benchmark:
        RECIPE_BENCHMARK.format(rule="pseudo_labels_corrupt")
    wildcard_constraints:
        recipe="|".join(CORRUPTED) or "-",
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    params:
        settings=recipe_settings("corruption"),
    shell:
        "cdsp pseudo_labels corrupt --dataset {input} --recipe {wildcards.recipe}"
        " --scribbles {wildcards.scribbles} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule pseudo_labels_measure:
    input:
        dataset=rules.dataset.output,
        labels=f"{RECIPE}/labels.h5",
        scribbles=rules.scribbles_degrade.output.labels,
        full=f"{STAGES}/scribbles/full/labels.h5",
    output:
        f"{RECIPE}/quality.json",
    log:
        RECIPE_LOG.format(rule="pseudo_labels_measure") + ".log",
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    shell:
        "cdsp pseudo_labels measure {input.labels} --dataset {input.dataset}"
        " --scribbles {input.scribbles} --full-scribbles {input.full} --output {output} > {log} 2>&1"
