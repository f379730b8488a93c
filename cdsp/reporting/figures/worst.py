"""The page of failures: the pseudo-labels that differ most from their masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import IGNORE
from cdsp.io.outputs import atomic_path
from cdsp.io.store import LabelStore
from cdsp.metrics import confusion_matrix, scores
from cdsp.pictures.overlay import overlay, overlay_scribbles
from cdsp.pictures.style import picture_grid
from cdsp.progress import progress


def draw_worst_labels(
    dataset: Dataset, scribbles: LabelStore, labels: LabelStore, output: Path, *, num_images: int
) -> list[tuple[str, float]]:
    """Draw strokes, pseudo-label and mask of the images with the lowest mIoU, the lowest first.

    Args:
        dataset: with masks of its training images.
        scribbles: store of the scribbles that the labels were made from.
        labels: store of pseudo-labels.
        output: PNG file.
        num_images: rows.

    Returns:
        The images' ids with their mIoU, 0..1, over the classes that occur in label or mask.

    Raises:
        ValueError: no masks, stores of other images, or labels that are 255 throughout.
    """
    dataset.require_train_masks("the page of the worst labels")
    dataset = dataset.training_on(labels)
    ranked = []
    for image_id in progress(dataset.splits["train"], "comparing labels"):
        confusion = confusion_matrix(dataset.mask(image_id), labels[image_id], len(dataset.classes))
        ranked.append((scores(confusion).mean_iou, image_id))
    # An image without a labelled pixel (NaN) is no failure of the label but its absence.
    worst = sorted(pair for pair in ranked if not np.isnan(pair[0]))[:num_images]
    if not worst:
        raise ValueError(f"{labels.path}: no pixel of any image is labelled; there is none to draw")
    drawn: list[list[np.ndarray]] = [[], [], []]
    present: set[int] = set()
    for _, image_id in worst:
        image, mask, label = dataset.picture(image_id), dataset.mask(image_id), labels[image_id]
        drawn[0].append(overlay_scribbles(image, scribbles[image_id], dataset.palette))
        drawn[1].append(overlay(image, label, dataset.palette))
        drawn[2].append(overlay(image, mask, dataset.palette))
        present.update(np.unique(mask).tolist(), np.unique(label).tolist())
    columns = list(zip(("image + scribbles", "pseudo-label", "truth"), drawn, strict=True))
    rows = [f"{image_id}: {100 * score:.0f} %" for score, image_id in worst]
    legend = {dataset.classes[i]: dataset.palette[i] for i in sorted(present - {0, IGNORE})}
    with atomic_path(output) as temporary:
        figure = picture_grid(columns, rows, legend, size=2.2)
        figure.savefig(temporary, format="png", dpi=110)
    return [(image_id, score) for score, image_id in worst]
