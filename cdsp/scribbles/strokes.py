"""Annotations of an image: strokes, boxes and tags (image-level classes).

A stroke was drawn (an ordered polyline; a point is a stroke of one point) or painted (the pixels
themselves).
"""

from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import numpy as np

from cdsp.io.files import IGNORE
from cdsp.scribbles.painted_strokes import PaintedStroke

WIDEST = 1000.0
"""Width of the widest stroke, pixels."""


@dataclass(frozen=True, eq=False)
class Stroke:
    """One movement of the pen: a stroke that was drawn.

    Attributes:
        class_id: 0 for background, 1..254 for the classes.
        points: (N, 2) float64, N >= 1: an open ordered polyline of (x, y) in pixels, pixel centres
            at integers. Points may lie outside the image. A single point is a dot. The stroke
            keeps its own read-only copy.
        width: Width of the pen in pixels, above 0 and at most `WIDEST`.

    Raises:
        ValueError: If a value is outside these ranges.
    """

    class_id: int
    points: np.ndarray
    width: float

    def __post_init__(self) -> None:
        points = np.array(self.points, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
            raise ValueError(
                f"a stroke's points have shape {points.shape}; expected (N, 2) with N >= 1"
            )
        if not np.isfinite(points).all():
            raise ValueError("a stroke has a point that is not finite; leave that point out")
        if not 0 <= self.class_id < IGNORE:
            raise ValueError(f"a stroke has class {self.class_id}; expected 0..{IGNORE - 1}")
        if not 0 < self.width <= WIDEST:
            raise ValueError(
                f"a stroke is {self.width:g} px wide; expected more than 0 and at most {WIDEST:g}"
            )
        points.setflags(write=False)
        object.__setattr__(self, "points", points)


@dataclass(frozen=True)
class Box:
    """An axis-aligned box around an object: it holds the pixels whose centres lie within it.

    Coordinates are in pixels, pixel centres at integers. A box holds its own sides, and may reach
    outside the image.

    Attributes:
        class_id: 1..254.
        left: Smallest x.
        top: Smallest y.
        right: Largest x, >= left.
        bottom: Largest y, >= top.

    Raises:
        ValueError: If a value is outside these ranges or not finite.
    """

    class_id: int
    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        _check_object_class("a box", self.class_id)
        sides = self.left, self.top, self.right, self.bottom
        if not all(map(isfinite, sides)):
            raise ValueError(f"a box has the sides {sides}; expected finite numbers")
        if self.right < self.left or self.bottom < self.top:
            raise ValueError(
                f"a box has left, top, right, bottom {sides}; expected right >= left and "
                "bottom >= top"
            )


def _check_object_class(what: str, class_id: int) -> None:
    if not 0 < class_id < IGNORE:
        raise ValueError(f"{what} has class {class_id}; expected 1..{IGNORE - 1}")


@dataclass(frozen=True, eq=False)
class ImageStrokes:
    """The annotations of one image: strokes, boxes and tags.

    Attributes:
        image_id: Name of the image in the data set, without folder and extension.
        height: Height of the image in pixels, >= 1.
        width: Width of the image in pixels, >= 1.
        strokes: The strokes in the order in which they were drawn or painted; a later one paints
            over an earlier one.
        boxes: Boxes around objects.
        tags: Classes that somebody said are in the image, 1..254, ascending, each once. Classes
            that have strokes or boxes need no tag.

    Raises:
        ValueError: If the image has no area, a painted stroke leaves it, or tags are outside the
            range or out of order.
    """

    image_id: str
    height: int
    width: int
    strokes: tuple[Stroke | PaintedStroke, ...]
    boxes: tuple[Box, ...] = ()
    tags: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(
                f"image {self.image_id!r} is {self.height} x {self.width} px; expected at least 1"
            )
        for stroke in self.strokes:
            if isinstance(stroke, PaintedStroke) and (
                stroke.shape[0] > self.height or stroke.shape[1] > self.width
            ):
                raise ValueError(
                    f"image {self.image_id!r} is {self.height} x {self.width} px; a painted stroke "
                    f"needs {stroke.shape[0]} x {stroke.shape[1]}"
                )
        for tag in self.tags:
            _check_object_class("a tag", tag)
        if any(later <= earlier for earlier, later in pairwise(self.tags)):
            raise ValueError(
                f"image {self.image_id!r} has the tags {self.tags}; expected them "
                "ascending, each once"
            )


def arc_length(points: np.ndarray) -> float:
    """Length in pixels of the polyline through ``points``, (N, 2); 0 for a single point."""
    return float(np.hypot(*np.diff(points, axis=0).T).sum())


def cut(points: np.ndarray, first: float, last: float) -> np.ndarray:
    """Take the part of a polyline between two arc lengths.

    Args:
        points: (N, 2) float64 points of the polyline.
        first: Arc length in pixels at which the part begins.
        last: Arc length at which it ends, >= first.

    Returns:
        (M, 2) float64: the interpolated ends and the points between them; where ``first`` equals
        ``last``, the single point there.
    """
    position = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    ends = np.stack([np.interp([first, last], position, column) for column in points.T], axis=1)
    if first == last:
        return ends[:1]
    between = points[(position > first) & (position < last)]
    return np.concatenate([ends[:1], between, ends[1:]])
