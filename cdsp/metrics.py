"""Confusion matrix and the scores that follow from it; held-out strokes and their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from typing import Any, NamedTuple

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


CONFIDENCE = 1.959963984540054
"""Standard deviations of a normal distribution on either side that hold 95 % of it."""


class Share(NamedTuple):
    """A fraction with its 95 % confidence interval: 0 <= low <= value <= high <= 1."""

    value: float
    low: float
    high: float


def wilson(share: float, number: float) -> Share:
    """A fraction of ``number`` independent trials, > 0, with its Wilson score interval.

    Unlike the normal approximation it says something of few trials, and of none that failed: of
    five that all went well, the interval is 0.57 to 1. Values between 0 and 1 vary less than
    trials that fail or do not, so that for them it is rather too wide than too narrow.
    """
    squared = CONFIDENCE**2 / number
    centre = (share + squared / 2) / (1 + squared)
    half = CONFIDENCE * sqrt(share * (1 - share) / number + squared / (4 * number)) / (1 + squared)
    return Share(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def mean_share(shares: Sequence[Share]) -> Share | None:
    """The mean of independent fractions; None of none.

    Its interval recovers a variance from each of theirs (MOVER: Zou and Donner, Statistics in
    Medicine 2008): distances from the fractions to their limits add up in squares.
    """
    if not shares:
        return None
    mean = fsum(share.value for share in shares) / len(shares)
    below = sqrt(fsum((share.value - share.low) ** 2 for share in shares)) / len(shares)
    above = sqrt(fsum((share.high - share.value) ** 2 for share in shares)) / len(shares)
    return Share(mean, max(0.0, mean - below), min(1.0, mean + above))


def percent(share: Share) -> str:
    """A fraction with its interval in percent, for messages: "84.0 % (71.2 to 91.5)"."""
    value, low, high = (100 * number for number in share)
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


class HeldOut:
    """How many pixels of held-out strokes are right, class by class, gathered over images.

    Attributes:
        confusion: (K, K) int64 pixels by (class of the stroke, predicted class); pixels of 255
            (undecided) stand nowhere in it, and are wrong.
    """

    def __init__(self, num_classes: int) -> None:
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self._pixels = np.zeros((3, num_classes), np.float64)  # all, right, sum of squares

    def add(self, strokes: np.ndarray, prediction: np.ndarray) -> None:
        """Count an image.

        Args:
            strokes: (H, W) uint8, the class of each held-out pixel, 255 elsewhere.
            prediction: (H, W) uint8 labels; 255 is wrong.
        """
        num_classes = len(self.confusion)
        known = strokes != IGNORE
        number = np.bincount(strokes[known], minlength=num_classes)
        right = np.bincount(strokes[known & (prediction == strokes)], minlength=num_classes)
        self.confusion += confusion_matrix(strokes, prediction, num_classes)
        self._pixels += np.stack([number, right, number.astype(np.float64) ** 2])

    @classmethod
    def joined(cls, parts: Sequence[HeldOut]) -> HeldOut:
        """What was counted in several parts, of images that no two of them share."""
        whole = cls(len(parts[0].confusion))
        for part in parts:
            whole.confusion += part.confusion
            whole._pixels += part._pixels
        return whole

    def shares(self) -> list[Share | None]:
        """Per class, the fraction of its held-out pixels that are right; None where none are.

        Pixels of one image stand or fall together, so that images are the trials: as many as the
        images of a class, were its pixels spread evenly over them (Kish's effective number, the
        square of the sum over the sum of squares).
        """
        return [
            wilson(right / number, number**2 / squares) if number else None
            for number, right, squares in self._pixels.T.tolist()
        ]


def held_out_entries(
    names: Sequence[str], shares: Sequence[Share | None], averaged: list[int] | None = None
) -> dict[str, Any]:
    """What files tell of held-out strokes: fractions, and the limits of their intervals.

    Args:
        names: of all classes.
        shares: one for each class.
        averaged: the classes that the mean is taken over; None for all.

    Returns:
        ``held_out_accuracy``, the mean over the classes that have held-out strokes, and
        ``class_held_out_accuracy``, class → fraction; ``held_out_interval`` and
        ``class_held_out_interval``, [low, high] of each. None where nothing is held out.
    """
    mean = mean_share(
        [s for i, s in enumerate(shares) if s and (averaged is None or i in averaged)]
    )
    by_class = list(zip(names, shares, strict=True))
    return {
        "held_out_accuracy": mean and mean.value,
        "held_out_interval": mean and [mean.low, mean.high],
        "class_held_out_accuracy": {name: share and share.value for name, share in by_class},
        "class_held_out_interval": {
            name: share and [share.low, share.high] for name, share in by_class
        },
    }


def read_shares(entries: Mapping[str, Any]) -> dict[str, Share | None]:
    """Class → its fraction with the interval, of what `held_out_entries` made.

    Raises:
        KeyError, TypeError, ValueError: something else.
    """
    intervals = entries["class_held_out_interval"]
    return {
        name: None if value is None else Share(float(value), *map(float, intervals[name]))
        for name, value in entries["class_held_out_accuracy"].items()
    }


def recall(confusion: np.ndarray, classes: list[int] | None = None) -> float:
    """Mean, over the classes that occur, of the fraction of a class's pixels that are right.

    Args:
        confusion: (K, K), rows are the truth, columns the prediction.
        classes: the classes that the mean is taken over; None for all.
    """
    total = confusion.sum(axis=1)
    right = np.divide(np.diag(confusion), total, out=np.full(len(total), np.nan), where=total > 0)
    known = right if classes is None else right[classes]
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else float("nan")
