"""Stage segmentation: trains one network for each run.

From images and the maps that the run's method reads into
results/<dataset>/segmentation/<method>/<network>/<scribbles>/<recipe>/seed-<seed>: weights.pt, and
beside it settings.json, environment.json, log.jsonl and, until it is finished, a state to resume.
"""

RUN = "{method}/{network}/{scribbles}/{recipe}/seed-{seed}"

# Map that a loss term reads → its option of the command and its store. The paths are patterns of
# the run's wildcards and of the method's λ.
MAP_STORES = {
    "scribble": ("scribbles", f"{STAGES}/scribbles/{{scribbles}}/labels.h5"),
    "pseudo_label": (
        "pseudo-labels",
        f"{STAGES}/pseudo_labels/{{scribbles}}/{{recipe}}/labels.h5",
    ),
    "scribble_distance": (
        "scribble-distances",
        f"{STAGES}/distance_maps/scribbles/{{scribbles}}/exponent-{{exponent:g}}.h5",
    ),
    "pseudo_label_distance": (
        "pseudo-label-distances",
        f"{STAGES}/distance_maps/pseudo_labels/{{scribbles}}/{{recipe}}/exponent-{{exponent:g}}.h5",
    ),
}


def store_options(method, scribbles, recipe):
    """The stores that a method reads: option of the command → path."""
    parsed = CONFIG.method(method)
    exponents = parsed.exponents
    return {
        option: pattern.format(
            scribbles=scribbles, recipe=recipe, exponent=exponents.get(name, 0)
        )
        for name, (option, pattern) in MAP_STORES.items()
        if name in parsed.reads
    }


def run_stores(wildcards):
    return store_options(wildcards.method, wildcards.scribbles, wildcards.recipe)


def as_options(stores):
    return " ".join(f"--{option} {path}" for option, path in stores.items())


rule segmentation:
    input:
        dataset=rules.dataset.output,
        stores=lambda wildcards: list(run_stores(wildcards).values()),
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
