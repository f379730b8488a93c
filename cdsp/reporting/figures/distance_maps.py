"""The figure of distance maps (Fig. 5): how far the labels of a few images reach for each λ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cdsp.dataset.voc_layout import Dataset, choose_images
from cdsp.distance_maps.compute import boundary_distance_map, scribble_distance_map
from cdsp.io.files import IGNORE
from cdsp.io.store import LabelStore
from cdsp.pictures.overlay import overlay, overlay_scribbles
from cdsp.pictures.style import picture_grid


def draw_distance_maps(
    dataset: Dataset,
    scribbles: LabelStore,
    labels: LabelStore,
    scribble_exponents: Sequence[float],
    pseudo_label_exponents: Sequence[float],
    num_images: int,
) -> Figure:
    """Draw scribbles, pseudo-label and the distance maps that follow from them, computed here.

    One row for each image. Bright pixels have a large d: near a scribble in d_s (Eq. 14), far from
    the foreground's boundary in d_c (Eq. 16).

    Args:
        dataset: the training images.
        scribbles: store of scribbles.
        labels: store of pseudo-labels.
        scribble_exponents: λ of each map of the scribbles.
        pseudo_label_exponents: λ of each map of the pseudo-labels.
        num_images: rows, at least 1.

    Raises:
        ValueError: stores of other images, no image, no λ, or a λ out of range.
    """
    ids = choose_images(dataset.training_on(scribbles), num_images)
    if not ids or not (scribble_exponents or pseudo_label_exponents):
        raise ValueError(
            f"distance maps: {len(ids)} training images, λ {[*scribble_exponents]} of the "
            f"scribbles and {[*pseudo_label_exponents]} of the pseudo-labels; expected at least "
            "one image and one λ"
        )
    images = [dataset.picture(image_id) for image_id in ids]
    strokes, regions = (
        [_label(store, dataset, image_id) for image_id in ids] for store in (scribbles, labels)
    )
    palette = dataset.palette
    drawn = [overlay_scribbles(*pair, palette) for pair in zip(images, strokes, strict=True)]
    columns = [("image + scribbles", drawn)]
    for exponent in scribble_exponents:
        maps = [scribble_distance_map(label, exponent) for label in strokes]
        columns.append((f"scribble distance λ = {exponent:g}", maps))
    drawn = [overlay(*pair, palette) for pair in zip(images, regions, strict=True)]
    columns.append(("pseudo-label", drawn))
    for exponent in pseudo_label_exponents:
        maps = [boundary_distance_map(label, exponent) for label in regions]
        columns.append((f"boundary distance λ = {exponent:g}", maps))
    present = {value for label in (*strokes, *regions) for value in np.unique(label).tolist()}
    legend = {dataset.classes[i]: palette[i] for i in sorted(present - {0, IGNORE})}
    return picture_grid(columns, ids, legend)


def _label(store: LabelStore, dataset: Dataset, image_id: str) -> np.ndarray:
    label = store[image_id]
    if label.shape != dataset.size(image_id):
        raise ValueError(
            f"{store.path}: the map of image {image_id!r} has shape {label.shape}, the image "
            f"{dataset.size(image_id)}; make the store again for data set {dataset.name!r}"
        )
    return label
