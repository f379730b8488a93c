"""`cdsp dataset`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdsp.options import (
    AnnotationSettingsOption,
    AnnotationsOption,
    ClassesOption,
    FolderArgument,
    OutputFile,
    OutputFolder,
    SettingsOption,
    VoidRegionsOption,
    parse_classes,
    parse_option,
)

app = typer.Typer()


@app.command("shapes")
def dataset_shapes(
    output: OutputFolder,
    name: Annotated[str, typer.Option(help="As the results folder is to call it.")] = "shapes",
    settings: SettingsOption = "{}",
) -> None:
    """Draw the embedded data set."""
    from cdsp.dataset.prepare import make_shapes
    from cdsp.dataset.settings import ShapesSettings
    from cdsp.settings import settings_dict

    make_shapes(output, name, **settings_dict(parse_option(ShapesSettings, settings)))


@app.command("folder")
def dataset_folder(
    output: OutputFile,
    name: Annotated[str, typer.Option(help="As the results folder is to call it.")],
    settings: SettingsOption,
) -> None:
    """Verify a folder of your own in VOC layout, and describe it in a dataset.json."""
    from cdsp.dataset.prepare import describe_folder
    from cdsp.dataset.settings import FolderSettings

    parsed = parse_option(FolderSettings, settings)
    describe_folder(
        Path(parsed.path),
        name,
        parsed.classes,
        output,
        parsed.colours,
        void_regions=parsed.void_regions,
        working_size=parsed.working_size,
        page=parsed.page,
    )


@app.command("scribblesup")
def dataset_scribblesup(
    output: OutputFile,
    name: Annotated[str, typer.Option(help="As the results folder is to call it.")] = "scribblesup",
    settings: SettingsOption = "{}",
    archives: Annotated[
        Path | None, typer.Option("--from", help="Folder of archives downloaded before.")
    ] = None,
) -> None:
    """Download and build PASCAL VOC 2012 + SBD with the strokes of ScribbleSup, or verify it."""
    from cdsp.dataset.scribblesup import make_scribblesup
    from cdsp.dataset.settings import ScribbleSupSettings

    parsed = parse_option(ScribbleSupSettings, settings)
    if archives is None and parsed.archives is not None:
        archives = Path(parsed.archives)
    make_scribblesup(Path(parsed.path), name, output, local=archives)


@app.command("scribbles4all")
def dataset_scribbles4all(
    output: OutputFile,
    name: Annotated[str, typer.Option(help="As the results folder is to call it.")],
    settings: SettingsOption,
) -> None:
    """Bring Cityscapes or ADE20K, with the strokes of Scribbles for All, into VOC layout."""
    from cdsp.dataset.scribbles4all import make_scribbles4all
    from cdsp.dataset.settings import Scribbles4AllSettings

    parsed = parse_option(Scribbles4AllSettings, settings)
    make_scribbles4all(parsed.benchmark, Path(parsed.path), name, output)


@app.command("check")
def dataset_check(
    folder: FolderArgument,
    classes: ClassesOption = "",
    annotations: AnnotationsOption = None,
    settings: AnnotationSettingsOption = "{}",
    picture: Annotated[Path, typer.Option(help="PNG of a few annotated images.")] = Path(
        "check.png"
    ),
    void_regions: VoidRegionsOption = False,
) -> None:
    """Say what a folder of your own holds, what is wrong with it, and show a few images."""
    from cdsp.scribbles.settings import AnnotationSettings
    from cdsp.tools.check import check_folder

    parsed = parse_option(AnnotationSettings, settings)
    problems = check_folder(
        folder.expanduser(),
        parse_classes(classes),
        annotations,
        settings=parsed,
        picture=picture,
        void_regions=void_regions,
    )
    if problems:
        raise typer.Exit(1)
