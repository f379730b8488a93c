import numpy as np
import pytest

from cdsp.dataset.shape_classes import CLASS_NAMES
from cdsp.dataset.shapes import _rim, draw_shape_scene

NUM_CLASSES = 12


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw_shape_scene(0, "train", index) for index in range(300)]


def test_class_names_are_background_and_twelve_distinct_objects():
    assert CLASS_NAMES[0] == "background"
    assert len(set(CLASS_NAMES)) == len(CLASS_NAMES) == 1 + NUM_CLASSES


def test_same_arguments_give_the_same_bytes():
    for index in range(5):
        image, mask = draw_shape_scene(3, "val", index)
        again_image, again_mask = draw_shape_scene(3, "val", index)
        assert image.tobytes() == again_image.tobytes()
        assert mask.tobytes() == again_mask.tobytes()


@pytest.mark.parametrize("other", [(4, "train", 7), (3, "val", 7), (3, "train", 8)])
def test_seed_split_and_index_each_change_the_scene(other):
    image, mask = draw_shape_scene(3, "train", 7)
    other_image, other_mask = draw_shape_scene(*other)
    assert not np.array_equal(image, other_image)
    assert not np.array_equal(mask, other_mask)


def test_drawing_leaves_the_global_random_state_alone():
    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    draw_shape_scene(0, "train", 0)
    assert np.random.random() == expected


@pytest.mark.parametrize("size", [48, 97, 128, 200])
def test_scenes_of_any_size_have_objects_and_rims(size):
    for index in range(24):
        image, mask = draw_shape_scene(0, "train", index, size)
        assert image.shape == (size, size, 3)
        assert mask.shape == (size, size)
        assert image.dtype == mask.dtype == np.uint8
        labels = set(np.unique(mask).tolist())
        assert labels <= {*range(1 + NUM_CLASSES), 255}
        assert {0, 255} < labels


def test_scenes_hold_one_to_four_classes_and_sensible_areas(scenes):
    num_classes = [len(set(np.unique(mask).tolist()) - {0, 255}) for _, mask in scenes]
    assert min(num_classes) == 1
    assert max(num_classes) == 4
    masks = np.stack([mask for _, mask in scenes])
    assert 0.12 < (masks > 0).mean() < 0.35
    assert 0.015 < (masks == 255).mean() < 0.06


def test_every_class_is_frequent_enough(scenes):
    frequency = np.array(
        [np.mean([(mask == label).any() for _, mask in scenes]) for label in range(13)]
    )
    assert frequency[0] == 1.0
    assert (frequency[1:] > 0.15).all()
    assert (frequency[1:] < 0.35).all()


def test_some_classes_keep_company(scenes):
    present = np.stack([[(mask == label).any() for label in range(1, 13)] for _, mask in scenes])
    together = (present.T.astype(float) @ present) / len(scenes)
    frequency = present.mean(axis=0)
    lift = together / np.outer(frequency, frequency)
    np.fill_diagonal(lift, 0.0)
    assert (lift.max(axis=1) > 1.5).all()


def test_rim_is_the_outermost_pixels_of_each_object_but_not_of_its_thin_parts():
    # A and B touch; C is two pixels wide and has no inside; D leaves the picture.
    drawing = """
        . . . . . . . . . .
        . A A A A B B B B .
        . A a a A B b b B .
        . A a a A B b b B .
        . A A A A B B B B .
        . . . . . . c c . .
        . . . . . . c c . .
        D D D D . . . . . .
        d d d D . . . . . .
        d d d D . . . . . .
    """
    cells = [line.split() for line in drawing.split("\n") if line.strip()]
    instances = np.array([[".abcd".index(cell.lower()) for cell in row] for row in cells], np.uint8)
    expected = np.array([[cell in "ABD" for cell in row] for row in cells])
    np.testing.assert_array_equal(_rim(instances), expected)


def test_thin_parts_keep_their_label(scenes):
    """Some labelled object pixels touch the background: legs and tails are not all rim."""
    num_touching = 0
    for _, mask in scenes[:50]:
        is_object = (mask > 0) & (mask < 255)
        num_touching += (is_object[:, 1:] & (mask[:, :-1] == 0)).sum()
    assert num_touching > 50


def _object_colours(scenes, describe) -> tuple[np.ndarray, np.ndarray]:
    descriptions, labels = [], []
    for image, mask in scenes:
        for label in set(np.unique(mask).tolist()) - {0, 255}:
            if (mask == label).sum() >= 30:
                descriptions.append(describe(image[mask == label]))
                labels.append(label)
    return np.array(descriptions), np.array(labels)


def _histogram(pixels: np.ndarray) -> np.ndarray:
    counts, _ = np.histogramdd(pixels, bins=4, range=[(0, 256)] * 3)
    return counts.ravel() / len(pixels)


@pytest.mark.parametrize("describe", [lambda pixels: pixels.mean(axis=0), _histogram])
def test_colour_alone_does_not_give_the_class(scenes, describe):
    """Nearest class mean, of half the scenes' objects, on the other half's."""
    known, known_labels = _object_colours(scenes[:150], describe)
    asked, asked_labels = _object_colours(scenes[150:], describe)
    means = np.stack([known[known_labels == label].mean(axis=0) for label in range(1, 13)])
    distances = np.linalg.norm(asked[:, None] - means[None], axis=2)
    accuracy = (1 + distances.argmin(axis=1) == asked_labels).mean()
    assert accuracy < 0.45


def test_body_colours_are_shared_between_classes(scenes):
    """The range of an object's median colour overlaps between any two classes."""
    medians, labels = _object_colours(scenes, lambda pixels: np.median(pixels, axis=0))
    lowest = np.stack([np.percentile(medians[labels == k], 10, axis=0) for k in range(1, 13)])
    highest = np.stack([np.percentile(medians[labels == k], 90, axis=0) for k in range(1, 13)])
    assert (lowest[:, None] < highest[None]).all()
