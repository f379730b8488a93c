"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cdsp.maps import STORED

if TYPE_CHECKING:
    from cdsp.evaluation.settings import EvaluationSettings

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
ProtocolOption = Annotated[
    str,
    typer.Option(
        "--settings",
        help="Protocol, as YAML or JSON: a file, or the text itself; see `cdsp settings "
        "evaluation`. Left out: the network's own, by which its table measures it.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto (a GPU when there is one), cpu, cuda or cuda:<i>.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Data-loading processes; no part of the result. Left out: none on a CPU, up to 8 for "
        "a GPU.",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of weights, order, augmentation.")]
FolderArgument = Annotated[
    Path, typer.Argument(help="Folder with JPEGImages/ and what goes with it.")
]
ClassesOption = Annotated[
    str,
    typer.Option(
        "--classes", help="Names, with commas, background first; empty: as the files say."
    ),
]
AnnotationsOption = Annotated[
    Path | None,
    typer.Option("--annotations", help="File or folder of annotations; Scribbles/ if left out."),
]
AnnotationSettingsOption = Annotated[
    str,
    typer.Option(
        "--settings", help="As in `scribbles:`; see `cdsp settings scribbles.annotations`."
    ),
]
VoidRegionsOption = Annotated[
    bool, typer.Option("--void-regions", help="255 fills whole regions of masks on purpose.")
]
ImageClassesOption = Annotated[
    Path, typer.Option("--image-classes", help="image_classes.json of the scribbles.")
]


def with_map_stores(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the maps' stores; it gets them as its argument ``stores``.

    ``stores`` is map → the path that its option named, None where it named none.
    """

    @functools.wraps(command)
    def with_options(**arguments: Any) -> None:
        stores = {name: arguments.pop(name) for name in STORED}
        command(**arguments, stores=stores)

    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if parameter.name != "stores":
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        for name, entry in STORED.items():
            option = typer.Option(f"--{entry.option}", help=entry.help)
            parameters.append(
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=None,
                    annotation=Annotated[Path | None, option],
                )
            )
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return with_options


def parse_protocol(text: str) -> EvaluationSettings | None:
    """The protocol that follows ``--settings``; None, the network's own, where nothing does."""
    from cdsp.evaluation.settings import EvaluationSettings

    return parse_option(EvaluationSettings, text) if text else None


def parse_classes(text: str) -> tuple[str, ...]:
    """The names that follow ``--classes``."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_option(kind: type[Settings], text: str) -> Settings:
    """A stage's settings from what follows ``--settings``: a file, or YAML itself.

    Raises:
        ValueError: see `cdsp.settings.parse_settings`.
    """
    from cdsp.settings import parse_settings, read_yaml

    return parse_settings(kind, read_yaml(text), "--settings")
