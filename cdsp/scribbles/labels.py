"""The files of the scribble stage: strokes, scribble labels and image-level classes.

strokes.jsonl         ordered polylines with class and width, one image to a line
labels.h5             the same, rasterised: 255 = unlabelled
image_classes.json    object classes that remain in each image's strokes
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cdsp.dataset.voc_layout import Dataset
from cdsp.files import IGNORE, read_json, write_json
from cdsp.progress import progress
from cdsp.scribbles.degrade import Degradation, degrade
from cdsp.scribbles.simulate import simulate_strokes, stroke_width
from cdsp.scribbles.strokes import (
    ImageStrokes,
    rasterise,
    read_header,
    read_strokes,
    write_strokes,
)
from cdsp.store import write_store

CLASSES_FORMAT = "cdsp-image-classes"
VERSION = 1
STAGE_VERSION = 1

logger = logging.getLogger(__name__)


def simulate_scribbles(dataset: Dataset, output: Path, *, coverage: float, seed: int) -> None:
    """Simulate strokes from the training masks, as a hand would draw them.

    Args:
        dataset: with masks of its training images.
        output: the strokes file to write.
        coverage: fraction of the pixels to be labelled.
        seed: of all random draws.
    """

    def images() -> Iterator[ImageStrokes]:
        for image_id in progress(dataset.splits["train"], "simulating strokes"):
            mask = dataset.mask(image_id)
            height, width = mask.shape
            # Each image has a stream of its own: it does not depend on which others are listed.
            rng = np.random.default_rng([seed, zlib.crc32(image_id.encode())])
            strokes = simulate_strokes(
                mask, rng, width=stroke_width(height, width), coverage=coverage
            )
            yield ImageStrokes(image_id, height, width, strokes)

    write_strokes(
        output,
        images(),
        {
            "dataset": dataset.digest,
            "classes": list(dataset.classes),
            "simulated": {"coverage": coverage, "seed": seed, "version": STAGE_VERSION},
        },
    )


def degrade_scribbles(
    strokes: Path,
    degradation: Degradation,
    output: Path,
    *,
    drop_background: bool,
    min_per_image: int,
    seed: int,
) -> None:
    """Degrade strokes, rasterise what remains, and list the classes that it names.

    Args:
        strokes: the full strokes.
        degradation: what is done to them.
        output: folder for ``strokes.jsonl``, ``image_classes.json`` and ``labels.h5``.
        drop_background: drop background strokes too.
        min_per_image: object strokes that each image keeps.
        seed: of the draw of the dropped strokes.
    """
    header = read_header(strokes)
    source = {key: value for key, value in header.items() if key not in ("format", "version")}
    parameters: dict[str, Any] = {"scribbles": degradation.name, "version": STAGE_VERSION}
    if degradation.kind == "drop":
        parameters |= {"drop_background": drop_background, "min_per_image": min_per_image}
        parameters |= {"seed": seed}

    def remaining() -> Iterator[ImageStrokes]:
        for image in read_strokes(strokes):
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
        for image in progress(read_strokes(output / "strokes.jsonl"), "scribble labels"):
            label = rasterise(image.strokes, image.height, image.width)
            values = np.unique(label)
            classes[image.image_id] = values[(values != 0) & (values != IGNORE)].tolist()
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
        logger.warning("%d of %d images have no object scribble", without, len(classes))
    write_json(
        output / "image_classes.json",
        {"format": CLASSES_FORMAT, "version": VERSION, **parameters, "images": classes},
    )


def read_image_classes(path: Path) -> dict[str, list[int]]:
    """Image id → object classes (1..K-1, ascending) that its scribbles name.

    Raises:
        ValueError: missing, damaged or of another version.
    """
    return read_json(path, CLASSES_FORMAT, VERSION)["images"]
