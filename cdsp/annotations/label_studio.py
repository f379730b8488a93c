"""Label Studio's JSON: a list of tasks, an image each, or a single task or annotation.

    [{"data": {"image": "/data/upload/1/0a1b2c3d-a.jpg"},
      "annotations": [{"was_cancelled": false, "updated_at": "2024-05-01T10:00:00Z", "result": [
        {"type": "brushlabels", "original_width": 500, "original_height": 375,
         "value": {"format": "rle", "rle": [0, 11, ...], "brushlabels": ["cat"]}}, ...]}]}]

Read are brushes, open vectors of straight lines, key points (dots), rectangles and choices (tags).
The label of a region stands in it, or in a result of type ``labels`` with the same id. Whatever
else is said of regions, or draws nothing, is left out. Coordinates are per cent of the image's
sides, measured from its corner. Each annotation of a task counts but for cancelled ones: first the
ground truth, then the one updated last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

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
from cdsp.annotations.label_studio_brush import decode_brush
from cdsp.annotations.values import expect
from cdsp.io.findings import Findings

KEYS = ("data", "result", "tasks")
"""Keys that a single task, a single annotation or an answer of the API has."""

_Size = tuple[int, int] | None  # None: the file states none, points are fractions of the sides

_IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif"),
    *(".tif", ".tiff", ".webp", ".svg", ".avif", ".heic", ".jp2"),
)
_OTHER_DRAWINGS = ("polygon", "ellipse", "mask", "bitmask", "videorectangle", "magicwand")


def read(
    path: Path, content: Iterable[Any] | dict[str, Any], findings: Findings
) -> Iterator[Annotation]:
    """Read the annotations of an export, one at a time.

    Args:
        path: the file.
        content: its tasks, or a single object.
        findings: what is wrong with single tasks and results, and what is left out; grows.
    """
    if isinstance(content, dict):
        tasks = content.get("tasks", [content])
        content = expect(tasks, list, "'tasks'")
    for index, item in enumerate(content):
        where = f"{path}, task {index}"
        with findings.collected(where):
            task = _task(expect(item, dict, "a task"))
            yield from _annotations(path, task, f"task {index}", findings)


def _task(item: dict[str, Any]) -> dict[str, Any]:
    """A task with its annotations, from itself or from a single annotation of it."""
    if "annotations" in item:
        return item
    if "result" not in item:
        raise ValueError(
            f"it has no 'annotations', but {', '.join(shown(key) for key in list(item)[:8])}; "
            "export as JSON, not as JSON-MIN or CSV"
        )
    task = item.get("task")
    if not isinstance(task, dict):
        raise ValueError(
            f"an annotation alone, whose task is {shown(task)}, does not name its image; export "
            "the tasks as JSON"
        )
    return {**task, "annotations": [item]}


def _annotations(
    path: Path, task: dict[str, Any], entry: str, findings: Findings
) -> Iterator[Annotation]:
    where = f"{path}, {entry}"
    versions = [
        expect(version, dict, "an annotation")
        for version in expect(task["annotations"], list, "'annotations'")
    ]
    completed = [version for version in versions if not version.get("was_cancelled")]
    if len(completed) < len(versions):
        what = "left out: an annotation that was cancelled (skipped) in Label Studio"
        findings.hints.append(what, where, len(versions) - len(completed))
    if not versions:
        there = [name for name in ("predictions", "drafts") if task.get(name)]
        what = f", only {' and '.join(there)}, which are not read" if there else ""
        findings.hints.append(f"left out: a task without annotations{what}", where)
    if not completed:
        return
    name = _image_name(expect(task.get("data"), dict, "'data'"))
    image_id = image_stem(name)
    completed.sort(key=_importance, reverse=True)
    for version in completed:
        part = entry
        if len(completed) > 1:
            part = f"{entry}, annotation {shown(version.get('id'))}"
        with findings.collected(f"{path}, {part}"):
            size, shapes = _results(version, f"{path}, {part}, image {shown(image_id)}", findings)
            relative, task_name = size is None, entry if len(completed) > 1 else ""
            yield Annotation(image_id, path, size, shapes, name, part, relative, task_name)


def _importance(version: dict[str, Any]) -> tuple[bool, str]:
    """Whether an annotation is ground truth, and when it was updated: dates sort as text."""
    date = version.get("updated_at")
    return version.get("ground_truth") is True, date if isinstance(date, str) else ""


def _image_name(data: dict[str, Any]) -> str:
    """The path of a task's image: the only datum, the one called 'image' or the only address."""
    names = {key: _path(value) for key, value in data.items() if isinstance(value, str)}
    if len(data) == 1 and names:
        return next(iter(names.values()))
    if names.get("image"):
        return names["image"]
    images = [
        name
        for name in names.values()
        if PurePosixPath(name.replace("\\", "/")).suffix.lower() in _IMAGE_SUFFIXES
    ]
    if len(images) != 1:
        found = f"{len(images)} addresses of images" if images else "no address of an image"
        raise ValueError(
            f"'data' holds {found}: {shown(data)}; expected one, or one that is called 'image'"
        )
    return images[0]


