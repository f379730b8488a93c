"""Labels of chosen quality: the training masks, corrupted.

They use what scribble supervision must not see, and serve for one thing only: to study what the
quality of pseudo-labels brings to a network that is trained on them. Boundaries are displaced by a
smooth random field, and whole regions of objects are lost to the background.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.measure import label

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import IGNORE
from cdsp.io.store import write_store
from cdsp.progress import progress
from cdsp.pseudo_labels.settings import CorruptionSettings
from cdsp.settings import settings_dict
from cdsp.versions import VERSIONS


def corrupt_mask(
    mask: np.ndarray, settings: CorruptionSettings, rng: np.random.Generator
) -> np.ndarray:
    """Lose regions of a mask, then displace what remains.

    As many numbers are drawn whatever the settings: with a larger ``lost`` the same regions are
    lost and more, and a larger ``displacement`` scales the same field.

    Args:
        mask: (H, W) uint8.
        settings: of the corruption; its seed is that of ``rng``.
        rng: each image has one of its own.

    Returns:
        (H, W) uint8 of the mask's classes and 0; 255 where the mask is 255 and nowhere else.
    """
    void = mask == IGNORE
    kept = lose_regions(mask, settings.lost, rng)
    rows, columns = displaced_pixels(mask.shape, settings.displacement, settings.smoothness, rng)
    if void.any() and not void.all():
        # The class next to it: a boundary that moves is to be wrong, not unlabelled.
        found = distance_transform_edt(void, return_distances=False, return_indices=True)
        kept = kept[tuple(np.asarray(found))]
    return np.where(void, IGNORE, kept[rows, columns]).astype(np.uint8)


def lose_regions(mask: np.ndarray, lost: float, rng: np.random.Generator) -> np.ndarray:
    """Turn each 8-connected region of an object class into background with probability ``lost``."""
    regions = np.asarray(label(np.where(mask == IGNORE, 0, mask), connectivity=2))
    is_lost = np.concatenate([[False], rng.random(regions.max()) < lost])  # region 0 is no object
    return np.where(is_lost[regions], 0, mask)


def displaced_pixels(
    shape: tuple[int, ...], displacement: float, smoothness: float, rng: np.random.Generator
) -> np.ndarray:
    """The row and column from which each pixel takes its label: (2, H, W) int64, in the image.

    A field of Gaussian noise, smoothed by a Gaussian of σ = ``smoothness`` and scaled until the
    root mean square of its length is ``displacement``, both in pixels.
    """
    field = gaussian_filter(rng.standard_normal((2, *shape)), (0, smoothness, smoothness))
    field *= displacement / np.sqrt((field**2).sum(axis=0).mean())
    source = np.rint(np.indices(shape) + field).astype(np.int64)
    return source.clip(0, np.array(shape)[:, None, None] - 1)


def corrupt_masks(
    dataset: Dataset,
    scribbles: str,
    settings: CorruptionSettings,
    output: Path,
    *,
    recipe: str,
) -> None:
    """Write the corrupted masks of all training images as pseudo-labels.

    The draws depend on the seed and the image's name alone.

    Args:
        dataset: the training images, with masks.
        scribbles: name of the scribbles that the runs on them use; the labels do not.
        settings: of the corruption.
        output: the store to write.
        recipe: the name of the recipe, kept in the store.

    Raises:
        ValueError: the training images have no masks.
    """
    dataset.require_train_masks("labels of chosen quality")

    def corrupted(image_id: str) -> np.ndarray:
        rng = np.random.default_rng([settings.seed, zlib.crc32(image_id.encode())])
        return corrupt_mask(dataset.mask(image_id), settings, rng)

    ids = progress(dataset.splits["train"], "corrupting masks")
    write_store(
        output,
        ((image_id, corrupted(image_id), {}) for image_id in ids),
        kind="pseudo_labels",
        parameters={
            "recipe": recipe,
            "scribbles": scribbles,
            **settings_dict(settings),
            "version": VERSIONS["pseudo_labels corrupt"],
        },
        sources={"dataset": dataset.digest},
    )
