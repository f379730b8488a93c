"""The panel figure: what every stage made of a few training images, side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cdsp.config import EvaluationSettings
from cdsp.dataset.voc_layout import Dataset
from cdsp.evaluation.inference import predict_probabilities
from cdsp.files import IGNORE, atomic_path
from cdsp.networks.checkpoint import read_network
from cdsp.overlay import PALETTE, overlay, overlay_scribbles
from cdsp.progress import progress
from cdsp.store import LabelStore


def choose_images(dataset: Dataset, number: int) -> list[str]:
    """Training images spread evenly over the list."""
    ids = dataset.splits["train"]
    number = min(number, len(ids))
    return [ids[index * len(ids) // number] for index in range(number)]


def draw_panel(
    dataset: Dataset,
    stores: dict[str, LabelStore],
    weights: Sequence[Path],
    settings: EvaluationSettings,
    output: Path,
    *,
    num_images: int,
    device: torch.device,
) -> None:
    """Draw one row for each image: inputs, predictions and truth.

    Args:
        dataset: with masks of its training images.
        stores: "scribble", "pseudo_label", "scribble_distance", "pseudo_label_distance", those
            that there are.
        weights: the networks to compare; each column is headed by its method.
        settings: the protocol of the predictions.
        output: PNG file.
        num_images: rows.
        device: where to compute.
    """
    ids = choose_images(dataset, num_images)
    columns: list[tuple[str, list[np.ndarray]]] = []
    images = [dataset.image(image_id) for image_id in ids]
    if "scribble" in stores:
        scribbles = [stores["scribble"][image_id] for image_id in ids]
        drawn = [overlay_scribbles(*pair) for pair in zip(images, scribbles, strict=True)]
        columns.append(("image + scribbles", drawn))
    else:
        columns.append(("image", images))
    labels: list[np.ndarray] = []
    if "pseudo_label" in stores:
        labels = [stores["pseudo_label"][image_id] for image_id in ids]
        columns.append(("pseudo-label", _overlays(images, labels)))
    for name, title in (
        ("scribble_distance", "scribble distance"),
        ("pseudo_label_distance", "boundary distance"),
    ):
        if name in stores:
            exponent = stores[name].parameters["exponent"]
            maps = [stores[name][image_id] for image_id in ids]
            columns.append((f"{title} λ = {exponent:g}", maps))
    for path in progress(weights, "predicting the panel"):
        checkpoint = read_network(path, "segmentor")
        network = checkpoint.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        predictions = [
            predict_probabilities(network, image, settings, device)
            .argmax(dim=0)
            .to(torch.uint8)
            .cpu()
            .numpy()
            for image in images
        ]
        labels += predictions
        columns.append((checkpoint.name["method"], _overlays(images, predictions)))
    truth = [dataset.mask(image_id) for image_id in ids]
    columns.append(("truth", _overlays(images, truth)))
    figure = _figure(columns, ids, _present(labels + truth), dataset.classes)
    with atomic_path(output) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _overlays(images: list[np.ndarray], labels: list[np.ndarray]) -> list[np.ndarray]:
    return [overlay(image, label) for image, label in zip(images, labels, strict=True)]


def _present(labels: list[np.ndarray]) -> list[int]:
    values = np.unique(np.concatenate([np.unique(label) for label in labels]))
    return [int(value) for value in values if value not in (0, IGNORE)]


def _figure(
    columns: list[tuple[str, list[np.ndarray]]],
    ids: list[str],
    present: list[int],
    classes: tuple[str, ...],
) -> Figure:
    size = 1.45
    legend_rows = -(-len(present) // max(len(columns), 1))
    height = size * len(ids) + 0.5 + 0.25 * legend_rows
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(size * len(columns), height), layout="constrained")
        axes = figure.subplots(len(ids), len(columns), squeeze=False)
        for column, (title, pictures) in enumerate(columns):
            axes[0, column].set_title(textwrap.fill(title.replace("_", " "), 17))
            for row, picture in enumerate(pictures):
                axes[row, column].imshow(picture, cmap="viridis", vmin=0, vmax=255)
        for row, image_id in enumerate(ids):
            axes[row, 0].set_ylabel(image_id, fontsize=6)
        for axis in axes.flat:
            axis.set(xticks=[], yticks=[])
        handles = [
            Patch(color=PALETTE[class_id] / 255, label=classes[class_id]) for class_id in present
        ]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(columns), frameon=False
        )
    return figure
