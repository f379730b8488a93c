"""A pixel classifier that the strokes teach: a random forest on filter responses, in seconds.

It is what interactive tools such as ilastik do: each place is described by Gaussians, edges and
texture at several scales, and a forest learns from the places that strokes touch, of all images at
once. It knows no objects, only colours and textures, and needs no network: a first answer, evidence
for pseudo-labels, and a row to beat.

Where a pretrained backbone is at hand, its frozen features describe the places instead, and a
linear classifier learns from them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from cdsp.dataset.voc_layout import Dataset, at_working_size
from cdsp.io.files import IGNORE
from cdsp.io.pixels import resize
from cdsp.io.store import LabelStore, write_store
from cdsp.progress import progress
from cdsp.pseudo_labels.random_walk import cut_superpixels, superpixel_means
from cdsp.pseudo_labels.settings import PixelSettings
from cdsp.scribbles.image_classes import check_image_classes
from cdsp.settings import settings_dict
from cdsp.versions import VERSIONS

MOST_SAMPLES = 100_000
"""Places that it learns from; of more, a random part."""
KEPT_BYTES = 2**29
"""Memory for the places of images that taught, which are described once."""
_MOST_ITERATIONS = 60  # of the linear classifier

Places = tuple[np.ndarray, np.ndarray, int]
"""(H, W) int32 superpixels 0..N-1 of an image, (N, F) float32 that describe them, and N."""


def describe_places(image: np.ndarray, settings: PixelSettings) -> Places:
    """Superpixels of an image with the mean filter responses of each.

    Args:
        image: (H, W, C) uint8, or float32 from 0 to 255.
        settings: scales of the filters, spacing of the superpixels.
    """
    superpixels, number = cut_superpixels(image, settings.superpixel_spacing)
    height, width = image.shape[:2]
    responses = multiscale_basic_features(
        # The filters take differences: of an image of one row or column, to a copy of it.
        np.pad(image, [(0, height == 1), (0, width == 1), (0, 0)], mode="edge"),
        sigma_min=settings.smallest_scale,
        sigma_max=settings.largest_scale,  # type: ignore[arg-type]  # any number will do
        channel_axis=-1,
    )[:height, :width]
    means = superpixel_means(superpixels, number, responses.transpose(2, 0, 1))
    return superpixels, means.astype(np.float32), number


def stroked_places(superpixels: np.ndarray, number: int, scribbles: np.ndarray) -> np.ndarray:
    """The class of the strokes in each superpixel: (N,) uint8, 255 where there are none.

    Where strokes of several classes meet, the one with the most pixels; the first of equal ones.

    Args:
        superpixels: (h, w) int32, 0..N-1, of the image or of a reduced copy.
        number: N.
        scribbles: (H, W) uint8 scribble label of the image.
    """
    label = np.full(number, IGNORE, np.uint8)
    rows, columns = np.nonzero(scribbles != IGNORE)
    classes = scribbles[rows, columns]
    rows, columns = (
        place * side // whole
        for place, side, whole in zip(
            (rows, columns), superpixels.shape, scribbles.shape, strict=True
        )
    )
    counts = np.zeros((number, int(classes.max(initial=0)) + 1), np.int64)
    np.add.at(counts, (superpixels[rows, columns], classes), 1)
    labelled = counts.any(axis=1)
    label[labelled] = counts[labelled].argmax(axis=1)
    return label


def _describer(settings: PixelSettings) -> Callable[[np.ndarray], Places]:
    """How places are described: by filters, or by a backbone."""
    if settings.backbone is None:
        return partial(describe_places, settings=settings)
    from cdsp.pseudo_labels.frozen_features import FrozenFeatures  # PyTorch takes its time

    return FrozenFeatures(settings)


def _classifier(settings: PixelSettings) -> RandomForestClassifier | Pipeline:
    """What learns the classes of places: a forest on filters, a linear classifier on features."""
    if settings.backbone is None:
        return RandomForestClassifier(
            settings.trees, min_samples_leaf=2, class_weight="balanced", random_state=settings.seed
        )
    linear = LogisticRegression(
        C=1 / max(settings.penalty, 1e-9), class_weight="balanced", max_iter=_MOST_ITERATIONS
    )
    return make_pipeline(StandardScaler(), linear)


class PixelClassifier:
    """A classifier that knows the classes by colours and textures, or by a backbone's features."""

    def __init__(self, dataset: Dataset, scribbles: LabelStore, settings: PixelSettings) -> None:
        """Teach it by the places that strokes touch.

        Args:
            dataset: the training images.
            scribbles: their scribble labels.
            settings: how places are described, and what learns from them.

        Raises:
            ValueError: there is no stroke at all.
        """
        self.settings = settings
        self._describe = _describer(settings)
        self._kept: dict[str, Places] = {}
        self._room = KEPT_BYTES
        places, labels = [], []
        for image_id in progress(dataset.splits["train"], "places under strokes"):
            if (scribbles[image_id] == IGNORE).all():
                continue
            found = self._describe(self._reduced(dataset.image(image_id)))
            superpixels, responses, number = found
            self._room -= superpixels.nbytes + responses.nbytes
            if self._room >= 0:
                self._kept[image_id] = found
            label = stroked_places(superpixels, number, scribbles[image_id])
            places.append(responses[label != IGNORE])
            labels.append(label[label != IGNORE])
        if not labels:
            raise ValueError(
                f"{scribbles.path}: no image has a stroke; a pixel classifier needs some"
            )
        samples, targets = np.concatenate(places), np.concatenate(labels)
        rng = np.random.default_rng(settings.seed)
        chosen = np.sort(rng.permutation(len(samples))[:MOST_SAMPLES])
        with warnings.catch_warnings():
            # It is stopped before it has converged on purpose.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.classifier = _classifier(settings).fit(samples[chosen], targets[chosen])
        self._column = {int(class_id): i for i, class_id in enumerate(self.classifier.classes_)}

    def probabilities(
        self, image: np.ndarray, classes: Sequence[int], image_id: str = ""
    ) -> np.ndarray:
        """The probabilities of some classes, which sum to 1 where it knows one of them.

        Args:
            image: (H, W, C) uint8, or float32 from 0 to 255.
            classes: C class indices; all are equally likely where it knows none.
            image_id: of a training image, which need not be described again.

        Returns:
            (C, H, W) uint8, 255 = 1.0.
        """
        places = self._kept.get(image_id) or self._describe(self._reduced(image))
        superpixels, responses, number = places
        found = np.asarray(self.classifier.predict_proba(responses))
        chosen = np.zeros((len(classes), number))
        for row, class_id in enumerate(classes):
            if class_id in self._column:
                chosen[row] = found[:, self._column[class_id]]
        total = chosen.sum(axis=0)
        equal = np.full_like(chosen, 1 / len(chosen))
        chosen = np.divide(chosen, total, out=equal, where=total > 0)
        maps = np.rint(chosen * 255).astype(np.uint8)[:, superpixels]
        if maps.shape[1:] == image.shape[:2]:
            return maps
        size = image.shape[1::-1]
        return np.stack([cv2.resize(m, size, interpolation=cv2.INTER_LINEAR) for m in maps])

    def _reduced(self, image: np.ndarray) -> np.ndarray:
        long_side = self.settings.long_side
        if not 0 < long_side < max(image.shape[:2]):
            return image
        height, width = at_working_size(image.shape[:2], long_side)
        return resize(image, (width, height), cv2.INTER_AREA)


