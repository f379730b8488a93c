"""Labels laid over photographs, for people to look at."""

from __future__ import annotations

import cv2
import numpy as np

from cdsp.files import IGNORE, voc_palette

PALETTE = np.array(voc_palette(), np.uint8).reshape(256, 3)


def colourise(label: np.ndarray) -> np.ndarray:
    """(H, W) uint8 label → (H, W, 3) uint8 RGB in VOC colours."""
    return PALETTE[label]


def overlay(image: np.ndarray, label: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """Colour an image where its label is a class: neither background nor 255.

    Args:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8.
        opacity: of the colour, 0..1.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    blended = cv2.addWeighted(image, 1 - opacity, colourise(label), opacity, 0)
    shown = (label != 0) & (label != IGNORE)
    return np.where(shown[..., None], blended, image)


def overlay_scribbles(image: np.ndarray, scribbles: np.ndarray) -> np.ndarray:
    """Draw a scribble label over a dimmed image; background scribbles are white."""
    dimmed = cv2.addWeighted(image, 0.7, np.full_like(image, 128), 0.3, 0)
    colours = colourise(scribbles)
    colours[scribbles == 0] = 255
    return np.where((scribbles != IGNORE)[..., None], colours, dimmed)
