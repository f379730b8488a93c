"""Pseudo-labels made elsewhere (SEAM, AFA, BMP…): a folder of index PNGs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import IGNORE, check_label, problem_list, read_label
from cdsp.io.store import write_store
from cdsp.progress import progress
from cdsp.versions import VERSIONS


def import_pseudo_labels(
    folder: Path, dataset: Dataset, scribbles: str, output: Path, *, recipe: str
) -> None:
    """Take pseudo-labels made elsewhere: a folder with ``<id>.png`` for every training image.

    Args:
        folder: of index PNGs, 0..K-1 and 255.
        dataset: the training images.
        scribbles: name of the scribbles that the runs on them use.
        output: the store to write.
        recipe: the name of the recipe, kept in the store.

    Raises:
        ValueError: listing every file that is missing, broken, of another size or with values that
            are no class; or labels of less than two classes, from which nothing can be learnt.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of pseudo-labels")
    ids = dataset.splits["train"]

    def read(image_id: str) -> np.ndarray:
        path = folder / f"{image_id}.png"
        label = read_label(path)
        photographed = dataset.as_photographed.size(image_id)
        if label.shape != photographed:
            raise ValueError(f"{path}: shape {label.shape}, its image {photographed}")
        height, width = dataset.size(image_id)
        label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        check_label(label, len(dataset.classes), str(path))
        return label

    problems: list[str] = []
    found: set[int] = set()
    for image_id in progress(ids, "checking pseudo-labels"):
        try:
            found.update(np.unique(read(image_id)).tolist())
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(problem_list(str(folder), problems))
    if len(found - {IGNORE}) < 2:
        raise ValueError(
            f"{folder}: the labels of all {len(ids)} images hold the values {sorted(found)} alone; "
            f"expected class indices from 0 (background) to {len(dataset.classes) - 1}, two of "
            f"them at least, where {IGNORE} is no object but an unlabelled pixel"
        )
    write_store(
        output,
        ((image_id, read(image_id), {}) for image_id in ids),
        kind="pseudo_labels",
        parameters={
            "recipe": recipe,
            "scribbles": scribbles,
            "version": VERSIONS["pseudo_labels import"],
        },
        sources={"dataset": dataset.digest},
    )
