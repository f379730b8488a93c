"""How good pseudo-labels are: against the training masks, and against strokes held out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import IGNORE, QUALITY_FORMAT, QUALITY_VERSION
from cdsp.io.json_files import write_json
from cdsp.io.store import LabelStore
from cdsp.metrics import HeldOut, Share, confusion_matrix, held_out_entries, percent, scores
from cdsp.progress import progress
from cdsp.scribbles.held_out import held_out_strokes, open_strokes

logger = logging.getLogger(__name__)


def measure_pseudo_labels(
    labels: Path,
    dataset: Dataset,
    output: Path,
    *,
    scribbles: Path | None = None,
    full_scribbles: Path | None = None,
) -> dict[str, Any]:
    """Compare pseudo-labels with masks and held-out strokes; for reading, nothing is chosen by it.

    What the full scribbles label and the degraded ones do not is held out: the recipe has not seen
    it, and a person drew it.

    Args:
        labels: store of pseudo-labels.
        dataset: the training images; without masks only coverage and held-out strokes are told.
        output: the JSON file to write. Fractions, null where unknown: ``class_iou`` and
            ``class_precision`` over the pixels that have a pseudo-label and a true one, their
            means over the classes that occur and ``pixel_accuracy``; ``coverage``, of the pixels
            by pseudo-labels; ``class_held_out_accuracy``, of the held-out stroke pixels of a class
            those that have it, where 255 is wrong, and ``held_out_accuracy``, its mean, with their
            95 % intervals (see `cdsp.metrics.held_out_entries`).
        scribbles: store of the scribbles that the labels were made from.
        full_scribbles: store of the scribbles before they were degraded.

    Raises:
        ValueError: a store of another kind, of other images or of other scribbles than the labels';
            one store of scribbles without the other.
    """
    store = LabelStore(labels, "pseudo_labels")
    dataset = dataset.training_on(store)
    strokes = []
    if scribbles or full_scribbles:
        strokes = open_strokes(scribbles, full_scribbles, store.parameters["scribbles"])
    num_classes = len(dataset.classes)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    held_out = HeldOut(num_classes)
    num_pixels = num_labelled = 0
    for image_id in progress(dataset.splits["train"], "measuring pseudo-labels"):
        label = store[image_id]
        known = np.ones(label.shape, bool)
        if dataset.train_masks:
            mask = dataset.mask(image_id)
            confusion += confusion_matrix(mask, label, num_classes)
            known = mask != IGNORE
        num_pixels += int(known.sum())
        num_labelled += int((known & (label != IGNORE)).sum())
        if strokes:
            seen, full = (each[image_id] for each in strokes)
            held_out.add(held_out_strokes(seen, full), label)
    quality = {
        "format": QUALITY_FORMAT,
        "version": QUALITY_VERSION,
        "recipe": store.parameters["recipe"],
        "scribbles": store.parameters["scribbles"],
        **_against_masks(confusion, dataset),
        "coverage": num_labelled / num_pixels if num_pixels else None,
        **held_out_entries(dataset.classes, held_out.shares()),
    }
    write_json(output, quality)
    if quality["mean_iou"] is not None:
        logger.info("pseudo-labels: mIoU %.2f", 100 * quality["mean_iou"])
    if quality["held_out_accuracy"] is not None:
        share = Share(quality["held_out_accuracy"], *quality["held_out_interval"])
        logger.info("pseudo-labels: held-out strokes right: %s", percent(share))
    return quality


def _against_masks(confusion: np.ndarray, dataset: Dataset) -> dict[str, Any]:
    result = scores(confusion)
    precision = _ratio(np.diag(confusion), confusion.sum(axis=0))
    return {
        "mean_iou": _mean(result.class_iou),
        "mean_precision": _mean(precision),
        "pixel_accuracy": result.pixel_accuracy if confusion.any() else None,
        "class_iou": _by_class(result.class_iou, dataset),
        "class_precision": _by_class(precision, dataset),
    }


def _by_class(values: np.ndarray, dataset: Dataset) -> dict[str, float | None]:
    return {
        name: None if np.isnan(value) else float(value)
        for name, value in zip(dataset.classes, values, strict=True)
    }


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
