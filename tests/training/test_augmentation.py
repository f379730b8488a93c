import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdsp.io.files import IGNORE
from cdsp.io.pixels import PixelFormat
from cdsp.maps import MAPS
from cdsp.training.augmentation import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Draw,
    augment_image,
    augment_map,
    draw_augmentation,
    normalise,
)

COLOURS = np.random.default_rng(7).permutation(256 * 3).reshape(256, 3).astype(np.uint8)
PADDING = np.rint(np.array([0.485, 0.456, 0.406]) * 255).astype(np.uint8)

draws = st.builds(
    lambda seed, height, width, crop, low, stretch, rotation, rotates, flips: (
        (height, width),
        draw_augmentation(
            np.random.default_rng(seed),
            height,
            width,
            crop_size=crop,
            scale=(low, low * stretch),
            rotation=rotation,
            rotation_probability=rotates,
            flip_probability=flips,
        ),
    ),
    seed=st.integers(0, 10**6),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    crop=st.sampled_from([8, 17, 33]),
    low=st.floats(0.4, 2),
    stretch=st.floats(1, 2),
    rotation=st.floats(0, 180),
    rotates=st.sampled_from([0, 1]),
    flips=st.sampled_from([0, 1]),
)


def draw_map(height, width, seed=0, block=5):
    """A map of rectangles of several labels, 255 among them, and some pixels of noise."""
    rng = np.random.default_rng([seed, height, width])
    coarse = rng.choice([0, 1, 2, 7, 200, 255], (height // block + 1, width // block + 1))
    labels = coarse.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]
    noise = rng.random(labels.shape) < 0.05
    return np.where(noise, rng.integers(0, 256, labels.shape), labels).astype(np.uint8)


def source_positions(draw):
    """For each pixel (x, y) of the crop, the position in the image that the matrix sends there."""
    (a, b, e), (c, d, f) = draw.matrix.tolist()
    determinant = a * d - b * c
    for y in range(draw.crop_size):
        for x in range(draw.crop_size):
            u, v = x - e, y - f
            yield (x, y), ((d * u - b * v) / determinant, (a * v - c * u) / determinant)


def neighbours(position, size, reach):
    """The indices of pixels within `reach` of a position along one axis, and None for outside."""
    first, last = math.ceil(position - reach), math.floor(position + reach)
    return [index if 0 <= index < size else None for index in range(first, last + 1)]


def values_near(values, position, reach, outside):
    height, width = values.shape
    columns, rows = (
        neighbours(p, n, reach) for p, n in zip(position, (width, height), strict=True)
    )
    return {
        outside if row is None or column is None else int(values[row, column])
        for row in rows
        for column in columns
    }


@given(draws)
def test_maps_take_the_nearest_pixel(sized_draw):
    (height, width), draw = sized_draw
    values = draw_map(height, width)
    for name, outside in (("scribble", 255), ("scribble_distance", 0)):
        found = augment_map(name, values, draw)
        assert (found.shape, found.dtype) == ((draw.crop_size, draw.crop_size), np.uint8)
        for (x, y), position in source_positions(draw):
            # Positions are computed to some thousandths of a pixel: either side will do at a tie.
            assert found[y, x] in values_near(values, position, 0.5 + 4e-3, outside)


@given(draws)
def test_an_image_coloured_by_its_labels_stays_aligned_with_them(sized_draw):
    (height, width), draw = sized_draw
    labels = draw_map(height, width)
    image = augment_image(COLOURS[labels], draw)
    assert (image.shape, image.dtype) == ((draw.crop_size, draw.crop_size, 3), np.uint8)
    mask, distance, valid = (
        augment_map(name, values, draw)
        for name, values in (
            ("mask", labels),
            ("pseudo_label_distance", labels),
            ("valid", np.ones_like(labels)),
        )
    )
    for (x, y), position in source_positions(draw):
        near = values_near(labels, position, 1.01, None)
        if near == {None}:
            assert (valid[y, x], mask[y, x], distance[y, x]) == (0, 255, 0)
            assert image[y, x].tolist() == PADDING.tolist()
        elif len(near) == 1:
            (label,) = near
            assert (valid[y, x], mask[y, x], distance[y, x]) == (1, label, label)
            assert image[y, x].tolist() == COLOURS[label].tolist()


@given(draws)
def test_valid_is_one_where_the_image_is(sized_draw):
    (height, width), draw = sized_draw
    valid = augment_map("valid", np.ones((height, width), np.uint8), draw)
    for (x, y), (u, v) in source_positions(draw):
        beyond = max(-0.5 - u, u - (width - 0.5), -0.5 - v, v - (height - 0.5))
        if abs(beyond) > 4e-3:
            assert valid[y, x] == (beyond < 0)


@given(draws)
def test_labels_of_padding_teach_nothing(sized_draw):
    (height, width), draw = sized_draw
    valid = augment_map("valid", np.ones((height, width), np.uint8), draw)
    values = np.full((height, width), 9, np.uint8)
    for name in set(MAPS) - {"valid"}:
        expected = np.where(valid == 1, 9, MAPS[name].padding)
        np.testing.assert_array_equal(augment_map(name, values, draw), expected)


def test_labels_are_padded_with_what_is_ignored_and_all_else_with_0():
    labels = {name for name in MAPS if "distance" not in name and name != "valid"}
    assert {name for name, entry in MAPS.items() if entry.padding == IGNORE} == labels
    assert {entry.padding for entry in MAPS.values()} == {IGNORE, 0}


def identity(size, **options):
    rng = np.random.default_rng(0)
    draw = {"crop_size": size, "scale": (1, 1), "flip_probability": 0} | options
    return draw_augmentation(rng, size, size, **draw)


def test_the_identity_is_exact():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (33, 33, 3), dtype=np.uint8)
    draw = identity(33, rotation=10, rotation_probability=0)
    np.testing.assert_array_equal(augment_image(image, draw), image)
    np.testing.assert_array_equal(augment_map("scribble", image[..., 0], draw), image[..., 0])


