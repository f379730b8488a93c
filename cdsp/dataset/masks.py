"""True masks of a folder: what each holds, and what all of them together cannot mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from cdsp.io.files import (
    IGNORE,
    VOC_PALETTE,
    check_label,
    read_label,
)
from cdsp.io.findings import Findings

_THICK = 0.05
"""A region is no border if a circle of this radius, as a part of the image's side, fits into it."""

_MOST = 0.5  # of the pixels; more void is a mask that is drawn in part


@dataclass
class MaskCensus:
    """What the masks of a folder hold; grows with `add`.

    Attributes:
        pixels: (256,) int64, the pixels of each value in all masks.
        images: (256,) int64, the masks in which each value occurs.
        number: masks.
        void: masks that are 255 throughout.
        thick_void: masks in which 255 fills a region that is no border of an object.
    """

    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    images: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    number: int = 0
    void: list[Path] = field(default_factory=list)
    thick_void: list[Path] = field(default_factory=list)

    def add(
        self, path: Path, height: int, width: int, num_classes: int, findings: Findings
    ) -> None:
        """Read a mask and count what it holds.

        Args:
            path: a PNG of class indices.
            height: of its image, pixels.
            width: of its image, pixels.
            num_classes: background included; a mask holds the values below it and 255.
            findings: what its colours say of its indices; grows.

        Raises:
            ValueError: it cannot be read, has another size or a value of no class.
        """
        mask = read_label(path)
        if mask.shape != (height, width):
            raise ValueError(
                f"{path}: the mask is {mask.shape[1]}×{mask.shape[0]}, "
                f"its image {width}×{height} pixels"
            )
        check_label(mask, num_classes, str(path))
        counts = np.bincount(mask.ravel(), minlength=256)
        self.pixels += counts
        self.images += counts > 0
        self.number += 1
        if counts[IGNORE] == mask.size:
            self.void.append(path)
        elif _is_thick(mask == IGNORE):
            self.thick_void.append(path)
        _compare_colours(path, np.flatnonzero(counts[:IGNORE]), num_classes, findings)

    def tell(
        self, folder: Path, classes: Sequence[str], void_regions: bool, findings: Findings
    ) -> None:
        """Tell what the masks cannot mean, or may not mean.

        Args:
            folder: theirs, for messages.
            classes: names of all classes, the background first; none: not known.
            void_regions: whether somebody said that 255 fills whole regions on purpose.
            findings: grows.
        """
        if not self.number:
            return
        values = set(np.flatnonzero(self.pixels).tolist())
        absent = [name for index, name in enumerate(classes) if index and index not in values]
        if values == {IGNORE}:
            findings.problems.append(
                f"{folder}: every mask is 255 (void) throughout, so that nothing can be measured; "
                "give each pixel its class index"
            )
        elif values == {0, IGNORE}:
            findings.problems.append(
                f"{folder}: the masks hold 0 and 255 alone: black-and-white images? 255 is void, "
                f"so that no object is ever counted; write {_example(classes)} where an object is"
            )
        elif absent and 2 * len(self.thick_void) > self.number and not void_regions:
            findings.problems.append(
                f"{folder}: 255 (void) fills whole regions of {len(self.thick_void)} of "
                f"{self.number} masks, such as {self.thick_void[0].name}, and "
                f"{', '.join(absent)} occurs in none: if 255 is that class, write "
                f"{list(classes).index(absent[0])}; if it is void, say so by void_regions: true "
                "(check: --void-regions)"
            )
        elif absent:
            findings.hints.append(
                f"no mask holds {', '.join(absent)}: it cannot be measured; are the numbers in "
                f"{folder.name} those of the list of classes?"
            )
        if self.void and values != {IGNORE}:
            findings.hints.append(
                "the mask is 255 (void) throughout and measures nothing",
                self.void[0],
                len(self.void),
            )


def _example(classes: Sequence[str]) -> str:
    """What to write instead of 255, for a message."""
    if len(classes) == 2:
        return f"1 ({classes[1]})"
    return f"the class index, 1 to {len(classes) - 1}," if classes else "the class index"


def _is_thick(region: np.ndarray) -> bool:
    """Whether a region looks like an object: wider than a border, and not most of the image."""
    if not 0 < region.mean() < _MOST:
        return False
    padded = np.pad(region, 1).astype(np.uint8)
    farthest = cv2.distanceTransform(padded, cv2.DIST_L2, 3).max()
    return bool(farthest > max(2.0, _THICK * min(region.shape)))


def _compare_colours(path: Path, indices: np.ndarray, num_classes: int, findings: Findings) -> None:
    """Compare a palette PNG's own colours with VOC's, where all of them are VOC's."""
    with Image.open(path) as image:
        palette = image.getpalette("RGB") if image.mode == "P" else None
    if palette is None:
        return
    of_colour = {tuple(VOC_PALETTE[i]): i for i in (*range(num_classes), IGNORE)}
    meant = {i: of_colour.get(tuple(palette[3 * i : 3 * i + 3])) for i in indices.tolist()}
    wrong = {i: m for i, m in meant.items() if m is not None and m != i}
    if not wrong or None in meant.values():
        return
    index, class_id = next(((i, m) for i, m in wrong.items() if m == 0), next(iter(wrong.items())))
    text = (
        f"its indices contradict its own colours: index {index} is shown in VOC's colour of class "
        f"{class_id}{' (black, background)' if class_id == 0 else ''}"
    )
    if class_id == 0:
        findings.problems.append(
            f"{text}; a program has renumbered the colours: write the mask again, each colour as "
            "the index of its class",
            path,
        )
    else:
        findings.hints.append(text, path)
