"""Make a data set: draw the embedded one, or verify a folder of one's own."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cdsp.dataset.shapes import CLASS_NAMES, draw_shape_scene
from cdsp.dataset.voc_layout import FORMAT, SPLITS, VERSION, Dataset, read_dataset, read_list
from cdsp.io.files import (
    atomic_path,
    check_image_id,
    check_label,
    class_palette,
    digest,
    problem_list,
    read_image,
    read_label,
    write_json,
    write_label,
    write_text,
)
from cdsp.progress import progress

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

logger = logging.getLogger(__name__)


@dataclass
class FolderContent:
    """What a folder in VOC layout holds.

    Attributes:
        splits: "train" and "val" → the ids of their lists.
        images: image id → (file below the folder, height, width), of the listed and readable ones.
        train_masks: whether the training images have masks.
        mask_pixels: (256,) int64, the pixels of each value in all masks.
        problems: all that is wrong, in words.
    """

    splits: dict[str, list[str]]
    images: dict[str, tuple[str, int, int]]
    train_masks: bool
    mask_pixels: np.ndarray
    problems: list[str]


def inspect_folder(root: Path, num_classes: int) -> FolderContent:
    """Read every listed image and mask of a folder in VOC layout.

    Without ``train.txt`` all images that are not in ``val.txt`` are training images; without
    ``val.txt`` there are no validation images. Validation images have masks; training images have
    them all or not at all.

    Args:
        root: the folder.
        num_classes: background included; a mask holds the values below it and 255.

    Raises:
        ValueError: no such folder.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    problems: list[str] = []
    files = _image_files(root / "JPEGImages", problems)
    splits = _read_splits(root / "ImageSets" / "SegmentationAug", files, problems)
    without = [name for name in splits["train"] if not _mask_path(root, name).is_file()]
    train_masks = bool(splits["train"]) and len(without) < len(splits["train"])
    content = FolderContent(splits, {}, train_masks, np.zeros(256, np.int64), problems)
    for split in SPLITS:
        for image_id in progress(splits[split], f"checking {split} images"):
            if image_id in content.images:
                continue
            try:
                file = _listed_file(root, files, image_id)
                height, width = read_image(file).shape[:2]
                if split == "val" or train_masks:
                    mask = _mask_path(root, image_id)
                    content.mask_pixels += _check_mask(mask, height, width, num_classes)
                content.images[image_id] = (f"JPEGImages/{file.name}", height, width)
            except ValueError as error:
                problems.append(str(error))
    return content


def check_classes(classes: tuple[str, ...], where: str) -> None:
    """Check the names of all classes.

    Raises:
        ValueError: too few or too many for a label, or a name that stands there twice.
    """
    if not 2 <= len(classes) <= 255:
        raise ValueError(f"{where}: {len(classes)} classes; expected 2 to 255, background included")
    repeated = [other for other in classes if classes.count(other) > 1]
    if repeated:
        raise ValueError(f"{where}: the class {repeated[0]!r} is named twice")


def describe_folder(
    root: Path,
    name: str,
    classes: tuple[str, ...],
    output: Path,
    colours: Mapping[str, tuple[int, int, int]] | None = None,
) -> Dataset:
    """Verify a folder in VOC layout and write its `dataset.json`.

    Every image and mask is read once, so that hours of training cannot end at a broken file.

    Args:
        root: the folder; see `inspect_folder` for what it may leave out.
        name: as the results folder is to call it.
        classes: names of all classes, the background first.
        output: the `dataset.json` to write.
        colours: class → (red, green, blue), where it is not VOC's.

    Raises:
        ValueError: listing every problem found: missing, broken or wrongly sized files, label
            values without a class, empty lists, unsafe or repeated ids and classes.
    """
    colours = colours or {}
    check_classes(classes, name)
    class_palette(classes, colours)  # raises where a colour has no class
    found = inspect_folder(root, len(classes))
    if found.problems:
        raise ValueError(problem_list(str(root), found.problems))
    inside = root.resolve() == output.parent.resolve()
    content = {
        "name": name,
        "classes": list(classes),
        "colours": {key: list(colour) for key, colour in colours.items()},
        "splits": found.splits,
        "images": {image_id: list(entry) for image_id, entry in found.images.items()},
        "train_masks": found.train_masks,
    }
    files = _files_digest(root, found)
    write_json(
        output,
        {
            "format": FORMAT,
            "version": VERSION,
            "root": "." if inside else os.path.abspath(root),
            "digest": digest({**content, "files": files}),
            **content,
        },
    )
    return read_dataset(output)


