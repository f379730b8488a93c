"""A picture of a few photographs with their annotations."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.outputs import atomic_path
from cdsp.pictures.overlay import overlay, overlay_outlined_scribbles
from cdsp.pictures.style import add_legend, style
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.strokes import Box, ImageStrokes

_SIDE = 640  # longer side of a photograph, pixels
_WIDER = 4.0  # px, by which strokes are drawn wider, so that they are seen
_WIDTH = 9.0  # of the picture, inches


def draw(
    dataset: Dataset, images: Sequence[ImageStrokes], masked: Collection[str], output: Path
) -> None:
    """Draw photographs with their annotations; with masks, each beside its mask.

    Args:
        dataset: with the photographs.
        images: their annotations.
        masked: ids of the images that have a mask.
        output: the PNG to write.
    """
    panels: list[tuple[str, np.ndarray]] = []
    for image in sorted(images, key=lambda image: image.height / image.width):
        reduced, drawn = _annotated(dataset, image)
        panels.append((image.image_id, drawn))
        if image.image_id in masked:
            size = reduced.shape[1::-1]
            mask = cv2.resize(dataset.mask(image.image_id), size, interpolation=cv2.INTER_NEAREST)
            panels.append((f"{image.image_id}, mask", overlay(reduced, mask, dataset.palette)))
    present = {shape.class_id for image in images for shape in (*image.strokes, *image.boxes)}
    legend = {dataset.classes[i]: dataset.palette[i] / 255 for i in sorted(present)}
    if 0 in present:
        legend[dataset.classes[0]] = np.ones(3)  # background strokes are white
    figure = _sheet(panels, columns=_columns(len(panels), len(images)))
    with style(), atomic_path(output) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of other alphabets, in titles
        patches = {n: Patch(facecolor=tuple(c), edgecolor="0.4") for n, c in legend.items()}
        add_legend(figure, patches)
        figure.savefig(temporary, format="png", dpi=150)


def _columns(num_panels: int, num_images: int) -> int:
    """Three photographs beside each other, or two with their masks."""
    return min(num_panels, 3 if num_panels == num_images else 4)


def _annotated(dataset: Dataset, image: ImageStrokes) -> tuple[np.ndarray, np.ndarray]:
    """A photograph reduced or enlarged to the picture's size, and the same with its annotations."""
    scale = _SIDE / max(image.height, image.width)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    reduced = cv2.resize(dataset.picture(image.image_id), size, interpolation=method)
    label = rasterise(image.strokes, image.height, image.width)
    drawn = overlay_outlined_scribbles(reduced, label, dataset.palette, _WIDER)
    for box in image.boxes:
        _draw_box(drawn, box, scale, dataset.palette[box.class_id])
    return reduced, drawn


def _sheet(panels: Sequence[tuple[str, np.ndarray]], columns: int) -> Figure:
    """Pictures with titles in rows, each row as high as its highest picture."""
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    width = _WIDTH / columns
    heights = [
        max(picture.shape[0] / picture.shape[1] for _, picture in row) * width + 0.25
        for row in rows
    ]
    with style():
        figure = Figure(figsize=(_WIDTH, math.fsum(heights)), layout="constrained")
        axes = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
        for axis in axes.flat:
            axis.axis("off")
        for row, pictures in enumerate(rows):
            for column, (title, picture) in enumerate(pictures):
                axes[row, column].imshow(picture)
                axes[row, column].set_title(title, fontsize=7, pad=2)
    return figure


def _draw_box(picture: np.ndarray, box: Box, scale: float, colour: np.ndarray) -> None:
    corners = ((box.left, box.top), (box.right, box.bottom))
    first, last = (tuple(round(value * scale) for value in corner) for corner in corners)
    cv2.rectangle(picture, first, last, colour.tolist(), 4)
