from dataclasses import replace
from itertools import pairwise
from math import hypot

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cdsp.scribbles.degrade import Degradation, degrade, drop_annotations, shrink_stroke
from cdsp.scribbles.strokes import Box, ImageStrokes, Stroke, arc_length

coordinates = st.floats(-500, 1000, allow_nan=False)
polylines = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=8)
ratios = st.floats(0, 1)


def walk(points, distance):
    """The point that lies ``distance`` along a polyline, found by walking along it."""
    for (ax, ay), (bx, by) in pairwise(points):
        length = hypot(bx - ax, by - ay)
        if length > 0 and distance <= length:
            return ax + (bx - ax) * distance / length, ay + (by - ay) * distance / length
        distance -= length
    return points[-1]


@given(polylines, ratios)
def test_shrinking_removes_that_fraction_of_the_length(points, ratio):
    stroke = Stroke(3, np.array(points), 3)
    shrunk = shrink_stroke(stroke, ratio)
    length = arc_length(stroke.points)
    assert arc_length(shrunk.points) == pytest.approx((1 - ratio) * length, rel=1e-9, abs=1e-6)
    assert (shrunk.class_id, shrunk.width) == (3, 3)


@given(polylines, st.floats(0.001, 1))
def test_what_stays_is_the_middle_of_the_stroke(points, ratio):
    length = arc_length(np.array(points))
    shrunk = shrink_stroke(Stroke(1, np.array(points), 3), ratio).points
    for end, distance in ((0, ratio / 2 * length), (-1, (1 - ratio / 2) * length)):
        np.testing.assert_allclose(shrunk[end], walk(points, distance), atol=1e-5)
    assert all(tuple(point) in points for point in shrunk[1:-1].tolist())


@given(polylines, ratios, ratios)
def test_a_larger_ratio_keeps_a_part_of_what_a_smaller_one_keeps(points, one, other):
    smaller, larger = sorted((one, other))
    assume(smaller < 1)
    stroke = Stroke(1, np.array(points), 3)
    at_once = shrink_stroke(stroke, larger)
    in_two_steps = shrink_stroke(shrink_stroke(stroke, smaller), 1 - (1 - larger) / (1 - smaller))
    for fraction in (0, 0.25, 0.5, 1):
        length = arc_length(at_once.points)
        np.testing.assert_allclose(
            walk(at_once.points.tolist(), fraction * length),
            walk(in_two_steps.points.tolist(), fraction * arc_length(in_two_steps.points)),
            atol=1e-4,
        )


def test_ratio_zero_changes_nothing():
    stroke = Stroke(2, np.array([[0, 0], [0, 0], [1 / 3, 7]]), 3)
    assert shrink_stroke(stroke, 0).points.tolist() == stroke.points.tolist()


def test_ratio_one_keeps_the_point_half_way():
    corner = Stroke(2, np.array([[0, 0], [10, 0], [10, 30]]), 3)
    assert shrink_stroke(corner, 1).points.tolist() == [[10, 10]]


@pytest.mark.parametrize("ratio", [0.3, 1])
def test_strokes_without_length_become_one_point(ratio):
    for points in ([[4, 5]], [[4, 5]] * 4):
        assert shrink_stroke(Stroke(1, np.array(points), 3), ratio).points.tolist() == [[4, 5]]


def test_repeated_points_do_no_harm():
    points = np.array([[0, 0], [0, 0], [5, 0], [5, 0], [5, 0], [10, 0], [10, 0]])
    shrunk = shrink_stroke(Stroke(1, points, 3), 0.5)
    assert shrunk.points[[0, -1]].tolist() == [[2.5, 0], [7.5, 0]]
    assert arc_length(shrunk.points) == 5


def image_of(classes, image_id="a"):
    strokes = tuple(Stroke(c, np.array([[i, 0], [i, 9]]), 3) for i, c in enumerate(classes))
    return ImageStrokes(image_id, 10, 50, strokes)


def columns(image):
    """Which of the strokes of ``image_of`` an image has, in its own order."""
    return [int(stroke.points[0, 0]) for stroke in image.strokes]


CLASSES = (0, 0, 3, 5, 5, 9, 9, 9)
GRID = (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.text(max_size=5), st.integers(0, 7), st.booleans())
def test_drop_sets_are_nested_and_ordered(seed, image_id, min_per_image, drop_background):
    image = image_of(CLASSES, image_id)
    kept = [
        columns(
            drop_annotations(
                image,
                ratio,
                seed=seed,
                min_per_image=min_per_image,
                drop_background=drop_background,
            )
        )
        for ratio in GRID
    ]
    assert kept[0] == list(range(len(CLASSES)))
    for more, fewer in pairwise(kept):
        assert set(fewer) <= set(more)
    for columns_kept in kept:
        assert columns_kept == sorted(columns_kept)
        assert sum(CLASSES[i] != 0 for i in columns_kept) >= min(min_per_image, 6)
        assert drop_background or {0, 1} <= set(columns_kept)
    objects_at_one = [i for i in kept[-1] if CLASSES[i] != 0]
    assert len(objects_at_one) == min(min_per_image, 6)
    assert [i for i in kept[-1] if CLASSES[i] == 0] == ([] if drop_background else [0, 1])


