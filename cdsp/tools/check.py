"""What a folder of one's own holds, before anything is made of it: photographs, masks, strokes."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import yaml
from tabulate import tabulate

from cdsp.annotations.read import annotation_files, read_annotations
from cdsp.dataset.prepare import FolderContent, check_classes, inspect_folder
from cdsp.dataset.voc_layout import Dataset, choose_images
from cdsp.io.files import IGNORE, atomic_path, problem_list
from cdsp.io.findings import Findings
from cdsp.pictures.overlay import overlay, overlay_scribbles
from cdsp.pictures.style import picture_grid
from cdsp.scribbles.import_annotations import imported_images
from cdsp.scribbles.strokes import Box, ImageStrokes, rasterise

BACKGROUND_NAMES = ("background", "_background_", "bg")  # in capitals as well
SHOWN_IMAGES = 6
PICTURE_SIDE = 400
"""Longer side of an image in the picture of a few, pixels."""


@dataclass
class ClassCounts:
    """What the training images' annotations say of one class, in the order of the report."""

    images: int = 0
    strokes: int = 0
    boxes: int = 0
    tags: int = 0
    pixels: int = 0


@dataclass
class StrokeSummary:
    """What the annotations of the training images come to.

    Attributes:
        classes: class index → its counts.
        num_images: images with annotation.
        num_points: strokes of a single point.
        without_background: images with an object stroke and none of the background.
        labelled, pixels: labelled pixels, and all pixels of the annotated images.
        shown: the strokes of a few images.
    """

    classes: defaultdict[int, ClassCounts] = field(default_factory=lambda: defaultdict(ClassCounts))
    num_images: int = 0
    num_points: int = 0
    without_background: int = 0
    labelled: int = 0
    pixels: int = 0
    shown: dict[str, ImageStrokes] = field(default_factory=dict)


def check_folder(
    root: Path,
    classes: tuple[str, ...],
    annotations: Path | None,
    *,
    width: float,
    picture: Path,
) -> list[str]:
    """Look through a folder in VOC layout, and print what is there and all that is wrong with it.

    Args:
        root: the folder, see `inspect_folder`.
        classes: names of all classes, the background first; none: those that the files name.
        annotations: a file or folder, see `cdsp.annotations.read`; None: ``Scribbles`` in the
            folder, where it is there.
        width: of strokes whose file does not say it, pixels.
        picture: PNG file for a few training images with their annotations.

    Returns:
        The problems, in words.

    Raises:
        ValueError: no such folder, or names of classes that no data set could have.
    """
    if classes:
        check_classes(classes, "--classes")
    content = inspect_folder(root, len(classes) or IGNORE)
    findings = Findings()
    problems = findings.problems
    for problem in content.problems:
        problems.append(problem)
    if annotations is None and (root / "Scribbles").exists():
        annotations = root / "Scribbles"
    if annotations is not None:
        try:
            annotation_files(annotations)
        except ValueError as error:
            problems.append(str(error))
            annotations = None
    named = classes or _class_names(annotations, content)
    if len(named) > IGNORE:
        problems.append(
            f"{annotations}: names {len(named)} classes, expected at most {IGNORE}, background "
            "included; name kinds of objects, not each object"
        )
        named = named[:IGNORE]
    readable = {
        split: tuple(name for name in ids if name in content.images)
        for split, ids in content.splits.items()
    }
    dataset = Dataset(
        name=root.name,
        root=root,
        classes=named,
        colours={},
        splits=readable,
        images=content.images,
        train_masks=content.train_masks,
        digest="",
    )
    summary = StrokeSummary()
    if annotations is not None:
        chosen = set(choose_images(dataset, SHOWN_IMAGES))
        images = imported_images(dataset, annotations, width, findings)
        summary = _summarise(images, chosen)
    print("\n".join(_report(dataset, content, annotations, summary)))
    if not classes:
        line = yaml.safe_dump(
            list(named), default_flow_style=True, width=math.inf, allow_unicode=True
        )
        print(
            "\nThe names found, for the configuration; the numbers in scribble PNGs and masks "
            f"count them in this order, from 0:\n  classes: {line.strip()}"
        )
    shown = [name for name in dataset.splits["train"] if name in summary.shown]
    if shown:
        _draw(dataset, [summary.shown[name] for name in shown], picture)
        print(f"\n{picture}: {len(shown)} of the annotated images, to look at.")
    if findings.hints:
        print("\n" + "\n".join(f"hint: {hint}" for hint in findings.hints))
    print("\n" + (problem_list(str(root), list(problems)) if problems else "No problem was found."))
    return list(problems)


def _class_names(annotations: Path | None, content: FolderContent) -> tuple[str, ...]:
    """The names in the annotations, most frequent first, or numbers; the background before all."""
    labels: Counter[str | int] = Counter()
    if annotations is not None:
        for annotation in read_annotations(annotations, Findings()):
            labels.update(shape.label for shape in annotation.shapes)
    named = [label for label, _ in labels.most_common() if isinstance(label, str)]
    background = next((name for name in named if name.lower() in BACKGROUND_NAMES), "background")
    objects = [name for name in named if name != background]
    values = [label for label in labels if isinstance(label, int)]
    values += [int(value) for value in np.flatnonzero(content.mask_pixels[:IGNORE])]
    objects += [f"class {i}" for i in range(len(objects) + 1, max(values, default=0) + 1)]
    return (background, *objects)


