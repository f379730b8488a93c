"""Label Studio's JSON export: a list of tasks, an image each.

    [{"data": {"image": "/data/upload/1/0a1b2c3d-a.jpg"},
      "annotations": [{"was_cancelled": false, "updated_at": "2024-05-01T10:00:00Z", "result": [
        {"type": "brushlabels", "original_width": 500, "original_height": 375,
         "value": {"format": "rle", "rle": [0, 11, ...], "brushlabels": ["cat"]}}, ...]}]}]

Of several annotations of a task, the one updated last counts; skipped ones never do. Coordinates
are per cent of the image's sides, measured from its corner. Read are brushes, open vectors of
straight lines, key points (dots), rectangles and choices (tags).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

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
from cdsp.annotations.painted import painted_strokes
from cdsp.annotations.values import expect, read_items
from cdsp.io.files import IGNORE
from cdsp.io.findings import Findings


def read(path: Path, findings: Findings) -> Iterator[Annotation]:
    """Read the annotated tasks of an export, one at a time.

    Args:
        path: the file.
        findings: what is wrong with single tasks and results; grows.

    Raises:
        ValueError: not a list in JSON.
    """
    for index, task in enumerate(read_items(path)):
        entry = f"task {index}"
        with findings.collected(f"{path}, {entry}"):
            annotation = _annotation(path, expect(task, dict, "a task"), entry, findings)
            if annotation is not None:
                yield annotation


def _annotation(
    path: Path, task: dict[str, Any], entry: str, findings: Findings
) -> Annotation | None:
    if "annotations" not in task:
        raise ValueError("it has no 'annotations'; export as JSON, neither JSON-MIN nor per result")
    versions = [
        expect(version, dict, "an annotation")
        for version in expect(task["annotations"], list, "'annotations'")
    ]
    completed = [version for version in versions if not version.get("was_cancelled")]
    if not completed:
        return None
    last = max(reversed(completed), key=_updated)
    name = _image_name(expect(task.get("data"), dict, "'data'"))
    image_id = image_stem(name)

    sizes: set[tuple[int, int]] = set()
    shapes: list[Shape] = []
    for result in expect(last.get("result"), list, "'result'"):
        with findings.collected(f"{path}, {entry}, image {shown(image_id)}"):
            shapes.extend(_shapes(expect(result, dict, "a result"), sizes))
    if len(sizes) > 1:
        raise ValueError(f"its results give the image several sizes: {shown(sorted(sizes))}")
    return Annotation(image_id, path, next(iter(sizes), None), tuple(shapes), name, entry)


def _updated(version: dict[str, Any]) -> str:
    """When an annotation was updated: a date that sorts as text; "" where it is not said."""
    date = version.get("updated_at")
    return date if isinstance(date, str) else ""


def _image_name(data: dict[str, Any]) -> str:
    """The image's path: of a task with several data, the one called 'image' counts."""
    address = next(iter(data.values())) if len(data) == 1 else data.get("image")
    parts = urlsplit(expect(address, str, "the image in 'data'"))
    # Local files are served as /data/local-files/?d=<path>.
    local = parse_qs(parts.query).get("d", [])
    return local[0] if local else unquote(parts.path)


def _shapes(result: dict[str, Any], sizes: set[tuple[int, int]]) -> list[Shape]:
    """The shapes of a result; adds the size of the image that it states."""
    kind = result.get("type")
    drawn = "original_width" in result
    if not drawn and kind != "choices":
        return []  # a relation, a text or a rating: nothing that is drawn on the image
    value = expect(result.get("value"), dict, "'value'")
    if kind == "choices":
        return [tag(label) for label in expect(value.get("choices"), list, "'choices'")]
    size = image_size(result.get("original_height"), result["original_width"])
    sizes.add(size)
    if number(result.get("image_rotation") or 0, "'image_rotation'") != 0:
        raise ValueError("the image was turned in Label Studio; turn it back")
    if not isinstance(kind, str) or kind not in _DRAWN:
        raise ValueError(
            f"{shown(kind)} is no stroke, box or tag; read are {', '.join(_DRAWN)} and choices"
        )
    labels = expect(value.get(kind), list, f"'{kind}'")
    if len(labels) != 1:
        raise ValueError(f"'{kind}' is {shown(labels)}; expected one label")
    return _DRAWN[kind](label_text(labels[0]), value, size)


