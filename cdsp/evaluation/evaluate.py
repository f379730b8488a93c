"""Evaluate a trained network on the validation images, and predict one's own photographs."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cdsp.dataset.voc_layout import Dataset
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.io.files import (
    IGNORE,
    METRICS_FORMAT,
    METRICS_VERSION,
    class_palette,
    read_image,
    write_label,
    write_picture,
    write_text,
)
from cdsp.io.json_files import write_json
from cdsp.io.outputs import atomic_path, check_outputs, file_digest
from cdsp.metrics import class_indices, confusion_matrix, scores
from cdsp.networks.checkpoint import read_network
from cdsp.networks.predictor import predict_probabilities
from cdsp.pictures.overlay import overlay
from cdsp.progress import progress
from cdsp.settings import settings_dict
from cdsp.training import runtime

logger = logging.getLogger(__name__)


def evaluate(
    weights: Path,
    dataset: Dataset,
    settings: EvaluationSettings,
    output: Path,
    *,
    protocol: str,
    device: torch.device,
    predictions: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a network on the validation images.

    Args:
        weights: the network's file.
        dataset: with masks of its validation images.
        settings: the protocol.
        output: folder for ``confusion.npy`` and, last, ``metrics.json``.
        protocol: the protocol's name.
        device: where to compute.
        predictions: folder for the predictions as palette PNGs; None for none.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        ValueError: the network's classes are not the data set's, or there is no validation image,
            or no pixel of their masks is of a class.
    """
    if not dataset.splits["val"]:
        raise ValueError(
            f"data set {dataset.name!r} has no validation images to evaluate on; list some that "
            "have masks in ImageSets/SegmentationAug/val.txt, or train without evaluation "
            "(snakemake networks)"
        )
    photographs = dataset.as_photographed
    ids = dataset.splits["val"]
    pictures = [] if predictions is None else [predictions / f"{name}.png" for name in ids]
    masks = [dataset.mask_path(name) for name in ids]
    check_outputs([output / "metrics.json", *pictures], inputs=[weights, *masks])
    checkpoint = read_network(weights, "segmentation")
    checkpoint.require_classes(dataset.classes, weights)
    averaged = class_indices(settings.classes, dataset.classes)
    network = checkpoint.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    num_classes = len(dataset.classes)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    for image_id in progress(ids, "evaluating"):
        image = photographs.image(image_id)
        probability = predict_probabilities(
            network, image, settings, device, working_size=checkpoint.working_size
        )
        prediction = probability.argmax(dim=0).to(torch.uint8).cpu().numpy()
        confusion += confusion_matrix(photographs.mask(image_id), prediction, num_classes)
        if predictions is not None:
            write_label(predictions / f"{image_id}.png", prediction, dataset.palette)
    if not confusion.any():
        raise ValueError(
            f"data set {dataset.name!r}: the masks of its {len(ids)} validation images are "
            f"{IGNORE} (void) throughout, so that there is nothing to measure; give each pixel its "
            "class index"
        )
    result = scores(confusion, averaged)
    with atomic_path(output / "confusion.npy") as temporary:
        np.save(temporary, confusion)
    metrics = {
        "format": METRICS_FORMAT,
        "version": METRICS_VERSION,
        "name": checkpoint.name,
        "weights": str(weights),
        "protocol": protocol,
        "protocol_settings": settings_dict(settings),
        "dataset": {"name": dataset.name, "digest": dataset.digest, "num_images": len(ids)},
        "mean_iou": _null_for_nan(result.mean_iou),
        "pixel_accuracy": result.pixel_accuracy,
        "confusion": file_digest(output / "confusion.npy"),
        "class_iou": {
            name: _null_for_nan(value)
            for name, value in zip(dataset.classes, result.class_iou.tolist(), strict=True)
        },
        "training": checkpoint.settings,
        "environment": {**runtime.describe(device), **runtime.describe_command()},
    }
    write_json(output / "metrics.json", metrics)
    logger.info(
        "mIoU %.2f, pixel accuracy %.2f", 100 * result.mean_iou, 100 * result.pixel_accuracy
    )
    return metrics


def _null_for_nan(value: float) -> float | None:
    """JSON has no NaN: a class that does not occur has no IoU."""
    return None if math.isnan(value) else value


def predict(
    images: Sequence[Path],
    weights: Path,
    output: Path,
    settings: EvaluationSettings,
    device: torch.device,
) -> None:
    """Segment photographs: a palette PNG of class indices and a picture to look at for each.

    Args:
        images: photographs of any size and common format.
        weights: the network's file.
        output: folder for ``<name>.png`` and ``<name>_overlay.jpg``, and ``classes.txt``, which
            names the indices.
        settings: the protocol.
        device: where to compute.

    Raises:
        ValueError: an unreadable file, two images of one name, or a result that would replace a
            file; before anything is written.
    """
    stems = [path.stem for path in images]
    for path in images:
        if stems.count(path.stem) > 1:
            raise ValueError(f"{path}: two images are named {path.stem!r}; predict them apart")
        if output.resolve() == path.parent.resolve():
            raise ValueError(f"{path}: give another folder for the results than the image's own")
        read_image(path)
    files = [output / f"{name}{ending}" for name in stems for ending in (".png", "_overlay.jpg")]
    check_outputs([output / "classes.txt", *files], inputs=[*images, weights])
    checkpoint = read_network(weights, "segmentation")
    lines = "".join(f"{index} {name}\n" for index, name in enumerate(checkpoint.classes))
    network = checkpoint.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    palette = class_palette(checkpoint.classes, checkpoint.colours)
    write_text(output / "classes.txt", lines)
    for path in progress(images, "predicting"):
        image = read_image(path)
        probability = predict_probabilities(
            network, image, settings, device, working_size=checkpoint.working_size
        )
        prediction = probability.argmax(dim=0).to(torch.uint8).cpu().numpy()
        write_label(output / f"{path.stem}.png", prediction, palette)
        write_picture(output / f"{path.stem}_overlay.jpg", overlay(image, prediction, palette))