@pytest.mark.parametrize("size", [32, 33])
def test_a_flip_alone_is_exact(size):
    image = np.random.default_rng(3).integers(0, 256, (size, size, 3), dtype=np.uint8)
    draw = identity(size, flip_probability=1)
    np.testing.assert_array_equal(augment_image(image, draw), image[:, ::-1])
    np.testing.assert_array_equal(augment_map("mask", image[..., 0], draw), image[:, ::-1, 0])


def test_a_crop_at_whole_pixels_is_a_slice():
    image = np.random.default_rng(3).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    draw = Draw(np.array([[1.0, 0, -4], [0, 1.0, -9]]), blur=False, crop_size=12)
    np.testing.assert_array_equal(augment_image(image, draw), image[9:21, 4:16])
    np.testing.assert_array_equal(augment_map("mask", image[..., 1], draw), image[9:21, 4:16, 1])


def test_blur_softens_the_image_and_leaves_the_maps_alone():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (33, 33, 3), dtype=np.uint8)
    labels = draw_map(33, 33)
    sharp, blurred = (identity(33, blur_probability=probability) for probability in (0, 1))
    assert (sharp.blur, blurred.blur) == (False, True)
    np.testing.assert_array_equal(blurred.matrix, sharp.matrix)
    for name in MAPS:
        np.testing.assert_array_equal(augment_map(name, labels, blurred), labels)
    soft = augment_image(image, blurred)
    # A 5×5 Gaussian: each inner pixel is the weighted mean of its surroundings.
    weights = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 1.1**2))
    kernel = np.outer(weights, weights) / weights.sum() ** 2
    for y, x in ((2, 2), (16, 20), (30, 5)):
        expected = (image[y - 2 : y + 3, x - 2 : x + 3] * kernel[..., None]).sum(axis=(0, 1))
        np.testing.assert_allclose(soft[y, x], expected, atol=2)


FULL = {
    "crop_size": 21,
    "scale": (0.5, 2),
    "rotation": 10,
    "rotation_probability": 0.5,
    "blur_probability": 0.5,
    "flip_probability": 0.5,
}


def test_the_same_generator_gives_the_same_draw():
    one, two, other = (
        draw_augmentation(np.random.default_rng([seed, 3]), 40, 30, **FULL) for seed in (1, 1, 2)
    )
    assert one.matrix.tobytes() == two.matrix.tobytes()
    assert (one.blur, one.crop_size) == (two.blur, two.crop_size)
    assert one.matrix.tobytes() != other.matrix.tobytes()


