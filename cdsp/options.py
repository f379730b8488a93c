"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import typer

Settings = TypeVar("Settings")

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


def parse_option(kind: type[Settings], text: str) -> Settings:
    """A stage's settings from what follows ``--settings``: a file, or YAML itself.

    Raises:
        ValueError: see `cdsp.settings.parse_settings`.
    """
    from cdsp.settings import parse_settings, read_yaml

    return parse_settings(kind, read_yaml(text), "--settings")
