"""`cdsp pseudo_labels`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdsp.options import (
    DatasetOption,
    DeviceOption,
    ImageClassesOption,
    OutputFile,
    ProtocolOption,
    SettingsOption,
    WorkersOption,
    parse_option,
    parse_protocol,
)

app = typer.Typer()


@app.command("classifier")
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
    workers: WorkersOption = None,
) -> None:
    """Train the multi-label classifier on the image-level classes of the scribbles."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.pseudo_labels.classifier import train_classifier
    from cdsp.pseudo_labels.settings import ClassifierSettings
    from cdsp.scribbles.image_classes import read_image_classes
    from cdsp.training import runtime

    parsed = parse_option(ClassifierSettings, settings)
    annotated = read_image_classes(image_classes)
    found = runtime.prepare(parsed.cpu_threads, device, shared=True)
    train_classifier(
        read_dataset(dataset).training_on(annotated),
        annotated,
        parsed,
        output,
        scribbles=scribbles,
        device=found,
        num_workers=runtime.workers_of(workers, found),
    )


@app.command("cams")
def pseudo_labels_cams(
    dataset: DatasetOption,
    image_classes: ImageClassesOption,
    classifier: Annotated[Path, typer.Option(help="The trained classifier.")],
    output: OutputFile,
    settings: SettingsOption = "{}",
    device: DeviceOption = "auto",
) -> None:
    """Export class activation maps (Eq. 6), or probabilities by a classifier taught by strokes."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.pseudo_labels.cams import export_cams
    from cdsp.pseudo_labels.settings import CamSettings
    from cdsp.scribbles.image_classes import read_image_classes
    from cdsp.training import runtime

    annotated = read_image_classes(image_classes)
    export_cams(
        classifier,
        read_dataset(dataset).training_on(annotated),
        annotated,
        parse_option(CamSettings, settings),
        output,
        device=runtime.prepare(1, device),
    )


@app.command("probabilities")
def pseudo_labels_probabilities(
    weights: Annotated[Path, typer.Argument(help="weights.pt of a run.")],
    dataset: DatasetOption,
    image_classes: ImageClassesOption,
    output: OutputFile,
    settings: ProtocolOption = "",
    device: DeviceOption = "auto",
) -> None:
    """Predict the training images by a trained network, as evidence for the next labels."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.pseudo_labels.probabilities import export_probabilities
    from cdsp.scribbles.image_classes import read_image_classes
    from cdsp.training import runtime

    annotated = read_image_classes(image_classes)
    export_probabilities(
        weights,
        read_dataset(dataset).training_on(annotated),
        annotated,
        parse_protocol(settings),
        output,
        device=runtime.prepare(1, device),
    )


@app.command("pixels")
def pseudo_labels_pixels(
    dataset: DatasetOption,
    scribbles: Annotated[Path, typer.Option(help="Store of scribble labels.")],
    image_classes: ImageClassesOption,
    output: OutputFile,
    settings: SettingsOption = "{}",
) -> None:
    """Classify pixels by filters or a backbone's frozen features, as evidence for labels."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.pseudo_labels.pixel_classifier import export_pixel_probabilities
    from cdsp.pseudo_labels.settings import PixelSettings
    from cdsp.scribbles.image_classes import read_image_classes

    annotated = read_image_classes(image_classes)
    export_pixel_probabilities(
        read_dataset(dataset).training_on(annotated),
        scribbles,
        annotated,
        parse_option(PixelSettings, settings),
        output,
    )


@app.command("labels")
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
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.pseudo_labels.from_evidence import make_pseudo_labels
    from cdsp.pseudo_labels.settings import LabelSettings

    parsed = parse_option(LabelSettings, settings)
    make_pseudo_labels(read_dataset(dataset), scribbles, evidence, parsed, output, recipe=recipe)


@app.command("import")
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
    from cdsp.pseudo_labels.import_pngs import import_pseudo_labels

    import_pseudo_labels(folder, read_dataset(dataset), scribbles, output, recipe=recipe)


@app.command("corrupt")
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
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.pseudo_labels.corruption import corrupt_masks
    from cdsp.pseudo_labels.settings import CorruptionSettings

    parsed = parse_option(CorruptionSettings, settings)
    corrupt_masks(read_dataset(dataset), scribbles, parsed, output, recipe=recipe)


@app.command("boxes")
def pseudo_labels_boxes(
    dataset: DatasetOption,
    output: OutputFile,
    recipe: Annotated[str, typer.Option(help="Name of the recipe.")],
    scribbles: Annotated[
        str, typer.Option(help="Name of the scribbles used beside them.")
    ] = "full",
) -> None:
    """Cut objects out of the boxes of the training masks by GrabCut: supervision by boxes."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.pseudo_labels.boxes import label_boxes

    label_boxes(read_dataset(dataset), scribbles, output, recipe=recipe)


@app.command("measure")
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