def _path(address: str) -> str:
    """The path in an address; local files are served as /data/local-files/?d=<path>."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    for pair in parts.query.split("&"):
        if pair.startswith("d="):
            return unquote(pair.removeprefix("d="))
    return unquote(parts.path)


def _results(
    version: dict[str, Any], where: str, findings: Findings
) -> tuple[_Size, tuple[Shape | Painting, ...]]:
    """The image's size, where an annotation states it, and what it draws."""
    results, sizes = [], set()
    for result in expect(version.get("result"), list, "'result'"):
        with findings.collected(where):
            result = expect(result, dict, "a result")
            sizes.add(image_size(result.get("original_height"), result.get("original_width")))
            results.append(result)
    sizes.discard(None)
    if len(sizes) > 1:
        raise ValueError(f"its results give the image several sizes: {shown(sorted(sizes))}")
    size = next(iter(sizes), None)
    regions = {_key(result) for result in results if _is_drawing(result.get("type"))}
    labels = {_key(result): result for result in results if result.get("type") == "labels"}
    shapes: list[Shape | Painting] = []
    for result in results:
        with findings.collected(where, of_shape=True):
            kind, key = result.get("type"), _key(result)
            if _is_drawing(kind):
                shapes.append(_drawing(result, labels.get(key), size))
            elif kind == "choices" and key not in regions:
                choices = expect(_value(result).get("choices"), list, "'choices'")
                shapes.extend(tag(label, "flag") for label in choices)
            elif kind != "labels" or key not in regions:
                of_region = " of a region" if key in regions else ""
                findings.hints.append(
                    f"left out: {shown(kind)}{of_region}, which draws nothing", where
                )
    return size, tuple(shapes)


def _key(result: dict[str, Any]) -> Any:
    """What the results of one region have in common; unlike that of any other where it has none."""
    found = result.get("id")
    return found if isinstance(found, str | int) else id(result)


def _tool(result: dict[str, Any]) -> str | None:
    """The tool of a result that draws, which is its type with or without 'labels'."""
    kind = result.get("type")
    return kind.removesuffix("labels") if isinstance(kind, str) else None


def _is_drawing(kind: Any) -> bool:
    if not isinstance(kind, str):
        return True  # which is told
    return kind.removesuffix("labels") in (*_DRAWN, *_OTHER_DRAWINGS)


def _value(result: dict[str, Any]) -> dict[str, Any]:
    return expect(result.get("value"), dict, "'value'")


def _drawing(
    result: dict[str, Any], labels: dict[str, Any] | None, size: _Size
) -> Shape | Painting:
    """What a result draws; ``labels`` is the result that names its class, where there is one."""
    kind, tool = result.get("type"), _tool(result)
    if tool not in _DRAWN:
        raise ValueError(
            f"{shown(kind)} is no stroke, box or tag; read are {', '.join(_DRAWN)}, with or "
            "without 'labels', and choices"
        )
    value = _value(result)
    if number(result.get("image_rotation") or 0, "'image_rotation'") != 0:
        raise ValueError("the image was turned in Label Studio; turn it back")
    names = value.get(f"{tool}labels")
    if names is None:
        names = value.get("labels") if labels is None else _value(labels).get("labels")
    if not names:
        raise ValueError(f"a {tool} without a label; give it one in Label Studio, or delete it")
    if len(expect(names, list, f"the labels of a {tool}")) != 1:
        raise ValueError(f"a {tool} has the labels {shown(names)}; expected one label")
    return _DRAWN[tool](label_text(names[0]), value, size)


def _brush(label: str, value: dict[str, Any], size: _Size) -> Painting:
    if value.get("format") != "rle":
        raise ValueError(f"a brush in the format {shown(value.get('format'))}; expected 'rle'")
    try:
        data = bytes(expect(value.get("rle"), list, "'rle'"))
    except TypeError as error:
        raise ValueError("'rle' holds something else than whole numbers") from error
    painting = Painting.of(label, decode_brush(data))
    if size is not None and painting.num_pixels != size[0] * size[1]:
        raise ValueError(
            f"a brush of {painting.num_pixels:,} pixels does not fit an image of {size[1]} x "
            f"{size[0]} px"
        )
    return painting


def _vector(label: str, value: dict[str, Any], size: _Size) -> Shape:
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
    return Shape("stroke", label, _pixels(vertices, size))


def _keypoint(label: str, value: dict[str, Any], size: _Size) -> Shape:
    return Shape("stroke", label, _pixels([value], size))


def _rectangle(label: str, value: dict[str, Any], size: _Size) -> Shape:
    if number(value.get("rotation") or 0, "'rotation'") != 0:
        raise ValueError(f"a rectangle of {shown(label)} is rotated; draw it upright")
    opposite = {
        x: number(value.get(x), f"'{x}'") + number(value.get(side), f"'{side}'")
        for x, side in (("x", "width"), ("y", "height"))
    }
    return Shape("box", label, _pixels([value, opposite], size))


_DRAWN = {"brush": _brush, "vector": _vector, "keypoint": _keypoint, "rectangle": _rectangle}


def _pixels(points: list[dict[str, Any]], size: _Size) -> np.ndarray:
    """Points in per cent of the image's sides as (N, 2) pixels, or fractions without a size."""
    height, width = size or (1, 1)
    pixels = from_corner(
        [
            (
                number(point.get("x"), "'x'") / 100 * width,
                number(point.get("y"), "'y'") / 100 * height,
            )
            for point in points
        ]
    )
    return pixels if size else pixels + 0.5
