"""The pixel classifier as a row of a table, which a network has to beat."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cdsp import __version__
from cdsp.dataset.voc_layout import Dataset
from cdsp.evaluation.measure import count_predictions, find_truth, write_metrics
from cdsp.evaluation.settings import PIXEL_CLASSIFIER, EvaluationSettings
from cdsp.io.outputs import check_outputs
from cdsp.io.store import LabelStore
from cdsp.metrics import class_indices
from cdsp.pseudo_labels.pixel_classifier import PixelClassifier
from cdsp.pseudo_labels.settings import PixelSettings
from cdsp.settings import settings_dict


def evaluate_pixels(
    dataset: Dataset,
    scribbles: Path,
    pixels: PixelSettings,
    settings: EvaluationSettings,
    output: Path,
    *,
    protocol: str,
    full_scribbles: Path | None = None,
    strokes: Path | None = None,
) -> dict[str, Any]:
    """Teach a pixel classifier by strokes, and measure what it predicts of all classes.

    Args:
        dataset: the images.
        scribbles: store of the scribbles to learn from.
        pixels: of the classifier.
        settings: the protocol; its scales and windows are a network's.
        output: folder for ``confusion.npy`` and ``metrics.json``.
        protocol: the protocol's name.
        full_scribbles: store of all scribbles, where held-out strokes are the truth.
        strokes: store of the validation images' strokes, where they are.

    Raises:
        ValueError: stores of other images, no stroke, or nothing to measure on.
    """
    check_outputs([output / "metrics.json"], inputs=[scribbles, full_scribbles, strokes])
    class_indices(settings.classes, dataset.classes)
    store = LabelStore(scribbles, "scribbles")
    store.require({}, {"dataset": dataset.digest})
    trained_on = store.parameters["scribbles"]
    truth = find_truth(dataset, settings, trained_on, scribbles, full_scribbles, strokes)
    classifier = PixelClassifier(dataset.training_on(store), store, pixels)
    classes = range(len(dataset.classes))

    def predict(image_id: str, label: np.ndarray) -> np.ndarray:
        found = classifier.probabilities(dataset.image(image_id), classes).argmax(axis=0)
        size = label.shape[1], label.shape[0]
        return cv2.resize(found.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)

    return write_metrics(
        output,
        count_predictions(truth, predict),
        truth,
        settings,
        protocol=protocol,
        name={
            "dataset": dataset.name,
            "method": PIXEL_CLASSIFIER,
            "supervision": "scribbles",
            "network": "random_forest" if pixels.backbone is None else "linear",
            "head": "none",
            "backbone": pixels.backbone or "none",
            "scribbles": trained_on,
            "pseudo_labels": "none",
            "seed": pixels.seed,
        },
        weights=str(output / "none"),
        own_labels=None,
        training={
            "dataset": dataset.digest,
            "settings": settings_dict(pixels),
            "terms": {},
            "stores": {"scribble": store.digest},
        },
        environment={
            "cdsp": __version__,
            "scikit-learn": version("scikit-learn"),
            "scikit-image": version("scikit-image"),
        },
    )