def _summarise(images: Iterable[ImageStrokes], chosen: set[str]) -> StrokeSummary:
    summary = StrokeSummary()
    for image in images:
        label = rasterise(image.strokes, image.height, image.width)
        counts = np.bincount(label.ravel(), minlength=256)
        for class_id in np.flatnonzero(counts[:IGNORE]).tolist():
            summary.classes[class_id].pixels += int(counts[class_id])
        for stroke in image.strokes:
            summary.classes[stroke.class_id].strokes += 1
            summary.num_points += len(stroke.points) == 1
        for box in image.boxes:
            summary.classes[box.class_id].boxes += 1
        for class_id in image.tags:
            summary.classes[class_id].tags += 1
        present = {shape.class_id for shape in (*image.strokes, *image.boxes)} | set(image.tags)
        for class_id in present:
            summary.classes[class_id].images += 1
        summary.num_images += bool(present)
        summary.without_background += bool(image.strokes) and 0 not in present
        summary.labelled += int((label != IGNORE).sum())
        summary.pixels += label.size
        if image.image_id in chosen:
            summary.shown[image.image_id] = image
    return summary


def _report(
    dataset: Dataset, content: FolderContent, annotations: Path | None, summary: StrokeSummary
) -> list[str]:
    train, val = (len(dataset.splits[split]) for split in ("train", "val"))
    lines = [f"{dataset.root}: {train} training images, {val} validation images"]
    if dataset.images:
        sizes = [(width, height) for _, height, width in dataset.images.values()]
        smallest, largest = min(sizes, key=math.prod), max(sizes, key=math.prod)
        lines[0] += f", {smallest[0]}×{smallest[1]} to {largest[0]}×{largest[1]} pixels"
    has_masks = (("training", content.train_masks), ("validation", val))
    masked = [name for name, there in has_masks if there]
    lines.append(f"masks: of the {' and '.join(masked)} images" if masked else "masks: none")
    if annotations is None:
        lines.append("annotations: none (expected in Scribbles/, or name their folder)")
    else:
        share = 100 * summary.labelled / max(summary.pixels, 1)
        lines.append(
            f"annotations: {len(annotation_files(annotations))} files in {annotations}; "
            f"{summary.num_images} of {train} training images have some; strokes label "
            f"{share:.2f} % of the pixels; {summary.num_points} strokes are single points"
        )
        if summary.without_background:
            lines.append(
                f"hint: {summary.without_background} images have object strokes and none on the "
                "background, from which a network learns where objects end"
            )
    rows = [
        (index, name, *astuple(summary.classes[index]), int(content.mask_pixels[index]))
        for index, name in enumerate(dataset.classes)
    ]
    headers = ("", "class", "images", "strokes", "boxes", "tags", "stroke pixels", "mask pixels")
    lines += ["", tabulate(rows, headers, tablefmt="simple", intfmt=",")]
    unseen = [name for i, name in enumerate(dataset.classes) if not summary.classes[i].images]
    if annotations is not None and unseen:
        names = ", ".join(unseen)
        lines += ["", f"hint: nothing names {names}: what nobody marks cannot be learnt"]
    return lines


def _draw(dataset: Dataset, images: list[ImageStrokes], output: Path) -> None:
    """Photographs with their annotations, strokes at least 3 pixels wide, beside their masks."""
    annotated, masks = [], []
    for image in images:
        photograph = dataset.image(image.image_id)
        scale = min(1.0, PICTURE_SIDE / max(image.height, image.width))
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        reduced = cv2.resize(photograph, size, interpolation=cv2.INTER_AREA)
        strokes = [
            replace(
                stroke,
                points=(stroke.points + 0.5) * scale - 0.5,
                width=max(3.0, stroke.width * scale),
            )
            for stroke in image.strokes
        ]
        drawn = overlay_scribbles(reduced, rasterise(strokes, size[1], size[0]), dataset.palette)
        for box in image.boxes:
            _draw_box(drawn, box, scale, dataset.palette[box.class_id])
        annotated.append(drawn)
        if dataset.train_masks:
            mask = cv2.resize(dataset.mask(image.image_id), size, interpolation=cv2.INTER_NEAREST)
            masks.append(overlay(reduced, mask, dataset.palette))
    columns = [("annotations (background white)", annotated)]
    columns += [("masks", masks)] if masks else []
    present = {shape.class_id for image in images for shape in (*image.strokes, *image.boxes)}
    legend = {dataset.classes[i]: dataset.palette[i] for i in sorted(present - {0})}
    with atomic_path(output) as temporary:
        figure = picture_grid(columns, [image.image_id for image in images], legend, size=2.5)
        figure.savefig(temporary, format="png", dpi=150)


def _draw_box(picture: np.ndarray, box: Box, scale: float, colour: np.ndarray) -> None:
    corners = ((box.left, box.top), (box.right, box.bottom))
    first, last = (tuple(round(value * scale) for value in corner) for corner in corners)
    cv2.rectangle(picture, first, last, colour.tolist(), 2)
