"""What ``metrics.json`` tells of predictions, whoever made them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cdsp.dataset.voc_layout import Dataset
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.evaluation.truth import Truth, held_out, validation_masks, validation_strokes
from cdsp.io.files import IGNORE, METRICS_FORMAT, METRICS_VERSION
from cdsp.io.json_files import write_json
from cdsp.io.outputs import atomic_path, file_digest
from cdsp.metrics import (
    HeldOut,
    Share,
    class_indices,
    held_out_entries,
    percent,
    read_shares,
    scores,
)
from cdsp.progress import progress
from cdsp.settings import settings_dict

logger = logging.getLogger(__name__)


def find_truth(
    dataset: Dataset,
    settings: EvaluationSettings,
    trained_on: str,
    scribbles: Path | None,
    full_scribbles: Path | None,
    strokes: Path | None,
) -> Truth:
    """What a protocol compares predictions with.

    Args:
        dataset: the images.
        settings: the protocol.
        trained_on: the scribbles that whoever predicts was trained on, by name.
        scribbles: their store, where held-out strokes are the truth.
        full_scribbles: then, the store of all.
        strokes: where they are the truth, the store of the validation images' strokes.

    Raises:
        ValueError: see `validation_masks`, `validation_strokes` and `held_out`.
    """
    if settings.truth == "masks":
        return validation_masks(dataset)
    if settings.truth == "validation_strokes":
        return validation_strokes(dataset, strokes)
    return held_out(dataset, scribbles, full_scribbles, trained_on)


def count_predictions(
    truth: Truth,
    predict: Callable[[str, np.ndarray], np.ndarray],
    share: slice = slice(None),
    gather: Callable[[HeldOut], list[HeldOut]] = lambda counts: [counts],
) -> HeldOut:
    """Compare predictions with the truth.

    Args:
        truth: the labels.
        predict: image id and its true label, (H, W) uint8 → predicted classes, the same.
        share: of the images, those of this process.
        gather: brings what all processes counted together.

    Raises:
        ValueError: no pixel of the truth has a class.
    """
    counts = HeldOut(len(truth.dataset.classes))
    for image_id in progress(truth.ids[share], "evaluating"):
        label = truth.label(image_id)
        counts.add(label, predict(image_id, label))
    counts = HeldOut.joined(gather(counts))
    if not counts.confusion.any():
        raise ValueError(
            f"data set {truth.dataset.name!r}: the masks of its {len(truth.ids)} validation images "
            f"are {IGNORE} (void) throughout, so that there is nothing to measure; give each pixel "
            "its class index"
        )
    return counts


def write_metrics(
    output: Path,
    counts: HeldOut,
    truth: Truth,
    settings: EvaluationSettings,
    *,
    protocol: str,
    **told: Any,
) -> dict[str, Any]:
    """Write ``confusion.npy`` and, last, ``metrics.json`` into a folder.

    Args:
        output: the folder.
        counts: predictions against the truth.
        truth: what was compared with.
        settings: the protocol.
        protocol: its name.
        told: what else is told: name, weights, training, own_labels, environment, probe_accuracy.

    Returns:
        What ``metrics.json`` holds.
    """
    with atomic_path(output / "confusion.npy") as temporary:
        np.save(temporary, counts.confusion)
    dataset = truth.dataset
    metrics = {
        "format": METRICS_FORMAT,
        "version": METRICS_VERSION,
        "protocol": protocol,
        "protocol_settings": settings_dict(settings),
        "dataset": {
            "name": dataset.name,
            "digest": dataset.digest,
            "num_images": len(truth.ids),
        },
        **_score_entries(counts, settings, dataset.classes),
        "confusion": file_digest(output / "confusion.npy"),
        **told,
    }
    write_json(output / "metrics.json", metrics)
    return metrics


def _score_entries(
    counts: HeldOut, settings: EvaluationSettings, classes: tuple[str, ...]
) -> dict[str, Any]:
    """The scores of a confusion matrix, as ``metrics.json`` tells them, and lines of the log."""
    averaged = class_indices(settings.classes, classes)
    result = scores(counts.confusion, averaged)
    if settings.truth == "masks":
        logger.info(
            "mIoU %.2f, pixel accuracy %.2f", 100 * result.mean_iou, 100 * result.pixel_accuracy
        )
        return {
            "mean_iou": null_for_nan(result.mean_iou),
            "pixel_accuracy": result.pixel_accuracy,
            "class_iou": {
                name: null_for_nan(value)
                for name, value in zip(classes, result.class_iou.tolist(), strict=True)
            },
        }
    entries = held_out_entries(classes, counts.shares(), averaged)
    for name, share in read_shares(entries).items():
        logger.info("%s: %s", name, percent(share) if share else "no stroke to compare with")
    if entries["held_out_accuracy"] is not None:
        mean = Share(entries["held_out_accuracy"], *entries["held_out_interval"])
        logger.info(
            "%s right: %s, the mean of the classes", settings.truth.replace("_", " "), percent(mean)
        )
    return entries


def null_for_nan(value: float) -> float | None:
    """JSON has no NaN: a class that does not occur has no IoU, nor does a probe of one class."""
    return None if math.isnan(value) else value
