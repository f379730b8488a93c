"""Stage `distance_maps`: scribble and pseudo-label distance maps (Eq. 14 and 16), as uint8.

With d the exact Euclidean distance of a pixel to its nearest source pixel,

    q(λ) = floor(min(255, sqrt(e^λ · d²)))

is stored: as 255 − q for the scribble map (near is reliable) and as q for the boundary map (near
the boundary is not). λ is the exponent. The maps saturate at 255/√(e^λ) pixels: 155 px for λ = 1,
94 for 2, 12.7 for 6, 7.7 for 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cdsp.io.files import IGNORE
from cdsp.io.outputs import check_outputs
from cdsp.io.store import LabelStore, write_store
from cdsp.progress import progress
from cdsp.versions import VERSIONS


@lru_cache(maxsize=8)
def _quantisation(exponent: float) -> np.ndarray:
    """q(λ) of every squared distance 0, 1, 2, … up to the first that saturates: (N,) uint8."""
    if not 0 <= exponent <= 20:
        raise ValueError(f"exponent {exponent}: expected λ between 0 and 20")
    saturated = math.ceil(255**2 / math.exp(exponent))
    squared = np.arange(saturated + 1, dtype=np.float64)
    return np.minimum(255.0, np.sqrt(math.exp(exponent) * squared)).astype(np.uint8)


def _quantised_distance(sources: np.ndarray, exponent: float) -> np.ndarray:
    """q(λ): (H, W) bool sources → (H, W) uint8; 255 everywhere when there is no source."""
    table = _quantisation(exponent)
    if not sources.any():
        return np.full(sources.shape, 255, np.uint8)
    # OpenCV measures the distance to the nearest zero pixel, exactly with this mask size. It is a
    # float32 root: the squared distance is the integer beside its square, since no square that
    # matters is above 65026, where float32 is still exact to 1/128.
    distance = cv2.distanceTransform(
        np.where(sources, np.uint8(0), np.uint8(1)), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    np.minimum(distance, np.float32(math.sqrt(len(table) - 1)), out=distance)
    np.square(distance, out=distance)
    distance += np.float32(0.5)
    return table[distance.astype(np.uint16)]


def _check(label: np.ndarray) -> None:
    if label.ndim != 2 or label.dtype != np.uint8 or label.size == 0:
        raise ValueError(
            f"expected an (H, W) uint8 label, found shape {label.shape} of {label.dtype}"
        )


def scribble_distance_map(scribbles: np.ndarray, exponent: float) -> np.ndarray:
    """Eq. 14: 255 on foreground scribbles, falling with the distance to the nearest one.

    Args:
        scribbles: (H, W) uint8 scribble label; classes 1..254 are sources, 0 and 255 are not.
        exponent: λ_s, from 0 to 20.

    Returns:
        (H, W) uint8, 255 − q(λ_s); all 0 when there is no foreground scribble.

    Raises:
        ValueError: not an (H, W) uint8 label, or an exponent out of range.
    """
    _check(scribbles)
    return 255 - _quantised_distance((scribbles != 0) & (scribbles != IGNORE), exponent)


def boundary_distance_map(labels: np.ndarray, exponent: float) -> np.ndarray:
    """Eq. 16: 0 on the foreground's boundary, growing with the distance from it.

    The boundary is every foreground pixel (label 1..254, all classes together) with a 4-neighbour
    that is not foreground; the outside of the image counts as not foreground.

    Args:
        labels: (H, W) uint8 pseudo-label.
        exponent: λ_c, from 0 to 20.

    Returns:
        (H, W) uint8, q(λ_c); all 255 when there is no foreground.

    Raises:
        ValueError: not an (H, W) uint8 label, or an exponent out of range.
    """
    _check(labels)
    foreground = ((labels != 0) & (labels != IGNORE)).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inside = cv2.erode(foreground, cross, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    return _quantised_distance((foreground != 0) & (inside == 0), exponent)


_KINDS = {
    "scribbles": (scribble_distance_map, "scribble_distance_maps"),
    "pseudo_labels": (boundary_distance_map, "pseudo_label_distance_maps"),
}


def make_distance_maps(labels: Path, exponent: float, output: Path) -> None:
    """Write the distance maps of every label in a store.

    What the store holds decides the map: scribbles give Eq. 14, pseudo-labels Eq. 16.

    Args:
        labels: label store of scribbles or of pseudo-labels.
        exponent: λ.
        output: the store to write.

    Raises:
        ValueError: an unreadable store, or one of another kind.
    """
    check_outputs([output], inputs=[labels])
    store = LabelStore(labels)
    if store.kind not in _KINDS:
        raise ValueError(f"{labels}: holds {store.kind}; expected {' or '.join(_KINDS)}")
    distance_map, kind = _KINDS[store.kind]

    def maps() -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
        for image_id in progress(store, "distance maps"):
            yield image_id, distance_map(store[image_id], exponent), {}

    write_store(
        output,
        maps(),
        kind=kind,
        parameters={"exponent": float(exponent), "version": VERSIONS["distance_maps"]},
        sources={store.kind: store.digest},
    )
