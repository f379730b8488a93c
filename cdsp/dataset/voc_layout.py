"""A data set in VOC layout and its description, `dataset.json`, which the other stages read."""

from __future__ import annotations

import logging
import os
import platform
import statistics
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cdsp.io.content import check_unchanged
from cdsp.io.files import (
    IGNORE,
    check_image_id,
    class_palette,
    no_such,
    normal_name,
    read_label,
    read_text,
)
from cdsp.io.json_files import read_json
from cdsp.io.photograph import open_photograph
from cdsp.io.pixels import RGB, PixelFormat, as_picture
from cdsp.settings import parse_settings
from cdsp.working_size import (
    at_working_size,
    mask_at_working_size,
    photograph_at_working_size,
)

FORMAT = "cdsp-dataset"
VERSION = 3
SPLITS = ("train", "val")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """A verified data set.

    Attributes:
        name: as the results folder calls it.
        root: its folder.
        classes: names of all classes; the first is the background.
        colours: class → (red, green, blue), where it is not VOC's.
        splits: "train" and "val" → image ids, in the order of the lists.
        images: image id → (file below root, height, width).
        train_masks: whether the training images have masks.
        digest: of names and contents of all that it uses; tells it apart from another version of
            itself, and not from a copy elsewhere.
        working_size: longer side at which images and masks are seen, pixels; 0 = as they are.
        pixels: of the photographs.
        masks: image id → file below root, of masks that are called otherwise than their image.
        files: file below root → digest of its content; None for a folder that was only looked at.
        val_masks: whether the validation images have masks; otherwise strokes, to be measured on.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    colours: dict[str, tuple[int, int, int]]
    splits: dict[str, tuple[str, ...]]
    images: dict[str, tuple[str, int, int]]
    train_masks: bool
    digest: str
    masks: dict[str, str] = field(default_factory=dict)
    working_size: int = 0
    pixels: PixelFormat = RGB
    files: dict[str, str] | None = None
    val_masks: bool = True

    @property
    def palette(self) -> np.ndarray:
        """(256, 3) uint8: the colour of each class index."""
        return class_palette(self.classes, self.colours)

    @property
    def usual_size(self) -> int:
        """Longer side that a photograph has here, pixels: the working size, or else the median."""
        sizes = [max(self.size(image_id)) for image_id in self.splits["train"]]
        return self.working_size or int(statistics.median(sizes))

    def has_masks(self, split: str) -> bool:
        """Whether the images of a split have masks."""
        return self.val_masks if split == "val" else self.train_masks

    def require_train_masks(self, purpose: str) -> None:
        """Check that the training images have masks.

        Raises:
            ValueError: they have none; ``purpose`` says what wanted them.
        """
        if not self.train_masks:
            raise ValueError(
                f"{purpose}: needs masks of the training images, and data set {self.name!r} has "
                f"none in {self.root / 'SegmentationClassAug'}"
            )

    def training_on(self, annotated: Collection[str]) -> Dataset:
        """The same data set without the training images that nobody annotated.

        Args:
            annotated: ids, such as those of a store; ids of other images do not count.

        Raises:
            ValueError: it is none of the training images.
        """
        train = self.splits["train"]
        kept = tuple(image_id for image_id in train if image_id in annotated)
        if len(kept) == len(train):
            return self
        if not kept:
            raise ValueError(
                f"data set {self.name!r}: none of its {len(train)} training images is annotated; "
                "make the scribbles from the same data set"
            )
        logger.info(
            "%d of %d training images are not annotated, and left out",
            len(train) - len(kept),
            len(train),
        )
        return replace(self, splits={**self.splits, "train": kept})

    def seen_as(self, pixels: PixelFormat) -> Dataset:
        """The same data set, stretched and normalised as those images that a network learnt from.

        Raises:
            ValueError: its photographs have other channels or another depth.
        """
        if pixels.kind != self.pixels.kind:
            raise ValueError(
                f"data set {self.name!r} has photographs of {self.pixels}, the network was trained "
                f"on {pixels}"
            )
        return replace(self, pixels=replace(pixels, page=self.pixels.page))

    @property
    def as_photographed(self) -> Dataset:
        """The same data set, its photographs and masks as they are: without a working size."""
        return replace(self, working_size=0)

    def image(self, image_id: str) -> np.ndarray:
        """A photograph at the working size: (H, W, C) uint8, or float32 from 0 to 255.

        Common photographs are uint8 RGB.

        Raises:
            ValueError: it is unreadable, or was changed since the data set was described.
        """
        path = self._unchanged(self.images[image_id][0])
        return photograph_at_working_size(
            open_photograph(path, self.pixels).whole, self.working_size
        )

    def picture(self, image_id: str) -> np.ndarray:
        """The same to look at, (H, W, 3) uint8 RGB; see `cdsp.io.pixels.as_picture`."""
        return as_picture(self.image(image_id))

    def mask(self, image_id: str) -> np.ndarray:
        """A true mask at the working size, (H, W) uint8.

        Raises:
            ValueError: it is unreadable, or was changed since the data set was described.
        """
        mask = read_label(self._unchanged(self._mask_file(image_id)))
        return mask_at_working_size(mask, self.working_size)

    def mask_path(self, image_id: str) -> Path:
        """The file of a mask."""
        return self.root / self._mask_file(image_id)

    def _mask_file(self, image_id: str) -> str:
        return self.masks.get(image_id, default_mask(image_id))

    def _unchanged(self, file: str) -> Path:
        if self.files is not None:
            if file not in self.files:
                raise ValueError(f"{self.root / file}: not in the description of the data set")
            check_unchanged(self.root / file, self.files[file], "dataset.json")
        return self.root / file

    def size(self, image_id: str) -> tuple[int, int]:
        """(height, width) of an image at the working size."""
        return at_working_size(self.images[image_id][1:], self.working_size)


def default_mask(image_id: str) -> str:
    """The file of a mask below a data set's folder, where it is called like its image."""
    return f"SegmentationClassAug/{image_id}.png"


