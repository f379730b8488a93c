"""Painted strokes: scribble PNGs, and what brushes of other formats leave.

A scribble PNG has one class index per pixel, as palette or grey: 0 = background, 255 = unlabelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from cdsp.annotations.annotation import MAX_PIXELS, Annotation, Shape
from cdsp.io.files import IGNORE, read_label
from cdsp.scribbles.simulate import strokes_from_label

_MOST_REGIONS = 1000
_WIDEST = 0.25  # of the image's longest side


def read(path: Path) -> Iterator[Annotation]:
    """Read a scribble PNG; the image is called like the file.

    Raises:
        ValueError: not an index PNG, without an unlabelled pixel, or see `painted_strokes`.
    """
    label = read_label(path)
    if not (label == IGNORE).any():
        raise ValueError(
            f"no pixel is {IGNORE} (unlabelled): is this a mask or a photograph? Expected scribbles"
        )
    yield Annotation(path.stem, path, label.shape, painted_strokes(label))


def painted_strokes(label: np.ndarray) -> tuple[Shape, ...]:
    """Strokes along the middle of painted regions, as wide as these.

    Args:
        label: (H, W) uint8 class indices; 255 where nothing is painted.

    Returns:
        The strokes in the order of their classes, which are their labels.

    Raises:
        ValueError: the image is too large, there are too many regions, or one is too wide for a
            stroke.
    """
    if label.size > MAX_PIXELS:
        raise ValueError(f"{label.size:,} pixels; expected at most {MAX_PIXELS:,}")
    regions = sum(
        cv2.connectedComponents((label == value).astype(np.uint8), connectivity=8)[0] - 1
        for value in np.unique(label[label != IGNORE])
    )
    if regions > _MOST_REGIONS:
        raise ValueError(
            f"{regions:,} separate regions are painted, expected at most {_MOST_REGIONS:,}: is "
            "this a photograph, or painted with soft edges?"
        )
    strokes = strokes_from_label(label)
    widest = max((stroke.width for stroke in strokes), default=0.0)
    if widest > _WIDEST * max(label.shape):
        raise ValueError(
            f"a painted region is {widest:.0f} px wide, which is more than a stroke can be in an "
            f"image of {label.shape[1]} x {label.shape[0]} px: is this a mask? Paint strokes"
        )
    return tuple(
        Shape("stroke", stroke.class_id, stroke.points, stroke.width) for stroke in strokes
    )
