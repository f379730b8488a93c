"""The file format of strokes.

A stroke file is JSON Lines, so that a data set never has to fit in memory: a header line, one line
per image, and a checksum of all of them. The runs of a painted stroke are row, first column and
number of pixels, one after the other.

    {"format": "cdsp-strokes", "version": 3, "source": "..."}
    {"boxes": [{"bottom": 90.0, "class_id": 17, "left": 4.0, "right": 60.5, "top": 12.0}, ...],
     "height": 375, "image_id": "2007_000175", "strokes": [
        {"class_id": 17, "points": [[10.0, 20.5], [31.25, 20.5]], "width": 3.0},
        {"class_id": 15, "runs": [40, 107, 3, 41, 106, 5, 42, 107, 3]}, ...],
     "tags": [15, 17], "width": 500}
    {"checksum": "..."}
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from cdsp.io.files import check_image_id
from cdsp.io.json_files import read_json_lines, write_json_lines
from cdsp.scribbles.painted_strokes import PaintedStroke, painted_from_json, painted_to_json
from cdsp.scribbles.strokes import Box, ImageStrokes, Stroke

_FORMAT = "cdsp-strokes"
_VERSION = 3
_DECIMALS = 3
_SIDES = ("left", "top", "right", "bottom")


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