def choose_images(dataset: Dataset, number: int, split: str = "train") -> list[str]:
    """Images spread evenly over the list of a split, for pictures of a few."""
    ids = dataset.splits[split]
    number = min(number, len(ids))
    return [ids[index * len(ids) // number] for index in range(number)]


def read_dataset(path: Path) -> Dataset:
    """Read a `dataset.json`.

    Raises:
        ValueError: missing, damaged, changed by hand, of another version, or its folder is gone.
    """
    value = read_json(path, FORMAT, VERSION)
    try:
        # By the names of the paths: a folder that is a link moves with the project.
        root = Path(os.path.abspath(path.parent / value["root"]))
        dataset = Dataset(
            name=check_image_id(value["name"], "name"),
            root=root,
            classes=tuple(value["classes"]),
            colours={name: tuple(colour) for name, colour in value["colours"].items()},
            splits={split: tuple(value["splits"][split]) for split in SPLITS},
            images={
                name: (str(file), int(height), int(width))
                for name, (file, height, width) in value["images"].items()
            },
            train_masks=bool(value["train_masks"]),
            digest=str(value["digest"]),
            masks=dict(value["masks"]),
            working_size=int(value["working_size"]),
            pixels=parse_settings(PixelFormat, value.get("pixels", {}), "pixels"),
            files=dict(value["files"]),
            val_masks=bool(value.get("val_masks", True)),
        )
        _check_entries(dataset)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: not a description of a data set ({error!r}); make it again"
        ) from error
    if not root.is_dir():
        raise ValueError(
            f"{path}: its folder {root} does not exist on this machine ({platform.node()}); bring "
            "the images to the same place as where the file was made, or make it again"
        )
    return dataset


def _check_entries(dataset: Dataset) -> None:
    """Check that no entry can lead out of the folder, and that all that is listed is there."""
    for image_id, (file, height, width) in dataset.images.items():
        check_image_id(image_id, "images")
        _check_below(file, "JPEGImages")
        if height < 1 or width < 1:
            raise ValueError(f"images: {image_id!r} is {height} × {width} pixels")
    for file in dataset.masks.values():
        _check_below(file, "SegmentationClassAug")
    unknown = {*dataset.splits["train"], *dataset.splits["val"]} - dataset.images.keys()
    if unknown:
        raise ValueError(f"splits: no image is described for {sorted(unknown)[:3]}")
    if not 2 <= len(dataset.classes) <= IGNORE:
        raise ValueError(f"classes: {len(dataset.classes)}, expected 2 to {IGNORE}")
    class_palette(dataset.classes, dataset.colours)


def _check_below(file: str, folder: str) -> None:
    if file != f"{folder}/{check_image_id(file.partition('/')[2], 'images')}":
        raise ValueError(f"images: expected a file in {folder}/, found {file!r}")


def read_list(path: Path, files: Mapping[str, Path] | None = None) -> tuple[list[str], list[str]]:
    """Read a list of image ids, one to a line; empty lines are skipped.

    Args:
        path: the list.
        files: image id → its file; a line may name the file, with its ending.

    Returns:
        The usable ids, and what is wrong with the list, in words: it is missing, empty or no text,
        an id is unsafe, or one stands there twice.
    """
    if not path.is_file():
        return [], [no_such(path, "list of image ids")]
    try:
        lines = read_text(path).splitlines()
    except (ValueError, OSError) as error:
        return [], [str(error)]
    of_file = {normal_name(file.name): image_id for image_id, file in (files or {}).items()}
    named = [normal_name(line) for line in lines if line.strip()]
    counts = Counter(name if name in (files or {}) else of_file.get(name, name) for name in named)
    if not counts:
        return [], [f"{path}: the list is empty; expected one image id to a line"]
    repeated = sorted(image_id for image_id, times in counts.items() if times > 1)
    problems = (
        [f"{path}: {len(repeated)} ids stand there twice: {repeated[:5]}"] if repeated else []
    )
    ids = []
    for image_id in counts:
        try:
            ids.append(check_image_id(image_id, str(path)))
        except ValueError as error:
            problems.append(str(error))
    return ids, problems
