"""labelme's JSON, one file for each image.

    {"imagePath": "../images/a.jpg", "imageHeight": 375, "imageWidth": 500,
     "flags": {"cat": true},
     "shapes": [{"label": "cat", "shape_type": "linestrip", "points": [[10.5, 20], [31.2, 20.5]]}]}

Coordinates are measured from the image's corner. Flags of the image that are set are tags; each
point of ``points`` is a dot.
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
from cdsp.annotations.values import expect, read_value
from cdsp.io.findings import Findings


def read(path: Path, findings: Findings) -> Iterator[Annotation]:
    """Read the one image of a file; the image is the one that the file names.

    Args:
        path: the file.
        findings: what is wrong with single shapes; grows.

    Raises:
        ValueError: not a file of labelme.
    """
    content = expect(read_value(path), dict, "the content")
    if "shapes" not in content or "imagePath" not in content:
        raise ValueError(
            "neither a file of labelme, with 'shapes' and 'imagePath', nor an export of Label "
            "Studio, a list"
        )
    image_id = image_stem(content["imagePath"])
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size = None if height is None and width is None else image_size(height, width)
    shapes: list[Shape] = []
    for record in expect(content["shapes"], list, "'shapes'"):
        with findings.collected(path):
            shapes.extend(_shapes(expect(record, dict, "a shape")))
    flags = expect(content.get("flags") or {}, dict, "'flags'")
    shapes.extend(tag(name) for name, is_set in flags.items() if is_set is True)
    yield Annotation(image_id, path, size, tuple(shapes), content["imagePath"])


def _shapes(record: dict[str, Any]) -> list[Shape]:
    label = label_text(record.get("label"))
    kind = record.get("shape_type")
    points = expect(record.get("points"), list, f"'points' of {shown(label)}")
    if kind in ("linestrip", "line"):
        return [Shape("stroke", label, from_corner(points))]
    if kind in ("point", "points"):
        return [Shape("stroke", label, point[None]) for point in from_corner(points)]
    if kind == "rectangle":
        return [Shape("box", label, from_corner(points))]
    raise ValueError(
        f"a {shown(kind)} of {shown(label)} is no stroke or box; read are linestrip, line, point, "
        "points and rectangle"
    )
