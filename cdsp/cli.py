"""The `cdsp` command: every stage by hand, with the files that the workflow would give it.

A command is imported when it is called for, so that `cdsp --help` answers at once and a stage that
does not compute with PyTorch does not load it.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
from types import ModuleType
from typing import Annotated

import typer
import typer.core

from cdsp import __version__
from cdsp.io.outputs import outputs_of
from cdsp.memory import keep_free_memory
from cdsp.progress import find_terminal

STAGES = {
    "dataset": "Make or verify a data set in VOC layout.",
    "scribbles": "Simulate, import, degrade and rasterise strokes.",
    "pseudo_labels": "Classifier → class activation maps → pseudo-labels.",
    "distance_maps": "Compute distance maps of scribbles or of a pseudo-label's boundary.",
    "segmentation": "Train a segmentation network.",
    "evaluation": "Evaluate a network on validation masks or held-out strokes.",
    "reporting": "Tables and figures from many runs.",
}
"""Name of a stage → what its command does; the command stands in ``cdsp/<stage>/command.py``."""

GROUPS = ("dataset", "scribbles", "pseudo_labels", "reporting", "export")
"""What has several commands, such as `cdsp dataset shapes`."""

TOOLS = {
    "start": "Write a configuration for photographs and strokes of your own, planned from them.",
    "settings": "List the settings of a stage: name, default (the paper's), meaning and range.",
    "plan": "Say how many runs tables need, how many are made, and how long the others take.",
    "preview": "Spread strokes into labels in seconds, without a network, and show them.",
    "predict": "Segment photographs of your own.",
    "export": "Write the maps of a label store as PNGs, or a network as an ONNX graph.",
    "accept": "Accept what you changed by hand in a .json or .jsonl file.",
}
"""The commands of ``cdsp/tools/command.py``."""


class InOrder(typer.core.TyperGroup):
    """Lists the commands in the order of the stages."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The names of the commands, stages first."""
        return [*STAGES, *TOOLS]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cdsp {__version__}")
        raise typer.Exit


def build_app(called: str | None) -> typer.Typer:
    """The application, of which only the command that is called is loaded.

    Args:
        called: name of the command; the others only have a line of help.
    """
    app = typer.Typer(
        cls=InOrder,
        help="Scribble-supervised semantic segmentation, stage by stage: "
        f"{' → '.join(STAGES)}. `snakemake --cores 8 results/table1.csv` runs all of them.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_options)
    for name, text in (STAGES | TOOLS).items():
        if name == called:
            _add_command(app, name, _module(name))
        else:
            app.command(name, help=text)(lambda: None)
    return app


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"cdsp.{name if name in STAGES else 'tools'}.command")


def _add_command(app: typer.Typer, name: str, module: ModuleType) -> None:
    """Add what a module has under a name: a group of commands, or a function."""
    found = module.app if hasattr(module, "app") else getattr(module, name)
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name, help=(STAGES | TOOLS)[name], no_args_is_help=True)
    else:
        app.command(name)(found)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a user's mistake ends in one message, not in a traceback."""
    arguments = sys.argv[1:] if arguments is None else arguments
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING  # torchrun's
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal's alphabet, or a file's broken name, must not hide the rest of a message.
        sys.stdout.reconfigure(errors="backslashreplace")
    command = " ".join(arguments[: 2 if arguments[:1] and arguments[0] in GROUPS else 1])
    find_terminal(command)
    keep_free_memory()
    try:
        with outputs_of(command):
            build_app(arguments[0] if arguments else None)(arguments)
        return
    except (ValueError, OSError) as error:
        message = f"cdsp: {error}"
    except RuntimeError as error:
        message = _explain(error)
        if not message:
            raise
    # The error is gone here, and with it the progress bar that it held open on the last line.
    sys.exit(message)


def _explain(error: RuntimeError) -> str:
    """What PyTorch says where memory is short, and what to do; "" for any other error."""
    said = str(error).splitlines()[0] if str(error) else ""
    if type(error).__name__ == "OutOfMemoryError":
        return (
            f"cdsp: the memory of the GPU does not suffice: {said}; take one that nobody else uses "
            "(CUDA_VISIBLE_DEVICES), lower the sizes among the settings, or use --device cpu"
        )
    if "DataLoader worker" in str(error) or "shared memory" in str(error):
        return (
            f"cdsp: a data-loading process ended: {said}; where shared memory (/dev/shm) or memory "
            "is small, load in the process itself: --workers 0"
        )
    return ""


if __name__ == "__main__":
    main()
