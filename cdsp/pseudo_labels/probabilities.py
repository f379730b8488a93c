"""A trained network's predictions on the training images, as evidence for the next labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cdsp.dataset.voc_layout import Dataset
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.io.store import write_store
from cdsp.networks.checkpoint import read_network
from cdsp.networks.predictor import predict_probabilities
from cdsp.progress import progress
from cdsp.scribbles.image_classes import check_image_classes
from cdsp.settings import settings_dict
from cdsp.versions import VERSIONS


def export_probabilities(
    weights: Path,
    dataset: Dataset,
    image_classes: dict[str, list[int]],
    settings: EvaluationSettings | None,
    output: Path,
    *,
    device: torch.device,
) -> None:
    """Write the probabilities of the background and of each image's own classes.

    The store holds (1 + number of classes, H, W) uint8 for each training image, 255 = 1.0, scaled
    to sum to 1 over these classes; the attribute ``classes`` names them, the background first.

    Args:
        weights: the segmentation network's file.
        dataset: the training images.
        image_classes: image id → object classes in it; only these are asked for.
        settings: the protocol of the predictions; None for the network's own.
        output: the store to write.
        device: where to compute.

    Raises:
        ValueError: a network of other classes; see also `check_image_classes`.
    """
    check_image_classes(dataset, image_classes)
    checkpoint = read_network(weights, "segmentation")
    checkpoint.require_classes(dataset.classes, weights)
    dataset = dataset.seen_as(checkpoint.pixels)
    protocol = settings or checkpoint.protocol
    network = checkpoint.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def maps() -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
        for image_id in progress(dataset.splits["train"], "predicting training images"):
            classes = [0, *image_classes[image_id]]
            found = predict_probabilities(network, dataset.image(image_id), protocol, device)
            chosen = found[classes]
            chosen = chosen / chosen.sum(dim=0).clamp(min=torch.finfo(chosen.dtype).tiny)
            probabilities = chosen.mul(255).round().to(torch.uint8).cpu().numpy()
            yield image_id, probabilities, {"classes": classes}

    write_store(
        output,
        maps(),
        kind="probabilities",
        parameters={
            **settings_dict(protocol),
            "network": checkpoint.name,
            "training": checkpoint.settings,
            "version": VERSIONS["pseudo_labels probabilities"],
        },
        sources={"dataset": dataset.digest},
    )
