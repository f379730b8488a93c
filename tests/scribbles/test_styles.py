"""What holds in every style of simulated strokes, and what the styles' numbers do."""

import hashlib
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from scipy import ndimage
from scipy.ndimage import distance_transform_edt

from cdsp.scribbles.degrade import drop_annotations, shrink_stroke
from cdsp.scribbles.loops import background_loops
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.simulate import simulate_strokes
from cdsp.scribbles.strokes import ImageStrokes, arc_length
from cdsp.scribbles.styles import STYLES, Loop, StyleName

SHAPE = (150, 200)
each_style = pytest.mark.parametrize("style", STYLES.values(), ids=STYLES.keys())


def scene(seed, touching=True):
    """A mask of three ellipses of random classes, sizes and places, with a rim of void."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mask = np.zeros(SHAPE, np.uint8)
    for class_id in rng.choice(np.arange(1, 21), 3, replace=False):
        a, b = rng.uniform(8, 40, 2)
        margin = 5 if touching else 42
        centre_x, centre_y = rng.uniform(margin, np.subtract(SHAPE[::-1], margin))
        mask[((x - centre_x) / a) ** 2 + ((y - centre_y) / b) ** 2 < 1] = class_id
    inner = ndimage.grey_erosion(mask, 3) == ndimage.grey_dilation(mask, 3)
    return np.where(inner, mask, 255).astype(np.uint8)


def draw(mask, style, seed=0, **options):
    return simulate_strokes(mask, np.random.default_rng(seed), style, width=2, **options)


def digest(strokes):
    content = hashlib.sha256()
    for stroke in strokes:
        content.update(f"{stroke.class_id} {stroke.width}".encode() + stroke.points.tobytes())
    return content.hexdigest()


def on(strokes, background):
    return [stroke for stroke in strokes if (stroke.class_id == 0) == background]


def total_length(strokes):
    return sum(arc_length(stroke.points) for stroke in strokes)


def test_the_settings_offer_every_style():
    assert get_args(StyleName) == tuple(STYLES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("medial_axis", "d32b0a408d5a24d8b3cd26002dd827cdc4439ea1401d73d640ea8744ab485e2c"),
        ("scribblesup", "eb99bf1593717c77bde70ae46e981e0ab72d2eaeb28f34021022d1821aad4020"),
    ],
)
def test_strokes_behind_documented_numbers_are_drawn_as_they_were(name, expected):
    """``medial_axis`` as before there were styles, ``scribblesup`` as docs/results.md used it."""
    y, x = np.mgrid[:180, :240]
    mask = np.where((x - 90) ** 2 / 70**2 + (y - 80) ** 2 / 45**2 < 1, 7, 0).astype(np.uint8)
    mask[100:170, 180:215] = 12
    mask[20:40, 120:230] = 7
    mask[:, 60:62] = 255
    strokes = [stroke for seed in range(3) for stroke in draw(mask, STYLES[name], seed)]
    assert digest(strokes) == expected


@each_style
@pytest.mark.parametrize("seed", range(6))
def test_every_class_gets_a_stroke_inside_the_image_and_hardly_a_pixel_is_wrong(style, seed):
    mask = scene(seed)
    strokes = draw(mask, style, seed)
    assert {stroke.class_id for stroke in strokes} == set(np.unique(mask).tolist()) - {255}
    for stroke in strokes:
        assert (stroke.points >= 0).all()
        assert (stroke.points <= np.subtract(SHAPE[::-1], 1)).all()
    label = rasterise(strokes, *SHAPE)
    known = (label != 255) & (mask != 255)
    assert (label != mask)[known].mean() < 0.15
    classes = [stroke.class_id for stroke in strokes]
    assert classes[: classes.count(0)] == [0] * classes.count(0)


@each_style
def test_same_seed_same_strokes_other_seed_other_strokes(style):
    mask = scene(1)
    assert digest(draw(mask, style, 5)) == digest(draw(mask.copy(), style, 5))
    assert digest(draw(mask, style, 5)) != digest(draw(mask, style, 6))


@each_style
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 40), (40, 1), (2, 3), (3, 3), (9, 7), (2, 900), (97, 97)]
)
def test_tiny_masks_and_masks_of_one_class(style, shape):
    for value in (0, 3):
        strokes = draw(np.full(shape, value, np.uint8), style)
        assert {stroke.class_id for stroke in strokes} == {value}
        assert (rasterise(strokes, *shape) == value).any()
    assert draw(np.full(shape, 255, np.uint8), style) == ()


@each_style
def test_slivers_specks_and_noise_are_survived(style):
    sliver = np.full((60, 80), 4, np.uint8)
    sliver[:, 40] = 0
    speck = np.zeros((60, 80), np.uint8)
    speck[0, 79] = 4
    noise = np.random.default_rng(0).choice(np.array([0, 4, 255], np.uint8), (60, 80))
    for mask in (sliver, speck, noise):
        assert {stroke.class_id for stroke in draw(mask, style)} == {0, 4}


@each_style
@pytest.mark.parametrize("coverage", [0.004, 0.008])
def test_coverage_is_the_most_that_is_labelled(style, coverage):
    mask = scene(2)
    strokes = draw(mask, style, coverage=coverage)
    shortest = 6 * 2  # strokes of width 2 are not cut shorter
    assert total_length(strokes) <= coverage * mask.size / 2 + shortest * len(strokes)
    assert total_length(strokes) < total_length(draw(mask, style))


@each_style
def test_degraded_strokes_are_nested(style):
    mask = scene(3)
    image = ImageStrokes("image", *SHAPE, draw(mask, style))
    kept = [drop_annotations(image, ratio, seed=0).strokes for ratio in (0.8, 0.4, 0)]
    assert set(map(id, kept[0])) <= set(map(id, kept[1])) <= set(map(id, kept[2]))
    for stroke in image.strokes:
        half, most = (
            rasterise([shrink_stroke(stroke, ratio)], *SHAPE) != 255 for ratio in (0.5, 0.2)
        )
        assert not (half & ~ndimage.binary_dilation(most)).any()


def places(mask, loop, seeds=8):
    """Distances to the objects and to the border along loops, in pixels."""
    points = np.concatenate(
        [path for seed in range(seeds) for path in background_loops(mask, loop, rng_of(seed))]
    )
    x, y = np.round(points).astype(int).T
    height, width = mask.shape
    border = np.min([x, y, width - 1 - x, height - 1 - y], axis=0)
    return distance_transform_edt(mask == 0)[y, x], border


def rng_of(seed):
    return np.random.default_rng(seed)


LOOP = Loop(place=0.5, stray=0, rounding=0.01, shortest=1, pieces=1)


def disc():
    y, x = np.mgrid[:200, :200]
    return np.where((x - 100) ** 2 + (y - 100) ** 2 < 30**2, 5, 0).astype(np.uint8)


def test_a_loop_runs_all_round_an_object():
    (path,) = background_loops(disc(), LOOP, rng_of(0))
    angles = np.unwrap(np.arctan2(*(path - 100).T))
    assert abs(angles[-1] - angles[0]) > 0.95 * 2 * np.pi


def test_a_loop_keeps_the_place_between_objects_and_border_that_it_is_told():
    means = []
    for place in (0.2, 0.5, 0.8):
        to_object, to_border = places(disc(), replace(LOOP, place=place))
        share = to_object / (to_object + to_border)
        assert share.std() < 0.08
        means.append(share.mean())
    assert means == pytest.approx([0.2, 0.5, 0.8], abs=0.08)


def test_a_loop_strays_as_far_as_it_is_told():
    spreads = [places(disc(), replace(LOOP, stray=stray))[0].std() for stray in (0, 0.1, 0.2)]
    assert spreads[0] < 0.7 * spreads[1] < 0.5 * spreads[2]


def test_a_loop_is_drawn_in_pieces():
    (whole,) = background_loops(disc(), LOOP, rng_of(0))
    pieces = background_loops(disc(), replace(LOOP, pieces=3), rng_of(0))
    lengths = [arc_length(piece) for piece in pieces]
    assert lengths == pytest.approx([arc_length(whole) / 3] * 3)
    np.testing.assert_allclose(pieces[0][-1], pieces[1][0])


def test_a_loop_ends_at_an_object_that_touches_the_border():
    mask = np.zeros((200, 200), np.uint8)
    mask[60:140, 90:] = 5
    (path,) = background_loops(mask, LOOP, rng_of(0))
    assert (path[[0, -1], 0] > 190).all()
    assert path[:, 0].min() < 60
    assert not (mask[tuple(np.round(path[:, ::-1]).astype(int).T)] == 5).any()


def test_without_objects_a_loop_runs_about_the_middle():
    (path,) = background_loops(np.zeros((100, 160), np.uint8), LOOP, rng_of(0))
    np.testing.assert_allclose((path.min(axis=0) + path.max(axis=0)) / 2, (80, 50), atol=6)


def test_without_background_there_is_no_loop_on_it():
    assert on(draw(np.full(SHAPE, 5, np.uint8), STYLES["scribblesup"]), background=True) == []


def with_hand(**changes):
    style = STYLES["scribblesup"]
    return replace(style, objects=replace(style.objects, **changes))


def bar():
    mask = np.zeros((120, 300), np.uint8)
    mask[40:80, 20:280] = 4
    return mask


def object_strokes(style, mask=None, seeds=6):
    mask = bar() if mask is None else mask
    return [on(draw(mask, style, seed), background=False) for seed in range(seeds)]


def test_a_hand_draws_the_part_of_the_path_that_it_is_told():
    whole, half = (
        np.mean([total_length(strokes) for strokes in object_strokes(with_hand(reach=reach))])
        for reach in (1, 0.5)
    )
    assert half == pytest.approx(whole / 2, rel=0.05)


def test_a_hand_wavers_as_it_is_told():
    def waver(jitter):
        strokes = object_strokes(with_hand(jitter=jitter, margin=1))
        return np.mean([abs(s.points[:, 1] - 59.5).mean() for some in strokes for s in some])

    assert waver(0) < 2 < waver(0.5)


def test_a_hand_keeps_the_margin_that_it_is_told():
    for margin in (-5, 0, 6):
        strokes = object_strokes(with_hand(jitter=5, margin=margin), seeds=10)
        nearest = min(
            min(s.points[:, 1].min() - 40, 79 - s.points[:, 1].max())
            for some in strokes
            for s in some
        )
        assert nearest == pytest.approx(margin, abs=1.5)


def test_a_hand_cuts_corners_as_it_is_told():
    mask = np.zeros((220, 220), np.uint8)
    mask[20:200, 20:60] = mask[160:200, 20:200] = 4
    lengths = [
        np.mean([total_length(some) for some in object_strokes(with_hand(**hand), mask)])
        for hand in ({"jitter": 0, "smoothing": 0.1}, {"jitter": 0, "smoothing": 2, "margin": -50})
    ]
    assert lengths[1] < 0.95 * lengths[0]


def test_large_objects_get_as_many_strokes_as_the_style_says():
    mask = np.zeros((240, 300), np.uint8)
    mask[100:140, 20:280] = mask[10:230, 130:170] = 4
    for most in (1, 2, 3):
        style = replace(with_hand(longest=5), area_per_stroke=0.05, most_strokes=most)
        assert {len(some) for some in object_strokes(style, mask, seeds=3)} == {most}


def test_styles_differ_as_people_do():
    """Loose bounds on what benchmarks/human_strokes.py measures on photographs."""
    masks = [scene(seed, touching=False) for seed in range(12)]

    def mean(figure, name):
        strokes = [draw(mask, STYLES[name], seed) for seed, mask in enumerate(masks)]
        return np.mean([figure(mask, some) for mask, some in zip(masks, strokes, strict=True)])

    def rank(mask, strokes):
        distance = distance_transform_edt((mask == 0) | (mask == 255))
        drawn = rasterise(on(strokes, background=True), *SHAPE) == 0
        among = np.sort(distance[mask == 0])
        return np.searchsorted(among, distance[drawn]).mean() / len(among)

    def length(mask, strokes):
        return total_length(on(strokes, background=True)) / np.hypot(*SHAPE)

    def number(mask, strokes):
        return len(on(strokes, background=True))

    assert 0.42 < mean(rank, "scribblesup") < 0.68
    assert mean(rank, "careful") < 0.35 < mean(rank, "hasty") < 0.6
    assert mean(length, "scribblesup") > 1.4 > mean(length, "careful") > mean(length, "hasty")
    assert mean(number, "scribblesup") < 1.4
    assert mean(number, "hasty") > 2.5