def decompose(matrix):
    """Scale, angle in degrees and flip of a matrix."""
    linear = matrix[:, :2]
    flipped = np.linalg.det(linear) < 0
    factor = np.sqrt(abs(np.linalg.det(linear)))
    rotation = linear / factor * [[-1 if flipped else 1], [1]]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(2), atol=1e-12)
    return factor, np.degrees(np.arctan2(rotation[1, 0], rotation[0, 0])), flipped


def test_scale_angle_flip_and_blur_are_drawn_as_told():
    drawn = [draw_augmentation(np.random.default_rng(seed), 40, 30, **FULL) for seed in range(1000)]
    factors, angles, flips = map(np.array, zip(*(decompose(d.matrix) for d in drawn), strict=True))
    assert_uniform(factors, 0.5, 2)
    assert_uniform(angles[angles != 0], -10, 10)
    for share in (np.mean(angles != 0), np.mean(flips), np.mean([draw.blur for draw in drawn])):
        assert abs(share - 0.5) < 0.06  # 3.8 standard deviations


def assert_uniform(sample, low, high):
    """Kolmogorov-Smirnov, at a level of about 1 in 1000."""
    ordered = np.sort(sample)
    assert low <= ordered[0]
    assert ordered[-1] <= high
    steps = np.arange(len(ordered) + 1) / len(ordered)
    ideal = (ordered - low) / (high - low)
    assert max((steps[1:] - ideal).max(), (ideal - steps[:-1]).max()) < 1.95 / len(ordered) ** 0.5


@pytest.mark.parametrize(("height", "width", "factor"), [(60, 40, 1), (30, 30, 1.5), (12, 60, 1)])
def test_crops_lie_uniformly_from_corner_to_corner(height, width, factor):
    crop = 21
    corners = []
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        options = {"crop_size": crop, "scale": (factor, factor), "flip_probability": 0}
        matrix = draw_augmentation(rng, height, width, **options).matrix
        # Where the upper left corner of the image's first pixel comes to lie, in the crop's frame.
        corners.append(matrix @ [-0.5, -0.5, 1] + 0.5)
    for corner, side in zip(np.transpose(corners), (width, height), strict=True):
        room = side * factor - crop
        assert_uniform(corner, min(0, -room), max(0, -room))
    assert abs(np.corrcoef(np.transpose(corners))[0, 1]) < 0.1


@settings(max_examples=100)
@given(
    st.integers(3, 60), st.integers(3, 60), st.floats(0.5, 2), st.integers(0, 999), st.booleans()
)
def test_without_rotation_a_larger_image_fills_the_crop(height, width, factor, seed, flip):
    crop = 17
    draw = draw_augmentation(
        np.random.default_rng(seed),
        height,
        width,
        crop_size=crop,
        scale=(factor, factor),
        flip_probability=float(flip),
    )
    valid = augment_map("valid", np.ones((height, width), np.uint8), draw)
    for length, side in ((valid.any(axis=1).sum(), height), (valid.any(axis=0).sum(), width)):
        scaled = side * factor
        # Of a smaller side, all is in the crop.
        assert abs(length - min(scaled, crop)) <= 1.01
        if scaled > crop + 0.01:
            assert length == crop


@pytest.mark.parametrize("shape", [(465, 465, 3), (2, 7, 5, 3), (3, 1, 4, 5)])
def test_normalising_bytes_by_a_table_gives_the_bits_of_the_formula(shape):
    values = np.linspace(0.1, 0.7, shape[-1], dtype=np.float32)
    pixels = PixelFormat(channels=shape[-1], mean=tuple(values), std=tuple(values[::-1]))
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)[..., ::-1, :]
    found = normalise(image, pixels)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, normalise(image.astype(np.float32), pixels))


def test_normalise_against_a_loop():
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    found = normalise(image)
    assert (found.shape, found.dtype) == ((2, 3, 5, 4), np.float32)
    for index in np.ndindex(image.shape):
        b, y, x, c = index
        expected = (image[index] / 255 - IMAGENET_MEAN[c]) / IMAGENET_STD[c]
        assert found[b, c, y, x] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_array_equal(normalise(image[0]), found[0])
    padding = normalise(PADDING[None, None])
    assert np.abs(padding).max() < 0.01
