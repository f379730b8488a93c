from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdsp.io.pixels import RGB, PixelFormat, as_picture, measure_format, resize
from cdsp.training.augmentation import augment_image, draw_augmentation, normalise

FIVE = PixelFormat(
    5,
    "uint16",
    low=(0.0, 100.0, 5.0, 7.0, 1000.0),
    high=(255.0, 1100.0, 6.0, 9.0, 65535.0),
    mean=(0.1, 0.2, 0.3, 0.4, 0.5),
    std=(0.5, 0.25, 1.0, 2.0, 0.125),
)


def draw(channels, dtype="float32", size=(23, 31), seed=0):
    return (np.random.default_rng(seed).random((*size, channels)) * 255).astype(dtype)


def test_values_are_stretched_channel_by_channel_and_not_rounded():
    values = np.random.default_rng(0).integers(0, 65536, (7, 9, 5), dtype=np.uint16)
    values[0, 0] = FIVE.low
    values[0, 1] = FIVE.high
    found = FIVE.stretched(values, Path("x.tif"))
    assert (found.dtype, found.min(), found.max()) == (np.float32, 0, 255)
    for y, x, channel in np.ndindex(values.shape):
        low, high = FIVE.low[channel], FIVE.high[channel]
        expected = 255 * min(1, max(0, (float(values[y, x, channel]) - low) / (high - low)))
        assert found[y, x, channel] == pytest.approx(expected, rel=1e-5, abs=1e-3)
    assert (found % 1 > 0.1).any()
    colours = draw(3, "uint8")
    assert RGB.stretched(colours, Path("x.png")) is colours


def test_the_format_is_measured_by_percentiles_mean_and_deviation():
    rng = np.random.default_rng(0)
    samples = np.stack([rng.normal(900, 100, 9999), np.full(9999, 7.0)], axis=1)
    samples[0] = 1e6, 7
    found = measure_format(2, "float32", 3, samples.astype(np.float32), (0.5, 99.5))
    assert (found.channels, found.depth, found.page) == (2, "float32", 3)
    ordered = np.sort(samples[:, 0])
    assert (found.low[0], found.high[0]) == pytest.approx((ordered[50], ordered[-51]), rel=1e-3)
    assert (found.low[1], found.high[1]) == (7, 8)
    stretched = found.stretched(samples[:, None].astype(np.float32), Path("x.tif"))
    inputs = normalise(stretched, found)
    assert inputs[0].mean() == pytest.approx(0, abs=1e-3)
    assert inputs[0].std() == pytest.approx(1, abs=1e-3)
    assert (inputs[1] == 0).all()
    assert measure_format(3, "uint16", 0, samples[:, [0, 0, 0]], (0, 100)).mean == RGB.mean
    eight_bits = measure_format(2, "uint8", 0, draw(2, "uint8").reshape(-1, 2), (0.5, 99.5))
    assert (eight_bits.low, eight_bits.high) == ((), ())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_refused(value):
    pixels = PixelFormat(1, "float32", 0, (0.0,), (1.0,), (0.5,), (0.5,))
    values = np.zeros((4, 4, 1), np.float32)
    values[1, 2] = value
    with pytest.raises(ValueError, match=r"deep\.tif: 1 values are NaN or infinite"):
        pixels.stretched(values, Path("deep.tif"))


def test_a_format_has_values_for_each_channel():
    with pytest.raises(ValueError, match="5 channels of uint8 with"):
        PixelFormat(5)


def test_pictures_show_the_first_channels():
    for channels, expected in {1: [0, 0, 0], 2: [0, 1, None], 3: [0, 1, 2], 7: [0, 1, 2]}.items():
        image = draw(channels)
        picture = as_picture(image)
        assert (picture.shape, picture.dtype) == ((23, 31, 3), np.uint8)
        for colour, channel in enumerate(expected):
            wanted = 0 if channel is None else np.rint(image[..., channel])
            np.testing.assert_array_equal(picture[..., colour], wanted)
    colours = draw(3, "uint8")
    assert np.shares_memory(as_picture(colours), colours)


@given(st.integers(1, 9), st.sampled_from(["uint8", "float32"]), st.booleans())
def test_opencv_treats_each_channel_as_if_it_were_alone(channels, dtype, shrinks):
    image = draw(channels, dtype, seed=channels)
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    found = resize(image, (11, 9) if shrinks else (50, 40), method)
    assert found.dtype == image.dtype
    for channel in range(channels):
        alone = cv2.resize(image[..., channel], found.shape[1::-1], interpolation=method)
        np.testing.assert_allclose(found[..., channel], alone, atol=1e-3 + (dtype == "uint8"))


def test_augmentation_moves_all_channels_alike_and_pads_each_with_its_mean():
    image = draw(5)
    rng = np.random.default_rng(3)
    for blur in (0.0, 1.0):
        drawn = draw_augmentation(
            rng,
            23,
            31,
            crop_size=40,
            scale=(0.5, 0.8),
            rotation=20,
            rotation_probability=1,
            blur_probability=blur,
        )
        found = augment_image(image, drawn, FIVE)
        assert (found.shape, found.dtype) == ((40, 40, 5), np.float32)
        for channel in range(5):
            mean = FIVE.mean[channel]
            one = PixelFormat(1, "float32", 0, (0.0,), (1.0,), (mean,), (1.0,))
            alone = augment_image(image[..., channel : channel + 1], drawn, one)
            np.testing.assert_allclose(found[..., channel], alone[..., 0], atol=1e-3)
            assert found[0, 0, channel] == pytest.approx(round(255 * mean), abs=1e-3)
