"""Every source of labels on images and strokes that are of no use: labels, or words; never NaN."""

import itertools

import numpy as np
import pytest

from cdsp.pseudo_labels.from_evidence import label_from_evidence, scores_from_cams
from cdsp.pseudo_labels.pixel_classifier import describe_places
from cdsp.pseudo_labels.settings import LabelSettings, PixelSettings
from cdsp.scribbles.boxes import label_from_boxes
from cdsp.scribbles.strokes import Box

CLASSES = np.array([0, 2, 5], np.uint8)
SIZES = {"one pixel": (1, 1), "one row": (1, 17), "one column": (17, 1)}
CASES = (*SIZES, "no stroke", "background alone", "one class", "strokes everywhere", "one colour")
SCORES = ("none", "zero", "equal", "certain")


def draw(how: str) -> tuple[np.ndarray, np.ndarray]:
    """An image and its strokes."""
    size = SIZES.get(how, (12, 17))
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    scribbles = rng.choice(np.array([0, 2, 5, 255], np.uint8), size, p=[0.1, 0.1, 0.1, 0.7])
    scribbles.flat[0] = 2
    if how == "no stroke":
        scribbles.fill(255)
    if how == "background alone":
        scribbles[scribbles != 255] = 0
    if how == "one class":
        scribbles[scribbles != 255] = 5
    if how == "strokes everywhere":
        scribbles[scribbles == 255] = 0
    if how == "one colour":
        image.fill(90)
    return image, scribbles


def scores_of(kind: str, scribbles: np.ndarray, settings: LabelSettings) -> np.ndarray | None:
    maps = np.zeros((len(CLASSES) - 1, *scribbles.shape), np.uint8)
    if kind == "none":
        return None
    if kind == "equal":
        maps.fill(128)
    if kind == "certain":
        maps[1].fill(255)
    return scores_from_cams(maps, settings, scribbles)


@pytest.mark.parametrize(
    "settings",
    [
        {"refinement": refinement, "background": background, **more}
        for refinement, background in itertools.product(
            ("none", "random_walk", "graph_cut"), ("calibrated", "power", "constant")
        )
        for more in ({}, {"uncertain_band": 0.2, "unstroked": "ignore", "reach": 3})
    ],
    ids=lambda settings: ", ".join(map(str, settings.values())),
)
@pytest.mark.parametrize("how", CASES)
def test_labels_are_of_the_classes_or_255_whatever_they_are_made_of(how, settings):
    image, scribbles = draw(how)
    parsed = LabelSettings(superpixel_spacing=4, **settings)
    for kind in SCORES:
        scores = scores_of(kind, scribbles, parsed)
        if scores is None and settings["refinement"] == "none":
            continue  # refused by the configuration
        # Strokes alone are evidence of their own classes.
        classes = np.unique(scribbles[scribbles != 255]) if scores is None else CLASSES
        label = label_from_evidence(scribbles, classes, scores, parsed, image)
        assert (label.shape, label.dtype) == (scribbles.shape, np.uint8)
        assert set(np.unique(label)) <= {0, 2, 5, 255}, kind


@pytest.mark.parametrize("how", CASES)
def test_places_are_described_in_finite_numbers(how):
    image, _ = draw(how)
    superpixels, responses, number = describe_places(image, PixelSettings())
    assert superpixels.shape == image.shape[:2]
    assert responses.shape[0] == number == superpixels.max() + 1
    assert np.isfinite(responses).all()


@pytest.mark.parametrize("how", CASES)
@pytest.mark.parametrize("boxes", ["none", "the whole image", "one pixel", "twice"])
def test_boxes_of_any_image_become_labels(how, boxes):
    image, _ = draw(how)
    height, width = image.shape[:2]
    whole = Box(2, 0, 0, width - 1, height - 1)
    given = {"none": [], "the whole image": [whole], "one pixel": [Box(5, 0, 0, 0, 0)]}
    label = label_from_boxes(image, given.get(boxes, [whole, whole]))
    assert (label.shape, label.dtype) == (image.shape[:2], np.uint8)
    assert set(np.unique(label)) <= {0, 2, 5, 255}
