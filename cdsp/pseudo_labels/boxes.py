"""Labels from boxes around the objects: another supervision, to compare with that by strokes.

The boxes are those of the training masks' regions, as a person would draw them who sees the
objects; nothing else of the masks is used. BoxSup and SDI begin with such boxes; here GrabCut turns
them into labels (Rother, Kolmogorov and Blake, SIGGRAPH 2004), and the trainer is that of all
other methods.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import IGNORE
from cdsp.io.store import write_store
from cdsp.progress import progress
from cdsp.scribbles.boxes import label_from_boxes
from cdsp.scribbles.strokes import Box
from cdsp.versions import VERSIONS


def boxes_of_mask(mask: np.ndarray) -> list[Box]:
    """A box around each 8-connected region of each object class, class by class.

    Objects of one class that touch are one region: a mask of classes does not tell them apart.

    Args:
        mask: (H, W) uint8, 0 = background, 255 = void.
    """
    boxes = []
    for class_id in np.unique(mask[(mask != 0) & (mask != IGNORE)]).tolist():
        region = (mask == class_id).astype(np.uint8)
        _, _, statistics, _ = cv2.connectedComponentsWithStats(region)
        for left, top, width, height, _ in statistics[1:].tolist():
            boxes.append(Box(class_id, left, top, left + width - 1, top + height - 1))
    return boxes


def label_boxes(dataset: Dataset, scribbles: str, output: Path, *, recipe: str) -> None:
    """Write the labels that GrabCut makes of boxes, for all training images.

    Args:
        dataset: the training images, with masks, whose boxes are taken.
        scribbles: name of the scribbles that the runs on them use; the labels do not.
        output: the store to write.
        recipe: the name of the recipe, kept in the store.

    Raises:
        ValueError: the training images have no masks.
    """
    dataset.require_train_masks("boxes")

    def label(image_id: str) -> np.ndarray:
        return label_from_boxes(dataset.picture(image_id), boxes_of_mask(dataset.mask(image_id)))

    ids = progress(dataset.splits["train"], "labels of boxes")
    write_store(
        output,
        ((image_id, label(image_id), {}) for image_id in ids),
        kind="pseudo_labels",
        parameters={
            "recipe": recipe,
            "scribbles": scribbles,
            "supervision": "boxes",
            "version": VERSIONS["pseudo_labels boxes"],
        },
        sources={"dataset": dataset.digest},
    )
