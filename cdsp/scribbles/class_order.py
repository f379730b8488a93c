"""Whether names of classes and the numbers in masks mean the same: strokes on masks tell.

Names have an order, masks have numbers, and nothing in either says which belong together. Where
strokes and a mask of the same image exist, a class's strokes lie on the number that it has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from cdsp.io.files import IGNORE
from cdsp.io.findings import Findings

_FEWEST = 20  # pixels of a class, to say that an order is wrong
_CLEARLY = 0.5  # share of them


class ClassOrder:
    """Counts on which numbers of the masks each class's strokes lie."""

    def __init__(self, num_classes: int) -> None:
        self.counts = np.zeros((num_classes, num_classes), np.int64)
        """Pixels by (class of the stroke, number in the mask)."""

    def add(self, strokes: np.ndarray, mask: np.ndarray) -> None:
        """Count the strokes of an image, (H, W) uint8 with 255 for unlabelled, on its mask."""
        number = len(self.counts)
        counted = (strokes < number) & (mask < number) & (strokes != IGNORE)
        pairs = strokes[counted].astype(np.int64) * number + mask[counted]
        self.counts += np.bincount(pairs, minlength=number**2).reshape(number, number)

    def best(self) -> list[int]:
        """For each class the number that its strokes lie on; its own where none lies on any.

        Of the numbers that no class has clearly, a point or two decide.
        """
        totals = self.counts.sum(axis=1, keepdims=True)
        shares = self.counts / np.maximum(totals, 1)
        clear = self._known & (shares.max(axis=1) > _CLEARLY)
        little = 1e-3 * shares + 1e-4 * np.eye(len(shares))
        weights = np.where(clear[:, None], shares, little)
        rows, numbers = linear_sum_assignment(weights, maximize=True)
        return numbers[np.argsort(rows)].tolist()

    @property
    def _known(self) -> np.ndarray:
        """Which classes have enough strokes on masks to say that an order is wrong."""
        return self.counts.sum(axis=1) >= _FEWEST

    def shares(self) -> np.ndarray:
        """Per class, the share of its strokes' pixels that lies on its own number; NaN for none."""
        totals = self.counts.sum(axis=1)
        own = np.diag(self.counts)
        return np.divide(own, totals, out=np.full(len(totals), np.nan), where=totals > 0)

    def tell(self, classes: Sequence[str], findings: Findings) -> None:
        """Make a problem of it where another order of the classes clearly fits the masks better.

        Where strokes lie beside the masks' regions and no order fits, it is a hint.
        """
        best, shares = self.best(), self.shares()
        wrong = [i for i, share in enumerate(shares) if share < _CLEARLY]
        moved = [i for i, number in enumerate(best) if i != number]
        if not wrong:
            return
        totals = np.maximum(self.counts.sum(axis=1), 1)
        clear = [self.counts[i, best[i]] / totals[i] for i in moved]
        unclear = any(0 < share <= _CLEARLY for share in clear) or not self._known[moved].any()
        if set(wrong) - set(moved) or unclear:
            findings.hints.append(
                "strokes and masks of the same images disagree: of the strokes of "
                f"{classes[wrong[0]]!r}, {100 * shares[wrong[0]]:.0f} % lie on its number in the "
                "masks"
            )
            return
        told = "; ".join(
            f"{100 * share:.0f} % of the strokes of {classes[i]!r} lie on number {best[i]}, which "
            f"the list calls {classes[best[i]]!r}"
            for i, share in zip(moved, clear, strict=True)
            if share
        )
        findings.problems.append(
            f"the classes are not in the order of the numbers in the masks: {told}; the order "
            f"that fits is {', '.join(reordered(classes, best))}"
        )


def reordered(classes: Sequence[str], numbers: Sequence[int]) -> list[str]:
    """The names in the order of their numbers."""
    return [classes[int(i)] for i in np.argsort(numbers)]
