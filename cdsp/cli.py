"""The `cdsp` command: every stage by hand, with the files that the workflow would give it."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

# The stages are imported inside the commands, so that `cdsp --help` answers at once.


class InOrder(typer.core.TyperGroup):
    """Lists the commands in the order of the stages."""

    def list_commands(self, ctx: typer.Context) -> list[str]:
        """The names of the commands, stages first."""
        order = "dataset scribbles pseudo_labels distance_maps segmentation evaluation reporting"
        stages = order.split()
        return stages + [name for name in self.commands if name not in stages]


app = typer.Typer(
    cls=InOrder,
    help="Scribble-supervised semantic segmentation, stage by stage: dataset → scribbles → "
    "pseudo_labels → distance_maps → segmentation → evaluation → reporting. "
    "`snakemake --cores 8 results/table1.csv` runs all of them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
dataset_app = typer.Typer(help="Make or verify a data set in VOC layout.", no_args_is_help=True)
scribbles_app = typer.Typer(
    help="Simulate, import, degrade and rasterise strokes.", no_args_is_help=True
)
pseudo_labels_app = typer.Typer(
    help="Classifier → class activation maps → pseudo-labels.", no_args_is_help=True
)
reporting_app = typer.Typer(help="Tables and figures from many runs.", no_args_is_help=True)
app.add_typer(dataset_app, name="dataset")
app.add_typer(scribbles_app, name="scribbles")
app.add_typer(pseudo_labels_app, name="pseudo_labels")
app.add_typer(reporting_app, name="reporting")

DatasetOption = Annotated[Path, typer.Option("--dataset", help="dataset.json of the data set.")]
OutputFile = Annotated[Path, typer.Option("--output", help="File to write.")]
OutputFolder = Annotated[Path, typer.Option("--output", help="Folder to write into.")]
SettingsOption = Annotated[
    str,
    typer.Option(
        "--settings",
        help="Settings as YAML or JSON: a file, or the text itself, such as 'epochs: 5'. "
        "`cdsp settings` lists all of them.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto (a GPU when there is one), cpu, cuda or cuda:<i>.")
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=0, help="Data-loading processes; no part of the result.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of weights, order, augmentation.")]
ImageClassesOption = Annotated[
    Path, typer.Option("--image-classes", help="image_classes.json of the scribbles.")
]


def _settings(kind: type, text: str) -> Any:
    from cdsp.settings import parse_settings, read_yaml

    return parse_settings(kind, read_yaml(text), "--settings")


@app.command("settings")
def settings_command(
    stage: Annotated[
        str | None, typer.Argument(help="One of the stages; all when left out.")
    ] = None,
) -> None:
    """List the settings of a stage: name, default (the paper's), meaning and range."""
    from cdsp import config
    from cdsp.losses import LOSS_TERMS
    from cdsp.settings import describe_settings, nearest

    stages: dict[str, type] = {
        "dataset.shapes": config.ShapesSettings,
        "dataset.folder": config.FolderSettings,
        "dataset.scribblesup": config.ScribbleSupSettings,
        "scribbles.simulated": config.SimulationSettings,
        "scribbles.annotations": config.AnnotationSettings,
        "scribbles.degrade": config.DegradationSettings,
        "pseudo_labels.classifier": config.ClassifierSettings,
        "pseudo_labels.cams": config.CamSettings,
        "pseudo_labels.network": config.NetworkEvidence,
        "pseudo_labels.corruption": config.CorruptionSettings,
        "pseudo_labels.labels": config.LabelSettings,
        "segmentation": config.SegmentationSettings,
        "evaluation": config.EvaluationSettings,
        **{f"method.{name}": term.Options for name, term in LOSS_TERMS.items()},
    }
    chosen = {name: kind for name, kind in stages.items() if name.startswith(stage or "")}
    if not chosen:
        raise ValueError(f"unknown stage {stage!r}{nearest(str(stage), stages)}")
    for name, kind in chosen.items():
        typer.echo(f"{name}\n{describe_settings(kind, '  ')}\n")


@app.command("plan")
def plan(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Tables, as table1 or results/table1.csv; or all.")
    ] = None,
    config: Annotated[
        list[Path] | None,
        typer.Option(help="Configuration, config.yaml if left out; more are merged in order."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at a time; left out: as this machine has room for."),
    ] = None,
) -> None:
    """Say how many runs tables need, how many are made, and how many hours the others take."""
    from cdsp import runtime
    from cdsp.reporting.cost import describe_cost

    text = describe_cost(
        config or [Path("config.yaml")],
        tables or [],
        results=Path("results"),
        hardware=runtime.describe(runtime.prepare(1)),
        jobs=jobs,
    )
    typer.echo(text)


@dataset_app.command("shapes")
def dataset_shapes(
    output: OutputFolder,
    name: Annotated[str, typer.Option(help="As the results folder is to call it.")] = "shapes",
    settings: SettingsOption = "{}",
) -> None:
    """Draw the embedded data set."""
    from cdsp.config import ShapesSettings
    from cdsp.dataset.prepare import make_shapes
    from cdsp.settings import settings_dict

    make_shapes(output, name, **settings_dict(_settings(ShapesSettings, settings)))


@dataset_app.command("folder")
def dataset_folder(
    output: OutputFile,
    name: Annotated[str, typer.Option(help="As the results folder is to call it.")],
    settings: SettingsOption,
) -> None:
    """Verify a folder of your own in VOC layout, and describe it in a dataset.json."""
    from cdsp.config import FolderSettings
    from cdsp.dataset.prepare import describe_folder

    parsed = _settings(FolderSettings, settings)
    describe_folder(Path(parsed.path), name, parsed.classes, output, parsed.colours)


@dataset_app.command("scribblesup")
def dataset_scribblesup(
    output: OutputFile,
    name: Annotated[str, typer.Option(help="As the results folder is to call it.")] = "scribblesup",
    settings: SettingsOption = "{}",
    archives: Annotated[
        Path | None, typer.Option("--from", help="Folder of archives downloaded before.")
    ] = None,
) -> None:
    """Download and build PASCAL VOC 2012 + SBD with the strokes of ScribbleSup, or verify it."""
    from cdsp.config import ScribbleSupSettings
    from cdsp.dataset.scribblesup import make_scribblesup

    parsed = _settings(ScribbleSupSettings, settings)
    if archives is None and parsed.archives is not None:
        archives = Path(parsed.archives)
    make_scribblesup(Path(parsed.path), name, output, local=archives)


@dataset_app.command("check")
def dataset_check(
    folder: Annotated[Path, typer.Argument(help="Folder with JPEGImages/ and what goes with it.")],
    classes: Annotated[
        str, typer.Option(help="Names, with commas, background first; empty: as the files say.")
    ] = "",
    annotations: Annotated[
        Path | None, typer.Option(help="File or folder of annotations; Scribbles/ if left out.")
    ] = None,
    width: Annotated[float, typer.Option(help="Of strokes whose file does not say it.")] = 3.0,
    picture: Annotated[Path, typer.Option(help="PNG of a few annotated images.")] = Path(
        "check.png"
    ),
) -> None:
    """Say what a folder of your own holds, what is wrong with it, and show a few images."""
    from cdsp.check import check_folder

    names = tuple(name.strip() for name in classes.split(",") if name.strip())
    if check_folder(folder, names, annotations, width=width, picture=picture):
        raise typer.Exit(1)


@scribbles_app.command("simulate")
def scribbles_simulate(
    dataset: DatasetOption, output: OutputFile, settings: SettingsOption = "{}"
) -> None:
    """Draw strokes from the training masks, as a hand would."""
    from cdsp.config import SimulationSettings
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.scribbles.labels import simulate_scribbles
    from cdsp.settings import settings_dict

    parsed = settings_dict(_settings(SimulationSettings, settings))
    simulate_scribbles(read_dataset(dataset), output, **parsed)


@scribbles_app.command("import")
def scribbles_import(
    dataset: DatasetOption,
    output: OutputFile,
    path: Annotated[
        Path | None,
        typer.Argument(help="File or folder of annotations; left out: as the settings say."),
    ] = None,
    settings: SettingsOption = "{}",
) -> None:
    """Take strokes that people drew: ScribbleSup, PNG, labelme, CVAT, Label Studio, tag lists."""
    from cdsp.config import AnnotationSettings
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.scribbles.imported import import_strokes

    parsed = _settings(AnnotationSettings, settings)
    described = read_dataset(dataset)
    if path is None:
        path = Path(parsed.path) if parsed.path else described.root / "Scribbles"
    import_strokes(described, path, output, width=parsed.width)


@scribbles_app.command("degrade")
def scribbles_degrade(
    strokes: Annotated[Path, typer.Argument(help="Strokes file (strokes.jsonl).")],
    output: OutputFolder,
    degradation: Annotated[
        str,
        typer.Option(help="full, shrink-<ratio> or drop-<ratio>; the ratio is what is removed."),
    ] = "full",
    dataset: Annotated[
        Path | None,
        typer.Option(help="dataset.json of the data set; needed where there are boxes."),
    ] = None,
    settings: SettingsOption = "{}",
) -> None:
    """Shrink or drop annotations, make labels of what remains and list the classes it names."""
    from cdsp.config import DegradationSettings
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.scribbles.degrade import Degradation
    from cdsp.scribbles.labels import degrade_scribbles
    from cdsp.settings import settings_dict

    parsed = settings_dict(_settings(DegradationSettings, settings))
    described = None if dataset is None else read_dataset(dataset)
    degrade_scribbles(strokes, Degradation.parse(degradation), output, dataset=described, **parsed)


@pseudo_labels_app.command("classifier")
def pseudo_labels_classifier(
    dataset: DatasetOption,
    image_classes: ImageClassesOption,
    output: OutputFile,
    scribbles: Annotated[
        Path | None,
        typer.Option(help="Store of scribble labels; for a stroke_weight above 0, only then."),
    ] = None,
    settings: SettingsOption = "{}",
    device: DeviceOption = "auto",
    workers: WorkersOption = 0,
) -> None:
    """Train the multi-label classifier on the image-level classes of the scribbles."""
    from cdsp import runtime
    from cdsp.config import ClassifierSettings
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.pseudo_labels.classifier import train_classifier
    from cdsp.scribbles.labels import read_image_classes

    parsed = _settings(ClassifierSettings, settings)
    train_classifier(
        read_dataset(dataset),
        read_image_classes(image_classes),
        parsed,
        output,
        scribbles=scribbles,
        device=runtime.prepare(parsed.cpu_threads, device),
        num_workers=workers,
    )


@pseudo_labels_app.command("cams")
def pseudo_labels_cams(
    dataset: DatasetOption,
    image_classes: ImageClassesOption,
    classifier: Annotated[Path, typer.Option(help="The trained classifier.")],
    output: OutputFile,
    settings: SettingsOption = "{}",
    device: DeviceOption = "auto",
) -> None:
    """Export class activation maps (Eq. 6), or probabilities by a classifier taught by strokes."""
    from cdsp import runtime
    from cdsp.config import CamSettings
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.pseudo_labels.cams import export_cams
    from cdsp.scribbles.labels import read_image_classes

    export_cams(
        classifier,
        read_dataset(dataset),
        read_image_classes(image_classes),
        _settings(CamSettings, settings),
        output,
        device=runtime.prepare(1, device),
    )


@pseudo_labels_app.command("probabilities")
def pseudo_labels_probabilities(
    weights: Annotated[Path, typer.Argument(help="weights.pt of a run.")],
    dataset: DatasetOption,
    image_classes: ImageClassesOption,
    output: OutputFile,
    settings: Annotated[
        str, typer.Option("--settings", help="Protocol; see `cdsp settings evaluation`.")
    ] = "{scales: [1], long_side: 0, window: 0}",
    device: DeviceOption = "auto",
) -> None:
    """Predict the training images by a trained network, as evidence for the next labels."""
    from cdsp import runtime
    from cdsp.config import EvaluationSettings
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.pseudo_labels.probabilities import export_probabilities
    from cdsp.scribbles.labels import read_image_classes

    export_probabilities(
        weights,
        read_dataset(dataset),
        read_image_classes(image_classes),
        _settings(EvaluationSettings, settings),
        output,
        device=runtime.prepare(1, device),
    )


@pseudo_labels_app.command("labels")
def pseudo_labels_labels(
    dataset: DatasetOption,
    scribbles: Annotated[Path, typer.Option(help="Store of scribble labels.")],
    output: OutputFile,
    evidence: Annotated[
        Path | None, typer.Option(help="Store of CAMs or probabilities; none: strokes alone.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Name of the recipe.")] = "cam",
    settings: SettingsOption = "{}",
) -> None:
    """Turn strokes and evidence into pseudo-labels."""
    from cdsp.config import LabelSettings
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.pseudo_labels.labels import make_pseudo_labels

    parsed = _settings(LabelSettings, settings)
    make_pseudo_labels(read_dataset(dataset), scribbles, evidence, parsed, output, recipe=recipe)


@pseudo_labels_app.command("import")
def pseudo_labels_import(
    folder: Annotated[Path, typer.Argument(help="Folder with <id>.png for each training image.")],
    dataset: DatasetOption,
    output: OutputFile,
    recipe: Annotated[str, typer.Option(help="Name of the recipe.")],
    scribbles: Annotated[
        str, typer.Option(help="Name of the scribbles used beside them.")
    ] = "full",
) -> None:
    """Take pseudo-labels made elsewhere (SEAM, AFA, BMP…), after checking each."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.pseudo_labels.imported import import_pseudo_labels

    import_pseudo_labels(folder, read_dataset(dataset), scribbles, output, recipe=recipe)


@pseudo_labels_app.command("corrupt")
def pseudo_labels_corrupt(
    dataset: DatasetOption,
    output: OutputFile,
    recipe: Annotated[str, typer.Option(help="Name of the recipe.")],
    scribbles: Annotated[
        str, typer.Option(help="Name of the scribbles used beside them.")
    ] = "full",
    settings: SettingsOption = "{}",
) -> None:
    """Corrupt the training masks: labels of chosen quality, only for studying what it brings."""
    from cdsp.config import CorruptionSettings
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.pseudo_labels.corruption import corrupt_masks

    parsed = _settings(CorruptionSettings, settings)
    corrupt_masks(read_dataset(dataset), scribbles, parsed, output, recipe=recipe)


@pseudo_labels_app.command("measure")
def pseudo_labels_measure(
    labels: Annotated[Path, typer.Argument(help="Store of pseudo-labels.")],
    dataset: DatasetOption,
    output: OutputFile,
    scribbles: Annotated[
        Path | None, typer.Option(help="Store of the scribbles that they were made from.")
    ] = None,
    full_scribbles: Annotated[
        Path | None, typer.Option(help="Store of all scribbles: what is more in it is held out.")
    ] = None,
) -> None:
    """Compare pseudo-labels with training masks and held-out strokes; for reading only."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.pseudo_labels.quality import measure_pseudo_labels

    measure_pseudo_labels(
        labels,
        read_dataset(dataset),
        output,
        scribbles=scribbles,
        full_scribbles=full_scribbles,
    )


@app.command("distance_maps")
def distance_maps(
    labels: Annotated[Path, typer.Argument(help="Store of scribbles or of pseudo-labels.")],
    exponent: Annotated[float, typer.Option(min=0, max=20, help="λ of Eq. 14 or 16.")],
    output: OutputFile,
) -> None:
    """Compute distance maps: of scribbles (Eq. 14) or of a pseudo-label's boundary (Eq. 16)."""
    from cdsp.distance_maps import make_distance_maps

    make_distance_maps(labels, exponent, output)


@app.command("segmentation")
def segmentation(
    dataset: DatasetOption,
    method: Annotated[str, typer.Option(help="Name of the method, for tables.")],
    terms: Annotated[
        str, typer.Option(help="Its loss terms, as YAML: '{scribble: 1, lorm: {weight: 0.1}}'.")
    ],
    output: OutputFolder,
    scribbles: Annotated[Path | None, typer.Option(help="Store of scribble labels.")] = None,
    pseudo_labels: Annotated[Path | None, typer.Option(help="Store of pseudo-labels.")] = None,
    scribble_distances: Annotated[Path | None, typer.Option(help="Store, Eq. 14.")] = None,
    pseudo_label_distances: Annotated[Path | None, typer.Option(help="Store, Eq. 16.")] = None,
    settings: SettingsOption = "{}",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    workers: WorkersOption = 0,
) -> None:
    """Train a segmentation network; started again after a stop, it goes on where it was."""
    from cdsp import runtime
    from cdsp.config import SegmentationSettings, parse_method
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.segmentation.data import open_training_data
    from cdsp.segmentation.train import Trainer, report_unlabelled
    from cdsp.settings import read_yaml

    parsed = _settings(SegmentationSettings, settings)
    parsed_method = parse_method(read_yaml(terms), "--terms")
    data = open_training_data(
        read_dataset(dataset),
        parsed_method,
        {
            "scribble": scribbles,
            "pseudo_label": pseudo_labels,
            "scribble_distance": scribble_distances,
            "pseudo_label_distance": pseudo_label_distances,
        },
    )
    report_unlabelled(data)
    name = {
        "dataset": data.dataset.name,
        "method": method,
        "supervision": parsed_method.supervision,
        "segmentor": parsed.segmentor,
        "backbone": parsed.backbone,
        "scribbles": data.parameter("scribbles"),
        "pseudo_labels": data.parameter("recipe"),
        "seed": seed,
    }
    trainer = Trainer(
        data,
        parsed_method,
        parsed,
        name=name,
        seed=seed,
        device=runtime.prepare(parsed.cpu_threads, device),
        num_workers=workers,
    )
    trainer.run(output)


@app.command("evaluation")
def evaluation(
    weights: Annotated[Path, typer.Argument(help="weights.pt of a run.")],
    dataset: DatasetOption,
    output: OutputFolder,
    protocol: Annotated[str, typer.Option(help="Name of the protocol, for tables.")] = "paper",
    predictions: Annotated[Path | None, typer.Option(help="Folder for palette PNGs.")] = None,
    settings: SettingsOption = "{}",
    device: DeviceOption = "auto",
) -> None:
    """Evaluate a network on the validation images: confusion matrix, IoU, mIoU."""
    from cdsp import runtime
    from cdsp.config import EvaluationSettings
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.evaluation.evaluate import evaluate

    evaluate(
        weights,
        read_dataset(dataset),
        _settings(EvaluationSettings, settings),
        output,
        protocol=protocol,
        device=runtime.prepare(1, device),
        predictions=predictions,
    )


@app.command("predict")
def predict(
    images: Annotated[list[Path], typer.Argument(help="Photographs.")],
    checkpoint: Annotated[Path, typer.Option(help="weights.pt of a run.")],
    output: OutputFolder,
    settings: Annotated[
        str, typer.Option("--settings", help="Protocol; see `cdsp settings evaluation`.")
    ] = "{scales: [1], long_side: 0, window: 0}",
    device: DeviceOption = "auto",
) -> None:
    """Segment photographs of your own: class indices as palette PNG, and a picture to look at."""
    from cdsp import runtime
    from cdsp.config import EvaluationSettings
    from cdsp.evaluation.evaluate import predict as predict_images

    parsed = _settings(EvaluationSettings, settings)
    predict_images(images, checkpoint, output, parsed, runtime.prepare(1, device))


@app.command("export")
def export(
    store: Annotated[Path, typer.Argument(help="A store of scribbles, labels or distances.")],
    output: OutputFolder,
) -> None:
    """Write the maps of a label store as palette PNGs, to look at or to use elsewhere."""
    from cdsp.files import write_label
    from cdsp.progress import progress
    from cdsp.store import LabelStore

    opened = LabelStore(store)
    if opened.kind in ("cams", "probabilities"):
        raise ValueError(
            f"{store}: {opened.kind} have several maps per image; export the pseudo-labels"
        )
    for image_id in progress(opened, f"exporting {opened.kind}"):
        write_label(output / f"{image_id}.png", opened[image_id])


@reporting_app.command("table")
def reporting_table(
    metrics: Annotated[list[Path], typer.Argument(help="metrics.json of each run.")],
    output: OutputFile,
    quality: Annotated[
        list[Path] | None, typer.Option(help="Measured pseudo-labels to mention below it.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Option of a loss term to show: lorm.weight.")
    ] = None,
    reported: Annotated[
        str | None, typer.Option(help="The paper's table1, table2 or table3, to stand beside.")
    ] = None,
) -> None:
    """Write a table as CSV, and as Markdown and JSON beside it."""
    from cdsp.reporting.tables import write_table

    write_table(metrics, output, quality or (), options=option or (), reported=reported)


@reporting_app.command("plot")
def reporting_plot(
    figure: Annotated[str, typer.Argument(help="curves, heat_map or label_quality.")],
    table: Annotated[Path, typer.Argument(help="CSV file of a table.")],
    output: OutputFile,
) -> None:
    """Draw a table, as PNG and SVG."""
    from cdsp.figures import save_figure
    from cdsp.reporting.plots import PLOTS
    from cdsp.reporting.tables import read_table
    from cdsp.settings import nearest

    if figure not in PLOTS:
        raise ValueError(f"unknown figure {figure!r}{nearest(figure, PLOTS)}")
    save_figure(PLOTS[figure](read_table(table)), output)


@reporting_app.command("runs")
def reporting_runs(
    figure: Annotated[str, typer.Argument(help="training, class_iou or confusion.")],
    metrics: Annotated[list[Path], typer.Argument(help="metrics.json of each run.")],
    output: OutputFile,
) -> None:
    """Draw what runs logged or confused, as PNG and SVG."""
    from cdsp.figures import save_figure
    from cdsp.reporting.run_figures import RUN_FIGURES
    from cdsp.settings import nearest

    if figure not in RUN_FIGURES:
        raise ValueError(f"unknown figure {figure!r}{nearest(figure, RUN_FIGURES)}")
    save_figure(RUN_FIGURES[figure](metrics), output)


@reporting_app.command("distance_maps")
def reporting_distance_maps(
    dataset: DatasetOption,
    scribbles: Annotated[Path, typer.Option(help="Store of scribble labels.")],
    pseudo_labels: Annotated[Path, typer.Option(help="Store of pseudo-labels.")],
    output: OutputFile,
    scribble_exponent: Annotated[
        list[float] | None, typer.Option(help="λ of the scribble distance (Eq. 14).")
    ] = None,
    pseudo_label_exponent: Annotated[
        list[float] | None, typer.Option(help="λ of the pseudo-label distance (Eq. 16).")
    ] = None,
    num_images: Annotated[int, typer.Option(min=1, help="Rows.")] = 6,
) -> None:
    """Draw the distance maps of a few training images under several λ, as PNG and SVG."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.figures import save_figure
    from cdsp.reporting.distance_figure import draw_distance_maps
    from cdsp.store import LabelStore

    figure = draw_distance_maps(
        read_dataset(dataset),
        LabelStore(scribbles, "scribbles"),
        LabelStore(pseudo_labels, "pseudo_labels"),
        scribble_exponent or (),
        pseudo_label_exponent or (),
        num_images,
    )
    save_figure(figure, output)


@reporting_app.command("explain")
def reporting_explain(
    table: Annotated[Path, typer.Argument(help="CSV file of a table.")],
    row: Annotated[
        str | None,
        typer.Argument(help="Number of a row, or a method; left out: a list of the rows."),
    ] = None,
) -> None:
    """Say where a table's numbers come from, and check them against the runs as they are now."""
    from cdsp.reporting.explain import explain_rows, list_rows

    if row is None:
        typer.echo(list_rows(table))
        return
    explanation = explain_rows(table, row)
    typer.echo(explanation.text)
    if not explanation.confirmed:
        raise typer.Exit(1)


@reporting_app.command("panel")
def reporting_panel(
    weights: Annotated[list[Path], typer.Argument(help="weights.pt of the runs to compare.")],
    dataset: DatasetOption,
    output: OutputFile,
    split: Annotated[
        str, typer.Option(help="train, or val: images that no run has seen.")
    ] = "train",
    scribbles: Annotated[Path | None, typer.Option(help="Store.")] = None,
    pseudo_labels: Annotated[Path | None, typer.Option(help="Store.")] = None,
    scribble_distances: Annotated[Path | None, typer.Option(help="Store.")] = None,
    pseudo_label_distances: Annotated[Path | None, typer.Option(help="Store.")] = None,
    num_images: Annotated[int, typer.Option(min=1, help="Rows.")] = 6,
    settings: Annotated[
        str, typer.Option("--settings", help="Protocol; see `cdsp settings evaluation`.")
    ] = "{scales: [1], long_side: 0, window: 0}",
    device: DeviceOption = "auto",
) -> None:
    """Draw what every stage made of a few images, side by side."""
    from cdsp import runtime
    from cdsp.config import EvaluationSettings
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.reporting.panel import draw_panel
    from cdsp.store import LabelStore

    paths = {
        "scribble": scribbles,
        "pseudo_label": pseudo_labels,
        "scribble_distance": scribble_distances,
        "pseudo_label_distance": pseudo_label_distances,
    }
    draw_panel(
        read_dataset(dataset),
        {name: LabelStore(path) for name, path in paths.items() if path is not None},
        weights,
        _settings(EvaluationSettings, settings),
        output,
        split=split,
        num_images=num_images,
        device=runtime.prepare(1, device),
    )


@reporting_app.command("worst")
def reporting_worst(
    labels: Annotated[Path, typer.Argument(help="Store of pseudo-labels.")],
    dataset: DatasetOption,
    scribbles: Annotated[Path, typer.Option(help="Store of the scribbles behind them.")],
    output: OutputFile,
    num_images: Annotated[int, typer.Option(min=1, help="Rows.")] = 12,
) -> None:
    """Draw the pseudo-labels that differ most from their masks."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.reporting.worst import draw_worst_labels
    from cdsp.store import LabelStore

    worst = draw_worst_labels(
        read_dataset(dataset),
        LabelStore(scribbles, "scribbles"),
        LabelStore(labels, "pseudo_labels"),
        output,
        num_images=num_images,
    )
    for image_id, score in worst:
        typer.echo(f"{image_id}  mIoU {100 * score:.1f} %")


def main() -> None:
    """Run the command line; a user's mistake ends in one message, not in a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal's alphabet, or a file's broken name, must not hide the rest of a message.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except (ValueError, OSError) as error:
        sys.exit(f"cdsp: {error}")


if __name__ == "__main__":
    main()
