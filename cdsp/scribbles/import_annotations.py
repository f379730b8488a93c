"""Strokes that people drew: annotations in foreign formats become the strokes of a data set."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import TypeVar

import numpy as np

from cdsp.annotations.annotation import Annotation, Painting, Shape, shown
from cdsp.annotations.read import annotation_files, read_annotations, tell_unread
from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import exif_orientation, problem_list
from cdsp.io.findings import Findings
from cdsp.io.names import first_few
from cdsp.progress import progress
from cdsp.scribbles.class_order import ClassOrder
from cdsp.scribbles.merge import Entries
from cdsp.scribbles.painted_strokes import PaintedStroke, painted_regions
from cdsp.scribbles.photographs import Photographs, is_photograph
from cdsp.scribbles.rasterise import marks_pixels, rasterise
from cdsp.scribbles.resize import resize_strokes
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.scribbles.stroke_files import write_strokes
from cdsp.scribbles.strokes import Box, ImageStrokes, Stroke
from cdsp.settings import nearest, settings_dict
from cdsp.versions import VERSIONS

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


def import_strokes(
    dataset: Dataset, path: Path, output: Path, settings: AnnotationSettings
) -> None:
    """Turn annotations into a strokes file of a data set's training images.

    Args:
        dataset: the data set; training images without an annotation are left out of training.
        path: a file or folder of annotations, see `cdsp.annotations.read`.
        output: the strokes file to write, with the images in the order of the annotations.
        settings: see there.

    Raises:
        ValueError: listing every problem found, see `imported_images`.
    """
    findings = Findings(skip_unreadable=settings.skip_unreadable)

    def images() -> Iterator[ImageStrokes]:
        order = ClassOrder(len(dataset.classes))
        for photographed in imported_images(dataset, path, settings, findings):
            image = resize_strokes(photographed, *dataset.size(photographed.image_id))
            if dataset.train_masks:
                label = rasterise(image.strokes, image.height, image.width)
                order.add(label, dataset.mask(image.image_id))
            yield image
        order.tell(dataset.classes, findings)
        for hint in findings.hints:
            logger.info("%s", hint)
        if findings.problems:
            raise ValueError(problem_list(str(path), list(findings.problems)))

    said = {key: value for key, value in settings_dict(settings).items() if key != "path"}
    header = {
        "dataset": dataset.digest,
        "classes": list(dataset.classes),
        "imported": {"files": files_digest(path), **said, "version": VERSIONS["scribbles import"]},
    }
    write_strokes(output, images(), header)


def imported_images(
    dataset: Dataset, path: Path, settings: AnnotationSettings, findings: Findings
) -> Iterator[ImageStrokes]:
    """Turn annotations into the strokes, boxes and tags of training images, one at a time.

    Labels are names of classes, or ScribbleSup's short names of VOC's. How an image is found is
    told in `cdsp.scribbles.photographs`.
    What several entries say of one image is put together, see `Entries.merged`.

    Args:
        dataset: the data set.
        path: a file or folder of annotations, see `cdsp.annotations.read`.
        settings: see there.
        findings: what is wrong (files that cannot be read, entries that contradict each other,
            annotations for another size, shapes outside their image, unknown classes) and what was
            left out; grows, and is complete after the last image.

    Yields:
        What can be used, in the order of the annotations.

    Raises:
        ValueError: there is no file of annotations.
    """
    names = _ClassNames(dataset.classes, settings, findings)
    photographs = Photographs(dataset, findings)
    photographed = dataset.as_photographed
    training = set(dataset.splits["train"])
    annotations = read_annotations(path, findings, partial(is_photograph, dataset=dataset))
    with TemporaryFile() as file:
        entries = Entries(file)
        for annotation in progress(annotations, "reading annotations"):
            image_id = photographs.find(annotation)
            if image_id not in training:
                continue
            with findings.collected(f"{annotation.where}, image {image_id!r}"):
                _check_size(annotation, photographed, image_id)
                size = photographed.size(image_id)
                # A width that no file says is in pixels of the working size.
                width = settings.width * size[1] / dataset.size(image_id)[1]
                image = _image_strokes(annotation, image_id, size, names, width, findings)
                entries.add(image, annotation)
        yield from entries.merged(findings)
    photographs.tell_left_over()
    tell_unread(path, findings)


def files_digest(path: Path) -> str:
    """Tells a set of annotation files apart from others, by their names and contents."""
    total = hashlib.sha256()
    for file in annotation_files(path):
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        total.update(f"{file.name}\0{content}\n".encode(errors="surrogateescape"))
    return total.hexdigest()[:16]


def _check_size(annotation: Annotation, dataset: Dataset, image_id: str) -> None:
    """Raise a ValueError where an annotation was drawn for another size than the photograph's."""
    height, width = dataset.size(image_id)
    if annotation.size in (None, (height, width)):
        return
    drawn = f"annotated at {annotation.size[1]} x {annotation.size[0]} px"
    orientation = exif_orientation(dataset.root / dataset.images[image_id][0])
    if orientation >= 5 and annotation.size == (width, height):
        raise ValueError(
            f"{drawn}, as the photograph is stored; but it is to be shown turned (its EXIF "
            f"orientation is {orientation}), {width} x {height} px; save it upright without the "
            "entry in EXIF and annotate that, or annotate with a program that turns it"
        )
    raise ValueError(
        f"{drawn}, but the image is {width} x {height} px; annotate the data set's own image"
    )


