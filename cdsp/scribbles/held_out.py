"""Strokes that were held out: what the full scribbles label and the degraded ones do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cdsp.io.files import IGNORE
from cdsp.io.store import LabelStore


def open_strokes(
    scribbles: Path | None, full_scribbles: Path | None, name: str
) -> tuple[LabelStore, LabelStore]:
    """The scribbles that something was made from, and the full ones.

    Args:
        scribbles: their store.
        full_scribbles: the store of the scribbles before they were degraded.
        name: of the degradation that it was made from.

    Raises:
        ValueError: one without the other, or a store of another kind or degradation.
    """
    if scribbles is None or full_scribbles is None:
        raise ValueError(
            "held-out strokes are those of the full scribbles that the degraded ones lack; give "
            "both stores"
        )
    seen, full = (LabelStore(path, "scribbles") for path in (scribbles, full_scribbles))
    seen.require({"scribbles": name}, {})
    full.require({"scribbles": "full"}, {})
    return seen, full


def held_out_strokes(seen: np.ndarray, full: np.ndarray) -> np.ndarray:
    """The labels of an image's held-out strokes: (H, W) uint8, 255 elsewhere.

    Args:
        seen: (H, W) uint8, the degraded scribbles.
        full: (H, W) uint8, all of them.
    """
    return np.where(seen == IGNORE, full, IGNORE).astype(np.uint8)
