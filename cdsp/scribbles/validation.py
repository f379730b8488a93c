"""The strokes of validation images, which have no masks to be measured on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import problem_list
from cdsp.io.findings import Findings
from cdsp.io.store import write_store
from cdsp.scribbles.import_annotations import files_digest, imported_images
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.resize import resize_strokes
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.scribbles.strokes import ImageStrokes
from cdsp.settings import settings_dict
from cdsp.versions import VERSIONS


def stroked_validation_images(
    dataset: Dataset, path: Path, settings: AnnotationSettings, findings: Findings
) -> Iterator[ImageStrokes]:
    """The validation images that have strokes; see `imported_images`."""
    # To the reader of annotations, the images that are asked for are those of the training.
    asked = replace(dataset, splits={"train": dataset.splits["val"], "val": ()})
    return (image for image in imported_images(asked, path, settings, findings) if image.strokes)


def label_validation_images(
    dataset: Dataset, path: Path, output: Path, settings: AnnotationSettings
) -> None:
    """Write the strokes of the validation images as labels; boxes and tags say no pixel's class.

    Args:
        dataset: the images; those without a stroke are left out.
        path: a file or folder of annotations, see `cdsp.annotations.read`.
        output: the store to write, (H, W) uint8 at the working size, 255 = no stroke.
        settings: see there.

    Raises:
        ValueError: no validation image has a stroke; or listing every problem found, see
            `imported_images`.
    """
    findings = Findings(skip_unreadable=settings.skip_unreadable)
    images = [
        resize_strokes(image, *dataset.size(image.image_id))
        for image in stroked_validation_images(dataset, path, settings, findings)
    ]
    if not images:
        raise ValueError(
            f"{path}: none of the {len(dataset.splits['val'])} validation images has a stroke, and "
            "none a mask: nothing can be measured on them; annotate them, or delete val.txt"
        )
    if findings.problems:
        raise ValueError(problem_list(str(path), list(findings.problems)))
    said = {key: value for key, value in settings_dict(settings).items() if key != "path"}
    write_store(
        output,
        ((i.image_id, rasterise(i.strokes, i.height, i.width), {}) for i in images),
        kind="scribbles",
        parameters={
            "scribbles": "validation",
            "imported": {"files": files_digest(path), **said},
            "version": VERSIONS["scribbles validation"],
        },
        sources={"dataset": dataset.digest},
    )