def _image_strokes(
    annotation: Annotation,
    image_id: str,
    size: tuple[int, int],
    names: _ClassNames,
    width: float,
    findings: Findings,
) -> ImageStrokes:
    """The strokes, boxes and tags of an image of (height, width).

    Those of unknown classes and those without a pixel are left out, as are boxes and tags of the
    background; the findings tell.
    """
    strokes: list[Stroke | PaintedStroke] = []
    boxes: list[Box] = []
    tags: set[int] = set()
    unknown: set[int] = set()
    for shape in annotation.shapes:
        class_id = names.class_id(shape, annotation.source)
        if class_id is None:
            if isinstance(shape.label, int):
                unknown.add(shape.label)
            continue
        with findings.collected(f"{annotation.where}, image {image_id!r}", of_shape=True):
            if isinstance(shape, Painting):
                strokes.extend(_painted(shape, class_id, size))
                continue
            points = annotation.points(shape, *size)
            if shape.kind == "stroke":
                stroke = Stroke(class_id, points, shape.width or width)
                strokes.append(_checked(stroke, shape.label, size))
            elif class_id == 0:
                names.tell_background("box" if shape.kind == "box" else "tag", annotation)
            elif shape.kind == "box":
                corners = points.min(axis=0), points.max(axis=0)
                box = Box(class_id, *np.concatenate(corners).tolist())
                boxes.append(_checked(box, shape.label, size))
            else:
                tags.add(class_id)
    names.tell_values(unknown, annotation.source)
    return ImageStrokes(
        image_id, *size, strokes=tuple(strokes), boxes=tuple(boxes), tags=tuple(sorted(tags))
    )


def _painted(painting: Painting, class_id: int, size: tuple[int, int]) -> Iterator[PaintedStroke]:
    pixels = painting.pixels(*size)
    if not pixels.any():
        raise ValueError(f"a painted region of {shown(painting.label)} has no pixel; delete it")
    return painted_regions(pixels, class_id)


_Marking = TypeVar("_Marking", Stroke, Box)


def _checked(shape: _Marking, label: str, size: tuple[int, int]) -> _Marking:
    if not marks_pixels(shape, *size):
        kind = "stroke" if isinstance(shape, Stroke) else "box"
        raise ValueError(
            f"a {kind} of {shown(label)} has no pixel in the image; draw it on the image, or "
            "delete it"
        )
    return shape


def meaning(label: str | int, settings: AnnotationSettings) -> str | int | None:
    """The class that a label means by the settings; None where they say to leave it out."""
    if label in settings.ignore:
        return None
    return settings.aliases.get(label, label) if isinstance(label, str) else label


class _ClassNames:
    """Finds the classes that labels mean, and tells of the labels that mean none."""

    def __init__(
        self, classes: tuple[str, ...], settings: AnnotationSettings, findings: Findings
    ) -> None:
        self._classes = classes
        self._settings = settings
        self._findings = findings
        self._ids: dict[str | int, int] = {index: index for index in range(len(classes))}
        self._ids |= {name: class_id for class_id, name in enumerate(classes)}
        for short, name in VOC_NAMES.items():
            if name in classes:
                self._ids.setdefault(short, classes.index(name))

    def class_id(self, shape: Shape | Painting, source: Path) -> int | None:
        """The class of a shape in a file; None, and a problem or hint, where it has none."""
        label = meaning(shape.label, self._settings)
        if label is None:
            what = f"left out as the settings say: {shown(shape.label)}"
            self._findings.hints.append(what, source)
            return None
        if label in self._ids:
            return self._ids[label]
        if isinstance(shape, Shape) and shape.kind == "flag":
            what = f"left out: the flag or choice {shown(label)}, which is no class"
            self._findings.hints.append(what, source)
            return None
        if isinstance(label, str):
            text = f"class {shown(label)}: no class of the data set"
            self._findings.problems.append(f"{text}{nearest(label, self._classes)}", source)
        return None

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
        reason = "a tag says that an object is there, and background is nearly everywhere"
        if kind == "box":
            reason = "a box holds an object; draw a stroke where there is none"
        self._findings.hints.append(
            f"a {kind} of {self._classes[0]!r}, the background, was left out: {reason}",
            annotation.where,
        )
