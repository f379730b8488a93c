from math import inf, nextafter

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdsp.dataset.shapes import draw_shape_scene
from cdsp.io.files import IGNORE
from cdsp.scribbles.boxes import label_from_boxes
from cdsp.scribbles.strokes import Box


def boxes_of(mask):
    """Boxes around the objects of a drawn mask, rims included."""
    boxes = []
    for class_id in sorted(set(np.unique(mask).tolist()) - {0, IGNORE}):
        _, _, statistics, _ = cv2.connectedComponentsWithStats((mask == class_id).astype(np.uint8))
        boxes += [
            Box(class_id, x - 1, y - 1, x + width, y + height)
            for x, y, width, height, area in statistics[1:].tolist()
            if area > 30
        ]
    return boxes


def within(box, x, y):
    return box.left <= x <= box.right and box.top <= y <= box.bottom


def area(box):
    return (box.right - box.left) * (box.bottom - box.top)


def intersection_over_union(mask, label):
    """Mean over the classes of objects in the mask, where mask and label are known."""
    known = (mask != IGNORE) & (label != IGNORE)
    found = [
        ((mask == c) & (label == c) & known).sum() / (((mask == c) | (label == c)) & known).sum()
        for c in set(np.unique(mask).tolist()) - {0, IGNORE}
    ]
    return np.mean(found)


def test_objects_of_drawn_scenes_are_cut_out_better_than_their_boxes():
    cut_out, with_doubt, plain = [], [], []
    for index in range(16):
        image, mask = draw_shape_scene(5, "train", index)
        boxes = boxes_of(mask)
        label = label_from_boxes(image, boxes)
        filled = np.zeros_like(mask)
        for box in sorted(boxes, key=area, reverse=True):
            filled[int(box.top) : int(box.bottom) + 1, int(box.left) : int(box.right) + 1] = (
                box.class_id
            )
        cut_out.append(intersection_over_union(mask, label))
        with_doubt.append(intersection_over_union(mask, np.where(label == IGNORE, 0, label)))
        plain.append(intersection_over_union(mask, filled))
    assert np.mean(plain) < 0.6
    assert np.mean(cut_out) > 0.75
    assert np.mean(with_doubt) > 0.7


sides = st.floats(-40, 60).map(lambda value: round(value * 2) / 2)
small_boxes = st.builds(
    lambda class_id, x, y: Box(class_id, min(x), min(y), max(x), max(y)),
    st.integers(1, 254),
    st.tuples(sides, sides),
    st.tuples(sides, sides),
)


@settings(max_examples=40)
@given(
    st.lists(small_boxes, max_size=4),
    st.tuples(st.integers(1, 25), st.integers(1, 25)),
    st.sampled_from(["uniform", "noise", "halves"]),
)
def test_labels_of_any_boxes_in_any_image(boxes, size, content):
    image = {
        "uniform": np.full((*size, 3), 255, np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8),
        "halves": np.repeat((np.indices(size).sum(0) % 25 > 12)[..., None], 3, 2) * np.uint8(200),
    }[content]
    label = label_from_boxes(image, boxes)
    assert (label.shape, label.dtype) == (size, np.uint8)
    for y, x in np.ndindex(size):
        around = [box.class_id for box in boxes if within(box, x, y)]
        assert label[y, x] in (*around, IGNORE) if around else label[y, x] == 0
    if len(boxes) == 1 and label.any():
        assert (label == boxes[0].class_id).any()
    np.testing.assert_array_equal(label, label_from_boxes(image, boxes))


@pytest.fixture
def disc():
    """A bright disc on a dark ground: image, mask and box."""
    y, x = np.mgrid[:60, :80]
    mask = (x - 40) ** 2 + (y - 30) ** 2 <= 20**2
    noise = np.random.default_rng(0).normal(0, 4, (60, 80, 3))
    image = np.clip(np.where(mask[..., None], [220, 180, 60], [40, 60, 90]) + noise, 0, 255)
    return image.astype(np.uint8), mask, Box(7, 20, 10, 60, 50)


def test_a_disc_is_cut_out_to_the_pixel(disc):
    image, mask, box = disc
    expected = np.zeros((60, 80))
    expected[10:51, 20:61] = IGNORE
    expected[mask] = 7
    np.testing.assert_array_equal(label_from_boxes(image, [box]), expected)


def test_boxes_hold_the_pixels_whose_centres_lie_within(disc):
    image, _, _ = disc
    for left, first in ((20, 20), (20.001, 21), (19.999, 20), (nextafter(20, inf), 21)):
        columns = np.flatnonzero(label_from_boxes(image, [Box(7, left, 10, 60, 50)]).any(axis=0))
        assert (columns[0], columns[-1]) == (first, 60)
    for right, last in ((60, 60), (60.9, 60), (59.999, 59)):
        columns = np.flatnonzero(label_from_boxes(image, [Box(7, 20, 10, right, 50)]).any(axis=0))
        assert (columns[0], columns[-1]) == (20, last)


@pytest.mark.parametrize("box", [(-1e300, -1e300, 1e300, 1e300), (0, 0, 79, 59)])
def test_without_any_background_the_middle_third_is_the_object(disc, box):
    expected = np.full((60, 80), IGNORE)
    expected[20:40, 26:54] = 7
    np.testing.assert_array_equal(label_from_boxes(disc[0], [Box(7, *box)]), expected)


@pytest.mark.parametrize(
    "box", [(-9, -9, -1, -1), (80, 5, 1e300, 9), (5, 60, 9, 70), (3.1, 3, 3.9, 9), (5, -9, 9, -0.1)]
)
def test_boxes_without_a_pixel_leave_no_trace(disc, box):
    assert not label_from_boxes(disc[0], [Box(7, *box)]).any()
    assert not label_from_boxes(disc[0], []).any()


def test_one_pixel_is_the_object(disc):
    label = label_from_boxes(disc[0], [Box(7, 5, 6, 5, 6)])
    assert label[6, 5] == 7
    assert (label != 0).sum() == 1


def test_smaller_boxes_are_painted_over_larger_ones(disc):
    image, mask, large = disc
    small = Box(3, 35, 25, 45, 35)
    label = label_from_boxes(image, [small, large])
    np.testing.assert_array_equal(label, label_from_boxes(image, [large, small]))
    assert (label[30, 40], label[30, 25]) == (3, 7)
    assert set(np.unique(label[mask])) == {3, 7}  # what is doubtful of the small box is the disc
    assert label_from_boxes(image, [large, Box(9, 20, 10, 60, 50)])[30, 40] == 9


def test_an_enlarged_photograph_has_an_enlarged_label(disc):
    image, _, box = disc
    image = cv2.resize(image, None, fx=12, fy=12, interpolation=cv2.INTER_NEAREST)
    large = Box(7, *(12 * side for side in (box.left, box.top)), 12 * 61 - 1, 12 * 51 - 1)
    expected = np.kron(label_from_boxes(disc[0], [box]), np.ones((12, 12), np.uint8))
    assert (label_from_boxes(image, [large]) == expected).mean() > 0.98


def test_objects_of_several_boxes_are_cut_out_on_their_own(disc):
    image, _, box = disc
    side_by_side = np.concatenate([image, image], axis=1)
    other = Box(9, box.left + 80, box.top, box.right + 80, box.bottom)
    label = label_from_boxes(side_by_side, [box, other])
    for start, class_id in ((0, 7), (80, 9)):
        np.testing.assert_array_equal(
            label[:, start : start + 80] == class_id, label_from_boxes(image, [box]) == 7
        )
