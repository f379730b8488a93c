"""What predictions are compared with: masks, strokes, or the labels that taught them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cdsp.dataset.voc_layout import Dataset, choose_images
from cdsp.io.files import IGNORE
from cdsp.io.store import LabelStore
from cdsp.metrics import confusion_matrix, scores
from cdsp.scribbles.held_out import held_out_strokes, open_strokes

OWN_IMAGES = 24
"""Training images on which a network is compared with its own labels."""


@dataclass(frozen=True)
class Truth:
    """Labels of some images.

    Attributes:
        dataset: whose images are predicted.
        ids: of the images.
        label: image id → (H, W) uint8, 255 where nothing is known.
    """

    dataset: Dataset
    ids: tuple[str, ...]
    label: Callable[[str], np.ndarray]


def validation_masks(dataset: Dataset) -> Truth:
    """The masks of the validation images, at the size of the photographs.

    Raises:
        ValueError: there is no validation image.
    """
    if not dataset.splits["val"]:
        raise ValueError(
            f"data set {dataset.name!r} has no validation images to evaluate on; list some that "
            "have masks in ImageSets/SegmentationAug/val.txt, or compare with held-out strokes: "
            "'truth: held_out_strokes' in the protocol, and networks trained on hold_out-<ratio>"
        )
    if not dataset.val_masks:
        raise ValueError(
            f"data set {dataset.name!r}: its {len(dataset.splits['val'])} validation images have "
            "no masks; give one to each, or compare with their strokes: 'truth: "
            "validation_strokes' in the protocol"
        )
    photographs = dataset.as_photographed
    return Truth(photographs, dataset.splits["val"], photographs.mask)


def validation_strokes(dataset: Dataset, strokes: Path | None) -> Truth:
    """The strokes of the validation images, at the working size.

    Args:
        dataset: the images.
        strokes: store of their labels, see `cdsp.scribbles.validation.label_validation_images`.

    Raises:
        ValueError: no store, or one of other images.
    """
    if strokes is None:
        raise ValueError(
            "the protocol compares with the strokes of validation images: give their store "
            "(--validation-strokes), made by `cdsp scribbles validation`"
        )
    store = LabelStore(strokes, "scribbles")
    store.require({"scribbles": "validation"}, {"dataset": dataset.digest})
    return Truth(dataset, tuple(store), store.__getitem__)


def held_out(
    dataset: Dataset, scribbles: Path | None, full_scribbles: Path | None, name: str
) -> Truth:
    """The strokes of the training images that a network has not seen, at the working size.

    Args:
        dataset: the images.
        scribbles: store of the scribbles that the network was trained on.
        full_scribbles: store of all of them.
        name: of the degradation that the network was trained on.

    Raises:
        ValueError: stores of other images or another degradation, or no stroke was held out.
    """
    seen, full = open_strokes(scribbles, full_scribbles, name)
    full.require({}, {"dataset": dataset.digest})
    dataset = dataset.training_on(full)

    def label(image_id: str) -> np.ndarray:
        return held_out_strokes(seen[image_id], full[image_id])

    ids = tuple(i for i in dataset.splits["train"] if (label(i) != IGNORE).any())
    if not ids:
        raise ValueError(
            f"{seen.path}: no stroke is held out, so that there is nothing to measure on; train on "
            "hold_out-0.25 or more, and draw a second stroke of each class in some photographs: of "
            "a class with a single stroke in a photograph, none is held out"
        )
    return Truth(dataset, ids, label)


def own_labels(dataset: Dataset, path: Path) -> Truth:
    """The labels that a network was trained on, pseudo-labels or scribbles, of a few images."""
    store = LabelStore(path)
    store.require({}, {"dataset": dataset.digest})
    dataset = dataset.training_on(store)
    return Truth(dataset, tuple(choose_images(dataset, OWN_IMAGES)), store.__getitem__)


class Agreement:
    """How far a network's predictions agree with the labels that it was trained on."""

    def __init__(self, num_classes: int) -> None:
        self._confusion = np.zeros((num_classes, num_classes), np.int64)

    def add(self, labels: np.ndarray, prediction: np.ndarray) -> None:
        """Count an image: (H, W) uint8 labels, 255 where there are none, and predicted classes."""
        self._confusion += confusion_matrix(labels, prediction, len(self._confusion))

    def summary(self) -> dict[str, Any] | None:
        """What ``metrics.json`` tells of it; fractions. None where no pixel has a label.

        ``mean_iou`` and ``pixels`` are of the predictions against the labels, ``constant_mean_iou``
        is what predicting the labels' most frequent class everywhere would have.
        """
        if not self._confusion.any():
            return None
        result, frequency = scores(self._confusion), self._confusion.sum(axis=1)
        constant = frequency.max() / frequency.sum() / np.count_nonzero(frequency)
        return {
            "mean_iou": result.mean_iou,
            "pixels": result.pixel_accuracy,
            "constant_mean_iou": float(constant),
        }

    def warnings(self, classes: tuple[str, ...]) -> list[str]:
        """What is wrong with a network that has not learnt its own labels; in words."""
        summary = self.summary()
        frequency, predicted = self._confusion.sum(axis=1), self._confusion.sum(axis=0)
        if summary is None or np.count_nonzero(frequency) < 2:
            return []
        agrees = f"agrees with {100 * summary['pixels']:.0f} % of the pixels of its own labels"
        if np.count_nonzero(predicted) == 1:
            return [
                f"the network {agrees}, and predicts {classes[predicted.argmax()]!r} everywhere: "
                "it has learnt nothing; train longer, or with a higher learning rate"
            ]
        if summary["mean_iou"] <= summary["constant_mean_iou"]:
            return [
                f"the network {agrees}, with a mean IoU of {100 * summary['mean_iou']:.1f} %; "
                f"{classes[frequency.argmax()]!r} everywhere would have "
                f"{100 * summary['constant_mean_iou']:.1f}: it has learnt nothing of use; train "
                "longer, or with another learning rate"
            ]
        share = frequency / frequency.sum()
        lost = [classes[i] for i in np.flatnonzero((share >= 0.01) & (predicted == 0))]
        if lost:
            return [f"the network {agrees}, and never predicts {', '.join(lost)}: train longer"]
        return []
