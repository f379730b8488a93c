"""What several entries of annotation files say of one image, put together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np

from cdsp.annotations.annotation import Annotation
from cdsp.io.files import IGNORE
from cdsp.io.findings import Findings
from cdsp.io.json_files import canonical_json
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.stroke_files import image_from_json, image_to_json
from cdsp.scribbles.strokes import ImageStrokes

_CROSSING = 0.25  # of the pixels of the smaller one: as far as that, strokes cross


class _Entry(NamedTuple):
    """Where an annotation comes from, see `Annotation`, and its place in the temporary file."""

    where: str
    source: str
    folder: str
    task: str
    position: int


class Entries:
    """The strokes of entries, put aside until all files have been read.

    So the data set never has to fit in memory, though any file may have something to say of any
    image.

    Args:
        file: a temporary file, open for reading and writing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._entries: dict[str, list[_Entry]] = {}

    def add(self, image: ImageStrokes, annotation: Annotation) -> None:
        """Put aside what an annotation became."""
        folder = str(PurePosixPath(annotation.image_name.replace("\\", "/")).parent)
        position = self._file.tell()
        self._entries.setdefault(image.image_id, []).append(
            _Entry(annotation.where, str(annotation.source), folder, annotation.task, position)
        )
        self._file.write(canonical_json(image_to_json(image)).encode() + b"\n")

    def merged(self, findings: Findings) -> Iterator[ImageStrokes]:
        """All strokes of an image in one, in the order of the images' first entries.

        Strokes, boxes and tags are put one behind the other in the order of the entries. An entry
        whose strokes contradict those before, on more pixels than where strokes cross, is a problem
        and left out; where several people annotated one task, it is left out with a hint.

        Args:
            findings: what was put together, what contradicts; grows.
        """
        for entries in self._entries.values():
            if len(entries) == 1:
                yield self._read(entries[0])
            else:
                yield self._merge(entries, findings)

    def _read(self, entry: _Entry) -> ImageStrokes:
        self._file.seek(entry.position)
        return image_from_json(json.loads(self._file.readline()))

    def _merge(self, entries: list[_Entry], findings: Findings) -> ImageStrokes:
        kept: list[tuple[_Entry, np.ndarray]] = []
        total = replace(self._read(entries[0]), strokes=(), boxes=(), tags=())
        for entry in entries:
            image = self._read(entry)
            label = rasterise(image.strokes, image.height, image.width)
            objection = next(filter(None, (_objection(entry, label, *e) for e in kept)), None)
            if objection is not None:
                what, people = objection
                (findings.hints if people else findings.problems).append(what, entry.where)
                continue
            if any(_differing(label, other) for _, other in kept):
                what = (
                    "its strokes cross those of earlier entries with other classes, and count there"
                )
                findings.hints.append(what, entry.where)
            kept.append((entry, label))
            total = replace(
                total,
                strokes=total.strokes + image.strokes,
                boxes=tuple(dict.fromkeys(total.boxes + image.boxes)),
                tags=tuple(sorted({*total.tags, *image.tags})),
            )
        if len(kept) > 1:
            sources = " and ".join(dict.fromkeys(entry.source for entry, _ in kept))
            findings.hints.append(
                f"several entries for one image, in {sources}, were put together",
                f"image {total.image_id!r}",
            )
        return total


def _objection(
    entry: _Entry, label: np.ndarray, other: _Entry, other_label: np.ndarray
) -> tuple[str, bool] | None:
    """Why an entry cannot go with an earlier one, and whether two people's views are the reason."""
    if entry.source == other.source and entry.folder != other.folder:
        return (
            f"only one photograph has this name, and there is {other.where} as well; give the "
            "photographs of different folders different names, or delete one of the two"
        ), False
    differing = _differing(label, other_label)
    smaller = min(int((each != IGNORE).sum()) for each in (label, other_label))
    if differing <= _CROSSING * smaller:
        return None
    if entry.task and (entry.source, entry.task) == (other.source, other.task):
        return (
            "left out: an annotation that contradicts another one of its task, which is ground "
            "truth or newer"
        ), True
    return (
        f"its strokes contradict those of {other.where} on {differing:,} pixels; correct or delete "
        "one of the two"
    ), False


def _differing(label: np.ndarray, other: np.ndarray) -> int:
    """Number of the pixels to which two (H, W) labels give different classes."""
    return int(((label != IGNORE) & (other != IGNORE) & (label != other)).sum())
