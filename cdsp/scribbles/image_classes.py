"""The file image_classes.json: the object classes that each image's annotations name."""

from __future__ import annotations

from pathlib import Path

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.json_files import read_json

CLASSES_FORMAT = "cdsp-image-classes"
CLASSES_VERSION = 1


def read_image_classes(path: Path) -> dict[str, list[int]]:
    """Image id → object classes (1..K-1, ascending) that its annotations name.

    Raises:
        ValueError: missing, damaged or of another version.
    """
    return read_json(path, CLASSES_FORMAT, CLASSES_VERSION)["images"]


def check_image_classes(dataset: Dataset, image_classes: dict[str, list[int]]) -> None:
    """Check that image-level classes are those of a data set's training images.

    Raises:
        ValueError: a training image has no entry, or one that the data set has no class for.
    """
    again = "make the scribbles again from the same data set"
    missing = [name for name in dataset.splits["train"] if name not in image_classes]
    if missing:
        raise ValueError(
            f"{len(missing)} training images have no image-level classes, such as {missing[0]}; "
            f"{again}"
        )
    num_classes = len(dataset.classes)
    for name in dataset.splits["train"]:
        if not all(0 < class_id < num_classes for class_id in image_classes[name]):
            raise ValueError(
                f"{name}: image-level classes {image_classes[name]}, expected some of 1 to "
                f"{num_classes - 1}; {again}"
            )
