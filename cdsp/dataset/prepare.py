"""Make a data set: draw the embedded one, or verify a folder of one's own."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from cdsp.dataset.class_names import check_classes, class_hints
from cdsp.dataset.leftovers import IMAGE_SUFFIXES, tell_unused
from cdsp.dataset.masks import MaskCensus
from cdsp.dataset.pixel_census import PixelCensus
from cdsp.dataset.shape_classes import CLASS_NAMES
from cdsp.dataset.shapes import draw_shape_scene
from cdsp.dataset.voc_layout import (
    FORMAT,
    SPLITS,
    VERSION,
    Dataset,
    default_mask,
    read_dataset,
    read_list,
)
from cdsp.io.files import (
    IGNORE,
    check_image_id,
    class_palette,
    no_such,
    normal_name,
    problem_list,
    write_label,
    write_picture,
    write_text,
)
from cdsp.io.findings import Findings
from cdsp.io.json_files import digest, write_json
from cdsp.io.names import first_few, nearest_pairs
from cdsp.io.outputs import check_outputs, file_digest
from cdsp.io.pixels import PixelFormat
from cdsp.progress import progress
from cdsp.settings import settings_dict

logger = logging.getLogger(__name__)


@dataclass
class FolderContent:
    """What a folder in VOC layout holds.

    Attributes:
        splits: "train" and "val" → the ids of their lists.
        images: image id → (file below the folder, height, width), of the listed and readable ones.
        masks: image id → file below the folder, of all that have one, listed or not.
        train_masks: whether the training images have masks.
        val_masks: whether the validation images have.
        good_masks: ids of the images whose mask was read and found right.
        census: what the masks hold.
        pixels: of the photographs; measured on the training images where they are not common.
        findings: all that is wrong, and what is not used or may be meant otherwise.
    """

    splits: dict[str, list[str]]
    images: dict[str, tuple[str, int, int]]
    masks: dict[str, str]
    train_masks: bool
    val_masks: bool
    good_masks: set[str]
    census: MaskCensus
    pixels: PixelFormat
    findings: Findings


def inspect_folder(
    root: Path, classes: Sequence[str], *, void_regions: bool = False, page: int = 0
) -> FolderContent:
    """Read every listed image and mask of a folder in VOC layout.

    Without ``train.txt`` all images that are not in ``val.txt`` are training images; without
    ``val.txt`` there are no validation images. The images of either list have masks all or not at
    all. Names are compared in one form, see `normal_name`.

    Args:
        root: the folder.
        classes: names of all classes, the background first; a mask holds their indices and 255.
            Empty: not known yet.
        void_regions: whether 255 fills whole regions of masks on purpose.
        page: of photographs that are TIFFs with several.

    Raises:
        ValueError: no such folder.
    """
    if not root.is_dir():
        raise ValueError(no_such(root, "folder"))
    findings = Findings()
    files = _files_by_id(root / "JPEGImages", IMAGE_SUFFIXES, findings)
    if not files:
        findings.problems.append(
            f"{root / 'JPEGImages'}: no image ({', '.join(IMAGE_SUFFIXES)}) is in it"
            if (root / "JPEGImages").is_dir()
            else f"{root / 'JPEGImages'}: no such folder of images"
        )
    masks = _files_by_id(root / "SegmentationClassAug", (".png",), findings)
    splits = _read_splits(root / "ImageSets" / "SegmentationAug", files, findings)
    train_masks, val_masks = (_masked(root, split, splits, masks, findings) for split in SPLITS)
    masked = {*(splits["train"] if train_masks else ()), *(splits["val"] if val_masks else ())}
    census, images, good_masks = MaskCensus(), {}, set()
    photographs, training = PixelCensus(page), {*splits["train"]}
    for image_id in progress([*splits["train"], *splits["val"]], "checking images"):
        if image_id not in files or image_id in images:
            continue
        with findings.collected(files[image_id]):
            height, width = photographs.add(files[image_id], is_training=image_id in training)
            images[image_id] = _below(files[image_id]), height, width
        if image_id in images and image_id in masked & masks.keys():
            with findings.collected(masks[image_id]):
                num_classes = len(classes) or IGNORE
                census.add(masks[image_id], height, width, num_classes, findings)
                good_masks.add(image_id)
    others = photographs.tell(root / "JPEGImages", findings)
    images = {i: entry for i, entry in images.items() if Path(entry[0]).name not in others}
    _tell_missing(root, splits, files, findings)
    census.tell(root / "SegmentationClassAug", classes, void_regions, findings)
    listed = {image_id for ids in splits.values() for image_id in ids}
    tell_unused(root, listed, {masks[i].name for i in masked & masks.keys()}, findings)
    below = {image_id: _below(file) for image_id, file in masks.items()}
    pixels = photographs.format
    return FolderContent(
        splits, images, below, train_masks, val_masks, good_masks, census, pixels, findings
    )


def _masked(
    root: Path, split: str, splits: dict[str, list[str]], masks: Collection[str], findings: Findings
) -> bool:
    """Whether the images of a split have masks; some without is a problem."""
    without = [image_id for image_id in splits[split] if image_id not in masks]
    if not without or len(without) == len(splits[split]):
        return not without
    kind = "training" if split == "train" else "validation"
    findings.problems.append(
        f"{root / 'SegmentationClassAug'}: {len(without)} of {len(splits[split])} {kind} "
        f"images have no mask ({first_few(without)}); give one to all of them, or to none"
    )
    return True


def describe_folder(
    root: Path,
    name: str,
    classes: tuple[str, ...],
    output: Path,
    colours: Mapping[str, tuple[int, int, int]] | None = None,
    *,
    void_regions: bool = False,
    working_size: int = 0,
    page: int = 0,
    content: FolderContent | None = None,
) -> Dataset:
    """Verify a folder in VOC layout and write its `dataset.json`.

    Every image and mask is read once, so that hours of training cannot end at a broken file.

    Args:
        root: the folder; see `inspect_folder` for what it may leave out.
        name: as the results folder is to call it.
        classes: names of all classes, the background first.
        output: the `dataset.json` to write.
        colours: class → (red, green, blue), where it is not VOC's.
        void_regions: whether 255 fills whole regions of masks on purpose.
        working_size: longer side at which the stages see the photographs, pixels; 0 = as they are.
        page: of photographs that are TIFFs with several.
        content: what `inspect_folder` found there just now; None: the folder is read.

    Raises:
        ValueError: listing every problem found: missing, broken or wrongly sized files, label
            values without a class, empty lists, unsafe or repeated ids and classes.
    """
    classes = tuple(map(normal_name, classes))
    colours = {normal_name(key): colour for key, colour in (colours or {}).items()}
    check_classes(classes, name)
    class_palette(classes, colours)  # raises where a colour has no class
    found = content or inspect_folder(root, classes, void_regions=void_regions, page=page)
    for hint in (*class_hints(classes), *found.findings.hints):
        logger.warning("hint: %s", hint)
    if found.findings.problems:
        raise ValueError(problem_list(str(root), list(found.findings.problems)))
    described = {
        "name": name,
        "classes": list(classes),
        "colours": {key: list(colour) for key, colour in colours.items()},
        "splits": found.splits,
        "images": {image_id: list(entry) for image_id, entry in found.images.items()},
        "train_masks": found.train_masks,
        **({} if found.val_masks else {"val_masks": False}),
        "working_size": working_size,
        "files": {file: file_digest(root / file) for file in used_files(found)},
        **({} if found.pixels.is_common else {"pixels": settings_dict(found.pixels)}),
    }
    # Masks that are called otherwise than their image: in capitals, or by a Mac.
    odd = {i: file for i, file in found.masks.items() if file != default_mask(i)}
    write_json(
        output,
        {
            "format": FORMAT,
            "version": VERSION,
            "root": _relative(root, output.parent),
            "digest": digest(described),
            **described,
            "masks": {image_id: file for image_id, file in odd.items() if image_id in found.images},
        },
    )
    return read_dataset(output)


def _relative(root: Path, folder: Path) -> str:
    """``root`` seen from ``folder``, so that both can be moved; as it is where it is far away."""
    paths = os.path.abspath(root), os.path.abspath(folder)
    return paths[0] if os.path.commonpath(paths) == os.sep else os.path.relpath(*paths)


def _read_splits(lists: Path, files: dict[str, Path], findings: Findings) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        if (lists / f"{split}.txt").is_file():
            splits[split], found = read_list(lists / f"{split}.txt", files)
            for problem in found:
                findings.problems.append(problem)
    if not (lists / "val.txt").is_file():
        logger.info("%s: not there, so that there are no validation images", lists / "val.txt")
    if not (lists / "train.txt").is_file():
        logger.info("%s: not there, so that all other images are training images", lists)
        others = sorted(set(files) - set(splits["val"]))
        for image_id in others:
            with findings.collected(files[image_id]):
                splits["train"].append(check_image_id(image_id, str(files[image_id])))
        if files and not others:
            findings.problems.append(
                f"{lists / 'val.txt'}: names all images; none is left to train on"
            )
    both = sorted(set(splits["train"]) & set(splits["val"]))
    if both:
        findings.problems.append(f"{lists}: {len(both)} ids are in both lists: {both[:5]}")
    return splits


def used_files(content: FolderContent) -> list[str]:
    """The photographs and masks that a data set uses, below its folder."""
    images = [file for file, _, _ in content.images.values()]
    has_masks = {"train": content.train_masks, "val": content.val_masks}
    masked = [i for split, there in has_masks.items() if there for i in content.splits[split]]
    return sorted([*images, *(content.masks[image_id] for image_id in masked)])


def _files_by_id(folder: Path, suffixes: tuple[str, ...], findings: Findings) -> dict[str, Path]:
    """Image id → its file, of the files of these kinds; two of one id are a problem."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        # Names with a dot are what systems leave beside a photograph, such as ._photo.jpg.
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        image_id = unicodedata.normalize("NFC", path.stem)
        if image_id in files:
            findings.problems.append(
                f"{path}: {files[image_id].name} has the same name before its ending; rename one"
            )
        files.setdefault(image_id, path)
    return files


