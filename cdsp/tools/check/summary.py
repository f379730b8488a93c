"""What annotations come to: counts of images, strokes and pixels for each class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import IGNORE
from cdsp.scribbles.class_order import ClassOrder
from cdsp.scribbles.degrade import hold_out_strokes
from cdsp.scribbles.painted_strokes import PaintedStroke
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.settings import DegradationSettings
from cdsp.scribbles.strokes import ImageStrokes, Stroke

HOLD_OUT = 0.25
"""Share of the strokes that is held out where there is nothing else to measure on."""


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
        order: on which numbers of the training masks the strokes lie.
        classes: class index → its counts.
        annotated: images with annotation.
        num_points: strokes of a single point.
        without_background: images with an object stroke and none of the background.
        one_class: images whose strokes are of one class alone.
        empty: images whose annotation holds nothing.
        labelled, pixels: labelled pixels, and all pixels of the annotated images.
        shown: the strokes of a few images.
        held_out: strokes that a table on held-out strokes, as `cdsp start` writes it, measures on.
        extents: of each stroke on an object that is more than a point, and of each box: its longer
            side ÷ the photograph's.
    """

    order: ClassOrder
    classes: defaultdict[int, ClassCounts] = field(default_factory=lambda: defaultdict(ClassCounts))
    annotated: list[str] = field(default_factory=list)
    num_points: int = 0
    without_background: list[str] = field(default_factory=list)
    one_class: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    labelled: int = 0
    pixels: int = 0
    shown: dict[str, ImageStrokes] = field(default_factory=dict)
    held_out: int = 0
    extents: list[float] = field(default_factory=list)

    @property
    def placed(self) -> list[int]:
        """The classes of which somebody said where they are; beside a box is background."""
        found = {i for i, counts in self.classes.items() if counts.strokes or counts.boxes}
        return sorted(found | {0 for counts in self.classes.values() if counts.boxes})


def one_class_message(name: str) -> str:
    """What to tell where strokes are of one class alone, from which nothing can be learnt."""
    return (
        f"all strokes are of {name!r}, so that all labels would be; draw strokes on what else is "
        "in the photographs, such as the background"
    )


def summarise(
    images: Iterable[ImageStrokes],
    dataset: Dataset,
    masked: Collection[str],
    shown: Collection[str],
) -> StrokeSummary:
    """Count what the annotations of images hold.

    Args:
        images: the annotations, one image after the other.
        dataset: theirs.
        masked: ids of the images whose strokes can be compared with their mask.
        shown: ids of the images whose strokes are kept.
    """
    summary = StrokeSummary(ClassOrder(len(dataset.classes)))
    for image in images:
        label = rasterise(image.strokes, image.height, image.width)
        if image.image_id in masked:
            summary.order.add(label, dataset.mask(image.image_id))
        _count(summary, image, label)
        if image.image_id in shown:
            summary.shown[image.image_id] = image
    return summary


def _count(summary: StrokeSummary, image: ImageStrokes, label: np.ndarray) -> None:
    counts = np.bincount(label.ravel(), minlength=256)
    for class_id in np.flatnonzero(counts[:IGNORE]).tolist():
        summary.classes[class_id].pixels += int(counts[class_id])
    for stroke in image.strokes:
        summary.classes[stroke.class_id].strokes += 1
        is_point = isinstance(stroke, Stroke) and len(stroke.points) == 1
        summary.num_points += is_point
        if stroke.class_id and not is_point:
            summary.extents.append(_extent(stroke) / max(image.height, image.width))
    for box in image.boxes:
        summary.classes[box.class_id].boxes += 1
        longer = max(box.right - box.left, box.bottom - box.top)
        summary.extents.append(longer / max(image.height, image.width))
    kept = hold_out_strokes(image, HOLD_OUT, seed=DegradationSettings().seed).strokes
    summary.held_out += len(image.strokes) - len(kept)
    for class_id in image.tags:
        summary.classes[class_id].tags += 1
    drawn = {stroke.class_id for stroke in image.strokes}
    present = drawn | {box.class_id for box in image.boxes} | set(image.tags)
    for class_id in present:
        summary.classes[class_id].images += 1
    (summary.annotated if present else summary.empty).append(image.image_id)
    if drawn and 0 not in present:
        summary.without_background.append(image.image_id)
    if len(drawn) == 1 and len(present) == 1:
        summary.one_class.append(image.image_id)
    summary.labelled += int((label != IGNORE).sum())
    summary.pixels += label.size


def _extent(stroke: Stroke | PaintedStroke) -> float:
    """The longer side of the smallest box that holds a stroke, pixels."""
    if isinstance(stroke, Stroke):
        return float(np.ptp(stroke.points, axis=0).max())
    first, last = stroke.runs[:, 1].min(), (stroke.runs[:, 1] + stroke.runs[:, 2]).max()
    return float(max(np.ptp(stroke.runs[:, 0]) + 1, last - first))
