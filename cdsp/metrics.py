"""Confusion matrix and the scores that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cdsp.io.files import IGNORE
from cdsp.settings import nearest


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Count pixels by (true class, predicted class).

    Args:
        truth: uint8 labels; pixels of 255 (void) are not counted.
        prediction: uint8 labels of the same shape; pixels of 255 (undecided) are not counted.
        num_classes: K, background included.

    Returns:
        (K, K) int64; rows are the truth, columns the prediction.

    Raises:
        ValueError: the shapes differ.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"prediction of shape {prediction.shape}, truth of {truth.shape}")
    counted = (truth != IGNORE) & (prediction != IGNORE)
    index = truth[counted].astype(np.int64) * num_classes + prediction[counted]
    return np.bincount(index, minlength=num_classes**2).reshape(num_classes, num_classes)


@dataclass(frozen=True)
class Scores:
    """Scores of a confusion matrix, as fractions.

    Attributes:
        class_iou: (K,) float64, intersection over union; NaN for a class that occurs neither in
            the truth nor in the prediction.
        mean_iou: mean over the classes that occur.
        pixel_accuracy: fraction of the counted pixels that are right; NaN when none is counted.
    """

    class_iou: np.ndarray
    mean_iou: float
    pixel_accuracy: float


def scores(confusion: np.ndarray, classes: list[int] | None = None) -> Scores:
    """Scores of a (K, K) confusion matrix.

    Args:
        confusion: rows are the truth, columns the prediction.
        classes: the classes that the mean is taken over; None for all.
    """
    intersection = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - intersection
    class_iou = np.divide(intersection, union, out=np.full(len(union), np.nan), where=union > 0)
    averaged = class_iou if classes is None else class_iou[classes]
    occurring = averaged[~np.isnan(averaged)]
    total = confusion.sum()
    return Scores(
        class_iou=class_iou,
        mean_iou=float(occurring.mean()) if len(occurring) else float("nan"),
        pixel_accuracy=float(intersection.sum() / total) if total else float("nan"),
    )


def class_indices(names: Sequence[str], classes: Sequence[str]) -> list[int] | None:
    """Indices of the classes that a mean is taken over; None, for all, when none is named.

    Raises:
        ValueError: a name that the data set does not have.
    """
    for name in names:
        if name not in classes:
            raise ValueError(f"unknown class {name!r}{nearest(name, classes)}")
    return [classes.index(name) for name in names] or None
