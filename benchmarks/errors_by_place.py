"""Tell where networks err: recall of object and background pixels, near true boundaries and far.

    cdsp evaluation RUN/weights.pt --dataset DATASET.json --output OUT --predictions OUT/predictions
    python benchmarks/errors_by_place.py DATASET.json OUT/predictions [OUT2/predictions ...]

Near means at most 8 pixels from a boundary between classes of the true mask.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from cdsp.dataset.voc_layout import read_dataset
from cdsp.io.files import IGNORE, read_label

NEAR = 8  # pixels
PLACES = ("object, far", "object, near", "background, near", "background, far")


def places(mask: np.ndarray) -> list[np.ndarray]:
    """(H, W) uint8 mask → where each of `PLACES` is, (H, W) bool each; void is nowhere."""
    inner = np.where(mask == IGNORE, 0, mask)
    boundary = cv2.morphologyEx(inner, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    distance = cv2.distanceTransform((~boundary).astype(np.uint8), cv2.DIST_L2, 5)
    near, void = distance <= NEAR, mask == IGNORE
    is_object = (mask != 0) & ~void
    background = (mask == 0) & ~void
    return [is_object & ~near, is_object & near, background & near, background & ~near]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("predictions", type=Path, nargs="+")
    arguments = parser.parse_args()
    dataset = read_dataset(arguments.dataset)
    print(f"| predictions | {' | '.join(PLACES)} |\n|---|{'---|' * len(PLACES)}")
    for folder in arguments.predictions:
        counts = np.zeros((len(PLACES), 2), np.int64)
        for image_id in dataset.splits["val"]:
            mask = dataset.mask(image_id)
            right = read_label(folder / f"{image_id}.png") == mask
            for row, place in enumerate(places(mask)):
                counts[row] += [(right & place).sum(), place.sum()]
        shares = " | ".join(f"{100 * right / total:.1f} %" for right, total in counts)
        print(f"| {folder.parent.name} | {shares} |")


if __name__ == "__main__":
    main()
