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
from cdsp.evaluation.probe import LinearProbe
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.evaluation.truth import Agreement, held_out, own_labels, validation_masks
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
from cdsp.metrics import (
    HeldOut,
    Share,
    class_indices,
    held_out_entries,
    percent,
    read_shares,
    scores,
)
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
    labels: Path | None = None,
    scribbles: Path | None = None,
    full_scribbles: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a network on validation masks or held-out strokes, as the protocol says.

    Args:
        weights: the network's file.
        dataset: the images, with masks of its validation images where they are the truth.
        settings: the protocol.
        output: folder for ``confusion.npy`` and, last, ``metrics.json``.
        protocol: the protocol's name.
        device: where to compute.
        predictions: folder for the predictions as palette PNGs; None for none.
        labels: store of the pseudo-labels or scribbles that the network was trained on, with which
            it is compared on a few training images.
        scribbles: where held-out strokes are the truth, the store of those that were trained on.
        full_scribbles: then, the store of all.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        ValueError: the network's classes are not the data set's, there is nothing to measure on,
            or no pixel of the masks is of a class.
    """
    read = [path for path in (weights, labels, scribbles, full_scribbles) if path is not None]
    check_outputs([output / "metrics.json"], inputs=read)
    checkpoint = read_network(weights, "segmentation")
    checkpoint.require_classes(dataset.classes, weights)
    on_masks = settings.truth == "masks"
    if on_masks:
        truth = validation_masks(dataset)
    else:
        trained_on = str(checkpoint.name.get("scribbles"))
        truth = held_out(dataset, scribbles, full_scribbles, trained_on)
    pictures = [] if predictions is None else [predictions / f"{name}.png" for name in truth.ids]
    masks = [dataset.mask_path(name) for name in truth.ids] if on_masks else []
    check_outputs(pictures, inputs=[*read, *masks])
    network = checkpoint.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def predict_label(image: np.ndarray) -> np.ndarray:
        probability = predict_probabilities(
            network, image, settings, device, working_size=checkpoint.working_size
        )
        return probability.argmax(dim=0).to(torch.uint8).cpu().numpy()

    num_classes = len(dataset.classes)
    counts = HeldOut(num_classes)
    averaged = class_indices(settings.classes, dataset.classes)
    probe = LinearProbe(network, len(truth.ids), averaged or range(num_classes), device)
    for image_id in progress(truth.ids, "evaluating"):
        image, label = truth.dataset.image(image_id), truth.label(image_id)
        prediction = predict_label(image)
        counts.add(label, prediction)
        probe.add(image, label, settings.long_side or checkpoint.working_size or max(label.shape))
        if predictions is not None:
            write_label(predictions / f"{image_id}.png", prediction, dataset.palette)
    if not counts.confusion.any():
        raise ValueError(
            f"data set {dataset.name!r}: the masks of its {len(truth.ids)} validation images are "
            f"{IGNORE} (void) throughout, so that there is nothing to measure; give each pixel its "
            "class index"
        )
    agreement = Agreement(num_classes)
    if labels is not None:
        own = own_labels(dataset, labels)
        for image_id in progress(own.ids, "comparing with its own labels"):
            agreement.add(own.label(image_id), predict_label(own.dataset.image(image_id)))
    for warning in agreement.warnings(dataset.classes):
        logger.warning("%s: %s", weights, warning)
    with atomic_path(output / "confusion.npy") as temporary:
        np.save(temporary, counts.confusion)
    metrics = {
        "format": METRICS_FORMAT,
        "version": METRICS_VERSION,
        "name": checkpoint.name,
        "weights": str(weights),
        "protocol": protocol,
        "protocol_settings": settings_dict(settings),
        "dataset": {
            "name": dataset.name,
            "digest": dataset.digest,
            "num_images": len(truth.ids),
        },
        **_score_entries(counts, settings, dataset.classes),
        "probe_accuracy": _null_for_nan(probe.accuracy()),
        "own_labels": agreement.summary(),
        "confusion": file_digest(output / "confusion.npy"),
        "training": checkpoint.settings,
        "environment": {**runtime.describe(device), **runtime.describe_command()},
    }
    write_json(output / "metrics.json", metrics)
    return metrics


def _score_entries(
    counts: HeldOut, settings: EvaluationSettings, classes: tuple[str, ...]
) -> dict[str, Any]:
    """The scores of a confusion matrix, as ``metrics.json`` tells them, and a line of the log."""
    averaged = class_indices(settings.classes, classes)
    result = scores(counts.confusion, averaged)
    if settings.truth == "masks":
        logger.info(
            "mIoU %.2f, pixel accuracy %.2f", 100 * result.mean_iou, 100 * result.pixel_accuracy
        )
        return {
            "mean_iou": _null_for_nan(result.mean_iou),
            "pixel_accuracy": result.pixel_accuracy,
            "class_iou": {
                name: _null_for_nan(value)
                for name, value in zip(classes, result.class_iou.tolist(), strict=True)
            },
        }
    entries = held_out_entries(classes, counts.shares(), averaged)
    for name, share in read_shares(entries).items():
        logger.info("%s: %s", name, percent(share) if share else "no stroke is held out")
    if entries["held_out_accuracy"] is not None:
        mean = Share(entries["held_out_accuracy"], *entries["held_out_interval"])
        logger.info("held-out strokes right: %s, the mean of the classes", percent(mean))
    return entries


def _null_for_nan(value: float) -> float | None:
    """JSON has no NaN: a class that does not occur has no IoU, nor does a probe of one class."""
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
