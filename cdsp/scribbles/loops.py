"""Loops around the objects of an image, which people draw on its background."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.measure import find_contours

from cdsp.scribbles.strokes import arc_length, cut
from cdsp.scribbles.styles import Loop

_SIDE = 128  # px; the image's longest side where loops are sought
_BEYOND = 0.015  # of the shorter side; how far outside of the image its border is taken to be
_LEAST_GAP = 0.04  # of the shorter side; what a pixel beside an object counts as away from it
_BENDS = 4  # along the longest side; strays of a loop that are independent
_NEAREST, _FARTHEST = 0.09, 0.95  # between the objects, 0, and the border, 1


def background_loops(mask: np.ndarray, loop: Loop, rng: np.random.Generator) -> list[np.ndarray]:
    """Find the loops that a hand would draw around the objects of an image.

    A loop is a contour of ``a / (a + b)``, with the distances a to the nearest object and b to the
    image's border, at a level that changes gently from place to place. It ends where objects touch
    the border. Where there is no object, it runs about the image's centre.

    Args:
        mask: (H, W) uint8 true classes; 0 background, 255 void.
        loop: The style's loop.
        rng: Source of the level, and of the end of loops that are closed.

    Returns:
        (N, 2) float64 (x, y) of each stroke's path, that of the longest loop first; empty where the
        background leaves no room for a loop.
    """
    step = max(1, min(round(max(mask.shape) / _SIDE), *mask.shape))
    place, beyond = _places(mask[step // 2 :: step, step // 2 :: step] != 0)
    height, width = place.shape
    knots = rng.standard_normal((_BENDS, _BENDS)).astype(np.float32)
    stray = loop.stray * cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC)
    level = np.clip(loop.place + stray, _NEAREST, _FARTHEST)
    above = gaussian_filter(place - level, loop.rounding * max(height, width))
    last = np.array(mask.shape[::-1]) - 1
    found = [
        np.clip((contour[:, ::-1] - beyond) * step + step // 2, 0, last)
        for contour in find_contours(above, 0)
    ]
    found = sorted(found, key=lambda path: -arc_length(path))
    shortest = loop.shortest * arc_length(found[0]) if found else 0
    paths = []
    for path in found:
        if paths and arc_length(path) < shortest:
            break
        if np.array_equal(path[0], path[-1]):
            path = np.roll(path[:-1], rng.integers(len(path) - 1), axis=0)
        ends = np.linspace(0, arc_length(path), loop.pieces + 1)
        paths += [cut(path, *ends[i : i + 2]) for i in range(loop.pieces)]
    return paths


def _places(taken: np.ndarray) -> tuple[np.ndarray, int]:
    """Where each pixel is between the objects, 0, and the border, 1.

    Args:
        taken: (H, W) bool, what is not background.

    Returns:
        The places, (H + 2 M, W + 2 M) float64, and the margin M around the image.
    """
    if not taken.any():
        taken[taken.shape[0] // 2, taken.shape[1] // 2] = True
    beyond = 1 + round(_BEYOND * min(taken.shape))
    # Objects go on outside of the image where they come near its border: no loop runs between.
    near = cv2.dilate(taken.astype(np.uint8), np.ones((3, 3)))
    padded = np.pad(near, beyond, mode="edge") != 0
    padded[beyond:-beyond, beyond:-beyond] = taken
    height, width = padded.shape
    to_object = cv2.distanceTransform(
        (~padded).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    to_object = np.where(padded, 0, to_object + _LEAST_GAP * min(height, width))
    y, x = np.ogrid[:height, :width]
    to_border = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
    return to_object / (to_object + to_border + 0.5), beyond