def _read_splits(lists: Path, files: dict[str, Path], problems: list[str]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        if (lists / f"{split}.txt").is_file():
            splits[split], found = read_list(lists / f"{split}.txt")
            problems += found
    if not (lists / "val.txt").is_file():
        logger.info("%s: not there, so that there are no validation images", lists / "val.txt")
    if not (lists / "train.txt").is_file():
        logger.info("%s: not there, so that all other images are training images", lists)
        for image_id in sorted(set(files) - set(splits["val"])):
            try:
                splits["train"].append(check_image_id(image_id, str(files[image_id])))
            except ValueError as error:
                problems.append(str(error))
        if not splits["train"] and files:
            problems.append(f"{lists / 'val.txt'}: names all images; none is left to train on")
    both = sorted(set(splits["train"]) & set(splits["val"]))
    if both:
        problems.append(f"{lists}: {len(both)} ids are in both lists: {both[:5]}")
    return splits


def _files_digest(root: Path, content: FolderContent) -> str:
    total = hashlib.sha256()
    masked = set(content.images if content.train_masks else content.splits["val"])
    for image_id, (file, _, _) in content.images.items():
        total.update(hashlib.sha256((root / file).read_bytes()).digest())
        if image_id in masked:
            total.update(hashlib.sha256(_mask_path(root, image_id).read_bytes()).digest())
    return total.hexdigest()


def _image_files(folder: Path, problems: list[str]) -> dict[str, Path]:
    """Image id → its file; what is wrong goes to ``problems``."""
    if not folder.is_dir():
        problems.append(f"{folder}: no such folder of images")
        return {}
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        # Names with a dot are what systems leave beside a photograph, such as ._photo.jpg.
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in files:
            problems.append(
                f"{path}: {files[path.stem].name} has the same name before its ending; rename one"
            )
        files.setdefault(path.stem, path)
    if not files:
        problems.append(f"{folder}: no image ({', '.join(IMAGE_SUFFIXES)}) is in it")
    return files


def _mask_path(root: Path, image_id: str) -> Path:
    return root / "SegmentationClassAug" / f"{image_id}.png"


def _listed_file(root: Path, files: dict[str, Path], image_id: str) -> Path:
    if image_id not in files:
        ending = Path(image_id).suffix.lower() in IMAGE_SUFFIXES
        raise ValueError(
            f"{root / 'JPEGImages' / image_id}.jpg: listed, but there is no such image"
            + ("; list names without their endings" if ending else "")
        )
    return files[image_id]


def _check_mask(path: Path, height: int, width: int, num_classes: int) -> np.ndarray:
    """Number of pixels of each of 256 values, of a mask that has been found right."""
    mask = read_label(path)
    if mask.shape != (height, width):
        raise ValueError(
            f"{path}: the mask is {mask.shape[1]}×{mask.shape[0]}, "
            f"its image {width}×{height} pixels"
        )
    check_label(mask, num_classes, str(path))
    return np.bincount(mask.ravel(), minlength=256)


def make_shapes(
    output: Path, name: str, *, num_train: int, num_val: int, size: int, seed: int
) -> Dataset:
    """Draw the embedded data set in VOC layout below ``output`` and write its `dataset.json`.

    Args:
        output: folder; files of the same name are replaced.
        name: as the results folder calls it.
        num_train: training images.
        num_val: validation images.
        size: side of the square images, pixels.
        seed: of all random draws; equal seeds give equal bytes.
    """

    def scenes() -> Iterator[tuple[str, str, int]]:
        for split, number in (("train", num_train), ("val", num_val)):
            yield from ((f"{split}_{index:05d}", split, index) for index in range(number))

    for image_id, split, index in progress(list(scenes()), f"drawing {name}"):
        image, mask = draw_shape_scene(seed, split, index, size)
        encoded = cv2.imencode(
            ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95]
        )[1]
        with atomic_path(output / "JPEGImages" / f"{image_id}.jpg") as temporary:
            temporary.write_bytes(encoded.tobytes())
        write_label(output / "SegmentationClassAug" / f"{image_id}.png", mask)
    for split in SPLITS:
        ids = [image_id for image_id, other, _ in scenes() if other == split]
        path = output / "ImageSets" / "SegmentationAug" / f"{split}.txt"
        write_text(path, "\n".join(ids) + "\n")
    return describe_folder(output, name, CLASS_NAMES, output / "dataset.json")
