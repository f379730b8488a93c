"""The size that a photograph of any size is brought to, in training and in use alike."""

from __future__ import annotations

import cv2
import numpy as np

from cdsp.io.pixels import resize


def at_working_size(size: tuple[int, ...], working_size: int) -> tuple[int, int]:
    """(height, width) after the longer side has become ``working_size``; 0 = as it is."""
    factor = working_size / max(size) if working_size else 1.0
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width


def photograph_at_working_size(photograph: np.ndarray, working_size: int) -> np.ndarray:
    """(H, W, C) → (h, w, C), of equal kind: averaged where it shrinks, bilinear where it grows."""
    height, width = at_working_size(photograph.shape[:2], working_size)
    if photograph.shape[:2] == (height, width):
        return photograph
    smaller = (height, width) < photograph.shape[:2]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return resize(photograph, (width, height), interpolation)


def mask_at_working_size(mask: np.ndarray, working_size: int) -> np.ndarray:
    """(H, W) uint8 → (h, w) uint8, each pixel the nearest."""
    height, width = at_working_size(mask.shape, working_size)
    if mask.shape == (height, width):
        return mask
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
