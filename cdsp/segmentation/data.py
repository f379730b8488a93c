"""The training data of stage two: images with the maps that a method reads."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.store import LabelStore
from cdsp.maps import MAPS, STORED
from cdsp.segmentation.method import Method
from cdsp.training.augmentation import augment_image, augment_map, draw_augmentation, normalise

KEPT_BYTES = 2**28
"""Memory for images and maps that are read once; each loading process has as much."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """Where the images and the maps come from.

    Attributes:
        dataset: images, and masks for full supervision.
        stores: map → the store that it, or a map that is made from it, comes from.
        method: what is trained on them; its loss terms say which maps are loaded.
    """

    dataset: Dataset
    stores: dict[str, LabelStore]
    method: Method

    def maps(self, image_id: str) -> dict[str, np.ndarray]:
        """The maps of an image that the method's terms are given, each (H, W) uint8.

        Raises:
            ValueError: a map is missing or of another size than its image.
        """
        size = self.dataset.size(image_id)
        maps = {}
        for name in sorted(self.method.maps):
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

    @property
    def supervision(self) -> str:
        """What the method learns from, in words: of pseudo-labels alone, what they are made of."""
        if self.method.reads == {"pseudo_label"} and self.parameter("supervision") != "none":
            return self.parameter("supervision")
        return self.method.supervision

    def check(self) -> None:
        """Check that training can begin, from the stores' headers alone, without reading maps.

        That some images have no label is said, not refused.

        Raises:
            ValueError: a training image lacks a map, or has one of another size, or no map that
                the method reads says anything about any image.
        """
        for store in self.stores.values():
            for image_id in self.dataset.splits["train"]:
                if store.shape(image_id) != self.dataset.size(image_id):
                    raise ValueError(
                        f"{store.path}: the map of {image_id} has shape {store.shape(image_id)}, "
                        f"its image {self.dataset.size(image_id)}; make it again"
                    )
        empty = []
        for name in STORED.keys() & self.method.maps:
            store, padding = self.stores[name], MAPS[name].padding
            without = store.number_of_constant(padding)
            if without == len(store):
                empty.append(f"the {name} of every image is {padding} throughout ({store.path})")
            elif without:
                logger.warning(
                    "%s: %d of %d images have no %s; they are trained with what is there",
                    store.path,
                    without,
                    len(store),
                    name,
                )
        if empty and len(empty) == len(self.method.maps - {"valid"}):
            raise ValueError(
                f"there is nothing to learn from: {'; '.join(sorted(empty))}; check what it was "
                "made from, or choose a method that reads other maps"
            )


def open_training_data(
    dataset: Dataset, method: Method, paths: Mapping[str, Path | None]
) -> TrainingData:
    """Open the stores that a method depends on, and check that they belong together.

    Args:
        dataset: the images.
        method: its loss terms say which maps it reads.
        paths: map → store; those that the method does not depend on are left alone.

    Raises:
        ValueError: a store is missing, unreadable, of another kind, data set, λ or origin, or masks
            are wanted where there are none.
    """
    if "mask" in method.reads:
        dataset.require_train_masks("full supervision")
    stores: dict[str, LabelStore] = {}
    for name, entry in STORED.items():
        if name not in method.reads:
            continue
        path = paths.get(name)
        if path is None:
            raise ValueError(
                f"the method reads {name} maps; give their store of {entry.store} "
                f"(--{entry.option})"
            )
        store = stores[name] = LabelStore(path, entry.store)
        if entry.made_from is None:
            store.require({}, {"dataset": dataset.digest})
        else:
            origin = stores[entry.made_from]
            store.require({"exponent": method.exponents[name]}, {origin.kind: origin.digest})
    if {"scribble", "pseudo_label"} <= stores.keys():
        _require_same_scribbles(stores["scribble"], stores["pseudo_label"])
    for store in stores.values():
        dataset = dataset.training_on(store)
    return TrainingData(dataset, stores, method)


def _require_same_scribbles(scribbles: LabelStore, labels: LabelStore) -> None:
    """Check that pseudo-labels are of the scribbles that they are trained with.

    Those made here know the store of the scribbles, those made elsewhere the name of it alone.

    Raises:
        ValueError: they are of others.
    """
    if scribbles.kind in labels.sources:
        labels.require({}, {scribbles.kind: scribbles.digest})
    elif labels.parameters.keys() & scribbles.parameters.keys() & {"scribbles"}:
        labels.require({"scribbles": scribbles.parameters["scribbles"]}, {})


class TrainingCrops(TorchDataset):
    """Augmented crops for training; the draws depend on (seed, epoch, image) alone.

    So crops do not depend on the number of loading workers, nor on where training was resumed.
    """

    def __init__(self, data: TrainingData, seed: int, augmentation: dict[str, Any]) -> None:
        """``augmentation`` holds the keyword arguments of `draw_augmentation`."""
        self.data = data
        self.seed = seed
        self.augmentation = augmentation
        self.views = data.method.views
        self.ids = data.dataset.splits["train"]
        self._kept: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = {}
        self._room = KEPT_BYTES

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, item: tuple[int, int]) -> dict[str, torch.Tensor]:
        """(epoch, index) → the image's views, V of them, each cut by a draw of its own.

        Returns:
            "image" (V, C, crop, crop) float32, "matrix" (V, 2, 3) float64 and each map
            (V, crop, crop) uint8; see `cdsp.training.contract.View`.
        """
        epoch, index = item
        image, maps = self._load(self.ids[index])
        pixels = self.data.dataset.pixels
        views = []
        for number in range(self.views):
            rng = np.random.default_rng([self.seed, epoch, index, *([number] if number else [])])
            draw = draw_augmentation(rng, *image.shape[:2], **self.augmentation)
            view = {
                "image": normalise(augment_image(image, draw, pixels), pixels),
                "matrix": draw.matrix,
            }
            view |= {name: augment_map(name, values, draw) for name, values in maps.items()}
            views.append(view)
        return {
            name: torch.from_numpy(np.stack([view[name] for view in views])) for name in views[0]
        }

    def _load(self, image_id: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """An image with its maps: a photograph of 12 megapixels takes as long to read as a step."""
        if image_id in self._kept:
            return self._kept[image_id]
        image, maps = self.data.dataset.image(image_id), self.data.maps(image_id)
        self._room -= image.nbytes + sum(values.nbytes for values in maps.values())
        if self._room >= 0:
            self._kept[image_id] = image, maps
        return image, maps
