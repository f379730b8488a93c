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
    settings: SettingsOption = "{}",
    device: DeviceOption = "auto",
) -> None:
    """Evaluate a network on the validation images: confusion matrix, IoU, mIoU."""
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
    )
