import numpy as np
import pytest
from scipy import ndimage

from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.simulate import simulate_strokes, stroke_width, strokes_from_label
from cdsp.scribbles.strokes import Stroke, arc_length
from cdsp.scribbles.styles import STYLES

MEDIAL_AXIS = STYLES["medial_axis"]


def scene(seed, height=240, width=320):
    """A mask of overlapping ellipses and bars, with a void rim between what touches."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    for class_id in rng.choice(np.arange(1, 21), 5, replace=False):
        angle = rng.uniform(0, np.pi)
        centre = rng.uniform((30, 30), (width - 30, height - 30))
        along = np.cos(angle) * (x - centre[0]) + np.sin(angle) * (y - centre[1])
        across = -np.sin(angle) * (x - centre[0]) + np.cos(angle) * (y - centre[1])
        a, b = rng.uniform(12, 80, 2)
        shape = (along / a) ** 2 + (across / b) ** 2 < 1
        if rng.random() < 0.4:
            shape = (abs(along) < a) & (abs(across) < b / 2)
        mask[shape] = class_id
    edges = np.zeros(mask.shape, bool)
    edges[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edges[1:] |= mask[1:] != mask[:-1]
    mask[ndimage.binary_dilation(edges, iterations=2)] = 255
    return mask


def same(strokes, others):
    return len(strokes) == len(others) and all(
        a.class_id == b.class_id and a.width == b.width and np.array_equal(a.points, b.points)
        for a, b in zip(strokes, others, strict=True)
    )


@pytest.mark.parametrize("seed", range(12))
def test_every_class_is_stroked_and_hardly_a_pixel_is_wrong(seed):
    mask = scene(seed)
    strokes = simulate_strokes(mask, np.random.default_rng(seed), MEDIAL_AXIS, width=3)
    assert {stroke.class_id for stroke in strokes} == set(np.unique(mask).tolist()) - {255}
    label = rasterise(strokes, *mask.shape)
    drawn = label != 255
    wrong = drawn & (label != mask)
    assert wrong.sum() <= 0.02 * drawn.sum()


@pytest.mark.parametrize("seed", range(6))
def test_strokes_stay_in_their_component_where_it_is_thick_enough(seed):
    mask = scene(seed)
    for stroke in simulate_strokes(mask, np.random.default_rng(seed), MEDIAL_AXIS, width=3):
        components, _ = ndimage.label(mask == stroke.class_id, np.ones((3, 3)))
        drawn = rasterise([stroke], *mask.shape) != 255
        home = np.bincount(components[drawn]).argmax()
        assert home > 0
        thick = ndimage.binary_opening(components == home, np.ones((7, 7)))
        near_thin = ndimage.binary_dilation((components == home) & ~thick, iterations=4)
        outside = drawn & (components != home)
        assert not (outside & ~near_thin).any()


def test_strokes_never_leave_a_thick_object_or_its_surroundings():
    y, x = np.mgrid[:200, :300]
    mask = np.where((x - 150) ** 2 / 90**2 + (y - 100) ** 2 / 60**2 < 1, 8, 0).astype(np.uint8)
    for seed in range(25):
        label = rasterise(
            simulate_strokes(mask, np.random.default_rng(seed), MEDIAL_AXIS, width=3), 200, 300
        )
        drawn = label != 255
        np.testing.assert_array_equal(label[drawn], mask[drawn])


@pytest.mark.parametrize("coverage", [0.01, 0.015, 0.02])
def test_coverage_is_what_was_asked_for_where_there_is_room(coverage):
    covered = []
    for seed in range(10):
        mask = scene(seed)
        strokes = simulate_strokes(
            mask, np.random.default_rng(0), MEDIAL_AXIS, width=3, coverage=coverage
        )
        covered.append((rasterise(strokes, *mask.shape) != 255).mean())
    assert np.mean(covered) == pytest.approx(coverage, rel=0.2)


def test_background_first_one_to_three_or_none():
    orders = set()
    for seed in range(8):
        mask = scene(3)
        strokes = simulate_strokes(mask, np.random.default_rng(seed), MEDIAL_AXIS, width=3)
        classes = [stroke.class_id for stroke in strokes]
        num_background = classes.count(0)
        assert 1 <= num_background <= 3
        assert classes[:num_background] == [0] * num_background
        orders.add(tuple(classes[num_background:]))
        without = simulate_strokes(
            mask, np.random.default_rng(seed), MEDIAL_AXIS, width=3, background=False
        )
        assert {s.class_id for s in without} == set(classes) - {0}
    assert len(orders) > 1


def test_each_component_that_is_not_tiny_gets_a_stroke_and_tiny_ones_none():
    mask = np.zeros((100, 200), np.uint8)
    boxes = [(10, 10), (60, 20), (30, 100), (70, 160)]
    for y, x in boxes:
        mask[y : y + 15, x : x + 30] = 6
    mask[5:7, 190:192] = 6
    strokes = simulate_strokes(
        mask, np.random.default_rng(0), MEDIAL_AXIS, width=2, background=False
    )
    found = sorted(
        next(i for i, (y, x) in enumerate(boxes) if y <= py < y + 15 and x <= px < x + 30)
        for px, py in (stroke.points[0] for stroke in strokes)
    )
    assert found == [0, 1, 2, 3]


def test_slivers_are_stroked_only_where_a_class_has_nothing_better():
    mask = np.zeros((100, 200), np.uint8)
    mask[:, :190] = 6
    mask[:2, :180] = 0
    mask[50, 20:170] = 9
    strokes = simulate_strokes(mask, np.random.default_rng(0), MEDIAL_AXIS, width=3)
    assert {stroke.class_id for stroke in strokes} == {0, 6, 9}
    assert all((s.points[:, 0] > 189).all() for s in strokes if s.class_id == 0)


def test_a_stroke_runs_along_its_object():
    mask = np.zeros((120, 300), np.uint8)
    mask[50:70, 20:280] = 4
    (stroke,) = simulate_strokes(
        mask, np.random.default_rng(5), MEDIAL_AXIS, width=3, background=False
    )
    assert np.ptp(stroke.points[:, 0]) > 200
    assert abs(stroke.points[:, 1] - 59.5).max() < 8
    assert 200 < arc_length(stroke.points) < 400


def test_same_seed_same_strokes_other_seed_other_strokes():
    mask = scene(1)
    strokes = simulate_strokes(mask, np.random.default_rng([4, 2]), MEDIAL_AXIS, width=3)
    assert same(
        strokes, simulate_strokes(mask.copy(), np.random.default_rng([4, 2]), MEDIAL_AXIS, width=3)
    )
    assert not same(
        strokes, simulate_strokes(mask, np.random.default_rng([4, 3]), MEDIAL_AXIS, width=3)
    )


def test_tiny_masks():
    rng = np.random.default_rng(0)
    for value in (0, 1, 254):
        (stroke,) = simulate_strokes(np.full((1, 1), value, np.uint8), rng, MEDIAL_AXIS, width=1)
        assert stroke.class_id == value
        assert stroke.points.tolist() == [[0, 0]]
    assert simulate_strokes(np.full((1, 1), 255, np.uint8), rng, MEDIAL_AXIS, width=1) == ()
    assert simulate_strokes(np.full((50, 60), 255, np.uint8), rng, MEDIAL_AXIS, width=3) == ()
    assert (
        simulate_strokes(np.zeros((5, 5), np.uint8), rng, MEDIAL_AXIS, width=1, background=False)
        == ()
    )
    for shape in [(1, 40), (40, 1), (2, 2), (2, 3), (3, 3), (97, 97)]:
        strokes = simulate_strokes(np.zeros(shape, np.uint8), rng, MEDIAL_AXIS, width=1)
        assert {stroke.class_id for stroke in strokes} == {0}
        label = rasterise(strokes, *shape)
        assert (label == 0).any()


def test_one_pixel_objects_are_dotted():
    mask = np.zeros((40, 50), np.uint8)
    mask[7, 9], mask[0, 49], mask[30, 20:22] = 3, 5, 8
    strokes = simulate_strokes(mask, np.random.default_rng(0), MEDIAL_AXIS, width=1)
    points = {stroke.class_id: stroke.points for stroke in strokes}
    assert points[3].tolist() == [[9, 7]]
    assert points[5].tolist() == [[49, 0]]
    assert set(np.round(points[8][:, 0])) <= {20, 21}
    assert rasterise(strokes, 40, 50)[7, 9] == 3


def test_noise_is_survived():
    mask = np.random.default_rng(0).choice(np.array([0, 1, 7, 255], np.uint8), (60, 70))
    strokes = simulate_strokes(mask, np.random.default_rng(0), MEDIAL_AXIS, width=1)
    assert {stroke.class_id for stroke in strokes} == {0, 1, 7}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((375, 500), 3), ((500, 333), 3), ((250, 200), 1.5), ((97, 97), 1), ((900, 1000), 3)],
)
def test_stroke_width(shape, expected):
    assert stroke_width(*shape) == pytest.approx(expected)


SEPARATED = (
    Stroke(0, np.array([[5, 8], [60, 6], [120, 14]]), 3),
    Stroke(3, np.array([[20.5, 40.2], [50, 60], [45, 85.7]]), 3),
    Stroke(3, np.array([[80, 40], [110, 90]]), 3),
    Stroke(12, np.array([[10, 90]]), 3),
)


@pytest.mark.parametrize("width", [1, 3, 5])
def test_strokes_come_back_from_their_label(width):
    strokes = [Stroke(s.class_id, s.points, width) for s in SEPARATED]
    label = rasterise(strokes, 100, 130)
    found = strokes_from_label(label)
    assert [stroke.class_id for stroke in found] == [0, 3, 3, 12]
    for stroke, original in zip(found, strokes, strict=True):
        assert stroke.width == pytest.approx(width, abs=0.5)
        length = arc_length(original.points)
        assert arc_length(stroke.points) == pytest.approx(length, rel=0.08, abs=width)
        one, other = (rasterise([s], 100, 130) != 255 for s in (stroke, original))
        assert (one & other).sum() > 0.75 * (one | other).sum()


def test_labels_without_strokes_and_with_single_pixels():
    label = np.full((9, 9), 255, np.uint8)
    assert strokes_from_label(label) == ()
    label[4, 6] = 20
    label[0, 0] = 0
    first, second = strokes_from_label(label)
    assert (first.class_id, first.points.tolist()) == (0, [[0, 0]])
    assert (second.class_id, second.points.tolist()) == (20, [[6, 4]])
    np.testing.assert_array_equal(rasterise([first, second], 9, 9), label)


def test_crossing_strokes_of_one_class_keep_their_width():
    cross = [
        Stroke(2, np.array([[5, 30], [95, 30]]), 3),
        Stroke(2, np.array([[50, 5], [50, 55]]), 3),
    ]
    (stroke,) = strokes_from_label(rasterise(cross, 60, 100))
    assert stroke.width == pytest.approx(3, abs=0.4)
    assert np.ptp(stroke.points[:, 0]) > 85
