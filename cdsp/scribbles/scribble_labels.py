"""The files of the scribble stage: strokes, scribble labels and image-level classes.

strokes.jsonl         strokes, boxes and tags of an image to a line
labels.h5             the same as labels, the strokes over the boxes: 255 = unlabelled
image_classes.json    object classes that each image's remaining strokes, boxes and tags name
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import IGNORE
from cdsp.io.json_files import write_json
from cdsp.io.outputs import check_outputs
from cdsp.io.store import write_store
from cdsp.progress import progress
from cdsp.scribbles.boxes import label_from_boxes
from cdsp.scribbles.degrade import Degradation, degrade
from cdsp.scribbles.image_classes import CLASSES_FORMAT, CLASSES_VERSION
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.simulate import simulate_strokes, stroke_width
from cdsp.scribbles.stroke_files import read_header, read_strokes, write_strokes
from cdsp.scribbles.strokes import ImageStrokes
from cdsp.scribbles.styles import STYLES, StyleName
from cdsp.versions import VERSIONS

FILES = ("strokes.jsonl", "labels.h5", "image_classes.json")

logger = logging.getLogger(__name__)


def simulate_scribbles(
    dataset: Dataset, output: Path, *, style: StyleName, coverage: float | None = None, seed: int
) -> None:
    """Simulate strokes from the training masks, as a hand would draw them.

    Args:
        dataset: with masks of its training images.
        output: the strokes file to write.
        style: how they are drawn; a name of `STYLES`.
        coverage: largest fraction of an image's pixels to label; none: the style's own.
        seed: of all random draws.
    """

    def images() -> Iterator[ImageStrokes]:
        for image_id in progress(dataset.splits["train"], "simulating strokes"):
            mask = dataset.mask(image_id)
            height, width = mask.shape
            # Each image has a stream of its own: it does not depend on which others are listed.
            rng = np.random.default_rng([seed, zlib.crc32(image_id.encode())])
            strokes = simulate_strokes(
                mask,
                rng,
                STYLES[style],
                width=stroke_width(height, width),
                coverage=coverage,
            )
            yield ImageStrokes(image_id, height, width, strokes)

    write_strokes(
        output,
        images(),
        {
            "dataset": dataset.digest,
            "classes": list(dataset.classes),
            "simulated": {
                "style": style,
                "coverage": STYLES[style].coverage if coverage is None else coverage,
                "seed": seed,
                "version": VERSIONS["scribbles simulate"],
            },
        },
    )


def degrade_scribbles(
    strokes: Path,
    degradation: Degradation,
    output: Path,
    *,
    dataset: Dataset | None = None,
    drop_background: bool,
    min_per_image: int,
    seed: int,
) -> None:
    """Degrade annotations, make labels of what remains, and list the classes that it names.

    A label is that of the boxes, see `label_from_boxes`, with the strokes painted over it. Outside
    of all boxes it is background only where boxes held every object: where no object stroke and no
    tag of another class said otherwise, and no box was dropped. Tags leave no trace in labels: an
    image that has nothing else is 255 throughout.

    Args:
        strokes: the full strokes, boxes and tags.
        degradation: what is done to them.
        output: folder for ``strokes.jsonl``, ``image_classes.json`` and ``labels.h5``.
        dataset: with the photographs, from which boxes are cut out; needed where there are boxes.
        drop_background: drop background strokes too.
        min_per_image: object strokes, boxes and tags that each image keeps.
        seed: of the draw of what is removed.

    Raises:
        ValueError: the strokes are missing or damaged, there are boxes but no data set, or the data
            set has no such image or class, or the image has another size.
    """
    check_outputs((output / file for file in FILES), inputs=[strokes])
    header = read_header(strokes)
    source = {key: value for key, value in header.items() if key not in ("format", "version")}
    parameters: dict[str, Any] = {
        "scribbles": degradation.name,
        "version": VERSIONS["scribbles degrade"],
    }
    if degradation.kind == "drop":
        parameters |= {"drop_background": drop_background, "min_per_image": min_per_image}
    if degradation.is_random:
        parameters |= {"seed": seed}

    _check_origin(header, dataset, strokes)

    def remaining() -> Iterator[ImageStrokes]:
        for image in read_strokes(strokes):
            _check_image(image, dataset, strokes)
            yield degrade(
                image,
                degradation,
                seed=seed,
                drop_background=drop_background,
                min_per_image=min_per_image,
            )

    write_strokes(output / "strokes.jsonl", remaining(), {**source, "degradation": parameters})
    classes: dict[str, list[int]] = {}

    def labels() -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
        both = zip(read_strokes(strokes), read_strokes(output / "strokes.jsonl"), strict=True)
        for full, image in progress(both, "scribble labels"):
            label = _label(image, dataset, boxes_hold_all=_boxes_hold_all(full, image))
            # What a stroke names counts where another covers it: so shrinking loses no class.
            named = {stroke.class_id for stroke in image.strokes}
            classes[image.image_id] = sorted((named | {*image.tags} | _box_classes(image)) - {0})
            yield image.image_id, label, {}

    write_store(
        output / "labels.h5",
        labels(),
        kind="scribbles",
        parameters={**parameters, "source": source},
        sources={"dataset": str(source.get("dataset"))},
    )
    without = sum(not found for found in classes.values())
    if without:
        logger.warning("%d of %d images have no object scribble, box or tag", without, len(classes))
    write_json(
        output / "image_classes.json",
        {**parameters, "format": CLASSES_FORMAT, "version": CLASSES_VERSION, "images": classes},
    )


def _check_origin(header: dict[str, Any], dataset: Dataset | None, strokes: Path) -> None:
    """Check that strokes are of the data set as it is now; their file tells what it was then."""
    if dataset is None:
        return
    classes = header.get("classes", list(dataset.classes))
    if classes != list(dataset.classes):
        raise ValueError(
            f"{strokes}: made for the classes {classes}, and data set {dataset.name!r} has "
            f"{list(dataset.classes)}; make the strokes again"
        )
    if header.get("dataset", dataset.digest) != dataset.digest:
        raise ValueError(
            f"{strokes}: made for another version of data set {dataset.name!r}: its images, masks "
            "or lists have changed since; make the strokes again"
        )


def _check_image(image: ImageStrokes, dataset: Dataset | None, strokes: Path) -> None:
    """Check that the annotations of an image can become a label; `strokes` is their file."""
    where = f"{strokes}: image {image.image_id!r}"
    if dataset is None:
        if image.boxes:
            raise ValueError(
                f"{where} has boxes, and objects are cut out of its photograph; name the data set, "
                "--dataset dataset.json"
            )
        return
    if image.image_id not in dataset.images:
        raise ValueError(f"{where} is not in data set {dataset.name!r}; name the data set it is of")
    height, width = dataset.size(image.image_id)
    if (height, width) != (image.height, image.width):
        raise ValueError(
            f"{where} was annotated at {image.width}×{image.height} pixels, and the photograph of "
            f"data set {dataset.name!r} has {width}×{height}; make the strokes again"
        )
    highest = max(_box_classes(image) | {*image.tags} | {s.class_id for s in image.strokes} | {0})
    if highest >= len(dataset.classes):
        raise ValueError(
            f"{where} names class {highest}; expected 0 to {len(dataset.classes) - 1}, the classes "
            f"of data set {dataset.name!r}"
        )


def _boxes_hold_all(full: ImageStrokes, remaining: ImageStrokes) -> bool:
    """Whether the remaining boxes hold every object that an image's full annotations know of.

    A degradation takes annotations away, never the objects: what it dropped is no background.
    """
    return (
        len(remaining.boxes) == len(full.boxes)
        and set(full.tags) <= _box_classes(full)
        and all(stroke.class_id == 0 for stroke in full.strokes)
    )


def _box_classes(image: ImageStrokes) -> set[int]:
    return {box.class_id for box in image.boxes}


def _label(image: ImageStrokes, dataset: Dataset | None, *, boxes_hold_all: bool) -> np.ndarray:
    """The (H, W) uint8 scribble label of an image; see `degrade_scribbles`."""
    label = rasterise(image.strokes, image.height, image.width)
    if not image.boxes or dataset is None:
        return label
    photograph = dataset.picture(image.image_id)
    if photograph.shape[:2] != label.shape:
        raise ValueError(
            f"{dataset.root}: the photograph of {image.image_id!r} has another size than "
            "dataset.json says; make dataset.json again"
        )
    boxed = label_from_boxes(photograph, image.boxes)
    if not boxes_hold_all:
        boxed[boxed == 0] = IGNORE
    return np.where(label != IGNORE, label, boxed)
