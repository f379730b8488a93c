"""What all rules use: the checked configuration, paths, threads, GPUs and every function.

Each command gets the settings of its own stage, as sorted JSON, and no others. A setting that
changes remakes what depends on it and nothing more.
"""

import os
import re
import shutil

from cdsp.experiment.config import Run, parse_config
from cdsp.io.files import canonical_json, digest
from cdsp.settings import settings_dict

try:
    CONFIG = parse_config(config)
except ValueError as error:
    raise WorkflowError(str(error))

STAGES = f"results/{CONFIG.dataset}"
"""Folder of the configured data set, below which each stage has a folder of its own name."""


wildcard_constraints:
    scribbles="full|shrink-[0-9.]+|drop-[0-9.]+|none",
    recipe="|".join([*CONFIG.pseudo_labels, "none"]),
    # A row, and the options that a variant of it changes.
    method="(" + "|".join(map(re.escape, CONFIG.methods)) + r")(@[\w.]+=[\w.+-]+)*",
    network="[a-z0-9_]+-[a-z0-9_]+",
    protocol="|".join(CONFIG.evaluation),
    table="|".join(CONFIG.tables),
    exponent="[0-9.]+",
    seed="[0-9]+",


def settings_json(settings):
    """A stage's settings as the text that its command reads."""
    return canonical_json(settings_dict(settings))