@pytest.mark.parametrize("drop_background", [False, True])
def test_strokes_are_dropped_with_the_probability_that_was_asked_for(drop_background):
    counts = np.zeros(len(CLASSES))
    num_images = 2000
    for i in range(num_images):
        image = image_of(CLASSES, f"image_{i}")
        counts[columns(drop_annotations(image, 0.3, seed=0, drop_background=drop_background))] += 1
    expected = np.where((np.array(CLASSES) == 0) & (not drop_background), 1.0, 0.7)
    np.testing.assert_allclose(counts / num_images, expected, atol=0.05)


def test_the_fate_of_object_strokes_does_not_depend_on_the_settings():
    for seed in range(20):
        image = image_of(CLASSES)
        without = columns(drop_annotations(image, 0.5, seed=seed))
        with_background = columns(drop_annotations(image, 0.5, seed=seed, drop_background=True))
        assert [i for i in without if i > 1] == [i for i in with_background if i > 1]


def test_drops_differ_between_seeds_and_images_but_not_between_runs():
    classes = (1,) * 40
    kept = columns(drop_annotations(image_of(classes, "a"), 0.5, seed=0))
    assert kept == columns(drop_annotations(image_of(classes, "a"), 0.5, seed=0))
    assert kept != columns(drop_annotations(image_of(classes, "a"), 0.5, seed=1))
    assert kept != columns(drop_annotations(image_of(classes, "b"), 0.5, seed=0))


def test_drops_are_the_same_on_every_machine():
    assert columns(drop_annotations(image_of((1,) * 10, "2007_000175"), 0.5, seed=7)) == [
        0,
        1,
        2,
        3,
        5,
        6,
        8,
        9,
    ]


def test_min_per_image_keeps_no_more_than_it_must():
    image = image_of((0, 1, 1, 1, 1))
    for seed in range(20):
        for ratio in GRID:
            free = columns(drop_annotations(image, ratio, seed=seed))
            held = columns(drop_annotations(image, ratio, seed=seed, min_per_image=2))
            assert set(free) <= set(held)
            if len(free) >= 3:
                assert held == free


annotated_images = st.builds(
    lambda classes, num_boxes, tags: replace(
        image_of(classes),
        boxes=tuple(Box(1, i, 0, i, 5) for i in range(num_boxes)),
        tags=tuple(sorted(tags)),
    ),
    st.lists(st.integers(0, 3), max_size=4),
    st.integers(0, 4),
    st.sets(st.integers(1, 254), max_size=3),
)


def parts(image):
    return columns(image), list(image.boxes), list(image.tags)


@given(annotated_images, st.integers(0, 2**32), st.integers(0, 5), ratios, ratios)
def test_boxes_and_tags_are_dropped_like_object_strokes(image, seed, min_per_image, one, other):
    kept = [
        drop_annotations(image, ratio, seed=seed, min_per_image=min_per_image)
        for ratio in (0, min(one, other), max(one, other), 1)
    ]
    assert parts(kept[0]) == parts(image)
    for more, fewer in pairwise(kept):
        for of_more, of_fewer in zip(parts(more), parts(fewer), strict=True):
            assert of_fewer == [annotation for annotation in of_more if annotation in of_fewer]
    counts = [
        sum(stroke.class_id != 0 for stroke in i.strokes) + len(i.boxes) + len(i.tags) for i in kept
    ]
    assert counts[-1] == min(min_per_image, counts[0])
    strokes_alone = replace(image, boxes=(), tags=())
    dropped, alone = (drop_annotations(i, one, seed=seed) for i in (image, strokes_alone))
    assert columns(dropped) == columns(alone)


def test_boxes_and_tags_are_dropped_with_the_probability_that_was_asked_for():
    num_boxes = num_tags = 0
    for i in range(2000):
        image = ImageStrokes(f"image_{i}", 9, 9, (), (Box(1, 1, 1, 2, 2),) * 2, (4, 5))
        dropped = drop_annotations(image, 0.3, seed=0)
        num_boxes, num_tags = num_boxes + len(dropped.boxes), num_tags + len(dropped.tags)
    assert abs(num_boxes / 4000 - 0.7) < 0.03
    assert abs(num_tags / 4000 - 0.7) < 0.03


