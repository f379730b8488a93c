"""CVAT's export "CVAT for images 1.1": all images of a task in one XML file.

    <annotations><version>1.1</version><meta>...</meta>
      <image id="0" name="folder/a.jpg" width="500" height="375">
        <polyline label="cat" points="10.5,20.0;31.2,20.5" z_order="0"/>
        <points label="cat" points="10.5,20.0;31.2,20.5"/>
        <box label="cat" xtl="4" ytl="12" xbr="60.5" ybr="90"/>
        <mask label="cat" rle="2, 3, 1, 4" left="7" top="9" width="5" height="2"/>
        <tag label="cat"/>
      </image>
    </annotations>

Coordinates are measured from the image's corner. Shapes with a higher ``z_order`` lie above others;
each point of ``points`` is a dot. A ``mask`` is what a brush painted in a rectangle of pixels, row
by row: the lengths of runs that are by turns not painted and painted. Attributes of shapes are left
out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from cdsp.annotations.annotation import (
    Annotation,
    Painting,
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
    size = image_size(image.get("height"), image.get("width"))
    shapes: list[tuple[float, Shape | Painting]] = []
    for element in image:
        with findings.collected(f"{path}, {entry}", of_shape=True):
            height = number(element.get("z_order", "0"), "z_order")
            shapes.extend((height, shape) for shape in _shapes(element, size))
            for attribute in element.findall("attribute"):
                what = f"left out: the attribute {shown(attribute.get('name'))} of a shape"
                findings.hints.append(what, f"{path}, {entry}")
    shapes.sort(key=lambda pair: pair[0])
    ordered = tuple(shape for _, shape in shapes)
    return Annotation(image_stem(name), path, size, ordered, str(name), entry)


def _shapes(element: Element, size: tuple[int, int] | None) -> Sequence[Shape | Painting]:
    label = label_text(element.get("label"))
    if element.tag == "polyline":
        return [Shape("stroke", label, _points(element))]
    if element.tag == "points":
        return [Shape("stroke", label, point[None]) for point in _points(element)]
    if element.tag == "mask":
        return [_mask(element, label, size)]
    if element.tag == "box":
        if number(element.get("rotation", "0"), "rotation") % 360 != 0:
            raise ValueError(f"a box of {shown(label)} is rotated; draw it upright")
        corners = [[element.get(x), element.get(y)] for x, y in (("xtl", "ytl"), ("xbr", "ybr"))]
        return [Shape("box", label, from_corner(corners))]
    if element.tag == "tag":
        return [tag(label)]
    raise ValueError(
        f"<{element.tag}> of {shown(label)} is no stroke, box or tag; read are <polyline>, "
        "<points>, <mask>, <box> and <tag>"
    )


def _mask(element: Element, label: str, size: tuple[int, int] | None) -> Painting:
    if size is None:
        raise ValueError(f"a mask of {shown(label)} in an image without width and height")
    left, top, width, height = (
        number(element.get(name), f"a mask's {name}") for name in ("left", "top", "width", "height")
    )
    whole = all(value.is_integer() and value >= 0 for value in (left, top, width, height))
    if not whole or left + width > size[1] or top + height > size[0]:
        raise ValueError(
            f"a mask of {shown(label)} covers {width:g} x {height:g} px from ({left:g}, {top:g}); "
            f"expected whole numbers within the image of {size[1]} x {size[0]} px"
        )
    text = element.get("rle", "").split(",")
    runs = [number(value.strip(), "a run of a mask") for value in text]
    if not all(run.is_integer() and run >= 0 for run in runs) or sum(runs) > width * height:
        raise ValueError(
            f"the runs of a mask of {shown(label)} have {sum(runs):,.0f} pixels; expected whole "
            f"numbers, and at most the {width * height:,.0f} pixels of {width:g} x {height:g} px"
        )
    is_painted = np.arange(len(runs)) % 2 == 1
    pixels = np.zeros(int(width * height), dtype=bool)  # the last run may be left out
    pixels[: int(sum(runs))] = np.repeat(is_painted, np.array(runs, dtype=np.int64))
    painted = np.zeros(size, dtype=bool)
    rows, columns = slice(int(top), int(top + height)), slice(int(left), int(left + width))
    painted[rows, columns] = pixels.reshape(int(height), int(width))
    return Painting.of(label, painted)


def _points(element: Element) -> np.ndarray:
    text = element.get("points", "")
    return from_corner([pair.split(",") for pair in text.split(";")])
