"""The strokes of Scribbles for All (Boettcher et al., NeurIPS 2024) on Cityscapes and ADE20K.

They are unpacked into the original data set's own folder, as ``scribbles/`` beside its labels, with
the labels' names and numbers, and 0 where there is no stroke. From there a folder in VOC layout is
built: images are links to the original ones; masks and strokes are written anew with the numbers of
the classes that are scored, and 255 for all that is none of them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cdsp.dataset.prepare import describe_folder
from cdsp.dataset.settings import BenchmarkName
from cdsp.dataset.voc_layout import SPLITS, Dataset
from cdsp.io.files import IGNORE, no_such, read_label, read_text, write_label, write_text
from cdsp.io.outputs import check_outputs
from cdsp.progress import progress

logger = logging.getLogger(__name__)

CITYSCAPES = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
"""The classes that Cityscapes scores → their number in ``labelIds``."""

NO_CLASS = "other"
"""The class of index 0, which no pixel has: both data sets leave what is none of theirs out."""


class Files(NamedTuple):
    """One image: its id, the photograph, its labels and, of a training image, its strokes."""

    image_id: str
    image: Path
    label: Path
    strokes: Path | None


@dataclass(frozen=True)
class Benchmark:
    """How an original data set is laid out.

    Attributes:
        files: folder and split ("train" or "val") → its images.
        numbers: folder → class → its number in labels and strokes.
    """

    files: Callable[[Path, str], Iterator[Files]]
    numbers: Callable[[Path], dict[str, int]]


def _cityscapes(root: Path, split: str) -> Iterator[Files]:
    for image in sorted(root.glob(f"leftImg8bit/{split}/*/*_leftImg8bit.png")):
        city, image_id = image.parent.name, image.name.removesuffix("_leftImg8bit.png")
        label = Path("gtFine", split, city, f"{image_id}_gtFine_labelIds.png")
        strokes = root / "scribbles" / label if split == "train" else None
        yield Files(image_id, image, root / label, strokes)


def _ade20k(root: Path, split: str) -> Iterator[Files]:
    part = {"train": "training", "val": "validation"}[split]
    for image in sorted((root / "images" / part).glob("*.jpg")):
        label = Path(part, f"{image.stem}.png")
        strokes = root / "scribbles" / label if split == "train" else None
        yield Files(image.stem, image, root / "annotations" / label, strokes)


def _ade20k_numbers(root: Path) -> dict[str, int]:
    """The classes of ``objectInfo150.txt``: a line of columns, then one line for each.

    Raises:
        ValueError: it is missing, or not as expected.
    """
    path = root / "objectInfo150.txt"
    if not path.is_file():
        raise ValueError(f"{no_such(path, 'list of classes')}; it comes with the photographs")
    lines = [line.split("\t") for line in read_text(path).splitlines()[1:] if line.strip()]
    try:
        # Names are lists of synonyms, of which two classes may share the first.
        names = {int(cells[0]): cells[-1].strip() for cells in lines}
    except ValueError as error:
        raise ValueError(f"{path}: expected lines of a number, …, a name ({error})") from error
    if not names or sorted(names) != list(range(1, len(names) + 1)):
        raise ValueError(f"{path}: expected classes numbered from 1, found {sorted(names)[:5]} …")
    return {name: number for number, name in names.items()}


BENCHMARKS: dict[BenchmarkName, Benchmark] = {
    "cityscapes": Benchmark(_cityscapes, lambda _: CITYSCAPES),
    "ade20k": Benchmark(_ade20k, _ade20k_numbers),
}


def make_scribbles4all(benchmark: BenchmarkName, path: Path, name: str, output: Path) -> Dataset:
    """Build the folder in VOC layout beside ``output``, and describe it there.

    Args:
        benchmark: the original data set.
        path: its folder, with the strokes in ``scribbles/``.
        name: as the results folder is to call it.
        output: the `dataset.json` to write.

    Raises:
        ValueError: something is missing, or a label is no image of numbers.
    """
    layout = BENCHMARKS[benchmark]
    images = {split: list(layout.files(path, split)) for split in SPLITS}
    for split, found in images.items():
        if not found:
            raise ValueError(
                f"{path}: no {split} images of {benchmark} there; expected its own folders as they "
                "are unpacked"
            )
    if not (path / "scribbles").is_dir():
        raise ValueError(f"{no_such(path / 'scribbles', 'folder of strokes')}: unpack them there")
    numbers = layout.numbers(path)
    table = np.full(256, IGNORE, np.uint8)
    table[list(numbers.values())] = np.arange(1, len(numbers) + 1)
    root = output.parent / "voc"
    check_outputs([output])
    without = 0
    for split, found in images.items():
        for files in progress(found, f"bringing {split} images into VOC layout"):
            _link(root / "JPEGImages" / f"{files.image_id}{files.image.suffix}", files.image)
            mask = root / "SegmentationClassAug" / f"{files.image_id}.png"
            write_label(mask, table[read_label(files.label)])
            if files.strokes is not None and files.strokes.is_file():
                strokes = root / "Scribbles" / f"{files.image_id}.png"
                write_label(strokes, table[read_label(files.strokes)])
            elif files.strokes is not None:
                without += 1
        ids = "\n".join(files.image_id for files in found)
        write_text(root / "ImageSets/SegmentationAug" / f"{split}.txt", ids + "\n")
    if without == len(images["train"]):
        raise ValueError(f"{path / 'scribbles'}: no strokes of any of {without} training images")
    if without:
        logger.warning("%d training images have no strokes, and are left out", without)
    return describe_folder(root, name, (NO_CLASS, *numbers), output, void_regions=True)


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.abspath(target))
