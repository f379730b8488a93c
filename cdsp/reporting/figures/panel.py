"""The panel figure: what every stage made of a few training images, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cdsp.dataset.voc_layout import SPLITS, Dataset, choose_images
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.experiment.variants import method_title
from cdsp.io.files import IGNORE
from cdsp.io.outputs import atomic_path
from cdsp.io.store import LabelStore
from cdsp.networks.checkpoint import read_network
from cdsp.networks.predictor import predict_probabilities
from cdsp.pictures.overlay import overlay, overlay_scribbles
from cdsp.pictures.style import picture_grid
from cdsp.progress import progress
from cdsp.settings import nearest


def draw_panel(
    dataset: Dataset,
    stores: dict[str, LabelStore],
    weights: Sequence[Path],
    settings: EvaluationSettings,
    output: Path,
    *,
    split: str,
    num_images: int,
    device: torch.device,
) -> None:
    """Draw one row for each image: inputs, predictions and, where there are masks, the truth.

    Args:
        dataset: the images.
        stores: "scribble", "pseudo_label", "scribble_distance", "pseudo_label_distance", those
            that there are; of the training images only.
        weights: the networks to compare; each column is headed by its method.
        settings: the protocol of the predictions.
        output: PNG file.
        split: "train" or "val".
        num_images: rows.
        device: where to compute.

    Raises:
        ValueError: an unknown split, or stores for the validation images.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}{nearest(split, SPLITS)}")
    if split == "val" and stores:
        raise ValueError(f"{', '.join(sorted(stores))}: known of training images only, not of val")
    for store in stores.values():
        dataset = dataset.training_on(store)
    ids = choose_images(dataset, num_images, split)
    columns: list[tuple[str, list[np.ndarray]]] = []
    pictures = [dataset.picture(image_id) for image_id in ids]
    if "scribble" in stores:
        scribbles = [stores["scribble"][image_id] for image_id in ids]
        drawn = [
            overlay_scribbles(*pair, dataset.palette)
            for pair in zip(pictures, scribbles, strict=True)
        ]
        columns.append(("image + scribbles", drawn))
    else:
        columns.append(("image", pictures))
    labels: list[np.ndarray] = []
    if "pseudo_label" in stores:
        labels = [stores["pseudo_label"][image_id] for image_id in ids]
        columns.append(("pseudo-label", _overlays(pictures, labels, dataset.palette)))
    for name, title in (
        ("scribble_distance", "scribble distance"),
        ("pseudo_label_distance", "boundary distance"),
    ):
        if name in stores:
            exponent = stores[name].parameters["exponent"]
            maps = [stores[name][image_id] for image_id in ids]
            columns.append((f"{title} λ = {exponent:g}", maps))
    for path in progress(weights, "predicting the panel"):
        checkpoint = read_network(path, "segmentation")
        network = checkpoint.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        seen = dataset.seen_as(checkpoint.pixels)
        predictions = [
            predict_probabilities(network, seen.image(image_id), settings, device)
            .argmax(dim=0)
            .to(torch.uint8)
            .cpu()
            .numpy()
            for image_id in ids
        ]
        labels += predictions
        columns.append(
            (
                method_title(checkpoint.name["method"]),
                _overlays(pictures, predictions, dataset.palette),
            )
        )
    if dataset.has_masks(split):
        truth = [dataset.mask(image_id) for image_id in ids]
        labels += truth
        columns.append(("truth", _overlays(pictures, truth, dataset.palette)))
    legend = {dataset.classes[value]: dataset.palette[value] for value in _present(labels)}
    figure = picture_grid(columns, ids, legend)
    with atomic_path(output) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _overlays(
    images: list[np.ndarray], labels: list[np.ndarray], palette: np.ndarray
) -> list[np.ndarray]:
    return [overlay(image, label, palette) for image, label in zip(images, labels, strict=True)]


def _present(labels: list[np.ndarray]) -> list[int]:
    values = sorted({value for label in labels for value in np.unique(label).tolist()})
    return [value for value in values if value not in (0, IGNORE)]
