"""Progress of long work: a line that is redrawn on a terminal, and is sparse in a log.

A job of the workflow writes into a log. What a person should see while it runs (how far a training
is, warnings) goes to the workflow's own terminal as well, by `tell`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

TERMINAL = "CDSP_TERMINAL"
"""Environment variable, set by the Snakefile: the file descriptor of the workflow's terminal."""

_terminal: int | None = None


def find_terminal(command: str) -> None:
    """Let `tell` and warnings reach the workflow's terminal, where this process is one of its jobs.

    The variable goes, so that no child of this process takes another file for the terminal.

    Args:
        command: such as "scribbles import"; stands before each warning.
    """
    global _terminal
    number = os.environ.pop(TERMINAL, "")
    _terminal = int(number) if number.isdecimal() else None
    if _terminal is not None:
        handler = _Warnings(logging.WARNING)
        handler.setFormatter(logging.Formatter(f"cdsp {command}: %(message)s"))
        logging.getLogger().addHandler(handler)


class _Warnings(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(self.format(record))


def tell(line: str) -> None:
    """Write a line to the workflow's terminal; nothing where there is none.

    One write: lines of jobs that run side by side do not mix.
    """
    if _terminal is None:
        return
    with contextlib.suppress(OSError):  # the terminal is gone, and the log is not
        os.write(_terminal, f"{line}\n".encode(errors="backslashreplace"))


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """Iterate over ``items``, showing how many are done, the speed and the time left.

    Args:
        items: what to iterate over.
        what: the words before the bar.
        total: number of items, where ``items`` has no length.
    """
    return tqdm(items, desc=what, total=total, **progress_options())


def progress_options() -> dict[str, Any]:
    """Options of tqdm: smooth on a terminal, sparse in a log file, which keeps every line."""
    interval = 0.2 if sys.stderr.isatty() else 30.0
    return {"mininterval": interval, "maxinterval": interval, "dynamic_ncols": sys.stderr.isatty()}


def duration(seconds: float) -> str:
    """A time in words, such as "1 h 5 min"; seconds only below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
