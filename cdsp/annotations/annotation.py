"""What every format comes down to: strokes, painted regions, boxes and tags of named classes."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

import numpy as np

from cdsp.io.files import normal_name

MAX_BYTES = 32 * 2**20
"""Size of what a file may say about one image: memory while reading is a multiple of it."""

MAX_PIXELS = 2**26
"""Area of the largest image: a file cannot ask for more memory than such an image takes."""

_MAX_POINTS = 100_000
_FARTHEST = 1e6  # px
_SLANT = 0.01  # px; rounding of the corners of an upright box


@dataclass(frozen=True, eq=False)
class Shape:
    """A stroke that was drawn, a box, a tag or a flag.

    Attributes:
        kind: what it is. A flag is a tag that may as well say something else of the image, such as
            that it was checked.
        label: its class: a name.
        points: (x, y) in pixels, pixel centres at integers, (N, 2) float64, read-only. A stroke: an
            open polyline, 1 <= N <= 100,000. A box: two opposite corners; given may be more points,
            if each is a corner of one upright box. A tag or flag: none. Points may lie outside the
            image, at most 1,000,000 px. See `Annotation.relative` for another unit.
        width: of the pen in pixels; None where the file does not say it, and for all but strokes.

    Raises:
        ValueError: an empty label, or points of another number or kind.
    """

    kind: Literal["stroke", "box", "tag", "flag"]
    label: str
    points: np.ndarray
    width: float | None = None

    def __post_init__(self) -> None:
        if self.label == "":
            raise ValueError(f"a {self.kind} without a label; expected the name of a class")
        points = np.array(self.points, dtype=np.float64).reshape(-1, 2)
        fewest, most = {"stroke": (1, _MAX_POINTS), "box": (2, _MAX_POINTS)}.get(self.kind, (0, 0))
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
        if self.kind == "box":
            points = _opposite_corners(points, self.label)
        points.setflags(write=False)
        object.__setattr__(self, "points", points)


def _farthest(points: np.ndarray) -> list[float]:
    distance = np.nan_to_num(np.abs(points).max(axis=1), nan=np.inf)
    return points[int(np.argmax(distance))].tolist()


def _opposite_corners(points: np.ndarray, label: str) -> np.ndarray:
    """Two opposite corners, (2, 2), of the upright box whose corners the points are."""
    corners = np.stack([points.min(axis=0), points.max(axis=0)])
    if len(points) > 2 and not (np.abs(points[:, None] - corners).min(axis=1) <= _SLANT).all():
        raise ValueError(
            f"a box of {shown(label)} has {len(points)} points, which are not the corners of an "
            "upright box; draw it upright"
        )
    return corners if len(points) > 2 else points


@dataclass(frozen=True, eq=False)
class Painting:
    """Pixels that somebody painted with one class.

    Attributes:
        label: the class: a name, or the index where the file has indices (scribble PNGs).
        runs: (N, 2) int64, read-only: first pixel and number of pixels of each run; pixels are
            counted through the rows of the image, from 0.
        num_pixels: of the image.

    Raises:
        ValueError: an empty label.
    """

    label: str | int
    runs: np.ndarray
    num_pixels: int

    def __post_init__(self) -> None:
        if self.label == "":
            raise ValueError("a painted region without a label; expected the name of a class")
        self.runs.setflags(write=False)

    @classmethod
    def of(cls, label: str | int, painted: np.ndarray) -> Self:
        """What is True in an array of an image's pixels, (H, W) or (H * W,) bool."""
        edges = np.diff(np.pad(painted.ravel(), 1).astype(np.int8))
        first, behind = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        return cls(label, np.stack([first, behind - first], axis=1), painted.size)

    def pixels(self, height: int, width: int) -> np.ndarray:
        """Where an image is painted, (height, width) bool.

        Raises:
            ValueError: it was painted on an image of another number of pixels.
        """
        if self.num_pixels != height * width:
            raise ValueError(
                f"a region of {shown(self.label)} was painted on {self.num_pixels:,} pixels; "
                f"expected {height * width:,}, those of an image of {width} x {height} px"
            )
        edges = np.zeros(self.num_pixels + 1, np.int8)
        first, number = self.runs.T
        edges[first], edges[first + number] = 1, -1
        return edges[:-1].cumsum(dtype=np.int8).astype(bool).reshape(height, width)


@dataclass(frozen=True, eq=False)
class Annotation:
    """What one entry of a file says about one image.

    Attributes:
        image_id: the image's file name without folder and extension, as the file tells it.
        source: the file.
        size: (height, width) of the image as the file states it; None where it does not.
        shapes: in the order in which they were drawn.
        image_name: the image as the file calls it, with folders; empty: like the file itself.
        entry: the place in a file of several entries, such as ``line 3``; empty where it has one.
        relative: whether points are measured from the image's corner, x in widths and y in heights
            of the image, because the file says no size.
        task: entries of a file with the same text here are what several people said of one image,
            or one person several times, the one that counts most first; empty: there are no others.
    """

    image_id: str
    source: Path
    size: tuple[int, int] | None
    shapes: tuple[Shape | Painting, ...]
    image_name: str = ""
    entry: str = ""
    relative: bool = False
    task: str = ""

    @property
    def where(self) -> str:
        """The file and the entry in it, for messages."""
        return f"{self.source}, {self.entry}" if self.entry else str(self.source)

    def points(self, shape: Shape, height: int, width: int) -> np.ndarray:
        """The points of one of the shapes, (N, 2) float64 in pixels of an image of that size."""
        return shape.points * (width, height) - 0.5 if self.relative else shape.points


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


def image_size(height: Any, width: Any) -> tuple[int, int] | None:
    """(height, width) of an image, from JSON or from the text of XML; None where it is not stated.

    Programs that do not know a size leave it out or write 0.

    Raises:
        ValueError: they are not whole numbers, negative, or larger than any image that is read.
    """
    if height is None and width is None:
        return None
    size = number(height, "the image's height"), number(width, "the image's width")
    if 0 in size:
        return None
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


def tag(label: Any, kind: Literal["tag", "flag"] = "tag") -> Shape:
    """A tag or flag: somebody said that a class is in the image.

    Raises:
        ValueError: see `label_text`.
    """
    return Shape(kind, label_text(label), np.empty((0, 2)))


def label_text(label: Any) -> str:
    """The name of a class in the form in which names are compared, see `normal_name`.

    Raises:
        ValueError: it is missing or not text.
    """
    if not isinstance(label, str):
        raise ValueError(f"a label is {shown(label)}; expected the name of a class")
    return normal_name(label)