def _brush(label: str, value: dict[str, Any], size: tuple[int, int]) -> list[Shape]:
    if value.get("format") != "rle":
        raise ValueError(f"a brush in the format {shown(value.get('format'))}; expected 'rle'")
    try:
        data = bytes(expect(value.get("rle"), list, "'rle'"))
    except TypeError as error:
        raise ValueError("'rle' holds something else than whole numbers") from error
    painted = np.where(decode_brush(data, *size), np.uint8(0), np.uint8(IGNORE))
    return [dataclasses.replace(stroke, label=label) for stroke in painted_strokes(painted)]


def _vector(label: str, value: dict[str, Any], size: tuple[int, int]) -> list[Shape]:
    if value.get("closed"):
        raise ValueError(f"a closed vector of {shown(label)} is no stroke; leave it open")
    vertices = [
        expect(vertex, dict, "a vertex")
        for vertex in expect(value.get("vertices"), list, "'vertices'")
    ]
    previous = None
    for vertex in vertices:
        if vertex.get("isBezier"):
            raise ValueError(f"a vector of {shown(label)} has curves; draw straight lines")
        before = vertex.get("prevPointId", previous)
        if isinstance(before, list | dict) or before != previous:
            raise ValueError(f"a vector of {shown(label)} branches; draw several")
        previous = vertex.get("id")
    return [Shape("stroke", label, _pixels(vertices, size))]


def _keypoint(label: str, value: dict[str, Any], size: tuple[int, int]) -> list[Shape]:
    return [Shape("stroke", label, _pixels([value], size))]


def _rectangle(label: str, value: dict[str, Any], size: tuple[int, int]) -> list[Shape]:
    if number(value.get("rotation") or 0, "'rotation'") != 0:
        raise ValueError(f"a rectangle of {shown(label)} is rotated; draw it upright")
    opposite = {
        x: number(value.get(x), f"'{x}'") + number(value.get(side), f"'{side}'")
        for x, side in (("x", "width"), ("y", "height"))
    }
    return [Shape("box", label, _pixels([value, opposite], size))]


_DRAWN = {
    "brushlabels": _brush,
    "vectorlabels": _vector,
    "keypointlabels": _keypoint,
    "rectanglelabels": _rectangle,
}


def _pixels(points: list[dict[str, Any]], size: tuple[int, int]) -> np.ndarray:
    """Points in per cent of the image's sides as (N, 2) pixels, pixel centres at integers."""
    height, width = size
    return from_corner(
        [
            (
                number(point.get("x"), "'x'") / 100 * width,
                number(point.get("y"), "'y'") / 100 * height,
            )
            for point in points
        ]
    )


def decode_brush(data: bytes, height: int, width: int) -> np.ndarray:
    """Decode what a brush painted: the pixels of an RGBA image that are not wholly transparent.

    Args:
        data: see `decode_runs`; 4 words for each pixel, the fourth is its opacity.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: damaged, or for an image of another size.
    """
    num_words = int.from_bytes(data[:4])
    if num_words != 4 * height * width:
        raise ValueError(
            f"a brush of {num_words:,} values does not fit an image of {width} x {height} px; "
            f"expected {4 * height * width:,}"
        )
    painted = np.zeros(height * width, dtype=bool)
    position = 0
    for length, value in decode_runs(data):
        # Words position..following-1 hold the opacity of these pixels.
        following = position + length
        painted[position // 4 : following // 4] = value > 0
        position = following
    return painted.reshape(height, width)


def decode_runs(data: bytes) -> Iterator[tuple[int, int]]:
    """Decode Label Studio's run-length encoding, which is that of the package rle-pack.

    A stream of bits, highest first. Header: the number of words (32 bits), the bits of a word less
    1 (5), and four numbers of bits less 1 (4 each), by which lengths are written. Then, for each
    run: whether it repeats one word (1 bit), which of the four numbers applies (2), the length less
    1, and that word; or, where it does not repeat, as many words as its length says.

    Yields:
        Length and value of each run; words that do not repeat are runs of length 1.

    Raises:
        ValueError: the data end too early, or the runs are longer than the header says.
    """
    position = 0

    def bits(count: int) -> int:
        nonlocal position
        start, position = position, position + count
        if position > 8 * len(data):
            raise ValueError("the brush's data are cut short")
        last = (position + 7) // 8
        return int.from_bytes(data[start // 8 : last]) >> (8 * last - position) & ((1 << count) - 1)

    remaining = bits(32)
    word = bits(5) + 1
    counts = [bits(4) + 1 for _ in range(4)]
    while remaining > 0:
        repeats = bits(1)
        length = bits(counts[bits(2)]) + 1
        if length > remaining:
            raise ValueError("the brush's data have more values than they say")
        if repeats:
            yield length, bits(word)
        else:
            for _ in range(length):
                yield 1, bits(word)
        remaining -= length
