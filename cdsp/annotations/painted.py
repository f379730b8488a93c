"""Scribble PNGs: a class index for each pixel, as palette or grey; 255 = unlabelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from cdsp.annotations.annotation import MAX_PIXELS, Annotation, Painting
from cdsp.io.files import IGNORE, read_label
from cdsp.io.findings import Findings

_MOST_LABELLED = 0.5  # of the image's pixels
_THICKEST = 0.25  # of the image's longest side


def read(path: Path, _content: None, _findings: Findings) -> Iterator[Annotation]:
    """Read a scribble PNG; the image is called like the file.

    Raises:
        ValueError: not an index PNG, too large, or not scribbles but a mask or a photograph: more
            than half of the pixels are labelled, or a region is thicker than a quarter of the
            image's longest side.
    """
    label = read_label(path)
    if label.size > MAX_PIXELS:
        raise ValueError(f"{label.size:,} pixels; expected at most {MAX_PIXELS:,}")
    _check_scribbles(label)
    values = np.flatnonzero(np.bincount(label.ravel(), minlength=256)[:IGNORE]).tolist()
    yield Annotation(
        path.stem, path, label.shape, tuple(Painting.of(value, label == value) for value in values)
    )


def _check_scribbles(label: np.ndarray) -> None:
    expected = f"Expected strokes, and {IGNORE} where there is none"
    share = float((label != IGNORE).mean())
    if share > _MOST_LABELLED:
        other = "a photograph" if label[label != IGNORE].any() else "a black-and-white image"
        raise ValueError(
            f"{100 * share:.0f} % of the pixels are labelled: is this a mask or {other}? {expected}"
        )
    most = _THICKEST * max(label.shape)
    for value in np.unique(label[label != IGNORE]).tolist():
        inside = np.pad((label == value).astype(np.uint8), 1)
        thickest = 2 * float(cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5).max()) - 1
        if thickest > most:
            raise ValueError(
                f"a region of {value} is {thickest:.0f} px thick, more than a stroke can be in an "
                f"image of {label.shape[1]} x {label.shape[0]} px: is this a mask? {expected}"
            )
