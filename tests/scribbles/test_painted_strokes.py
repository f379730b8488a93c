import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import label as connected
from skimage.draw import circle_perimeter, line

from cdsp.io.json_files import write_json_lines
from cdsp.scribbles.degrade import Degradation, degrade
from cdsp.scribbles.painted_strokes import PaintedStroke, painted_regions, shrink_painted
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.stroke_files import read_strokes, write_strokes
from cdsp.scribbles.strokes import ImageStrokes, Stroke

paintings = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14))
EIGHT = np.ones((3, 3))


def drawn(strokes, shape):
    return rasterise(strokes, *shape) == 3


@given(paintings)
def test_regions_are_what_was_painted_pixel_for_pixel(painted):
    regions = list(painted_regions(painted, 3))
    np.testing.assert_array_equal(drawn(regions, painted.shape), painted)
    labels, number = connected(painted, EIGHT)
    assert len(regions) == number
    found = [drawn([region], painted.shape) for region in regions]
    for region in found:
        assert len(np.unique(labels[region])) == 1
    assert sum(region.sum() for region in found) == painted.sum()


@settings(deadline=None)
@given(paintings, st.lists(st.floats(0, 1), min_size=2, max_size=4))
def test_shrunk_regions_are_nested_and_never_empty(painted, ratios):
    for region in painted_regions(painted, 3):
        kept = drawn([region], painted.shape)
        for ratio in [0, *sorted(ratios), 1]:
            inner = drawn([shrink_painted(region, ratio)], painted.shape)
            assert inner.any()
            assert not (inner & ~kept).any()
            kept = inner


def test_without_a_ratio_nothing_changes():
    (region,) = painted_regions(np.ones((4, 9), bool), 3)
    assert shrink_painted(region, 0) is region


@pytest.mark.parametrize("width", [1, 3, 6])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_a_painted_line_shrinks_like_a_drawn_one(width, ratio):
    stroke = Stroke(3, np.array([[20, 15], [100, 40], [180, 15]]), width)
    (painted,) = painted_regions(drawn([stroke], (60, 200)), 3)
    shrunk = drawn([shrink_painted(painted, ratio)], (60, 200))
    image = ImageStrokes("a", 60, 200, (stroke,))
    expected = drawn(degrade(image, Degradation("shrink", ratio), seed=0).strokes, (60, 200))
    assert (shrunk != expected).sum() <= 0.12 * expected.sum() + 3 * width


def test_what_is_left_in_the_end_is_a_dot_in_the_middle_as_wide_as_the_stroke():
    painted = np.zeros((30, 101), bool)
    painted[10:15, 10:91] = True
    (region,) = painted_regions(painted, 3)
    y, x = np.nonzero(drawn([shrink_painted(region, 1)], painted.shape))
    assert (y.min(), y.max(), x.max() - x.min()) == (10, 14, 4)
    assert x.mean() == pytest.approx(50, abs=1)


def test_every_arm_of_a_cross_is_shortened():
    painted = np.zeros((101, 121), bool)
    painted[49:52, 10:111] = painted[10:91, 59:62] = True
    (region,) = painted_regions(painted, 3)
    y, x = np.nonzero(drawn([shrink_painted(region, 0.5)], painted.shape))
    assert (x.min(), x.max()) == (pytest.approx(35, abs=2), pytest.approx(85, abs=2))
    # The longest arm has 50 px, so that 25 px stay of each.
    assert (y.min(), y.max()) == (pytest.approx(25, abs=2), pytest.approx(75, abs=2))


def test_rings_and_hatchings_shrink():
    ring = np.zeros((60, 60), bool)
    ring[circle_perimeter(30, 30, 20)] = True
    hatching = np.zeros((60, 90), bool)
    for i in range(8):
        hatching[line(5, 5 + 10 * i, 50, 10 + 10 * i)] = True
        hatching[line(50, 10 + 10 * i, 5, 15 + 10 * i)] = True
    for painted in (ring, cv2.dilate(hatching.astype(np.uint8), np.ones((3, 3))) == 1):
        (region,) = painted_regions(painted, 3)
        areas = [drawn([shrink_painted(region, r)], painted.shape).sum() for r in (0, 0.5, 0.9)]
        assert areas[0] == painted.sum()
        assert areas[1] == pytest.approx(areas[0] / 2, rel=0.1)
        assert areas[2] == pytest.approx(areas[0] / 10, rel=0.3)


@given(paintings, paintings)
def test_a_stroke_file_keeps_every_pixel(tmp_path_factory, first, second):
    path = tmp_path_factory.mktemp("painted") / "strokes.jsonl"
    height, width = np.maximum(first.shape, second.shape).tolist()
    strokes = (*painted_regions(first, 3), Stroke(3, np.array([[1.0, 2.0]]), 3.0))
    strokes += tuple(painted_regions(second, 5))
    write_strokes(path, [ImageStrokes("a", height, width, strokes)], {})
    (image,) = read_strokes(path)
    np.testing.assert_array_equal(
        rasterise(image.strokes, height, width), rasterise(strokes, height, width)
    )
    assert [stroke.class_id for stroke in image.strokes] == [s.class_id for s in strokes]


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([0, 0], "three to a run"),
        ([], "N >= 1"),
        ([[0, 0, 1]], "three to a run"),
        ([0, 0, 1.5], "whole numbers"),
        ([0, 0, "1"], "whole numbers"),
        ([0, 0, True], None),
        ([0, 0, 0], "without pixels"),
        ([0, -1, 2], "without pixels"),
        ([0, 0, 3, 0, 2, 1], "out of order"),
        ([1, 0, 1, 0, 0, 1], "out of order"),
        ([0, 0, 10**9], "outside every image"),
        ([0, 0, 2**26, 1, 0, 2**26], "beyond an image"),
        ([0, 0, 10**40], "whole numbers"),
        ([0, 5, 3], "needs 1 x 8"),
        ([5, 0, 1], "needs 6 x 1"),
        ("0", "three to a run"),
        (None, "three to a run"),
        ([[0], [0, 1]], ""),
    ],
)
def test_damaged_runs_are_refused_before_memory_is_taken(tmp_path, runs, message):
    path = tmp_path / "strokes.jsonl"
    image = {"boxes": [], "height": 4, "image_id": "a", "tags": [], "width": 7}
    image["strokes"] = [{"class_id": 1, "runs": runs}]
    header = {"format": "cdsp-strokes", "version": 3}
    write_json_lines(path, [header, image])
    if message is None:
        assert len(list(read_strokes(path))) == 1
        return
    with pytest.raises(ValueError, match=r"line 2: .*make this stroke file again") as error:
        list(read_strokes(path))
    assert message in str(error.value)


def test_a_painted_stroke_keeps_its_own_runs():
    runs = np.array([[0, 1, 2]])
    stroke = PaintedStroke(1, runs)
    runs[0] = 9
    assert stroke.runs.tolist() == [[0, 1, 2]]
    with pytest.raises(ValueError, match="class 255"):
        PaintedStroke(255, runs)
