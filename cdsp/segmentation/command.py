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
    parse_protocol,
    with_map_stores,
)


@with_map_stores
def segmentation(
    dataset: DatasetOption,
    method: Annotated[str, typer.Option(help="Name of the method, for tables.")],
    terms: Annotated[
        str, typer.Option(help="Its loss terms, as YAML: '{scribble: 1, lorm: {weight: 0.1}}'.")
    ],
    output: OutputFolder,
    stores: dict[str, Path | None],
    network: Annotated[
        str, typer.Option(help="The network, as YAML: '{head: deeplabv2, backbone: resnet18}'.")
    ] = "{}",
    network_name: Annotated[
        str | None, typer.Option(help="Of the network, for tables; <head>-<backbone> if left out.")
    ] = None,
    settings: SettingsOption = "{}",
    start_from: Annotated[
        Path | None,
        typer.Option(help="weights.pt of an earlier run, from which the training starts."),
    ] = None,
    best_on_val: Annotated[
        str,
        typer.Option(
            help="Protocol, as YAML, by which each epoch is measured on the validation masks; the "
            "network of the best one is kept as well, in best_on_val.pt. Left out: neither."
        ),
    ] = "",
    protocol: Annotated[
        str,
        typer.Option(
            help="Protocol by which the network is to predict, as YAML; left out: whole images at "
            "the working size. No part of the training."
        ),
    ] = "",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Train a segmentation network; started again after a stop, it goes on where it was."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.evaluation.settings import WHOLE_IMAGE
    from cdsp.networks.older import split_network
    from cdsp.networks.settings import NetworkSettings
    from cdsp.segmentation.data import open_training_data
    from cdsp.segmentation.method import parse_method
    from cdsp.segmentation.settings import SegmentationSettings
    from cdsp.segmentation.train import train_segmentation
    from cdsp.settings import parse_settings, read_yaml
    from cdsp.training import runtime

    training, older = split_network(read_yaml(settings))
    parsed = parse_settings(SegmentationSettings, training, "--settings")
    parsed_method = parse_method(read_yaml(terms), "--terms")
    built = parse_settings(NetworkSettings, {**older, **(read_yaml(network) or {})}, "--network")
    data = open_training_data(read_dataset(dataset), parsed_method, stores)
    name = {
        "dataset": data.dataset.name,
        "method": method,
        "supervision": data.supervision,
        "network": network_name or built.name,
        "head": built.head,
        "backbone": built.backbone,
        "scribbles": data.parameter("scribbles"),
        "pseudo_labels": data.parameter("recipe"),
        "seed": seed,
    }
    found = runtime.prepare(
        parsed.cpu_threads,
        device,
        deterministic=parsed.deterministic,
        fixed_sizes=True,
        shared=True,
    )
    train_segmentation(
        data,
        built,
        parsed,
        output,
        name=name,
        seed=seed,
        device=found,
        num_workers=runtime.workers_of(workers, found),
        start_from=start_from,
        best_on_val=parse_protocol(best_on_val),
        protocol=parse_protocol(protocol) or WHOLE_IMAGE,
    )
