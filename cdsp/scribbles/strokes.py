"""Annotations of an image, the rasterisation of strokes into scribble labels, and the file format.

An image is annotated with strokes, boxes, and tags (image-level classes). A stroke was drawn (an
ordered polyline; a point is a stroke of one point) or painted (the pixels themselves). A stroke
file is JSON Lines, so that a data set never has to fit in memory: a header line, one line per
image, and a checksum of all of them. The runs of a painted stroke are row, first column and number
of pixels, one after the other.

    {"format": "cdsp-strokes", "version": 3, "source": "..."}
    {"boxes": [{"bottom": 90.0, "class_id": 17, "left": 4.0, "right": 60.5, "top": 12.0}, ...],
     "height": 375, "image_id": "2007_000175", "strokes": [
        {"class_id": 17, "points": [[10.0, 20.5], [31.25, 20.5]], "width": 3.0},
        {"class_id": 15, "runs": [40, 107, 3, 41, 106, 5, 42, 107, 3]}, ...],
     "tags": [15, 17], "width": 500}
    {"checksum": "..."}
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from math import ceil, floor, isfinite
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from cdsp.io.files import IGNORE, check_image_id
from cdsp.io.json_files import read_json_lines, write_json_lines
from cdsp.scribbles.painted_strokes import PaintedStroke, painted_from_json, painted_to_json

_FORMAT = "cdsp-strokes"
_VERSION = 3
_DECIMALS = 3
_SIDES = ("left", "top", "right", "bottom")
_FARTHEST = 1e9  # px; beyond, differences of coordinates could overflow
_HALF_OPEN = 1e-6  # px; moves a line off ties between two pixels
_BLOCK = 2**18  # pixels looked at in one go, which bounds the memory

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


def rasterise(strokes: Sequence[Stroke | PaintedStroke], height: int, width: int) -> np.ndarray:
    """Draw strokes into a scribble label.

    A painted stroke marks its own pixels, which must lie in the label. A pixel belongs to a drawn
    stroke when its centre lies within half the stroke's width of the polyline.
    Ties go to the smaller coordinate, so that an axis-aligned stroke of integer width w is w pixels
    thick wherever it lies between the pixel centres. A stroke that moves less than one pixel is a
    dot: it is moved to the nearest pixel centre, so that it cannot fall between pixels.

    Args:
        strokes: Strokes in drawing order; a later one paints over an earlier one.
        height: Height of the label in pixels.
        width: Width of the label in pixels.

    Returns:
        (height, width) uint8 label; 255 where there is no stroke.
    """
    label = np.full((height, width), IGNORE, dtype=np.uint8)
    for stroke in strokes:
        painted = isinstance(stroke, PaintedStroke)
        blocks = (stroke.pixels(),) if painted else _covered_pixels(stroke, height, width)
        for x, y in blocks:
            label[y, x] = stroke.class_id
    return label


def marks_pixels(shape: Stroke | PaintedStroke | Box, height: int, width: int) -> bool:
    """Whether a stroke or box marks a pixel of an image of that size."""
    if isinstance(shape, PaintedStroke):
        return True
    if isinstance(shape, Box):
        across = range(max(0, ceil(shape.left)), min(width, floor(shape.right) + 1))
        down = range(max(0, ceil(shape.top)), min(height, floor(shape.bottom) + 1))
        return len(across) > 0 and len(down) > 0
    return any(len(x) > 0 for x, _ in _covered_pixels(shape, height, width))


def _covered_pixels(
    stroke: Stroke, height: int, width: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Coordinates x and y of the pixels that a stroke covers, with repetitions, in blocks."""
    points = np.clip(stroke.points, -_FARTHEST, _FARTHEST)
    low, high = points.min(axis=0), points.max(axis=0)
    if (high - low < 1).all():
        points = np.ceil((low + high) / 2 - 0.5)[None]
    points = points - _HALF_OPEN
    radius = stroke.width / 2
    starts, ends = _clip_segments(
        points, -radius - 1, np.array([width + radius, height + radius], dtype=np.float64)
    )
    longest = max(1.0, stroke.width)
    reach = int(radius + longest / 2 + 0.5)
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), axis=-1).reshape(-1, 2)
    for first, last in _split_segments(starts, ends, longest, max(1, _BLOCK // len(offsets))):
        pixels = np.round((first + last) / 2)[:, None] + offsets
        along = last - first
        squared_length = np.maximum((along**2).sum(axis=1), np.finfo(np.float64).tiny)
        from_start = pixels - first[:, None]
        position = np.clip((from_start @ along[:, :, None])[..., 0] / squared_length[:, None], 0, 1)
        distance = from_start - position[..., None] * along[:, None]
        inside = (pixels >= 0).all(axis=2) & (pixels < (width, height)).all(axis=2)
        covered = inside & ((distance**2).sum(axis=2) <= radius**2)
        x, y = pixels[covered].astype(np.intp).T
        yield x, y


def _clip_segments(
    points: np.ndarray, low: float, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends, each (M, 2), of a polyline's segments cut to the box from low to high.

    A segment along which a coordinate stays the same is not cut by that coordinate.
    """
    starts, ends = (points[:-1], points[1:]) if len(points) > 1 else (points, points)
    along = ends - starts
    with np.errstate(divide="ignore", invalid="ignore"):
        at_low, at_high = (low - starts) / along, (high - starts) / along
    still = along == 0
    entry = np.where(still, 0.0, np.minimum(at_low, at_high)).max(axis=1)
    leave = np.where(still, 1.0, np.maximum(at_low, at_high)).min(axis=1)
    entry, leave = np.maximum(entry, 0.0), np.minimum(leave, 1.0)
    kept = entry <= leave
    starts, along = starts[kept], along[kept]
    return starts + entry[kept, None] * along, starts + leave[kept, None] * along


def _split_segments(
    starts: np.ndarray, ends: np.ndarray, longest: float, block: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut each segment into equal pieces of at most ``longest`` pixels; ``block`` of them at once.

    Yields:
        Starts and ends of pieces, each (N, 2), 1 <= N <= ``block``.
    """
    along = ends - starts
    num_pieces = np.maximum(np.ceil(np.hypot(*along.T) / longest), 1).astype(np.intp)
    behind = np.cumsum(num_pieces)  # number of the first piece behind each segment
    total = int(num_pieces.sum())
    for begin in range(0, total, block):
        number = np.arange(begin, min(begin + block, total))
        segment = np.searchsorted(behind, number, side="right")
        piece = number - (behind - num_pieces)[segment]
        step = along[segment] / num_pieces[segment, None]
        first = starts[segment] + piece[:, None] * step
        yield first, first + step


def write_strokes(path: Path, images: Iterable[ImageStrokes], header: dict[str, Any]) -> None:
    """Write a stroke file, one image at a time; the file appears only when it is complete.

    The same content gives the same bytes. Coordinates are rounded to 3 decimals.

    Args:
        path: The file to write; its folder is made if it is missing.
        images: The images in the order of the file.
        header: JSON values saying where the strokes come from.
    """
    first = {**header, "format": _FORMAT, "version": _VERSION}
    write_json_lines(path, chain([first], map(image_to_json, images)))


def read_header(path: Path) -> dict[str, Any]:
    """Read the header that was given to :func:`write_strokes`.

    Raises:
        ValueError: If the file is missing or is not a stroke file that this version reads.
    """
    _, header = next(_read_lines(path))
    return header


def read_strokes(path: Path) -> Iterator[ImageStrokes]:
    """Read a stroke file, one image at a time.

    Yields:
        The images in the order of the file.

    Raises:
        ValueError: If the file is missing, damaged or not a stroke file that this version reads;
            the message names the file and the line.
    """
    lines = _read_lines(path)
    next(lines)
    found: dict[str, int] = {}
    for number, record in lines:
        try:
            image = image_from_json(record)
        except (TypeError, ValueError, OverflowError) as error:
            raise _damaged(path, number, str(error)) from error
        first = found.setdefault(image.image_id, number)
        if first != number:
            raise _damaged(path, number, f"image {image.image_id!r} is in line {first} already")
        yield image


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers (from 1) and JSON objects; the first is the header, stripped and checked."""
    number = 0
    for number, record in read_json_lines(path):
        if number == 1:
            found = record.pop("format", None), record.pop("version", None)
            if found != (_FORMAT, _VERSION):
                raise _damaged(
                    path,
                    number,
                    f"expected format {_FORMAT!r}, version {_VERSION}, "
                    f"found format {found[0]!r}, version {found[1]!r}",
                )
        yield number, record
    if number == 0:
        raise _damaged(path, 1, "the file is empty")


def _damaged(path: Path, number: int, problem: str) -> ValueError:
    return ValueError(f"{path}, line {number}: {problem}; make this stroke file again")


def image_to_json(image: ImageStrokes) -> dict[str, Any]:
    """The annotations of an image as JSON values, a line of a stroke file."""
    return {
        "image_id": image.image_id,
        "height": image.height,
        "width": image.width,
        "strokes": [
            painted_to_json(stroke)
            if isinstance(stroke, PaintedStroke)
            else {
                "class_id": stroke.class_id,
                "points": _rounded(stroke.points),
                "width": float(stroke.width),
            }
            for stroke in image.strokes
        ],
        "boxes": [
            {
                "class_id": box.class_id,
                **{side: _rounded(getattr(box, side)) for side in _SIDES},
            }
            for box in image.boxes
        ],
        "tags": list(image.tags),
    }


def _rounded(coordinates: Any) -> Any:
    # Adding 0 turns -0.0 into 0.0.
    return (np.round(np.float64(coordinates), _DECIMALS) + 0.0).tolist()


def image_from_json(record: dict[str, Any]) -> ImageStrokes:
    """Read what `image_to_json` wrote.

    Raises:
        ValueError, TypeError, OverflowError: If it is something else.
    """
    image_id, height, image_width, *annotations = _values(
        record, "image_id", "height", "width", "strokes", "boxes", "tags"
    )
    if not isinstance(image_id, str):
        raise ValueError(f"expected a string for 'image_id', found {image_id!r}")
    check_image_id(image_id, "image_id")
    for kind, found in zip(("strokes", "boxes", "tags"), annotations, strict=True):
        if not isinstance(found, list):
            raise ValueError(f"expected a list for {kind!r}, found {found!r}")
    strokes, boxes, tags = annotations
    return ImageStrokes(
        image_id,
        index(height),
        index(image_width),
        tuple(map(_stroke_from_json, strokes)),
        tuple(map(_box_from_json, boxes)),
        tuple(map(index, tags)),
    )


def _stroke_from_json(record: Any) -> Stroke | PaintedStroke:
    if isinstance(record, dict) and "runs" in record:
        class_id, runs = _values(record, "class_id", "runs")
        return painted_from_json(index(class_id), runs)
    class_id, points, width = _values(record, "class_id", "points", "width")
    return Stroke(index(class_id), np.asarray(points, dtype=np.float64), width)


def _box_from_json(record: Any) -> Box:
    class_id, *sides = _values(record, "class_id", *_SIDES)
    return Box(index(class_id), *sides)


def _values(record: Any, *keys: str) -> list[Any]:
    if not isinstance(record, dict) or set(record) != set(keys):
        raise ValueError(f"expected an object with the keys {', '.join(keys)}")
    return [record[key] for key in keys]