def real_cores(number):
    """Threads for a job that keeps `number` processors busy.

    With more --cores than the machine has processors, each job counts for as many cores more, so
    that no processor gets two jobs.
    """
    processors = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count()
    )
    cores = workflow.resource_settings.cores or 1  # none for --unlock, or on a cluster
    return number * max(1, cores // processors)


# A total of `gpu: 1` (profiles/default) runs one job at a time on a machine with a GPU; without
# one, jobs ask for none and run side by side on the processors.
GPU = 1 if shutil.which("nvidia-smi") else 0


def fingerprint(*folders):
    """Names, sizes and times of the files in a user's folders, as a param of the rule that reads them.

    It changes with the files, so that new strokes or another mask remake what depends on them.
    Hidden files are an editor's or a system's own.
    """
    entries = [
        (entry.path, entry.stat().st_size, entry.stat().st_mtime_ns)
        for folder in folders
        if os.path.isdir(folder)
        for entry in os.scandir(folder)
        if entry.is_file() and not entry.name.startswith(".")
    ]
    return digest(sorted(entries))


def weight_file(source):
    """The file of backbone weights that a rule reads, where `source` names one."""
    return [] if source in ("imagenet", "none") else [source]


# dataset


def dataset_command(wildcards, output):
    source = CONFIG.datasets[CONFIG.dataset]["source"]
    # The data set that is drawn lies beside its description.
    written = os.path.dirname(output[0]) if source == "shapes" else output[0]
    return f"{source} --output {written}"


def dataset_fingerprint(wildcards):
    """Of a user's own folder; what is drawn or fetched is the project's own affair."""
    settings = CONFIG.dataset_settings(CONFIG.dataset)
    if CONFIG.datasets[CONFIG.dataset]["source"] != "folder":
        return None
    names = ("JPEGImages", "SegmentationClassAug", "ImageSets/SegmentationAug")
    return fingerprint(*(os.path.join(settings.path, name) for name in names))


# scribbles


def strokes_command(wildcards):
    return {"simulated": "simulate", "annotations": "import"}[
        CONFIG.scribbles["source"]
    ]


def strokes_fingerprint(wildcards):
    """Of the folder or file of a user's annotations."""
    path = getattr(CONFIG.stroke_settings, "path", None)
    if path is None and CONFIG.datasets[CONFIG.dataset]["source"] == "folder":
        path = os.path.join(CONFIG.dataset_settings(CONFIG.dataset).path, "Scribbles")
    if path is None or CONFIG.scribbles["source"] == "simulated":
        return None
    return os.stat(path).st_mtime_ns if os.path.isfile(path) else fingerprint(path)


# pseudo_labels

IMPORTED = [name for name, recipe in CONFIG.pseudo_labels.items() if recipe.folder]
CORRUPTED = [
    name
    for name, recipe in CONFIG.pseudo_labels.items()
    if recipe.evidence == "masks" and name not in IMPORTED
]
MADE_HERE = [name for name in CONFIG.pseudo_labels if name not in IMPORTED + CORRUPTED]
USES_CAMS = [
    name for name in MADE_HERE if CONFIG.pseudo_labels[name].evidence == "cams"
]


def recipe_settings(section):
    """Function of a rule's wildcards: one section of the recipe's settings, as JSON."""
    return lambda wildcards: settings_json(
        getattr(CONFIG.pseudo_labels[wildcards.recipe], section)
    )


def first_recipe(recipe, *sections):
    """The first recipe with the same settings in these sections: what is equal is made once."""

    def settings(name):
        return [getattr(CONFIG.pseudo_labels[name], section) for section in sections]

    return next(name for name in USES_CAMS if settings(name) == settings(recipe))


def classes_scribbles(recipe, scribbles):
    """The scribbles that an image's classes are taken from.

    Shrinking keeps a point of every stroke, and with it every class: what is made of the classes
    alone is made once, on the full scribbles.
    """
    if CONFIG.pseudo_labels[recipe].classes_from == "full":
        return "full"
    return "full" if scribbles.startswith("shrink-") else scribbles


def evidence_owner(wildcards, *sections):
    """Folder of the recipe that makes what all with the same settings in these sections share."""
    scribbles = classes_scribbles(wildcards.recipe, wildcards.scribbles)
    if CONFIG.pseudo_labels[wildcards.recipe].classifier.stroke_weight:
        scribbles = wildcards.scribbles  # it learns from their pixels as well
    if scribbles != "full":
        sections = (*sections, "classes_from")
    owner = first_recipe(wildcards.recipe, *sections)
    return f"{STAGES}/pseudo_labels/{scribbles}/{owner}"


def classifier_scribbles(wildcards):
    """The scribble labels, where the recipe's classifier learns from their pixels."""
    if not CONFIG.pseudo_labels[wildcards.recipe].classifier.stroke_weight:
        return []
    return [f"{STAGES}/scribbles/{wildcards.scribbles}/labels.h5"]


def recipe_classifier(wildcards):
    return f"{evidence_owner(wildcards, 'classifier')}/classifier.pt"


def recipe_evidence(wildcards):
    """The store of a recipe's evidence; nothing where the strokes alone are the evidence."""
    evidence = CONFIG.pseudo_labels[wildcards.recipe].evidence
    if evidence == "cams":
        return [f"{evidence_owner(wildcards, 'classifier', 'cams')}/cams.h5"]
    if evidence == "network":
        return [
            f"{STAGES}/pseudo_labels/{wildcards.scribbles}/{wildcards.recipe}/probabilities.h5"
        ]
    return []


def evidence_weights(wildcards):
    """The trained network behind a recipe."""
    run = CONFIG.evidence_run(wildcards.recipe, wildcards.scribbles)
    return f"{STAGES}/segmentation/{run.folder}/weights.pt"


def evidence_protocol(wildcards):
    recipe = CONFIG.pseudo_labels[wildcards.recipe]
    return settings_json(CONFIG.evaluation[recipe.network.protocol])


def image_classes(wildcards):
    """The image-level classes of the recipe: of the degraded scribbles or of the full ones."""
    scribbles = classes_scribbles(wildcards.recipe, wildcards.scribbles)
    return f"{STAGES}/scribbles/{scribbles}/image_classes.json"


# segmentation

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


def all_weights(wildcards):
    """The trained networks of all tables."""
    runs = dict.fromkeys(run for table in CONFIG.tables for run in CONFIG.runs(table))
    return [f"{STAGES}/segmentation/{run.folder}/weights.pt" for run in runs]


def as_options(stores):
    return " ".join(f"--{option} {path}" for option, path in stores.items())


# reporting


def require_validation_images():
    """Stop before hours of training, where a user's own folder leaves nothing to evaluate on."""
    if CONFIG.datasets[CONFIG.dataset]["source"] != "folder":
        return
    folder = CONFIG.dataset_settings(CONFIG.dataset).path
    path = os.path.join(folder, "ImageSets/SegmentationAug/val.txt")
    if os.path.isdir(folder) and not os.path.isfile(path):
        raise WorkflowError(
            f"{path}: not there, so that there are no validation images for a table; list some "
            "that have masks, or ask for the target networks in place of the table"
        )


def table_metrics(wildcards):
    require_validation_images()
    protocol = CONFIG.tables[wildcards.table].protocol
    return [
        f"{STAGES}/evaluation/{run.folder}/{protocol}/metrics.json"
        for run in CONFIG.runs(wildcards.table)
    ]


def table_options(wildcards):
    """The options of loss terms that a table varies, and the paper's table beside it."""
    table = CONFIG.tables[wildcards.table]
    options = [f"--option {option}" for option in sorted(table.vary)]
    if table.reported is not None:
        options.append(f"--reported {table.reported}")
    return " ".join(options)


def table_quality(wildcards):
    """Of all pseudo-labels that the table's runs learn from or that it measures besides."""
    table = CONFIG.tables[wildcards.table]
    trained = (run.pseudo_labels for run in CONFIG.runs(wildcards.table))
    recipes = dict.fromkeys([*table.measured_labels, *trained])
    recipes.pop("none", None)
    labels = dict.fromkeys(
        (scribbles, CONFIG.recipe(recipe, scribbles))
        for recipe in recipes
        for scribbles in table.scribbles
    )
    return [
        f"{STAGES}/pseudo_labels/{scribbles}/{recipe}/quality.json"
        for scribbles, recipe in labels
    ]


def first_runs(wildcards):
    """The table's first network, scribbles and recipe, with every method and seed."""
    table = CONFIG.tables[wildcards.table]
    return [
        run
        for run in CONFIG.runs(wildcards.table)
        if run.network == table.networks[0]
        and run.scribbles in (table.scribbles[0], "none")
        and run.pseudo_labels in (table.pseudo_labels[0], "none")
    ]


def first_metrics(wildcards):
    protocol = CONFIG.tables[wildcards.table].protocol
    return [
        f"{STAGES}/evaluation/{run.folder}/{protocol}/metrics.json"
        for run in first_runs(wildcards)
    ]


def panel_runs(wildcards):
    """Of the first runs, those of the first seed."""
    seed = CONFIG.tables[wildcards.table].seeds[0]
    return [run for run in first_runs(wildcards) if run.seed == seed]


def panel_weights(wildcards):
    return [
        f"{STAGES}/segmentation/{run.folder}/weights.pt"
        for run in panel_runs(wildcards)
    ]


def panel_stores(wildcards):
    """The stores that the panel's runs read; the validation images have none."""
    stores = {}
    if wildcards.panel == "panel":
        for run in panel_runs(wildcards):
            for option, path in store_options(
                run.method, run.scribbles, run.pseudo_labels
            ).items():
                stores.setdefault(option, path)
    return stores


def panel_protocol(wildcards):
    return settings_json(CONFIG.evaluation[CONFIG.tables[wildcards.table].protocol])


def distance_map_stores(wildcards):
    """Of the table's first scribbles and recipe."""
    table = CONFIG.tables[wildcards.table]
    scribbles, recipe = table.scribbles[0], table.pseudo_labels[0]
    return {
        "scribbles": f"{STAGES}/scribbles/{scribbles}/labels.h5",
        "pseudo-labels": f"{STAGES}/pseudo_labels/{scribbles}/{recipe}/labels.h5",
    }


def distance_map_exponents(wildcards):
    """Every λ of the table's methods, as options of the command."""
    exponents = {
        (name, exponent)
        for method in CONFIG.variants(wildcards.table)
        for name, exponent in CONFIG.method(method).exponents.items()
    }
    return " ".join(
        f"--{name.removesuffix('_distance').replace('_', '-')}-exponent {exponent:g}"
        for name, exponent in sorted(exponents)
    )


PICTURES = ("panel", "comparison")  # the others are plots: SVG as well


def figure_files(table, folder):
    """The files of a table's figures."""
    return [
        f"{folder}/{table}_{figure}.{ending}"
        for figure in CONFIG.tables[table].figures
        for ending in (("png",) if figure in PICTURES else ("png", "svg"))
    ]


def table_caption(table):
    """What was run for a table, for the report."""
    settings = CONFIG.tables[table]
    training = settings_dict(CONFIG.segmentation)
    varied = [f"{option} {values}" for option, values in settings.vary.items()]
    parts = {
        "data set": CONFIG.dataset,
        "methods": ", ".join(settings.methods),
        "varied": "; ".join(varied),
        "networks": ", ".join(settings.networks),
        "scribbles": ", ".join(settings.scribbles),
        "pseudo-labels": ", ".join(settings.pseudo_labels),
        "seeds": ", ".join(map(str, settings.seeds)),
        "protocol": settings.protocol,
        "training": ", ".join(
            f"{key} {training[key]}"
            for key in (
                "epochs",
                "batch_size",
                "crop_size",
                "optimizer",
                "learning_rate",
            )
        ),
    }
    return "; ".join(f"{key}: {value}" for key, value in parts.items() if value)
