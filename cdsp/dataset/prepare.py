"""Make a data set: draw the embedded one, or verify a folder of one's own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import cv2

from cdsp.dataset.shapes import CLASS_NAMES, draw_shape_scene
from cdsp.dataset.voc_layout import FORMAT, SPLITS, VERSION, Dataset, read_dataset, read_list
from cdsp.files import (
    atomic_path,
    check_label,
    digest,
    read_image,
    read_label,
    write_json,
    write_label,
    write_text,
)
from cdsp.progress import progress

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def describe_folder(root: Path, name: str, classes: tuple[str, ...], output: Path) -> Dataset:
    """Verify a folder in VOC layout and write its `dataset.json`.

    Every image and mask is read once, so that hours of training cannot end at a broken file.

    Args:
        root: the folder.
        name: as the results folder is to call it.
        classes: names of all classes, the background first.
        output: the `dataset.json` to write.

    Raises:
        ValueError: listing every problem found: missing, broken or wrongly sized files, label
            values without a class, missing or empty lists, unsafe or repeated ids.
    """
    if not 2 <= len(classes) <= 255:
        raise ValueError(f"{name}: {len(classes)} classes; expected 2 to 255, background included")
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    lists = root / "ImageSets" / "SegmentationAug"
    splits: dict[str, list[str]] = {}
    problems: list[str] = []
    for split in SPLITS:
        splits[split], found = read_list(lists / f"{split}.txt")
        problems += found
    both = sorted(set(splits["train"]) & set(splits["val"]))
    if both:
        problems.append(f"{lists}: {len(both)} ids are in both lists: {both[:5]}")

    files = _image_files(root / "JPEGImages")
    images: dict[str, tuple[str, int, int]] = {}
    listed = list(dict.fromkeys([*splits["train"], *splits["val"]]))
    for image_id in progress(listed, f"checking {name}"):
        try:
            images[image_id] = _check_image(root, files, image_id, len(classes))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        shown = "\n  ".join(problems[:50])
        more = f"\n  … and {len(problems) - 50} more" if len(problems) > 50 else ""
        raise ValueError(f"{root}: {len(problems)} problems:\n  {shown}{more}")

    inside = root.resolve() == output.parent.resolve()
    content = {
        "name": name,
        "classes": list(classes),
        "splits": splits,
        "images": {image_id: list(entry) for image_id, entry in images.items()},
    }
    write_json(
        output,
        {
            "format": FORMAT,
            "version": VERSION,
            "root": "." if inside else os.path.abspath(root),
            "digest": digest({**content, "files": _files_digest(root, images)}),
            **content,
        },
    )
    return read_dataset(output)


def _files_digest(root: Path, images: dict[str, tuple[str, int, int]]) -> str:
    total = hashlib.sha256()
    for image_id, (file, _, _) in images.items():
        for path in (root / file, root / "SegmentationClassAug" / f"{image_id}.png"):
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _image_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of images")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return {path.stem: path for path in reversed(files)}


def _check_image(
    root: Path, files: dict[str, Path], image_id: str, num_classes: int
) -> tuple[str, int, int]:
    if image_id not in files:
        raise ValueError(
            f"{root / 'JPEGImages' / image_id}.jpg: listed, but there is no such image"
        )
    height, width = read_image(files[image_id]).shape[:2]
    mask_path = root / "SegmentationClassAug" / f"{image_id}.png"
    mask = read_label(mask_path)
    if mask.shape != (height, width):
        raise ValueError(
            f"{mask_path}: the mask is {mask.shape[1]}×{mask.shape[0]}, "
            f"its image {width}×{height} pixels"
        )
    check_label(mask, num_classes, str(mask_path))
    return f"JPEGImages/{files[image_id].name}", height, width


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
