"""What the multi-label classifier learns from: crops, their classes and their scribbles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.store import LabelStore
from cdsp.pseudo_labels.settings import ClassifierSettings
from cdsp.training.augmentation import augment_image, augment_map, draw_augmentation, normalise

LARGEST_BALANCE = 20.0
"""Bound of a class's positive weight, either way: a class of one image must not drown the rest."""


class ClassifierCrops(TorchDataset):
    """Augmented crops with their image-level classes and, where they teach, their scribbles."""

    def __init__(
        self,
        dataset: Dataset,
        image_classes: dict[str, list[int]],
        settings: ClassifierSettings,
        scribbles: LabelStore | None = None,
    ) -> None:
        self.dataset, self.settings, self.scribbles = dataset, settings, scribbles
        self.ids = dataset.splits["train"]
        self.targets = torch.zeros(len(self.ids), len(dataset.classes) - 1)
        for index, image_id in enumerate(self.ids):
            for class_id in image_classes[image_id]:
                self.targets[index, class_id - 1] = 1

    def __getitem__(self, item: tuple[int, int]) -> dict[str, torch.Tensor]:
        """(epoch, index) → "image" (C, crop, crop) float32 and "classes" (K-1,) float32.

        With scribbles also "strokes", their (crop, crop) uint8 label, cut by the same draw.
        """
        epoch, index = item
        image, pixels = self.dataset.image(self.ids[index]), self.dataset.pixels
        draw = draw_augmentation(
            np.random.default_rng([self.settings.seed, epoch, index]),
            *image.shape[:2],
            crop_size=self.settings.crop_size,
            scale=self.settings.scale,
        )
        crop = torch.from_numpy(normalise(augment_image(image, draw, pixels), pixels))
        sample = {"image": crop, "classes": self.targets[index]}
        if self.scribbles is not None:
            strokes = augment_map("scribble", self.scribbles[self.ids[index]], draw)
            sample["strokes"] = torch.from_numpy(strokes)
        return sample


def balance_weights(targets: torch.Tensor) -> torch.Tensor:
    """The weight of each class's presence: images without it ÷ images with it.

    A class then has as much say by its presence as by its absence. The weight stays between
    1 / `LARGEST_BALANCE` and `LARGEST_BALANCE`, also for a class that no image shows, or every one.

    Args:
        targets: (N, K) float32, 1 where the image shows the class.

    Returns:
        (K,) float32.
    """
    present = targets.sum(dim=0)
    ratio = (len(targets) - present) / present.clamp(min=1)
    return ratio.clamp(1 / LARGEST_BALANCE, LARGEST_BALANCE)


def open_scribbles(
    dataset: Dataset, scribbles: Path | None, settings: ClassifierSettings
) -> LabelStore | None:
    """Open the scribble labels, where the classifier learns from them.

    Raises:
        ValueError: they are missing where they have a weight, given where they have none, or of
            another data set.
    """
    if scribbles is None and settings.stroke_weight:
        raise ValueError(
            f"stroke_weight {settings.stroke_weight:g}: the classifier learns from the pixels of "
            "scribbles; give their store of labels (--scribbles), or set stroke_weight: 0"
        )
    if scribbles is None:
        return None
    if not settings.stroke_weight:
        raise ValueError(
            f"{scribbles}: a classifier with stroke_weight 0 does not learn from the pixels of "
            "scribbles; leave their store out, or set a stroke_weight above 0"
        )
    store = LabelStore(scribbles, "scribbles")
    store.require({}, {"dataset": dataset.digest})
    return store
