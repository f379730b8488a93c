"""Files that lie in and near a data set's folder and are not used: told by kind, with counts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from cdsp.io.files import normal_name
from cdsp.io.findings import Findings
from cdsp.io.names import IMAGE_ENDINGS

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Endings of the photographs that are read, in capitals as well."""

_OTHER_IMAGES = (*IMAGE_ENDINGS - {*IMAGE_SUFFIXES}, ".dng", ".cr2", ".nef", ".arw", ".psd")
_ANNOTATIONS = (".json", ".xml")
_SYSTEM = ("thumbs.db", "desktop.ini")
_KNOWN = ("JPEGImages", "SegmentationClassAug", "Scribbles", "ImageSets")
_SPLIT_FILES = ("train.txt", "val.txt")


def tell_unused(
    root: Path, used: Collection[str], masks: Collection[str], findings: Findings
) -> None:
    """Tell what lies in a folder in VOC layout and is not used.

    Lists and masks that lie where VOC itself has them, while none are where they are looked for,
    are problems: validation images would be trained on.

    Args:
        root: the folder.
        used: ids of the images that the lists name.
        masks: names of the files of masks that are used.
        findings: grows.
    """
    _tell_lists(root, findings)
    photographs = root / "JPEGImages"
    unread = [file for file in _files(photographs) if file.suffix.lower() in _OTHER_IMAGES]
    _tell(unread, "photographs of this kind are not read; convert them to JPEG or PNG", findings)
    _tell(
        [file for folder in _folders(photographs) for file in _images_below(folder)],
        f"photographs in folders are not read; move them into {photographs} itself",
        findings,
    )
    unlisted = [
        file
        for file in _files(photographs)
        if file.suffix.lower() in IMAGE_SUFFIXES and normal_name(file.stem) not in used
    ]
    _tell(unlisted, "in none of the lists, and not used", findings)
    _tell(
        [file for file in _files(root) if file.suffix.lower() in (*IMAGE_SUFFIXES, *_OTHER_IMAGES)],
        f"images beside JPEGImages are not read; photographs lie in {photographs}",
        findings,
    )
    _tell_masks(root, used, masks, findings)


def tell_annotations_beside(root: Path, findings: Findings) -> None:
    """Tell of annotations where nobody looks: beside the photographs, or where VOC has them."""
    for folder in (root / "JPEGImages", root / "Annotations", root / "annotations", root):
        beside = [file for file in _files(folder) if file.suffix.lower() in _ANNOTATIONS]
        beside = [file for file in beside if file.name != "dataset.json"]
        _tell(
            beside,
            f"annotations? They are read when they are named: check --annotations {folder}, or "
            f"scribbles: {{source: annotations, path: {folder}}}",
            findings,
        )


def _tell_lists(root: Path, findings: Findings) -> None:
    lists = root / "ImageSets" / "SegmentationAug"
    there = [name for name in _SPLIT_FILES if (lists / name).is_file()]
    for folder in (root / "ImageSets" / "Segmentation", root / "ImageSets" / "Main"):
        _tell_misplaced(folder, lists, there, findings)
    for folder in (root / "ImageSets", root, root / "Segmentation", root / "SegmentationAug"):
        _tell_misplaced(folder, lists, there, findings)
    others = [file for file in _files(lists) if file.name not in _SPLIT_FILES]
    _tell(others, f"in {lists} only train.txt and val.txt are read", findings)


def _tell_misplaced(folder: Path, lists: Path, there: list[str], findings: Findings) -> None:
    found = [name for name in _SPLIT_FILES if (folder / name).is_file() and name not in there]
    if found:
        findings.problems.append(
            f"{folder}: lists are not read here ({', '.join(found)}), so that validation images "
            f"would be trained on; move them to {lists}"
        )


def _tell_masks(
    root: Path, used: Collection[str], masks: Collection[str], findings: Findings
) -> None:
    folder = root / "SegmentationClassAug"
    for other in _folders(root):
        if other.name in _KNOWN:
            continue
        named_alike = [file for file in _files(other) if normal_name(file.stem) in used]
        if other.name == "SegmentationClass" and named_alike and not masks:
            findings.problems.append(
                f"{other}: masks are not read here ({_counted(named_alike)}); rename the folder to "
                f"{folder.name}, where they are class indices"
            )
        elif named_alike and not other.name.startswith("Segmentation"):
            _tell(
                named_alike,
                f"named like photographs, in a folder that is not read; masks lie in {folder}, "
                f"annotations in {root / 'Scribbles'}",
                findings,
            )
    unused = [file for file in _files(folder) if file.name not in masks]
    kinds = [file for file in unused if file.suffix.lower() != ".png"]
    _tell(kinds, "masks are read as PNG alone; save them as PNG of class indices", findings)
    orphans = [file for file in unused if file not in kinds]
    _tell(orphans, "masks of no image that needs one, and not used", findings)
    _tell(
        [file for inner in _folders(folder) for file in _images_below(inner)],
        f"masks in folders are not read; move them into {folder} itself",
        findings,
    )


def _tell(files: list[Path], what: str, findings: Findings) -> None:
    """A hint of files that have something in common, by their kinds with counts and an example."""
    if files:
        findings.hints.append(f"{files[0].parent}: {_counted(files)}: {what}")


def _counted(files: list[Path]) -> str:
    """Such as "3 .gif (a.gif …) and 1 .heic (b.heic)"."""
    kinds: dict[str, list[Path]] = {}
    for file in files:
        kinds.setdefault(file.suffix.lower() or "without ending", []).append(file)
    return " and ".join(
        f"{len(found)} {kind} ({found[0].name}{' …' if len(found) > 1 else ''})"
        for kind, found in kinds.items()
    )


def _files(folder: Path) -> list[Path]:
    """The visible files of a folder, sorted; without those that systems leave there."""
    return [
        path for path in _visible(folder) if path.is_file() and path.name.lower() not in _SYSTEM
    ]


def _folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _visible(folder: Path) -> Iterable[Path]:
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def _images_below(folder: Path) -> list[Path]:
    """The images of a folder and of the folders in it, two levels deep."""
    inner = [file for other in _folders(folder) for file in _files(other)]
    return [
        file
        for file in (*_files(folder), *inner)
        if file.suffix.lower() in (*IMAGE_SUFFIXES, *_OTHER_IMAGES)
    ]
