"""Annotations of a photograph, brought to the size at which the stages see it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cdsp.scribbles.painted_strokes import PaintedStroke, painted_regions
from cdsp.scribbles.strokes import Box, ImageStrokes, Stroke

THINNEST = 1.0
"""A stroke is never thinner than this, pixels: it would fall between them."""


def resize_strokes(image: ImageStrokes, height: int, width: int) -> ImageStrokes:
    """The same annotations on the photograph resized to ``height`` × ``width`` pixels.

    Pixel centres are at integers, so that x becomes (x + ½)·f − ½. A painted stroke takes every
    pixel that holds one of its own.
    """
    if (height, width) == (image.height, image.width):
        return image
    factor = np.array([width / image.width, height / image.height])
    strokes: list[Stroke | PaintedStroke] = []
    for stroke in image.strokes:
        if isinstance(stroke, PaintedStroke):
            strokes += _resize_painted(stroke, factor, height, width)
        else:
            points = (stroke.points + 0.5) * factor - 0.5
            pen = max(THINNEST, stroke.width * float(factor.mean()))
            strokes.append(Stroke(stroke.class_id, points, pen))
    boxes = tuple(_resize_box(box, factor) for box in image.boxes)
    return ImageStrokes(image.image_id, height, width, tuple(strokes), boxes, image.tags)


def _resize_box(box: Box, factor: np.ndarray) -> Box:
    corners = np.array([[box.left, box.top], [box.right, box.bottom]])
    (left, top), (right, bottom) = ((corners + 0.5) * factor - 0.5).tolist()
    return Box(box.class_id, left, top, right, bottom)


def _resize_painted(
    stroke: PaintedStroke, factor: np.ndarray, height: int, width: int
) -> Iterator[PaintedStroke]:
    x, y = stroke.pixels()
    painted = np.zeros((height, width), bool)
    # Each painted pixel covers a square of the resized image: its first pixel to its last.
    first_x, last_x = (np.floor((x + side) * factor[0] - shift) for side, shift in _ENDS)
    first_y, last_y = (np.floor((y + side) * factor[1] - shift) for side, shift in _ENDS)
    reach = np.ceil(factor).astype(int) + 1
    for down in range(reach[1]):
        for right in range(reach[0]):
            column = np.minimum(np.minimum(first_x + right, last_x), width - 1).astype(np.intp)
            row = np.minimum(np.minimum(first_y + down, last_y), height - 1).astype(np.intp)
            painted[row, column] = True
    yield from painted_regions(painted, stroke.class_id)


_ENDS = ((0, 0.0), (1, 1e-6))
"""Sides of a pixel, and what keeps its far side from the pixel behind it."""
