"""`cdsp scribbles`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdsp.options import DatasetOption, OutputFile, OutputFolder, SettingsOption, parse_option

if TYPE_CHECKING:  # loading them takes a while
    from cdsp.dataset.voc_layout import Dataset
    from cdsp.scribbles.settings import AnnotationSettings

app = typer.Typer()

AnnotationsArgument = Annotated[
    Path | None,
    typer.Argument(help="File or folder of annotations; left out: as the settings say."),
]


@app.command("simulate")
def scribbles_simulate(
    dataset: DatasetOption, output: OutputFile, settings: SettingsOption = "{}"
) -> None:
    """Draw strokes from the training masks, as a hand would."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.scribbles.scribble_labels import simulate_scribbles
    from cdsp.scribbles.settings import SimulationSettings
    from cdsp.settings import settings_dict

    parsed = settings_dict(parse_option(SimulationSettings, settings))
    simulate_scribbles(read_dataset(dataset), output, **parsed)


@app.command("import")
def scribbles_import(
    dataset: DatasetOption,
    output: OutputFile,
    path: AnnotationsArgument = None,
    settings: SettingsOption = "{}",
) -> None:
    """Take strokes that people drew: ScribbleSup, PNG, labelme, CVAT, Label Studio, tag lists."""
    from cdsp.scribbles.import_annotations import import_strokes

    described, place, parsed = _annotated(dataset, path, settings)
    import_strokes(described, place, output, parsed)


@app.command("validation")
def scribbles_validation(
    dataset: DatasetOption,
    output: OutputFile,
    path: AnnotationsArgument = None,
    settings: SettingsOption = "{}",
) -> None:
    """Take the strokes of validation images that have no masks, to measure on them."""
    from cdsp.scribbles.validation import label_validation_images

    described, place, parsed = _annotated(dataset, path, settings)
    label_validation_images(described, place, output, parsed)


def _annotated(
    dataset: Path, path: Path | None, settings: str
) -> tuple[Dataset, Path, AnnotationSettings]:
    """A data set, where its annotations are, and how they are read."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.scribbles.settings import AnnotationSettings

    parsed = parse_option(AnnotationSettings, settings)
    described = read_dataset(dataset)
    return described, path or parsed.place(described.root), parsed


@app.command("degrade")
def scribbles_degrade(
    strokes: Annotated[Path, typer.Argument(help="Strokes file (strokes.jsonl).")],
    output: OutputFolder,
    degradation: Annotated[
        str,
        typer.Option(
            help="full, shrink-<ratio>, drop-<ratio>, hold_out-<ratio>: the fraction removed."
        ),
    ] = "full",
    dataset: Annotated[
        Path | None,
        typer.Option(help="dataset.json of the data set; needed where there are boxes."),
    ] = None,
    settings: SettingsOption = "{}",
) -> None:
    """Shrink, drop or hold out annotations; make labels of the rest, list the classes it names."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.scribbles.degrade import Degradation
    from cdsp.scribbles.scribble_labels import degrade_scribbles
    from cdsp.scribbles.settings import DegradationSettings
    from cdsp.settings import settings_dict

    parsed = settings_dict(parse_option(DegradationSettings, settings))
    described = None if dataset is None else read_dataset(dataset)
    degrade_scribbles(strokes, Degradation.parse(degradation), output, dataset=described, **parsed)
