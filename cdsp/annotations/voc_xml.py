"""XML in the manner of PASCAL VOC: ScribbleSup's strokes, and boxes.

    <annotation>
      <size><width>500</width><height>375</height></size>
      <polygon><tag>plane</tag><point><X>10</X><Y>21</Y></point>...</polygon>
      <object><name>person</name><bndbox><xmin>5</xmin><ymin>1</ymin>...</bndbox></object>
    </annotation>

A ``polygon`` of ScribbleSup is an open polyline through pixels, counted from 0. A ``bndbox`` of
PASCAL VOC counts pixels from 1, and its sides belong to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from cdsp.annotations.annotation import (
    Annotation,
    Shape,
    image_size,
    label_text,
    number,
    shown,
)
from cdsp.io.findings import Findings

ROOT = "annotation"


def read(path: Path, elements: Iterable[Element], findings: Findings) -> Iterator[Annotation]:
    """Read the one image of a file, which is called like the file, or as ``<filename>`` says.

    Args:
        path: the file.
        elements: the children of its root.
        findings: what is wrong with single strokes and boxes; grows.
    """
    size, name = None, ""
    shapes: list[Shape] = []
    for element in elements:
        with findings.collected(path, of_shape=element.tag != "size"):
            if element.tag == "size":
                size = image_size(element.findtext("height"), element.findtext("width"))
            elif element.tag == "polygon":
                shapes.append(_stroke(element))
            elif element.tag == "object":
                shapes.append(_box(element))
            elif element.tag == "filename":
                name = (element.text or "").strip()
    yield Annotation(path.stem, path, size, tuple(shapes), name)


def _stroke(polygon: Element) -> Shape:
    points = [
        [number(point.findtext(name), f"a point's {name}") for name in ("X", "Y")]
        for point in polygon.iter("point")
    ]
    return Shape("stroke", label_text(polygon.findtext("tag")), np.array(points))


def _box(element: Element) -> Shape:
    label = label_text(element.findtext("name"))
    if element.find("bndbox") is None:
        raise ValueError(
            f"an object of {shown(label)} without <bndbox>; read are the boxes of objects, and "
            "<polygon> beside the objects"
        )
    xmin, ymin, xmax, ymax = (
        number(element.findtext(f"bndbox/{name}"), f"a box's {name}") - 1
        for name in ("xmin", "ymin", "xmax", "ymax")
    )
    corners = np.array([[xmin, ymin], [xmax, ymax]])
    return Shape("box", label, corners)
