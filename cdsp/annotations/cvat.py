"""CVAT's export "CVAT for images 1.1": all images of a task in one XML file.

    <annotations><version>1.1</version><meta>...</meta>
      <image id="0" name="folder/a.jpg" width="500" height="375">
        <polyline label="cat" points="10.5,20.0;31.2,20.5" z_order="0"/>
        <points label="cat" points="10.5,20.0;31.2,20.5"/>
        <box label="cat" xtl="4" ytl="12" xbr="60.5" ybr="90"/>
        <tag label="cat"/>
      </image>
    </annotations>

Coordinates are measured from the image's corner. Shapes with a higher ``z_order`` lie above others;
each point of ``points`` is a dot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from cdsp.annotations.annotation import (
    Annotation,
    Shape,
    from_corner,
    image_size,
    image_stem,
    label_text,
    number,
    shown,
    tag,
)
from cdsp.io.findings import Findings

ROOT = "annotations"
_VERSION = "1.1"


def read(path: Path, elements: Iterable[Element], findings: Findings) -> Iterator[Annotation]:
    """Read the images of a task, one at a time.

    Args:
        path: the file.
        elements: the children of its root.
        findings: what is wrong with single images and shapes; grows.

    Raises:
        ValueError: another version, or a video.
    """
    for element in elements:
        if element.tag == "version" and (element.text or "").strip() != _VERSION:
            raise ValueError(
                f"version {shown(element.text)} of CVAT's format; expected {_VERSION}: export as "
                "'CVAT for images 1.1'"
            )
        if element.tag == "track":
            raise ValueError("a track of a video; export as 'CVAT for images 1.1'")
        if element.tag == "image":
            with findings.collected(path):
                yield _image(path, element, findings)


def _image(path: Path, image: Element, findings: Findings) -> Annotation:
    name = image.get("name")
    entry = f"image {shown(name)}"
    shapes: list[tuple[float, Shape]] = []
    for element in image:
        with findings.collected(f"{path}, {entry}"):
            height = number(element.get("z_order", "0"), "z_order")
            shapes.extend((height, shape) for shape in _shapes(element))
    shapes.sort(key=lambda pair: pair[0])
    size = image_size(image.get("height"), image.get("width"))
    ordered = tuple(shape for _, shape in shapes)
    return Annotation(image_stem(name), path, size, ordered, str(name), entry)


def _shapes(element: Element) -> list[Shape]:
    label = label_text(element.get("label"))
    if element.tag == "polyline":
        return [Shape("stroke", label, _points(element))]
    if element.tag == "points":
        return [Shape("stroke", label, point[None]) for point in _points(element)]
    if element.tag == "box":
        if number(element.get("rotation", "0"), "rotation") != 0:
            raise ValueError(f"a box of {shown(label)} is rotated; draw it upright")
        corners = [[element.get(x), element.get(y)] for x, y in (("xtl", "ytl"), ("xbr", "ybr"))]
        return [Shape("box", label, from_corner(corners))]
    if element.tag == "tag":
        return [tag(label)]
    raise ValueError(
        f"<{element.tag}> of {shown(label)} is no stroke, box or tag; read are <polyline>, "
        "<points>, <box> and <tag>"
    )


def _points(element: Element) -> np.ndarray:
    text = element.get("points", "")
    return from_corner([pair.split(",") for pair in text.split(";")])
