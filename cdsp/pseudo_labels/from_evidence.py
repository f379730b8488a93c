"""From strokes and other evidence to pseudo-labels.

Evidence is what tells the classes of an image apart where no stroke is: class activation maps, with
a background score beside them, or the probabilities of a trained network. Each pixel takes the
class that scores highest, or the strokes are spread by a random walk or a graph cut that the
evidence guides.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import IGNORE
from cdsp.io.store import LabelStore, write_store
from cdsp.progress import progress
from cdsp.pseudo_labels.graph_cut import graph_cut
from cdsp.pseudo_labels.random_walk import build_graph, random_walk, remove_unstroked
from cdsp.pseudo_labels.settings import LabelSettings
from cdsp.settings import settings_dict
from cdsp.versions import VERSIONS


def calibrated_threshold(score: np.ndarray, scribbles: np.ndarray) -> float | None:
    """The threshold that best separates foreground from background scribble pixels.

    It maximises the mean of the two fractions that fall on their right side (foreground above,
    background not above); it is the middle of the widest range of equally good thresholds.

    Args:
        score: (H, W) uint8, 255 = 1.0: the foreground score.
        scribbles: (H, W) uint8 scribble label.

    Returns:
        The threshold, 0..1, or None when either kind of scribble is missing.
    """
    background = np.bincount(score[scribbles == 0], minlength=256)
    foreground = np.bincount(score[(scribbles != 0) & (scribbles != IGNORE)], minlength=256)
    if not background.any() or not foreground.any():
        return None
    background_right = background.cumsum() / background.sum()
    foreground_right = 1 - foreground.cumsum() / foreground.sum()
    quality = background_right + foreground_right
    best = np.flatnonzero(quality >= quality.max() - 1e-12)
    widest = max(np.split(best, np.flatnonzero(np.diff(best) > 1) + 1), key=len)
    return float((widest[0] + widest[-1]) / 2 / 255)


def scores_from_cams(
    cams: np.ndarray, settings: LabelSettings, scribbles: np.ndarray
) -> np.ndarray:
    """Put the background's score before the maps of the classes.

    Args:
        cams: (C, H, W) uint8, 255 = 1.0.
        settings: of the background score.
        scribbles: (H, W) uint8 scribble label, which calibrates the threshold.

    Returns:
        (1 + C, H, W) float64, 0..1; the background first.
    """
    score = cams.max(axis=0, initial=0)
    if settings.background == "power":
        background = (1 - score / 255.0) ** settings.power
    else:
        threshold = settings.threshold
        if settings.background == "calibrated":
            calibrated = calibrated_threshold(score, scribbles)
            threshold = settings.threshold if calibrated is None else calibrated
        background = np.full(scribbles.shape, threshold)
    return np.concatenate([background[None], cams / 255.0])


def label_from_evidence(
    scribbles: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray | None,
    settings: LabelSettings,
    image: np.ndarray | None = None,
) -> np.ndarray:
    """The pseudo-label of one image.

    Where only one class is in question, nothing tells an object from the background, and the label
    stays 255: an image that has lost its object strokes is not known to be empty. Where objects are
    in question and only the background has strokes, the evidence decides without a spread, which
    would reach every pixel from them; and where it shows no object either, the label stays 255.

    Args:
        scribbles: (H, W) uint8 scribble label.
        classes: (C,) uint8, the classes in question.
        scores: (C, H, W), 0..1; None for strokes alone.
        settings: refinement, uncertain band, regions without a stroke, reach, scribbles.
        image: (H, W, C) from 0 to 255, for the superpixels.

    Returns:
        (H, W) uint8 of ``classes``; the first of equally good ones; 255 where the label is not
        certain.

    Raises:
        ValueError: the strokes name a class that is not in question, or a spread has neither
            strokes nor scores to go by.
    """
    label = np.full(scribbles.shape, IGNORE)
    unknown = np.setdiff1d(scribbles[scribbles != IGNORE], classes)
    if len(unknown):
        raise ValueError(
            f"the strokes name the classes {unknown.tolist()}, the evidence knows "
            f"{classes.tolist()}; make it again from the same scribbles"
        )
    lost = len(classes) > 1 and set(np.unique(scribbles)) - {IGNORE} == {0}
    if len(classes) > 1 and settings.refinement != "none" and not lost:
        assert image is not None
        graph = build_graph(image, settings.superpixel_spacing, settings.colour_scale)
        prior = None if scores is None else _as_probabilities(scores)
        spread = random_walk if settings.refinement == "random_walk" else graph_cut
        scored = spread(graph, scribbles, classes, prior, settings.prior_weight)
        label = _highest(scored.T, classes, settings.uncertain_band)[graph.superpixels]
    elif len(classes) > 1:
        assert scores is not None
        label = _highest(scores, classes, settings.uncertain_band)
    if lost and not ((label != 0) & (label != IGNORE)).any():
        label = np.full(scribbles.shape, IGNORE)
    if settings.unstroked == "ignore":
        label = remove_unstroked(label, scribbles)
    if settings.reach:
        label[distance_to_strokes(scribbles) > settings.reach] = IGNORE
    if settings.write_scribbles:
        label = np.where(scribbles != IGNORE, scribbles, label)
    return label.astype(np.uint8)


def distance_to_strokes(scribbles: np.ndarray) -> np.ndarray:
    """Euclidean distance of each pixel to the nearest stroke, pixels; infinite where there is none.

    Args:
        scribbles: (H, W) uint8 scribble label.
    """
    unlabelled = (scribbles == IGNORE).astype(np.uint8)
    if unlabelled.all():
        return np.full(scribbles.shape, np.inf, np.float32)
    return cv2.distanceTransform(unlabelled, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _as_probabilities(scores: np.ndarray) -> np.ndarray:
    """(C, H, W) scores divided by their sum; all equal where no class scores."""
    total = scores.sum(axis=0)
    equal = np.full(scores.shape, 1 / len(scores))
    return np.divide(scores, total, out=equal, where=total > 0)


def _highest(scores: np.ndarray, classes: np.ndarray, band: float) -> np.ndarray:
    """The class of the highest of (C, …) scores; 255 where the next is nearer than the band."""
    label = classes[scores.argmax(axis=0)]
    if band:
        second, first = np.partition(scores, -2, axis=0)[-2:]
        label[first - second < band] = IGNORE
    return label


def _goes_by_image_labels(evidence: LabelStore, settings: LabelSettings) -> bool:
    """Whether no stroke has a part in the labels, but the classes of each image alone.

    A classifier that strokes teach exports probabilities.
    """
    if evidence.kind != "cams":
        return False
    spread = settings.refinement != "none" or settings.unstroked != "keep"
    return not (spread or settings.background == "calibrated" or settings.write_scribbles)


def make_pseudo_labels(
    dataset: Dataset,
    scribbles: Path,
    evidence: Path | None,
    settings: LabelSettings,
    output: Path,
    *,
    recipe: str,
) -> None:
    """Write the pseudo-labels of the training images.

    Args:
        dataset: the training images.
        scribbles: store of scribble labels.
        evidence: store of CAMs or of a network's probabilities; None for the strokes alone.
        settings: from evidence to labels.
        output: the store to write.
        recipe: the name of the recipe, kept in the store.

    Raises:
        ValueError: stores of another kind or origin, no evidence where it is needed, or an image
            that cannot be labelled (see `label_from_evidence`), with its name.
    """
    scribble_store = LabelStore(scribbles, "scribbles")
    store = None if evidence is None else LabelStore(evidence)
    if store is None and settings.refinement == "none":
        raise ValueError("without evidence, labels need 'refinement: random_walk', or graph_cut")
    if store is not None and store.kind not in ("cams", "probabilities"):
        raise ValueError(f"{evidence}: holds {store.kind}; expected cams or probabilities")
    for opened in (scribble_store, store):
        if opened is not None:
            opened.require({}, {"dataset": dataset.digest})
    dataset = dataset.training_on(scribble_store)

    def label(image_id: str) -> np.ndarray:
        strokes = scribble_store[image_id]
        if store is None:
            classes, scores = np.unique(strokes[strokes != IGNORE]), None
        else:
            classes = np.array(store.attributes(image_id)["classes"], np.uint8)
            if store.kind == "cams":
                classes = np.concatenate([np.zeros(1, np.uint8), classes])
                scores = scores_from_cams(store[image_id], settings, strokes)
            else:
                scores = store[image_id] / 255.0
        image = None if settings.refinement == "none" else dataset.image(image_id)
        try:
            return label_from_evidence(strokes, classes, scores, settings, image)
        except ValueError as error:
            raise ValueError(f"{evidence or scribbles}: {image_id}: {error}") from error

    ids = progress(dataset.splits["train"], "pseudo-labels")
    sources = {"scribbles": scribble_store.digest, "dataset": dataset.digest}
    by_images = store is not None and _goes_by_image_labels(store, settings)
    write_store(
        output,
        ((image_id, label(image_id), {}) for image_id in ids),
        kind="pseudo_labels",
        parameters={
            "recipe": recipe,
            "scribbles": scribble_store.parameters["scribbles"],
            **settings_dict(settings),
            **({"supervision": "image labels"} if by_images else {}),
            "evidence": {} if store is None else {"kind": store.kind, **store.parameters},
            "version": VERSIONS["pseudo_labels labels"],
        },
        sources=sources if store is None else {**sources, store.kind: store.digest},
    )
