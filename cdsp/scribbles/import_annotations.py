"""Strokes that people drew: annotations in foreign formats become the strokes of a data set."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from cdsp.annotations.annotation import Annotation, shown
from cdsp.annotations.read import annotation_files, read_annotations, tell_unread
from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import problem_list
from cdsp.io.findings import Findings
from cdsp.io.names import first_few
from cdsp.progress import progress
from cdsp.scribbles.class_order import ClassOrder
from cdsp.scribbles.photographs import Photographs, is_photograph
from cdsp.scribbles.strokes import Box, ImageStrokes, Stroke, rasterise, write_strokes
from cdsp.settings import nearest

STAGE_VERSION = 1
_SOFT = 3  # values that are no class, above which they are taken for those of soft edges

VOC_NAMES = {
    "plane": "aeroplane",
    "bike": "bicycle",
    "table": "diningtable",
    "plant": "pottedplant",
    "monitor": "tvmonitor",
}
"""ScribbleSup's names of classes, where they are not those of PASCAL VOC → VOC's."""

logger = logging.getLogger(__name__)


def import_strokes(dataset: Dataset, path: Path, output: Path, *, width: float = 3.0) -> None:
    """Turn annotations into a strokes file of a data set's training images.

    Args:
        dataset: the data set; training images without an annotation are left out of training.
        path: a file or folder of annotations, see `cdsp.annotations.read`.
        output: the strokes file to write, with the images in the order of the annotations.
        width: of strokes whose file does not say it, pixels.

    Raises:
        ValueError: listing every problem found, see `imported_images`.
    """
    findings = Findings()

    def images() -> Iterator[ImageStrokes]:
        order = ClassOrder(len(dataset.classes))
        for image in imported_images(dataset, path, width, findings):
            if dataset.train_masks:
                label = rasterise(image.strokes, image.height, image.width)
                order.add(label, dataset.mask(image.image_id))
            yield image
        order.tell(dataset.classes, findings)
        for hint in findings.hints:
            logger.info("%s", hint)
        if findings.problems:
            raise ValueError(problem_list(str(path), list(findings.problems)))

    header = {
        "dataset": dataset.digest,
        "classes": list(dataset.classes),
        "imported": {"files": _digest(path), "width": width, "version": STAGE_VERSION},
    }
    write_strokes(output, images(), header)


def imported_images(
    dataset: Dataset, path: Path, width: float, findings: Findings
) -> Iterator[ImageStrokes]:
    """Turn annotations into the strokes, boxes and tags of training images, one at a time.

    Labels are names of classes, or ScribbleSup's short names of VOC's. How an image is found is
    told in `cdsp.scribbles.photographs`.

    Args:
        dataset: the data set.
        path: a file or folder of annotations, see `cdsp.annotations.read`.
        width: of strokes whose file does not say it, pixels.
        findings: what is wrong (files that cannot be read, images that are annotated twice,
            annotations for another size, unknown classes) and what was left out; grows, and is
            complete after the last image.

    Yields:
        What can be used, in the order of the annotations.

    Raises:
        ValueError: there is no file of annotations.
    """
    names = _ClassNames(dataset.classes, findings)
    photographs = Photographs(dataset, findings)
    training = set(dataset.splits["train"])
    sources: dict[str, str] = {}
    annotations = read_annotations(path, findings, partial(is_photograph, dataset=dataset))
    for annotation in progress(annotations, "reading annotations"):
        image_id = photographs.find(annotation)
        if image_id not in training:
            continue
        if image_id in sources:
            findings.problems.append(
                f"image {image_id!r} is annotated in {sources[image_id]} already; keep one of the "
                "two",
                annotation.where,
            )
        else:
            sources[image_id] = annotation.where
            with findings.collected(f"{annotation.source}, image {image_id!r}"):
                yield _image_strokes(annotation, image_id, dataset.size(image_id), names, width)
    photographs.tell_left_over()
    tell_unread(path, findings)


def _digest(path: Path) -> str:
    """Tells a set of annotation files apart from others, by their names and contents."""
    total = hashlib.sha256()
    for file in annotation_files(path):
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        total.update(f"{file.name}\0{content}\n".encode(errors="surrogateescape"))
    return total.hexdigest()[:16]


def _image_strokes(
    annotation: Annotation, image_id: str, size: tuple[int, int], names: _ClassNames, width: float
) -> ImageStrokes:
    """The strokes, boxes and tags of an image.

    Those of unknown classes are left out, and boxes and tags of the background.

    Raises:
        ValueError: drawn for another size than (height, width).
    """
    if annotation.size not in (None, size):
        height, drawn = annotation.size
        raise ValueError(
            f"annotated at {drawn} x {height} px, but the image is {size[1]} x {size[0]} px; "
            "annotate the data set's own image"
        )
    strokes: list[Stroke] = []
    boxes: list[Box] = []
    tags: set[int] = set()
    unknown: set[int] = set()
    for shape in annotation.shapes:
        class_id = names.class_id(shape.label, annotation.source)
        if class_id is None:
            if isinstance(shape.label, int):
                unknown.add(shape.label)
            continue
        if shape.kind == "stroke":
            strokes.append(Stroke(class_id, shape.points, shape.width or width))
        elif class_id == 0:
            names.tell_background(shape.kind, annotation)
        elif shape.kind == "box":
            corners = shape.points.min(axis=0), shape.points.max(axis=0)
            boxes.append(Box(class_id, *np.concatenate(corners).tolist()))
        else:
            tags.add(class_id)
    names.tell_values(unknown, annotation.source)
    return ImageStrokes(
        image_id, *size, strokes=tuple(strokes), boxes=tuple(boxes), tags=tuple(sorted(tags))
    )


class _ClassNames:
    """Finds the classes that labels mean, and tells of the labels that mean none."""

    def __init__(self, classes: tuple[str, ...], findings: Findings) -> None:
        self._classes = classes
        self._findings = findings
        self._ids: dict[str | int, int] = {index: index for index in range(len(classes))}
        self._ids |= {name: class_id for class_id, name in enumerate(classes)}
        for short, name in VOC_NAMES.items():
            if name in classes:
                self._ids.setdefault(short, classes.index(name))

    def class_id(self, label: str | int, source: Path) -> int | None:
        """The class of a label that stands in a file; None, and a problem, where it means none."""
        if label not in self._ids and isinstance(label, str):
            text = f"class {shown(label)}: no class of the data set"
            self._findings.problems.append(f"{text}{nearest(label, self._classes)}", source)
        return self._ids.get(label)

    def tell_values(self, values: set[int], source: Path) -> None:
        """Tell of numbers in a painted file that are no class, as one problem where they are many.

        Smoothed edges leave all values between those of the classes.
        """
        if len(values) > _SOFT:
            self._findings.problems.append(
                "it holds many values that are no class, as soft (anti-aliased) edges leave them; "
                "paint with a hard brush, and save without smoothing or resizing",
                source,
            )
            return
        classes = [f"{index} {name}" for index, name in enumerate(self._classes)]
        for value in sorted(values):
            self._findings.problems.append(
                f"value {value} is no class; expected {first_few(classes)}, or 255 for unlabelled",
                source,
            )

    def tell_background(self, kind: str, annotation: Annotation) -> None:
        """Hint at a tag or box of the background, which is left out."""
        reason = {
            "tag": "a tag says that an object is there, and background is nearly everywhere",
            "box": "a box holds an object; draw a stroke where there is none",
        }[kind]
        self._findings.hints.append(
            f"a {kind} of {self._classes[0]!r}, the background, was left out: {reason}",
            annotation.where,
        )
