"""What every annotation format comes down to: strokes, boxes and tags with names for classes."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from cdsp.io.files import normal_name

MAX_BYTES = 32 * 2**20
"""Size of what a file may say about one image: memory while reading is a multiple of it."""

MAX_PIXELS = 2**26
"""Area of the largest image: a file cannot ask for more memory than such an image takes."""

_MAX_POINTS = 100_000
_FARTHEST = 1e6  # px


@dataclass(frozen=True, eq=False)
class Shape:
    """A stroke, a box or a tag.

    Attributes:
        kind: what it is.
        label: its class: a name, or the index where the file has indices (scribble PNGs).
        points: (x, y) in pixels, pixel centres at integers, (N, 2) float64, read-only. A stroke: an
            open polyline, 1 <= N <= 100,000. A box: two opposite corners. A tag: none. Points may
            lie outside the image, at most 1,000,000 px.
        width: of the pen in pixels; None where the file does not say it, and for boxes and tags.

    Raises:
        ValueError: an empty label, or points of another number or kind.
    """

    kind: Literal["stroke", "box", "tag"]
    label: str | int
    points: np.ndarray
    width: float | None = None

    def __post_init__(self) -> None:
        if self.label == "":
            raise ValueError(f"a {self.kind} without a label; expected the name of a class")
        points = np.array(self.points, dtype=np.float64).reshape(-1, 2)
        fewest, most = {"stroke": (1, _MAX_POINTS), "box": (2, 2), "tag": (0, 0)}[self.kind]
        if not fewest <= len(points) <= most:
            raise ValueError(
                f"a {self.kind} of {shown(self.label)} has {len(points)} points; "
                f"expected {fewest} to {most}"
            )
        if not (np.abs(points) <= _FARTHEST).all():
            raise ValueError(
                f"a {self.kind} of {shown(self.label)} has a point that is not finite or farther "
                f"than {_FARTHEST:,.0f} px away: {_farthest(points)}; correct or delete it"
            )
        points.setflags(write=False)
        object.__setattr__(self, "points", points)


def _farthest(points: np.ndarray) -> list[float]:
    distance = np.nan_to_num(np.abs(points).max(axis=1), nan=np.inf)
    return points[int(np.argmax(distance))].tolist()


@dataclass(frozen=True, eq=False)
class Annotation:
    """What a file says about one image.

    Attributes:
        image_id: the image's file name without folder and extension, as the file tells it.
        source: the file.
        size: (height, width) of the image as the file states it; None where it does not.
        shapes: in the order in which they were drawn.
        image_name: the image as the file calls it, with folders; empty: like the file itself.
        entry: the place in a file of several entries, such as ``line 3``; empty where it has one.
    """

    image_id: str
    source: Path
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    image_name: str = ""
    entry: str = ""

    @property
    def where(self) -> str:
        """The file and the entry in it, for messages."""
        return f"{self.source}, {self.entry}" if self.entry else str(self.source)


def shown(value: Any) -> str:
    """A value for a message: as Python writes it, cut to a bearable length and depth."""
    return reprlib.repr(value)


def number(value: Any, what: str) -> float:
    """A number, from JSON or from the text of XML.

    Raises:
        ValueError: it is missing, something else, or not finite.
    """
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            converted = float(value)
        except (ValueError, OverflowError):
            converted = math.nan
        if math.isfinite(converted):
            return converted
    raise ValueError(f"{what} is {shown(value)}; expected a finite number")


def image_size(height: Any, width: Any) -> tuple[int, int]:
    """(height, width) of an image, from JSON or from the text of XML.

    Raises:
        ValueError: they are not whole numbers, not positive, or larger than any image that is read.
    """
    size = number(height, "the image's height"), number(width, "the image's width")
    if not all(side.is_integer() and side >= 1 for side in size) or size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f"the image is said to be {size[1]:g} x {size[0]:g} pixels; expected whole numbers, "
            f"and at most {MAX_PIXELS:,} pixels in all"
        )
    return int(size[0]), int(size[1])


def image_stem(path: Any) -> str:
    """The name of an image file without its folder, with slashes of either kind, and extension.

    Raises:
        ValueError: it is not text or has no name.
    """
    if isinstance(path, str):
        stem = PurePosixPath(path.replace("\\", "/")).stem
        if stem:
            return stem
    raise ValueError(f"an image is called {shown(path)}; expected the name of a file")


def from_corner(points: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Points measured from the image's upper left corner, where pixel centres are at halves.

    Args:
        points: (x, y) of each, from JSON or from the text of XML.

    Returns:
        (N, 2) float64, pixel centres at integers.

    Raises:
        ValueError: they are not pairs of finite numbers.
    """
    pairs = []
    for point in points:
        if not isinstance(point, list | tuple | np.ndarray) or len(point) != 2:
            raise ValueError(f"a point is {shown(point)}; expected x and y")
        pairs.append([number(value, "a coordinate") for value in point])
    return np.array(pairs, dtype=np.float64).reshape(-1, 2) - 0.5


def tag(label: Any) -> Shape:
    """A tag: somebody said that a class is in the image.

    Raises:
        ValueError: see `label_text`.
    """
    return Shape("tag", label_text(label), np.empty((0, 2)))


def label_text(label: Any) -> str:
    """The name of a class in the form in which names are compared, see `normal_name`.

    Raises:
        ValueError: it is missing or not text.
    """
    if not isinstance(label, str):
        raise ValueError(f"a label is {shown(label)}; expected the name of a class")
    return normal_name(label)
