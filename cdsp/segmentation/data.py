"""The training data of stage two: images with the maps that a method reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import IGNORE
from cdsp.io.store import LabelStore
from cdsp.segmentation.method import Method
from cdsp.training.augmentation import augment_image, augment_map, draw_augmentation, normalise


@dataclass(frozen=True)
class TrainingData:
    """Where the images and the maps come from.

    Attributes:
        dataset: images, and masks for full supervision.
        stores: "scribble", "pseudo_label", "scribble_distance", "pseudo_label_distance" → store.
        reads: the maps that the method reads.
    """

    dataset: Dataset
    stores: dict[str, LabelStore]
    reads: frozenset[str]

    def maps(self, image_id: str) -> dict[str, np.ndarray]:
        """The maps of an image that the method reads, each (H, W) uint8.

        Raises:
            ValueError: a map is missing or of another size than its image.
        """
        size = self.dataset.size(image_id)
        maps = {}
        for name in sorted(self.reads):
            if name == "valid":
                maps[name] = np.ones(size, np.uint8)
            elif name == "mask":
                maps[name] = self.dataset.mask(image_id)
            else:
                maps[name] = self.stores[name][image_id]
            if maps[name].shape != size:
                where = self.stores[name].path if name in self.stores else self.dataset.root
                raise ValueError(
                    f"{where}: the {name} of {image_id} has shape {maps[name].shape}, "
                    f"its image {size}; make it again from the same images"
                )
        return maps

    def parameter(self, name: str) -> str:
        """A parameter of the stores that says what they are, such as "scribbles"; "none" if none.

        Pseudo-labels are made from scribbles: their store knows of which.
        """
        for key in ("scribble", "pseudo_label"):
            if key in self.stores and name in self.stores[key].parameters:
                return self.stores[key].parameters[name]
        return "none"

    def check(self) -> None:
        """Check that every training image has every map, of its own size.

        Raises:
            ValueError: see `maps`; here from the stores' headers alone, without reading them.
        """
        for store in self.stores.values():
            for image_id in self.dataset.splits["train"]:
                if store.shape(image_id) != self.dataset.size(image_id):
                    raise ValueError(
                        f"{store.path}: the map of {image_id} has shape {store.shape(image_id)}, "
                        f"its image {self.dataset.size(image_id)}; make it again"
                    )


STORE_KINDS = {
    "scribble": "scribbles",
    "pseudo_label": "pseudo_labels",
    "scribble_distance": "scribble_distance_maps",
    "pseudo_label_distance": "pseudo_label_distance_maps",
}
"""Map → the kind of store that holds it."""


def open_training_data(
    dataset: Dataset, method: Method, paths: dict[str, Path | None]
) -> TrainingData:
    """Open the stores that a method reads, and check that they belong together.

    Args:
        dataset: the images.
        method: its loss terms say which maps it reads.
        paths: map → store; those that the method does not read are left alone.

    Raises:
        ValueError: a store is missing, unreadable, of another kind, λ or origin, or masks are
            wanted where there are none.
    """
    if "mask" in method.reads:
        dataset.require_train_masks("full supervision")
    stores = {}
    for name, kind in STORE_KINDS.items():
        path = paths.get(name)
        if name in method.reads:
            if path is None:
                raise ValueError(f"the method reads {name} maps; give their store of {kind}")
            stores[name] = LabelStore(path, kind)
    for name, source in (
        ("scribble_distance", "scribble"),
        ("pseudo_label_distance", "pseudo_label"),
    ):
        if name in stores:
            origin = {STORE_KINDS[source]: stores[source].digest} if source in stores else {}
            stores[name].require({"exponent": method.exponents[name]}, origin)
    for store in stores.values():
        dataset = dataset.training_on(store)
    return TrainingData(dataset, stores, method.reads)


class TrainingCrops(TorchDataset):
    """Augmented crops for training; the draw depends on (seed, epoch, image) alone.

    So crops do not depend on the number of loading workers, nor on where training was resumed.
    """

    def __init__(self, data: TrainingData, seed: int, augmentation: dict[str, Any]) -> None:
        """``augmentation`` holds the keyword arguments of `draw_augmentation`."""
        self.data = data
        self.seed = seed
        self.augmentation = augmentation
        self.ids = data.dataset.splits["train"]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, item: tuple[int, int]) -> dict[str, torch.Tensor]:
        """(epoch, index) → "image" (3, crop, crop) float32 and each map (crop, crop) uint8."""
        epoch, index = item
        image_id = self.ids[index]
        image = self.data.dataset.image(image_id)
        rng = np.random.default_rng([self.seed, epoch, index])
        draw = draw_augmentation(rng, *image.shape[:2], **self.augmentation)
        sample = {"image": torch.from_numpy(normalise(augment_image(image, draw)))}
        for name, values in self.data.maps(image_id).items():
            sample[name] = torch.from_numpy(augment_map(name, values, draw))
        return sample


def count_without_label(store: LabelStore, ids: tuple[str, ...]) -> int:
    """How many images have no labelled pixel at all."""
    return sum(bool((store[image_id] == IGNORE).all()) for image_id in ids)
