"""Commands beside the stages: settings, start, plan, preview, predict, export, accept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cdsp.options import (
    AnnotationSettingsOption,
    AnnotationsOption,
    ClassesOption,
    DeviceOption,
    FolderArgument,
    OutputFile,
    OutputFolder,
    ProtocolOption,
    VoidRegionsOption,
    parse_classes,
    parse_option,
    parse_protocol,
)

_RUN = "The network: its name below results/, such as mine/cdsp, or its weights.pt."
RunArgument = Annotated[str, typer.Argument(help=_RUN)]
RunOption = Annotated[str, typer.Option(help=_RUN)]


def settings(
    section: Annotated[
        str | None,
        typer.Argument(help="Section, such as segmentation or method.lorm; all when left out."),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="The JSON schema of a configuration, for editors.")
    ] = False,
) -> None:
    """List every setting of a configuration: name, default (the paper's), meaning and range."""
    from cdsp.experiment.schema import config_schema, describe_sections

    if schema:
        typer.echo(json.dumps(config_schema(), indent=2, ensure_ascii=False))
    else:
        typer.echo(describe_sections(section or ""))


def start(
    folder: FolderArgument,
    output: Annotated[
        Path | None, typer.Option(help="Configuration to write; <folder>.yaml if left out.")
    ] = None,
    classes: ClassesOption = "",
    annotations: AnnotationsOption = None,
    settings: AnnotationSettingsOption = "{}",
    void_regions: VoidRegionsOption = False,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Of the backbone: a file, 'imagenet' (fetched) or 'none'; left out: a file in "
            "data/, weights/ or here, or else fetched where that works."
        ),
    ] = None,
) -> None:
    """Write a configuration for photographs and strokes of your own, planned from them."""
    from cdsp.scribbles.settings import AnnotationSettings
    from cdsp.tools.start import start as plan_from_folder

    plan_from_folder(
        folder.expanduser(),
        output,
        classes=parse_classes(classes),
        annotations=annotations,
        settings=parse_option(AnnotationSettings, settings),
        void_regions=void_regions,
        weights=weights,
    )


def plan(
    tables: Annotated[
        list[str] | None,
        typer.Argument(help="Tables, as table1 or results/table1.csv; all, or none: all of them."),
    ] = None,
    configfile: Annotated[
        list[Path] | None,
        typer.Option(help="Configuration, config.yaml if left out; more are merged in order."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at a time; left out: as this machine has room for."),
    ] = None,
) -> None:
    """Say how many runs tables need, how many are made, and how many hours the others take."""
    from cdsp.tools.plan import describe_cost
    from cdsp.training import runtime

    text = describe_cost(
        configfile or [Path("config.yaml")],
        tables or [],
        results=Path("results"),
        hardware=runtime.describe(runtime.prepare(1)),
        jobs=jobs,
    )
    typer.echo(text)


def preview(
    folder: FolderArgument,
    output: OutputFolder = Path("preview"),
    classes: ClassesOption = "",
    annotations: AnnotationsOption = None,
    settings: AnnotationSettingsOption = "{}",
    size: Annotated[int, typer.Option(min=33, help="Longer side it works at, pixels.")] = 640,
    hold_out: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the strokes kept to measure by; 0: none.")
    ] = 0.25,
    num_images: Annotated[int, typer.Option(min=1, help="Images on the page, at most.")] = 48,
) -> None:
    """Spread strokes into labels in seconds, without a network, and show them, the worst first."""
    from cdsp.metrics import percent
    from cdsp.scribbles.settings import AnnotationSettings
    from cdsp.tools.preview import preview_folder

    recipe, right = preview_folder(
        folder.expanduser(),
        parse_classes(classes),
        annotations,
        output,
        settings=parse_option(AnnotationSettings, settings),
        long_side=size,
        hold_out=hold_out,
        num_images=num_images,
    )
    measured = "nothing was held out" if right is None else f"held-out strokes: {percent(right)}"
    typer.echo(f"{output / 'index.html'}: labels by the recipe {recipe!r}; {measured}.")


def predict(
    images: Annotated[
        list[str],
        typer.Argument(help="Photographs, folders of them, or patterns such as 'a*.tif'."),
    ],
    run: RunOption,
    output: OutputFolder,
    settings: ProtocolOption = "",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also keep all probabilities, in HDF5 files.")
    ] = False,
    entropy: Annotated[
        bool, typer.Option("--entropy", help="Also draw where the network is not sure.")
    ] = False,
    device: DeviceOption = "auto",
) -> None:
    """Segment photographs: class indices as palette PNG, pictures to look at, areas as CSV."""
    from cdsp.tools.predict import predict as predict_photographs
    from cdsp.tools.trained import find_weights
    from cdsp.training import runtime

    predict_photographs(
        images,
        find_weights(run),
        output,
        parse_protocol(settings),
        runtime.prepare(1, device),
        probabilities=probabilities,
        entropy=entropy,
    )


export = typer.Typer()


@export.command("maps")
def export_maps(
    store: Annotated[Path, typer.Argument(help="A store of scribbles, labels or distances.")],
    output: OutputFolder,
) -> None:
    """Write the maps of a label store as palette PNGs, to look at or to use elsewhere."""
    from cdsp.io.files import write_label
    from cdsp.io.outputs import check_outputs
    from cdsp.io.store import LabelStore
    from cdsp.progress import progress

    opened = LabelStore(store)
    if opened.kind in ("cams", "probabilities"):
        raise ValueError(
            f"{store}: {opened.kind} have several maps per image; export the pseudo-labels"
        )
    files = {image_id: output / f"{image_id}.png" for image_id in opened}
    check_outputs(files.values(), inputs=[store])
    for image_id, file in progress(files.items(), f"exporting {opened.kind}"):
        write_label(file, opened[image_id])


@export.command("onnx")
def export_onnx(run: RunArgument, output: OutputFile) -> None:
    """Write a network as one ONNX graph, from an image of any size to its probabilities."""
    from cdsp.tools.export_onnx import export_onnx
    from cdsp.tools.trained import find_weights

    export_onnx(find_weights(run), output)


def accept(
    files: Annotated[list[Path], typer.Argument(help="JSON files that you changed by hand.")],
) -> None:
    """Accept what you changed by hand in a .json or .jsonl file, which is refused otherwise."""
    from cdsp.io.json_files import accept_changes

    for path in files:
        accept_changes(path)
