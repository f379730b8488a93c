"""What a folder of one's own holds, before anything is made of it: photographs, masks, strokes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cdsp.annotations.annotation import Shape
from cdsp.annotations.read import annotation_files, read_annotations
from cdsp.dataset.class_names import check_classes, class_hints, is_background
from cdsp.dataset.leftovers import tell_annotations_beside
from cdsp.dataset.prepare import FolderContent, inspect_folder
from cdsp.dataset.voc_layout import Dataset, choose_images
from cdsp.io.files import IGNORE, exif_orientation, normal_name
from cdsp.io.findings import Findings
from cdsp.io.names import counted, first_few
from cdsp.scribbles.class_order import reordered
from cdsp.scribbles.import_annotations import imported_images, meaning
from cdsp.scribbles.photographs import Photographs, is_photograph
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.scribbles.validation import stroked_validation_images
from cdsp.tools.check.summary import StrokeSummary, summarise

SHOWN_IMAGES = 6


@dataclass(frozen=True)
class FolderReport:
    """What a folder of one's own holds.

    Attributes:
        dataset: what can be used of it, with the names of the classes in the masks' order.
        content: images and masks, and all findings.
        annotations: their file or folder; None where there are none.
        summary: what they come to.
    """

    dataset: Dataset
    content: FolderContent
    annotations: Path | None
    summary: StrokeSummary | None

    @property
    def findings(self) -> Findings:
        """All that is wrong, and hints."""
        return self.content.findings


def examine_folder(
    root: Path,
    classes: tuple[str, ...],
    annotations: Path | None,
    *,
    settings: AnnotationSettings,
    void_regions: bool = False,
) -> FolderReport:
    """Look through a folder in VOC layout.

    Args:
        root: the folder, see `inspect_folder`.
        classes: names of all classes, the background first; none: those that the files name.
        annotations: a file or folder, see `cdsp.annotations.read`; None: ``Scribbles`` in the
            folder, where it is there.
        settings: of reading the annotations; their path does not count.
        void_regions: whether 255 fills whole regions of masks on purpose.

    Raises:
        ValueError: no such folder, or names of classes that no data set could have.
    """
    classes = tuple(map(normal_name, classes))
    if classes:
        check_classes(classes, "--classes")
    content = inspect_folder(root, classes, void_regions=void_regions)
    findings = content.findings
    findings.skip_unreadable = settings.skip_unreadable
    if annotations is None and (root / "Scribbles").exists():
        annotations = root / "Scribbles"
    if annotations is not None:
        try:
            annotation_files(annotations)
        except ValueError as error:
            findings.problems.append(str(error))
            annotations = None
    else:
        tell_annotations_beside(root, findings)
    dataset = _dataset(root, content, classes)
    if not classes:
        named = _class_names(dataset, annotations, content, settings)
        if len(named) > IGNORE:
            findings.problems.append(
                f"{annotations}: names {len(named)} classes, expected at most {IGNORE}, background "
                "included; name kinds of objects, not each object"
            )
        dataset = replace(dataset, classes=named[:IGNORE])
    masked = content.good_masks
    summary = None
    if annotations is not None:
        if not classes and masked:
            dataset = replace(
                dataset, classes=_in_order_of_masks(dataset, annotations, settings, masked)
            )
        images = imported_images(dataset, annotations, settings, findings)
        summary = summarise(images, dataset, masked, choose_images(dataset, SHOWN_IMAGES))
        if not dataset.val_masks:
            _tell_validation_strokes(dataset, annotations, settings, findings)
        summary.order.tell(dataset.classes, findings)
    _hint(dataset, content, summary, findings)
    return FolderReport(dataset, content, annotations, summary)


def find_classes(
    root: Path, content: FolderContent, annotations: Path | None, settings: AnnotationSettings
) -> tuple[str, ...]:
    """The names of the classes that a folder tells of, in the order of the masks' numbers.

    Args:
        root: the folder.
        content: what is in it.
        annotations: file or folder of annotations.
        settings: of reading them.
    """
    dataset = _dataset(root, content, ())
    dataset = replace(dataset, classes=_class_names(dataset, annotations, content, settings))
    if annotations is None or not content.good_masks:
        return dataset.classes
    return _in_order_of_masks(dataset, annotations, settings, content.good_masks)


def _dataset(root: Path, content: FolderContent, classes: tuple[str, ...]) -> Dataset:
    """What can be used of a folder, as a data set that is not written."""
    readable = {
        split: tuple(name for name in ids if name in content.images)
        for split, ids in content.splits.items()
    }
    return Dataset(
        name=root.name,
        root=root,
        classes=classes,
        colours={},
        splits=readable,
        images=content.images,
        train_masks=content.train_masks,
        val_masks=content.val_masks,
        digest="",
        masks=content.masks,
        pixels=content.pixels,
    )


def _class_names(
    dataset: Dataset,
    annotations: Path | None,
    content: FolderContent,
    settings: AnnotationSettings,
) -> tuple[str, ...]:
    """The names in the annotations, most frequent first, or numbers; the background before all."""
    labels: Counter[str | int] = Counter()
    flags: set[str | int] = set()
    others: set[str | int] = set()
    if annotations is not None:
        photographs = Photographs(dataset, Findings())
        found = read_annotations(annotations, Findings(), lambda file: is_photograph(file, dataset))
        for annotation in found:
            if photographs.find(annotation) is None:
                continue
            for shape in annotation.shapes:
                label = meaning(shape.label, settings)
                if label is not None:
                    labels[label] += 1
                    is_flag = isinstance(shape, Shape) and shape.kind == "flag"
                    (flags if is_flag else others).add(label)
    for label in labels:
        if label in flags - others:
            content.findings.hints.append(
                f"{label!r} is named by flags or choices alone; where it is no class, leave it out "
                f"of the classes, or say so with the setting ignore: [{label}]"
            )
    named = [label for label, _ in labels.most_common() if isinstance(label, str)]
    background = next((name for name in named if is_background(name)), "background")
    objects = [name for name in named if name != background]
    values = [label for label in labels if isinstance(label, int)]
    values += np.flatnonzero(content.census.pixels[:IGNORE]).tolist()
    objects += [f"class {i}" for i in range(len(objects) + 1, max(values, default=0) + 1)]
    return (background, *objects)


def _in_order_of_masks(
    dataset: Dataset, annotations: Path, settings: AnnotationSettings, masked: Collection[str]
) -> tuple[str, ...]:
    """The names of the data set's classes in the order of the numbers that their strokes lie on."""
    images = imported_images(dataset, annotations, settings, Findings())
    order = summarise(images, dataset, masked, shown=()).order
    names = reordered(dataset.classes, order.best())
    return tuple(
        f"class {index}" if name.startswith("class ") else name for index, name in enumerate(names)
    )


