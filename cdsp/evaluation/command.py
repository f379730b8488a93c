"""`cdsp evaluation`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdsp.options import (
    DatasetOption,
    DeviceOption,
    OutputFolder,
    ProtocolOption,
    parse_option,
    parse_protocol,
)


def evaluation(
    dataset: DatasetOption,
    output: OutputFolder,
    weights: Annotated[
        Path | None, typer.Argument(help="weights.pt of a run; left out with --pixels.")
    ] = None,
    pixels: Annotated[
        str | None,
        typer.Option(
            help="Measure a pixel classifier in place of a network: its settings, as YAML; see "
            "`cdsp settings pseudo_labels.pixels`."
        ),
    ] = None,
    protocol: Annotated[str, typer.Option(help="Name of the protocol, for tables.")] = "paper",
    predictions: Annotated[Path | None, typer.Option(help="Folder for palette PNGs.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Pseudo-labels or scribbles that it was trained on, to compare with."),
    ] = None,
    scribbles: Annotated[
        Path | None, typer.Option(help="Scribbles that it was trained on, for held-out strokes.")
    ] = None,
    full_scribbles: Annotated[
        Path | None, typer.Option(help="All scribbles: what is more in them is held out.")
    ] = None,
    validation_strokes: Annotated[
        Path | None,
        typer.Option(help="Store of the validation images' strokes, where they have no masks."),
    ] = None,
    settings: ProtocolOption = "",
    device: DeviceOption = "auto",
) -> None:
    """Evaluate a network on validation masks (IoU), or on strokes (share that is right)."""
    from cdsp.dataset.voc_layout import read_dataset

    if pixels is not None:
        from cdsp.evaluation.pixels import evaluate_pixels
        from cdsp.evaluation.settings import EvaluationSettings
        from cdsp.pseudo_labels.settings import PixelSettings

        if weights is not None or scribbles is None:
            raise ValueError("--pixels: give --scribbles to learn from, and no weights")
        evaluate_pixels(
            read_dataset(dataset),
            scribbles,
            parse_option(PixelSettings, pixels),
            parse_option(EvaluationSettings, settings or "{}"),
            output,
            protocol=protocol,
            full_scribbles=full_scribbles,
            strokes=validation_strokes,
        )
        return
    if weights is None:
        raise ValueError("no weights to evaluate: name the weights.pt of a run, or --pixels")
    from cdsp.evaluation.evaluate import evaluate
    from cdsp.training import runtime

    evaluate(
        weights,
        read_dataset(dataset),
        parse_protocol(settings),
        output,
        protocol=protocol,
        device=runtime.prepare(1, device, shared=True),
        predictions=predictions,
        labels=labels,
        scribbles=scribbles,
        full_scribbles=full_scribbles,
        strokes=validation_strokes,
    )
