"""Labels laid over photographs, for people to look at."""

from __future__ import annotations

import cv2
import numpy as np

from cdsp.io.files import IGNORE


def overlay(
    image: np.ndarray, label: np.ndarray, palette: np.ndarray, opacity: float = 0.6
) -> np.ndarray:
    """Colour an image where its label is a class: neither background nor 255.

    Args:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8.
        palette: (256, 3) uint8, the colour of each class.
        opacity: of the colour, 0..1.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    blended = cv2.addWeighted(image, 1 - opacity, palette[label], opacity, 0)
    shown = (label != 0) & (label != IGNORE)
    return np.where(shown[..., None], blended, image)


def overlay_scribbles(image: np.ndarray, scribbles: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Draw a scribble label over a dimmed image; background scribbles are white.

    Args:
        image: (H, W, 3) uint8 RGB.
        scribbles: (H, W) uint8.
        palette: (256, 3) uint8, the colour of each class.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    dimmed = cv2.addWeighted(image, 0.7, np.full_like(image, 128), 0.3, 0)
    colours = palette[scribbles]
    colours[scribbles == 0] = 255
    return np.where((scribbles != IGNORE)[..., None], colours, dimmed)
