"""`cdsp evaluation`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdsp.options import DatasetOption, DeviceOption, OutputFolder, SettingsOption, parse_option


def evaluation(
    weights: Annotated[Path, typer.Argument(help="weights.pt of a run.")],
    dataset: DatasetOption,
    output: OutputFolder,
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
    settings: SettingsOption = "{}",
    device: DeviceOption = "auto",
) -> None:
    """Evaluate a network on validation masks (IoU) or held-out strokes (share that is right)."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.evaluation.evaluate import evaluate
    from cdsp.evaluation.settings import EvaluationSettings
    from cdsp.training import runtime

    evaluate(
        weights,
        read_dataset(dataset),
        parse_option(EvaluationSettings, settings),
        output,
        protocol=protocol,
        device=runtime.prepare(1, device),
        predictions=predictions,
        labels=labels,
        scribbles=scribbles,
        full_scribbles=full_scribbles,
    )
