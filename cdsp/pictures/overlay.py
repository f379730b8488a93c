"""Labels laid over photographs, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cdsp.io.files import IGNORE

_CLEAR = (
    (255, 0, 200),
    (0, 220, 255),
    (255, 140, 0),
    (255, 255, 0),
    (130, 80, 255),
    (255, 60, 60),
    (0, 255, 160),
)


def clear_colours(classes: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Colours of a few object classes that lie far from each other, and from leaves and soil.

    VOC's are dark, and the second is the green of leaves.

    Args:
        classes: names of all classes, the background first.

    Returns:
        Class → (red, green, blue), or nothing for more than seven kinds of objects.
    """
    objects = classes[1:]
    return dict(zip(objects, _CLEAR, strict=False)) if len(objects) <= len(_CLEAR) else {}


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


def overlay_outlined_scribbles(
    image: np.ndarray, scribbles: np.ndarray, palette: np.ndarray, width: float
) -> np.ndarray:
    """Draw a photograph's scribbles over a reduced or enlarged copy of it, for all to be seen.

    Strokes are drawn wider, and a black and a white line go round them: a green stroke is seen on a
    green plant, a white one on snow.

    Args:
        image: (h, w, 3) uint8 RGB, the copy.
        scribbles: (H, W) uint8, at the photograph's size.
        palette: (256, 3) uint8, the colour of each class.
        width: by which strokes are wider, pixels of the copy.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    # At the larger of both sizes: a thin stroke would not survive a reduction, nor grow by a part.
    grows = image.shape[1] > scribbles.shape[1]
    label = _resized(scribbles, image) if grows else scribbles
    label = _grown(label, max(1, round(width * label.shape[1] / image.shape[1])))
    label = _resized(label, image)
    drawn = overlay_scribbles(image, label, palette)
    stroke = (label != IGNORE).astype(np.uint8)
    black, white = (cv2.dilate(stroke, np.ones((side, side), np.uint8)) > 0 for side in (3, 5))
    drawn[white & ~black] = 255
    drawn[black & (stroke == 0)] = 0
    return drawn


def _resized(label: np.ndarray, image: np.ndarray) -> np.ndarray:
    return cv2.resize(label, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def _grown(label: np.ndarray, side: int) -> np.ndarray:
    """(H, W) label whose strokes are wider by ``side`` pixels, where they leave room."""
    grown = np.full_like(label, IGNORE)
    for class_id in np.unique(label[label != IGNORE]).tolist():
        near = cv2.dilate((label == class_id).astype(np.uint8), np.ones((side, side), np.uint8))
        grown[near > 0] = class_id
    return np.where(label != IGNORE, label, grown)