def _below(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def _tell_missing(
    root: Path, splits: dict[str, list[str]], files: dict[str, Path], findings: Findings
) -> None:
    """Tell of listed images that are not there, beside the nearest that are."""
    for split, ids in splits.items():
        missing = [image_id for image_id in ids if image_id not in files]
        if not missing or not files:
            continue
        first = missing[0].split()
        flags = len(first) > 1 and first[0] in files
        unlisted = [file.name for image_id, file in files.items() if image_id not in ids]
        findings.problems.append(
            f"{root}: {len(missing)} of {len(ids)} names in {split}.txt are of no image in "
            f"JPEGImages: {nearest_pairs(missing, unlisted)}; "
            + ("write a name alone to a line, without flags" if flags else "list names as they are")
        )


def make_shapes(
    output: Path, name: str, *, num_train: int, num_val: int, size: int, seed: int
) -> Dataset:
    """Draw the embedded data set in VOC layout below ``output`` and write its `dataset.json`.

    Args:
        output: folder.
        name: as the results folder calls it.
        num_train: training images.
        num_val: validation images.
        size: side of the square images, pixels.
        seed: of all random draws; equal seeds give equal bytes.
    """

    def scenes() -> Iterator[tuple[str, str, int]]:
        for split, number in (("train", num_train), ("val", num_val)):
            yield from ((f"{split}_{index:05d}", split, index) for index in range(number))

    files = [(output / "JPEGImages" / f"{i}.jpg", output / default_mask(i)) for i, _, _ in scenes()]
    lists = [output / "ImageSets" / "SegmentationAug" / f"{split}.txt" for split in SPLITS]
    check_outputs([*chain.from_iterable(files), *lists, output / "dataset.json"])
    for image_id, split, index in progress(list(scenes()), f"drawing {name}"):
        image, mask = draw_shape_scene(seed, split, index, size)
        write_picture(output / "JPEGImages" / f"{image_id}.jpg", image)
        write_label(output / "SegmentationClassAug" / f"{image_id}.png", mask)
    for split, path in zip(SPLITS, lists, strict=True):
        ids = [image_id for image_id, other, _ in scenes() if other == split]
        write_text(path, "\n".join(ids) + "\n")
    return describe_folder(output, name, CLASS_NAMES, output / "dataset.json")
