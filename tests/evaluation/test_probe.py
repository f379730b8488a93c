import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cdsp.evaluation.probe import LinearProbe
from cdsp.io.pixels import RGB
from cdsp.networks.backbones import Backbone, Features
from cdsp.training.augmentation import normalise

STRIDE = 4
CPU = torch.device("cpu")
NUM_CLASSES, NUM_IMAGES, SIDE = 3, 40, 33
CENTRES = np.array([[60, 120, 120], [130, 110, 140], [120, 140, 100]])


def draw_images(spread: float, side: int = SIDE) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images whose pixels are coloured by their class, with noise."""
    images = []
    for index in range(NUM_IMAGES):
        rng = np.random.default_rng(index)
        mask = rng.choice(NUM_CLASSES, (side, side), p=[0.7, 0.2, 0.1]).astype(np.uint8)
        noise = rng.normal(0, spread, (side, side, 3)) * [1, 0.5, 2]
        images.append(((CENTRES[mask] + noise).clip(0, 255).astype(np.uint8), mask))
    return images


def network_of(scale: float) -> Any:
    """A "backbone" whose feature is the colour at every fourth pixel, times a scale."""

    class Colours:
        valid_side, pixels = Backbone().valid_side, RGB

        def __call__(self, images: torch.Tensor) -> Features:
            feature = scale * images[..., ::STRIDE, ::STRIDE]
            return Features(feature, feature)

    return SimpleNamespace(backbone=Colours())


def probe_accuracy(
    images: list[tuple[np.ndarray, np.ndarray]], scale: float = 1.0, classes: Any = range(3)
) -> float:
    probe = LinearProbe(network_of(scale), len(images), classes, CPU)
    for index, (image, mask) in enumerate(images):
        probe.add(index, image, mask, max(mask.shape))
    return probe.accuracy()


def plain_discriminants(images: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Linear discriminants without shrinkage, one location at a time."""
    halves = []
    for start in (0, 1):
        feature, label = [], []
        for image, mask in images[start::2]:
            feature += normalise(image)[:, ::STRIDE, ::STRIDE].reshape(3, -1).T.tolist()
            label += mask[::STRIDE, ::STRIDE].ravel().tolist()
        halves.append((np.array(feature), np.array(label)))
    right: dict[int, list[bool]] = {}
    for i in (0, 1):
        feature, label = halves[1 - i]
        means = [feature[label == k].mean(axis=0) for k in range(NUM_CLASSES)]
        within = np.linalg.inv(np.cov(np.stack(list(feature - np.array(means)[label])).T))
        for value, truth in zip(*halves[i], strict=True):
            distance = [(value - mean) @ within @ (value - mean) for mean in means]
            right.setdefault(int(truth), []).append(int(np.argmin(distance)) == truth)
    return float(np.mean([np.mean(each) for each in right.values()]))


def test_equals_plain_discriminants_and_does_not_see_the_scale():
    images = draw_images(30)
    wanted = plain_discriminants(images)
    assert 0.5 < wanted < 0.95
    assert probe_accuracy(images) == pytest.approx(wanted, abs=0.01)
    assert probe_accuracy(images, 1e-6) == pytest.approx(wanted, abs=0.01)
    assert probe_accuracy(draw_images(1)) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_features_that_are_all_alike_are_at_chance(scale):
    images = [(np.full_like(image, 77), mask) for image, mask in draw_images(30)]
    assert probe_accuracy(images, scale) == pytest.approx(1 / NUM_CLASSES)


def test_void_other_classes_and_padding_do_not_count():
    images = draw_images(1)
    for _, mask in images:
        mask[:16] = 255
    for _, mask in images[::2]:
        mask[16:20] = 2  # on pixels of the colours of all classes
    assert probe_accuracy(images) < 1
    assert probe_accuracy(images, classes=[0, 1]) == 1
    # Sides that no feature of stride 16 fits are padded.
    assert probe_accuracy(draw_images(1, side=29)) == 1


def test_a_smaller_long_side_shrinks_image_and_mask_alike():
    blocks = [
        (image.repeat(2, axis=0).repeat(2, axis=1), mask.repeat(2, axis=0).repeat(2, axis=1))
        for image, mask in draw_images(1)
    ]
    probe = LinearProbe(network_of(1), len(blocks), range(3), CPU)
    for index, (image, mask) in enumerate(blocks):
        probe.add(index, image, mask, SIDE)
    assert probe.accuracy() == 1


def test_nothing_to_compare_is_nan():
    images = draw_images(30)
    assert math.isnan(probe_accuracy(images[:1]))
    assert math.isnan(probe_accuracy(images, classes=[1]))
