"""From CAMs to pseudo-labels: a background score, an argmax, and the scribbles as witnesses."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cdsp.config import LabelSettings
from cdsp.dataset.voc_layout import Dataset
from cdsp.files import (
    IGNORE,
    QUALITY_FORMAT,
    QUALITY_VERSION,
    check_label,
    problem_list,
    read_label,
    write_json,
)
from cdsp.metrics import confusion_matrix, scores
from cdsp.progress import progress
from cdsp.settings import settings_dict
from cdsp.store import LabelStore, write_store

STAGE_VERSION = 1

logger = logging.getLogger(__name__)


def calibrated_threshold(score: np.ndarray, scribbles: np.ndarray) -> float | None:
    """The threshold that best separates foreground from background scribble pixels.

    It maximises the mean of the two fractions that fall on their right side (foreground above,
    background not above); it is the middle of the widest range of equally good thresholds.

    Args:
        score: (H, W) uint8, 255 = 1.0: the foreground score.
        scribbles: (H, W) uint8 scribble label.

    Returns:
        The threshold, 0..1, or None when either kind of scribble is missing.
    """
    background = np.bincount(score[scribbles == 0], minlength=256)
    foreground = np.bincount(score[(scribbles != 0) & (scribbles != IGNORE)], minlength=256)
    if not background.any() or not foreground.any():
        return None
    background_right = background.cumsum() / background.sum()
    foreground_right = 1 - foreground.cumsum() / foreground.sum()
    quality = background_right + foreground_right
    best = np.flatnonzero(quality >= quality.max() - 1e-12)
    widest = max(np.split(best, np.flatnonzero(np.diff(best) > 1) + 1), key=len)
    return float((widest[0] + widest[-1]) / 2 / 255)


def label_from_cams(
    cams: np.ndarray,
    classes: list[int],
    settings: LabelSettings,
    scribbles: np.ndarray,
) -> np.ndarray:
    """The pseudo-label of one image.

    Args:
        cams: (number of classes, H, W) uint8, 255 = 1.0.
        classes: the class of each map.
        settings: background score, uncertain band, scribbles.
        scribbles: (H, W) uint8 scribble label.

    Returns:
        (H, W) uint8: 0 where the background scores highest, else the class with the highest map;
        255 where the two scores differ by less than the uncertain band.
    """
    if classes:
        score = cams.max(axis=0)
        label = np.array(classes, np.uint8)[cams.argmax(axis=0)]
    else:
        score, label = np.zeros_like(scribbles), np.zeros_like(scribbles)
    foreground = score / 255.0
    if settings.background == "power":
        background: float | np.ndarray = (1 - foreground) ** settings.power
    else:
        background = settings.threshold
        if settings.background == "calibrated":
            calibrated = calibrated_threshold(score, scribbles)
            background = settings.threshold if calibrated is None else calibrated
    label = np.where(foreground > background, label, np.uint8(0))
    if classes:
        label[np.abs(foreground - background) < settings.uncertain_band] = IGNORE
    if settings.write_scribbles:
        label = np.where(scribbles != IGNORE, scribbles, label)
    return label


def make_pseudo_labels(
    cams: Path, scribbles: Path, settings: LabelSettings, output: Path, *, recipe: str
) -> None:
    """Write the pseudo-labels of every image that has CAMs.

    Args:
        cams: store of CAMs.
        scribbles: store of scribble labels.
        settings: from CAMs to labels.
        output: the store to write.
        recipe: the name of the recipe, kept in the store.
    """
    cam_store, scribble_store = LabelStore(cams, "cams"), LabelStore(scribbles, "scribbles")

    def labels() -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
        for image_id in progress(cam_store, "pseudo-labels"):
            present = [int(value) for value in cam_store.attributes(image_id)["classes"]]
            label = label_from_cams(
                cam_store[image_id], present, settings, scribble_store[image_id]
            )
            yield image_id, label, {}

    write_store(
        output,
        labels(),
        kind="pseudo_labels",
        parameters={
            "recipe": recipe,
            "scribbles": scribble_store.parameters["scribbles"],
            **settings_dict(settings),
            "cams": cam_store.parameters,
            "version": STAGE_VERSION,
        },
        sources={"cams": cam_store.digest, "scribbles": scribble_store.digest},
    )


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
            are no class.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of pseudo-labels")
    ids = dataset.splits["train"]

    def read(image_id: str) -> np.ndarray:
        path = folder / f"{image_id}.png"
        label = read_label(path)
        if label.shape != dataset.size(image_id):
            raise ValueError(f"{path}: shape {label.shape}, its image {dataset.size(image_id)}")
        check_label(label, len(dataset.classes), str(path))
        return label

    problems = []
    for image_id in progress(ids, "checking pseudo-labels"):
        try:
            read(image_id)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(problem_list(str(folder), problems))
    write_store(
        output,
        ((image_id, read(image_id), {}) for image_id in ids),
        kind="pseudo_labels",
        parameters={"recipe": recipe, "scribbles": scribbles, "version": STAGE_VERSION},
        sources={"dataset": dataset.digest},
    )


def measure_pseudo_labels(labels: Path, dataset: Dataset, output: Path) -> dict[str, Any]:
    """Compare pseudo-labels with the training masks; for reading only, nothing is chosen by it.

    Args:
        labels: store of pseudo-labels.
        dataset: the training images; without masks of them only the coverage is known.
        output: the JSON file to write: mean IoU and pixel accuracy over the pixels that have a
            pseudo-label and each class's IoU (null where unknown), and the coverage (fraction of
            the pixels that have a pseudo-label).
    """
    store = LabelStore(labels, "pseudo_labels")
    num_classes = len(dataset.classes)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    num_pixels = num_labelled = 0
    for image_id in progress(dataset.splits["train"], "measuring pseudo-labels"):
        label = store[image_id]
        known = np.ones(label.shape, bool)
        if dataset.train_masks:
            mask = dataset.mask(image_id)
            confusion += confusion_matrix(mask, label, num_classes)
            known = mask != IGNORE
        num_pixels += int(known.sum())
        num_labelled += int((known & (label != IGNORE)).sum())
    result = scores(confusion)
    quality = {
        "format": QUALITY_FORMAT,
        "version": QUALITY_VERSION,
        "recipe": store.parameters["recipe"],
        "scribbles": store.parameters["scribbles"],
        "mean_iou": result.mean_iou if dataset.train_masks else None,
        "pixel_accuracy": result.pixel_accuracy if dataset.train_masks else None,
        "coverage": num_labelled / num_pixels,
        "class_iou": {
            name: None if np.isnan(value) else float(value)
            for name, value in zip(dataset.classes, result.class_iou, strict=True)
        },
    }
    write_json(output, quality)
    if dataset.train_masks:
        logger.info("pseudo-labels: mIoU %.2f", 100 * result.mean_iou)
    return quality
