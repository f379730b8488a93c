"""`cdsp segmentation`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdsp.options import (
    DatasetOption,
    DeviceOption,
    OutputFolder,
    SeedOption,
    SettingsOption,
    WorkersOption,
    parse_option,
)


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
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.segmentation.data import open_training_data
    from cdsp.segmentation.method import parse_method
    from cdsp.segmentation.settings import SegmentationSettings
    from cdsp.segmentation.train import Trainer, report_unlabelled
    from cdsp.settings import read_yaml
    from cdsp.training import runtime

    parsed = parse_option(SegmentationSettings, settings)
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