def export_pixel_probabilities(
    dataset: Dataset,
    scribbles: Path,
    image_classes: dict[str, list[int]],
    settings: PixelSettings,
    output: Path,
) -> None:
    """Write the forest's probabilities of the background and of each image's own classes.

    The store is of the kind that a network's predictions make, see
    `cdsp.pseudo_labels.probabilities.export_probabilities`.

    Args:
        dataset: the training images.
        scribbles: store of scribble labels.
        image_classes: image id → object classes in it; only these are asked for.
        settings: how places are described, and what learns from them.
        output: the store to write.

    Raises:
        ValueError: a store of another kind or data set, or no stroke at all; see also
            `check_image_classes`.
    """
    check_image_classes(dataset, image_classes)
    store = LabelStore(scribbles, "scribbles")
    store.require({}, {"dataset": dataset.digest})
    classifier = PixelClassifier(dataset, store, settings)

    def maps() -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
        for image_id in progress(dataset.splits["train"], "pixel classifier"):
            classes = [0, *image_classes[image_id]]
            probabilities = classifier.probabilities(dataset.image(image_id), classes, image_id)
            yield image_id, probabilities, {"classes": classes}

    write_store(
        output,
        maps(),
        kind="probabilities",
        parameters={
            **settings_dict(settings),
            "scribbles": store.parameters["scribbles"],
            "version": VERSIONS["pseudo_labels pixels"],
        },
        sources={"dataset": dataset.digest, "scribbles": store.digest},
    )
