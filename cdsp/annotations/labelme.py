"""labelme's JSON, one file for each image.

    {"imagePath": "../images/a.jpg", "imageHeight": 375, "imageWidth": 500,
     "flags": {"cat": true},
     "shapes": [{"label": "cat", "shape_type": "linestrip", "points": [[10.5, 20], [31.2, 20.5]]}]}

Coordinates are measured from the image's corner. Flags of the image that are set may be tags;
those of shapes are left out. Each point of ``points`` is a dot.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cdsp.annotations.annotation import (
    Annotation,
    Shape,
    from_corner,
    image_size,
    image_stem,
    label_text,
    shown,
    tag,
)
from cdsp.annotations.values import expect
from cdsp.io.findings import Findings


def read(path: Path, content: dict[str, Any], findings: Findings) -> Iterator[Annotation]:
    """Read the one image of a file; the image is the one that the file names.

    Args:
        path: the file.
        content: what is in it.
        findings: what is wrong with single shapes; grows.

    Raises:
        ValueError: not a file of labelme.
    """
    name = content.get("imagePath")
    image_id = image_stem(name)
    size = image_size(content.get("imageHeight"), content.get("imageWidth"))
    shapes: list[Shape] = []
    for record in expect(content["shapes"], list, "'shapes'"):
        with findings.collected(path, of_shape=True):
            shapes.extend(_shapes(expect(record, dict, "a shape")))
            for flag in _flags(record):
                findings.hints.append(f"left out: the flag {shown(flag)} of a shape", path)
    shapes.extend(tag(flag, "flag") for flag in _flags(content))
    yield Annotation(image_id, path, size, tuple(shapes), str(name))


def _flags(record: dict[str, Any]) -> list[str]:
    """The names of the flags that are set."""
    flags = expect(record.get("flags") or {}, dict, "'flags'")
    return [name for name, is_set in flags.items() if is_set is True]


def _shapes(record: dict[str, Any]) -> list[Shape]:
    label = label_text(record.get("label"))
    kind = record.get("shape_type")
    points = expect(record.get("points"), list, f"'points' of {shown(label)}")
    if kind in ("linestrip", "line"):
        return [Shape("stroke", label, from_corner(points))]
    if kind in ("point", "points"):
        return [Shape("stroke", label, point[None]) for point in from_corner(points)]
    if kind in ("rectangle", "rotation"):
        return [Shape("box", label, from_corner(points))]
    raise ValueError(
        f"a {shown(kind)} of {shown(label)} is no stroke or box; read are linestrip, line, point, "
        "points and rectangle"
    )
