"""Export what a classifier says of each place: multi-scale, mirrored, for each image's classes.

A classifier of image-level classes gives class activation maps (Eq. 6). One that has learnt the
background from strokes gives probabilities.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.pixels import resize
from cdsp.io.store import write_store
from cdsp.networks.backbones import Backbone
from cdsp.networks.checkpoint import read_network
from cdsp.networks.classifier import Classifier
from cdsp.progress import progress
from cdsp.pseudo_labels.settings import CamSettings
from cdsp.scribbles.image_classes import check_image_classes
from cdsp.settings import settings_dict
from cdsp.training.augmentation import normalise
from cdsp.versions import VERSIONS

IMAGES_PER_BATCH = 16
SMALLEST_SIDE = 17
"""Of a scaled image, pixels."""


def size_batches(dataset: Dataset, batch_size: int) -> list[list[str]]:
    """The training images in batches of equal size."""
    by_size: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    for image_id in dataset.splits["train"]:
        by_size[dataset.size(image_id)].append(image_id)
    return [
        ids[start : start + batch_size]
        for ids in by_size.values()
        for start in range(0, len(ids), batch_size)
    ]


def scaled_views(
    backbone: Backbone, images: np.ndarray, scales: tuple[float, ...], device: torch.device
) -> Iterator[torch.Tensor]:
    """A batch of (B, H, W, C) images at each scale: (B, C, h, w) float32, normalised.

    Their sides are those at which the backbone's features and pixels align.
    """
    height, width = images.shape[1:3]
    for scale in scales:
        columns, rows = (
            backbone.valid_side(max(SMALLEST_SIDE, side * scale), round) for side in (width, height)
        )
        scaled = np.stack([resize(image, (columns, rows), cv2.INTER_LINEAR) for image in images])
        views = torch.from_numpy(normalise(scaled, backbone.pixels))
        yield views.to(device, memory_format=torch.channels_last)


@torch.inference_mode()
def activation_maps(
    network: Classifier,
    images: np.ndarray,
    classes: list[list[int]],
    settings: CamSettings,
    device: torch.device,
) -> list[np.ndarray]:
    """CAMs of a batch of images, summed over scales and mirrors, each class ÷ its maximum.

    Args:
        network: in evaluation mode, on ``device``.
        images: (B, H, W, C), 0 to 255.
        classes: of each image, 1..K-1.
        settings: scales and mirror.
        device: where to compute.

    Returns:
        For each image (its number of classes, H, W) float32, 0..1; all 0 for a class whose map is
        0 everywhere.
    """
    height, width = images.shape[1:3]
    totals = [np.zeros((len(ids), height, width), np.float32) for ids in classes]
    for views in scaled_views(network.backbone, images, settings.scales, device):
        maps = network.activation_maps(views)
        if settings.flip:
            maps = maps + network.activation_maps(views.flip(-1)).flip(-1)
        for total, of_image, ids in zip(totals, maps, classes, strict=True):
            if ids:
                chosen = of_image[[class_id - 1 for class_id in ids]]
                total += network.backbone.resize(chosen[None], (height, width))[0].cpu().numpy()
    for total in totals:
        maximum = total.max(axis=(1, 2), keepdims=True, initial=0)
        np.divide(total, maximum, out=total, where=maximum > 0)
    return totals


@torch.inference_mode()
def pixel_probabilities(
    network: Classifier,
    images: np.ndarray,
    classes: list[list[int]],
    settings: CamSettings,
    device: torch.device,
) -> list[np.ndarray]:
    """Probabilities of a batch of images, averaged over scales and mirrors.

    The softmax is taken in each view, at the image's own size as in training, and its results are
    averaged: each view then has one vote, and the result is a probability whatever the number of
    views. Logits that are summed before the softmax grow with the number of views, and one view of
    large logits outvotes the others.

    Args:
        network: with a background channel, in evaluation mode, on ``device``.
        images: (B, H, W, C), 0 to 255.
        classes: of each image, 1..K-1; the softmax knows of these and the background alone.
        settings: scales and mirror.
        device: where to compute.

    Returns:
        For each image (1 + its number of classes, H, W) float32, the background first; sums to 1.
    """
    height, width = images.shape[1:3]
    totals = [np.zeros((1 + len(ids), height, width), np.float32) for ids in classes]
    for views in scaled_views(network.backbone, images, settings.scales, device):
        logits = [network.pixel_logits(views)]
        if settings.flip:
            logits.append(network.pixel_logits(views.flip(-1)).flip(-1))
        for of_view in logits:
            for total, of_image, ids in zip(totals, of_view, classes, strict=True):
                chosen = network.backbone.resize(of_image[[0, *ids]][None], (height, width))[0]
                total += chosen.softmax(dim=0).cpu().numpy()
    number = len(settings.scales) * (1 + settings.flip)
    return [total / number for total in totals]


def export_cams(
    weights: Path,
    dataset: Dataset,
    image_classes: dict[str, list[int]],
    settings: CamSettings,
    output: Path,
    *,
    device: torch.device,
) -> None:
    """Write the CAMs of all training images: (number of classes, H, W) uint8, 255 = the maximum.

    The classes of the maps are the attribute ``classes`` of each image. A classifier that knows the
    background makes a store of probabilities instead, as `export_probabilities` does:
    (1 + number of classes, H, W), 255 = 1.0, the background first among the classes.

    Args:
        weights: the classifier's file.
        dataset: the training images.
        image_classes: image id → object classes in it; only these get a map.
        settings: scales and mirror.
        output: the store to write.
        device: where to compute.

    Raises:
        ValueError: a classifier of other classes; see also `check_image_classes`.
    """
    check_image_classes(dataset, image_classes)
    checkpoint = read_network(weights, "classifier")
    checkpoint.require_classes(dataset.classes, weights)
    dataset = dataset.seen_as(checkpoint.pixels)
    network = checkpoint.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert isinstance(network, Classifier)
    known = [0] if network.background else []  # besides the image's classes
    make_maps = pixel_probabilities if network.background else activation_maps

    def maps() -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
        for ids in progress(size_batches(dataset, IMAGES_PER_BATCH), "exporting CAMs"):
            images = np.stack([dataset.image(image_id) for image_id in ids])
            classes = [image_classes[image_id] for image_id in ids]
            found = make_maps(network, images, classes, settings, device)
            for image_id, values, present in zip(ids, found, classes, strict=True):
                scaled = np.rint(values * 255).astype(np.uint8)
                yield image_id, scaled, {"classes": [*known, *present]}

    write_store(
        output,
        maps(),
        kind="probabilities" if network.background else "cams",
        parameters={
            **settings_dict(settings),
            "classifier": checkpoint.settings,
            "version": VERSIONS["pseudo_labels cams"],
        },
        sources={"dataset": dataset.digest},
    )