def _tell_validation_strokes(
    dataset: Dataset, annotations: Path, settings: AnnotationSettings, findings: Findings
) -> None:
    """Tell how many validation images, which have no masks, have strokes to be measured on."""
    validation = dataset.splits["val"]
    unheard = Findings(skip_unreadable=True)
    annotated = sum(1 for _ in stroked_validation_images(dataset, annotations, settings, unheard))
    if annotated:
        findings.hints.append(
            f"the {len(validation)} validation images have no masks, {annotated} of them strokes: "
            "networks are measured on those ('truth: validation_strokes', as `cdsp start` writes)"
        )
        return
    findings.problems.append(
        f"none of the {len(validation)} validation images has a mask in SegmentationClassAug/ or a "
        "stroke, so that nothing can be measured on them; give them masks or strokes, or delete "
        "ImageSets/SegmentationAug/val.txt to have a part of the training strokes held out"
    )


def _hint(
    dataset: Dataset, content: FolderContent, summary: StrokeSummary | None, findings: Findings
) -> None:
    """Hints on the data set as a whole."""
    files = (dataset.root / file for file, _, _ in dataset.images.values())
    turned = [file.name for file in files if exif_orientation(file) > 1]
    if turned:
        findings.hints.append(
            f"{len(turned)} of {len(dataset.images)} photographs are stored turned, as EXIF says: "
            f"annotate them as they look, upright: {first_few(turned)}"
        )
    for hint in class_hints(dataset.classes):
        findings.hints.append(hint)
    if summary is None:
        return
    if summary.without_background:
        findings.hints.append(
            f"{counted(len(summary.without_background), 'image')} with object strokes and none on "
            "the background, from which a network learns where objects end: "
            f"{first_few(summary.without_background)}"
        )
    if summary.one_class:
        findings.hints.append(
            f"{counted(len(summary.one_class), 'image')} with strokes of one class alone: every "
            "class that a photograph shows needs a stroke in it, since what is left out is denied "
            "(docs/annotation.md): "
            f"{first_few(summary.one_class)}"
        )
    if summary.empty:
        findings.hints.append(
            f"{counted(len(summary.empty), 'image')} with an annotation with nothing in it: "
            f"{first_few(summary.empty)}"
        )
    placed = summary.placed
    unseen = [  # nobody tags the background
        name
        for i, name in enumerate(dataset.classes)
        if not summary.classes[i].images and i not in placed and (i or placed)
    ]
    if unseen:
        findings.hints.append(
            f"nothing names {', '.join(unseen)}: what nobody marks cannot be learnt"
        )
    named = [(name, i) for i, name in enumerate(dataset.classes) if name not in unseen]
    absent = [name for name, i in named if not content.census.pixels[i]]
    if content.census.number and absent:
        findings.hints.append(
            f"no mask shows {', '.join(absent)}: how well that is learnt cannot be measured on them"
        )
    if len(dataset.classes) > 2 and content.census.number and not summary.order.counts.any():
        findings.hints.append(
            "no training image has both strokes and a mask, so that the order of the classes could "
            "not be compared with the numbers in the masks: look at a few masks yourself"
        )