def test_shrinking_leaves_boxes_and_tags():
    image = replace(image_of(CLASSES), boxes=(Box(1, 1, 1, 8, 8),), tags=(4,))
    shrunk = degrade(image, Degradation("shrink", 1), seed=0)
    assert (shrunk.boxes, shrunk.tags) == (image.boxes, image.tags)


def test_images_without_strokes():
    empty = image_of(())
    for name in ("full", "shrink-1", "drop-0.5"):
        assert degrade(empty, Degradation.parse(name), seed=0, min_per_image=3).strokes == ()


def test_degrade_does_what_its_name_says():
    image = image_of(CLASSES)
    assert degrade(image, Degradation.parse("full"), seed=0) is image
    shrunk = degrade(image, Degradation.parse("shrink-1"), seed=0)
    assert [stroke.points.tolist() for stroke in shrunk.strokes] == [
        [[i, 4.5]] for i in range(len(CLASSES))
    ]
    assert [stroke.class_id for stroke in shrunk.strokes] == list(CLASSES)
    dropped = degrade(image, Degradation.parse("drop-1"), seed=0)
    assert columns(dropped) == [0, 1]
    assert (dropped.image_id, dropped.height, dropped.width) == ("a", 10, 50)
    everything = degrade(
        image, Degradation.parse("drop-1"), seed=0, drop_background=True, min_per_image=1
    )
    assert [stroke.class_id != 0 for stroke in everything.strokes] == [True]


@pytest.mark.parametrize(
    ("name", "kind", "ratio"),
    [("full", "full", 0), ("shrink-0.5", "shrink", 0.5), ("drop-1", "drop", 1)],
)
def test_names(name, kind, ratio):
    degradation = Degradation.parse(name)
    assert (degradation.kind, degradation.ratio) == (kind, ratio)
    assert degradation.name == name


@given(st.sampled_from(["shrink", "drop"]), ratios)
def test_every_degradation_has_a_name_that_reads_back(kind, ratio):
    degradation = Degradation(kind, ratio)
    assert Degradation.parse(degradation.name) == degradation


def test_other_spellings_have_the_same_name():
    assert Degradation.parse("shrink-0.50").name == "shrink-0.5"
    assert Degradation.parse("drop-1.0").name == "drop-1"
    assert Degradation.parse("drop-0.0").name == "drop-0"


@pytest.mark.parametrize(
    "name",
    [
        *("", "shrink", "shrink-", "shrink-1.1", "drop--0.5", "drop-nan", "full-0", "Full"),
        *("drop-0,5", "drop-0.5 ", "shrink-0.5\n", "shrink-1e-1", "drop-２"),
    ],
)
def test_unknown_names_are_refused_with_what_is_accepted(name):
    with pytest.raises(ValueError, match=r"'shrink-<ratio>', 'drop-<ratio>' or 'hold_out-<ratio>'"):
        Degradation.parse(name)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_ratios_outside_zero_to_one_are_refused(ratio):
    with pytest.raises(ValueError, match="fraction removed"):
        Degradation("drop", ratio)
    with pytest.raises(ValueError, match="fraction removed"):
        shrink_stroke(Stroke(1, np.zeros((1, 2)), 3), ratio)
    with pytest.raises(ValueError, match="fraction removed"):
        drop_annotations(image_of(CLASSES), ratio, seed=0)


def test_full_removes_nothing():
    with pytest.raises(ValueError, match="'full' removes nothing"):
        Degradation("full", 0.5)


strokes_of_classes = st.lists(st.integers(0, 3), max_size=12)


def with_box(classes):
    strokes = tuple(Stroke(c, np.array([[i, i]]), 3) for i, c in enumerate(classes))
    return ImageStrokes("one", 20, 20, strokes, boxes=(Box(2, 1, 1, 5, 5),), tags=(3,))


@given(strokes_of_classes, ratios, ratios)
def test_holding_out_leaves_a_stroke_of_every_class(classes, one, other):
    image = with_box(classes)
    smaller, larger = sorted((one, other))
    few, many = (
        degrade(image, Degradation("hold_out", ratio), seed=0) for ratio in (larger, smaller)
    )
    for kept in (few, many):
        assert {stroke.class_id for stroke in kept.strokes} == set(classes)
        assert (kept.boxes, kept.tags) == (image.boxes, image.tags)
    assert set(few.strokes) <= set(many.strokes) <= set(image.strokes)
    all_out = degrade(image, Degradation("hold_out", 1), seed=0)
    assert len(all_out.strokes) == len(set(classes))


def test_the_fraction_is_held_out_by_the_seed():
    image = with_box([0] * 300 + [1] * 300)
    kept = {seed: degrade(image, Degradation("hold_out", 0.25), seed=seed) for seed in (0, 0, 1)}
    assert kept[0].strokes != kept[1].strokes
    for one in kept.values():
        assert 0.65 < len(one.strokes) / 600 < 0.85
