"""Evaluate a trained network on the validation images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cdsp.dataset.voc_layout import Dataset
from cdsp.evaluation.measure import count_predictions, find_truth, null_for_nan, write_metrics
from cdsp.evaluation.probe import LinearProbe
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.evaluation.truth import Agreement, own_labels
from cdsp.io.files import write_label
from cdsp.io.outputs import check_outputs
from cdsp.metrics import class_indices
from cdsp.networks.checkpoint import read_network
from cdsp.networks.predictor import predict_probabilities
from cdsp.progress import progress
from cdsp.training import ranks, runtime

logger = logging.getLogger(__name__)


def evaluate(
    weights: Path,
    dataset: Dataset,
    settings: EvaluationSettings | None,
    output: Path,
    *,
    protocol: str,
    device: torch.device,
    predictions: Path | None = None,
    labels: Path | None = None,
    scribbles: Path | None = None,
    full_scribbles: Path | None = None,
    strokes: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a network on masks or strokes, as the protocol says.

    Where there are several processes, each evaluates its share of the images.

    Args:
        weights: the network's file.
        dataset: the images, with masks of its validation images where they are the truth.
        settings: the protocol; None for the network's own.
        output: folder for ``confusion.npy`` and, last, ``metrics.json``.
        protocol: the protocol's name.
        device: where to compute.
        predictions: folder for the predictions as palette PNGs; None for none.
        labels: store of the pseudo-labels or scribbles that the network was trained on, with which
            it is compared on a few training images.
        scribbles: where held-out strokes are the truth, the store of those that were trained on.
        full_scribbles: then, the store of all.
        strokes: where they are the truth, the store of the validation images' strokes.

    Returns:
        What ``metrics.json`` holds; nothing in any process but the first, which writes it.

    Raises:
        ValueError: the network's classes are not the data set's, there is nothing to measure on,
            or no pixel of the masks is of a class.
    """
    stores = (labels, scribbles, full_scribbles, strokes)
    read = [path for path in (weights, *stores) if path is not None]
    check_outputs([output / "metrics.json"], inputs=read)
    checkpoint = read_network(weights, "segmentation")
    checkpoint.require_classes(dataset.classes, weights)
    dataset = dataset.seen_as(checkpoint.pixels)
    used = settings or checkpoint.protocol
    trained_on = str(checkpoint.name.get("scribbles"))
    truth = find_truth(dataset, used, trained_on, scribbles, full_scribbles, strokes)
    pictures = [] if predictions is None else [predictions / f"{name}.png" for name in truth.ids]
    masks = [dataset.mask_path(name) for name in truth.ids if used.truth == "masks"]
    check_outputs(pictures, inputs=[*read, *masks])
    network = checkpoint.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def predict_label(image: np.ndarray) -> np.ndarray:
        probability = predict_probabilities(
            network, image, used, device, working_size=checkpoint.working_size
        )
        return probability.argmax(dim=0).to(torch.uint8).cpu().numpy()

    averaged = class_indices(used.classes, dataset.classes)
    classes = averaged or range(len(dataset.classes))
    probe = LinearProbe(network, len(truth.ids), classes, device)
    index = {image_id: number for number, image_id in enumerate(truth.ids)}

    def predict_image(image_id: str, label: np.ndarray) -> np.ndarray:
        image = truth.dataset.image(image_id)
        prediction = predict_label(image)
        side = used.long_side or checkpoint.working_size or max(label.shape)
        probe.add(index[image_id], image, label, side)
        if predictions is not None:
            write_label(predictions / f"{image_id}.png", prediction, dataset.palette)
        return prediction

    share = slice(ranks.rank(), None, ranks.size())
    counts = count_predictions(truth, predict_image, share, ranks.gather)
    probe.join(ranks.gather(probe.samples))
    if ranks.rank() > 0:
        return {}
    agreement = Agreement(len(dataset.classes))
    if labels is not None:
        own = own_labels(dataset, labels)
        for image_id in progress(own.ids, "comparing with its own labels"):
            agreement.add(own.label(image_id), predict_label(own.dataset.image(image_id)))
    for warning in agreement.warnings(dataset.classes):
        logger.warning("%s: %s", weights, warning)
    return write_metrics(
        output,
        counts,
        truth,
        used,
        protocol=protocol,
        name=checkpoint.name,
        weights=str(weights),
        probe_accuracy=null_for_nan(probe.accuracy()),
        own_labels=agreement.summary(),
        training=checkpoint.settings,
        environment={**runtime.describe(device), **runtime.describe_command()},
    )
