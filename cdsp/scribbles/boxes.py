"""Labels from boxes: GrabCut (Rother, Kolmogorov and Blake, SIGGRAPH 2004) cuts out the objects."""

from collections.abc import Sequence
from math import ceil, floor

import cv2
import numpy as np

from cdsp.io.files import IGNORE
from cdsp.scribbles.strokes import Box

Window = tuple[slice, slice]  # rows, columns

_LONGEST_SIDE = 240  # px; larger surroundings of a box are reduced to this
_MARGIN = 0.1  # of the longer side of the box: what around it shows the background
_LEAST_MARGIN = 10  # px
_ITERATIONS = 3


def label_from_boxes(image: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """Label an image from boxes around its objects.

    GrabCut divides each box by colour, on its own: what lies around the box is background for sure,
    the middle third of its height and width is the object for sure. It sees the box and a margin,
    reduced to at most 240 px, so that a large photograph takes no longer than a small one; the
    outline is as coarse as that. Where GrabCut has nothing to compare with, because the box leaves
    no background or is too small, the middle third alone is the object.

    Equal arguments give equal labels.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: The boxes; objects of smaller boxes are painted over those of larger ones, and later
            ones over earlier ones of the same size.

    Returns:
        (H, W) uint8: the class of a box where its object is, 255 elsewhere within the boxes, 0
        outside all of them.
    """
    label = np.zeros(image.shape[:2], np.uint8)
    windows = [(_window(box, label.shape), box.class_id) for box in boxes]
    for window, _ in windows:
        label[window] = IGNORE
    for window, class_id in sorted(windows, key=lambda entry: -label[entry[0]].size):
        if label[window].size:
            label[window][_cut_out(image, window)] = class_id
    return label


def _window(box: Box, shape: tuple[int, ...]) -> Window:
    """The pixels of an (H, W) image whose centres lie within a box; perhaps none."""
    height, width = shape
    return _span(box.top, box.bottom, height), _span(box.left, box.right, width)


def _span(first: float, last: float, length: int) -> slice:
    return slice(max(0, ceil(first)), max(0, min(length, floor(last) + 1)))


def _cut_out(image: np.ndarray, window: Window) -> np.ndarray:
    """Where in a window of at least one pixel the object is: bool, of the window's shape."""
    size = image[window].shape[:2]
    middle = np.zeros(size, bool)
    middle[tuple(slice(side // 3, side - side // 3) for side in size)] = True

    margin = max(_LEAST_MARGIN, ceil(_MARGIN * max(size)))
    view = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in window)
    surroundings = image[view]
    inside = tuple(
        slice(side.start - wide.start, side.stop - wide.start)
        for side, wide in zip(window, view, strict=True)
    )
    seeds = np.full(surroundings.shape[:2], cv2.GC_BGD, np.uint8)
    seeds[inside] = np.where(middle, np.uint8(cv2.GC_FGD), np.uint8(cv2.GC_PR_FGD))
    # A thin middle may have got lost where the surroundings were reduced.
    return middle | _grab_cut(surroundings, seeds)[inside]


def _grab_cut(image: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Run GrabCut on a reduced copy of an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        seeds: (H, W) uint8, of OpenCV's four kinds.

    Returns:
        (H, W) bool: the foreground; nowhere, where there are no seeds of the fore- or background.
    """
    full_size = image.shape[1::-1]
    factor = min(1.0, _LONGEST_SIDE / max(full_size))
    size = [max(1, round(side * factor)) for side in full_size]
    reduced = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    result = cv2.resize(seeds, size, interpolation=cv2.INTER_NEAREST)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(reduced, result, (0, 0, 0, 0), *models, _ITERATIONS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        return np.zeros(seeds.shape, bool)
    foreground = np.isin(result, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    return cv2.resize(foreground, full_size, interpolation=cv2.INTER_NEAREST) != 0
