"""Progress with an ETA on long work: one line that is redrawn on a terminal and sparse in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


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
