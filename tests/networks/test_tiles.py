from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from network_contract import Stub
from torch import nn

from cdsp.evaluation.settings import WHOLE_IMAGE
from cdsp.io.photograph import Photograph, in_memory
from cdsp.networks import tiles
from cdsp.networks.interface import NetworkOutput
from cdsp.networks.predictor import predict_probabilities
from cdsp.networks.tiles import predict_windows, tile_spans, working_rows
from cdsp.working_size import at_working_size, photograph_at_working_size

CPU = torch.device("cpu")


class Blurred(Stub):
    """Features at every 16th pixel, of what lies up to 40 pixels around, like a DeepLab's."""

    def forward(self, images):
        around = nn.functional.avg_pool2d(
            images, 65, stride=16, padding=32, count_include_pad=False
        )
        logits = self.backbone.resize(3 * around, images.shape[-2:])
        return NetworkOutput(logits, {})


def draw_photograph(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // 20 + 2, width // 20 + 2, 3)) * 255
    rows, columns = np.arange(height) // 20, np.arange(width) // 20
    noise = rng.integers(-9, 10, (height, width, 3))
    return (coarse[rows][:, columns] + noise).clip(0, 255).astype(np.uint8)


def collect(network, image, settings=WHOLE_IMAGE, working_size=0):
    """All pieces put together, and how many there were."""
    total = np.full((3, *image.shape[:2]), np.nan, np.float32)
    pieces = list(
        predict_windows(network, in_memory(image), settings, CPU, working_size=working_size)
    )
    for rows, columns, found in pieces:
        assert np.isnan(total[:, rows, columns]).all()
        total[:, rows, columns] = found.numpy()
    assert not np.isnan(total).any()
    return total, len(pieces)


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(tiles, "AT_ONCE", 100)
    monkeypatch.setattr(tiles, "TILE", 129)
    monkeypatch.setattr(tiles, "MARGIN", 48)


@given(st.integers(1, 900), st.integers(1, 12), st.integers(0, 60), st.sampled_from([1, 16]))
def test_tiles_use_each_pixel_once_and_see_what_is_around_it(length, blocks, margin, step):
    tile = 2 * margin + step * blocks + 1
    spans = tile_spans(length, tile, margin, step)
    used = [pixel for span in spans for pixel in range(span.first, span.last)]
    assert used == list(range(length))
    for span in spans:
        assert span.start % step == 0
        assert 0 < span.stop - span.start <= tile
        assert span.start == 0 or span.first - span.start >= margin
        assert span.stop == length or span.stop - span.last >= margin
    assert len(spans) == 1 or spans[-2].stop < length


@pytest.mark.parametrize("size", [(301, 260), (129, 400), (64, 1000), (50, 40)])
def test_tiles_of_a_network_that_sees_less_than_the_margin_give_the_whole_image(small_tiles, size):
    image = draw_photograph(*size)
    found, number = collect(Blurred(), image)
    assert number > 1 or max(size) <= 129
    expected = predict_probabilities(Blurred(), image, WHOLE_IMAGE, CPU).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("working_size", [150, 260, 640])
def test_large_photographs_are_seen_at_the_working_size(small_tiles, working_size):
    image = draw_photograph(611, 503)
    found, number = collect(Blurred(), image, working_size=working_size)
    assert number > 1
    expected = predict_probabilities(
        Blurred(), image, WHOLE_IMAGE, CPU, working_size=working_size
    ).numpy()
    np.testing.assert_allclose(found, expected, atol=0.01)
    long_side, _ = collect(Blurred(), image, replace(WHOLE_IMAGE, long_side=working_size), 77)
    np.testing.assert_array_equal(long_side, found)


def test_a_large_photograph_that_becomes_small_is_enlarged_piece_by_piece(monkeypatch):
    monkeypatch.setattr(tiles, "AT_ONCE", 100 * 100)
    monkeypatch.setattr(tiles, "_BYTES", 2**17)
    image = draw_photograph(411, 503)
    for align_corners in (True, False):
        network = Blurred()
        monkeypatch.setattr(network.backbone, "align_corners", align_corners)
        found, number = collect(network, image, working_size=97)
        assert number > 5
        whole = predict_probabilities(network, image, WHOLE_IMAGE, CPU, working_size=97)
        np.testing.assert_allclose(found, whole.numpy(), atol=0.01)


def test_a_photograph_of_common_size_is_predicted_as_in_an_evaluation():
    image, network = draw_photograph(150, 201), Blurred()
    settings = replace(WHOLE_IMAGE, scales=(0.5, 1.25), flip=True)
    for working_size in (0, 97, 240):
        found, number = collect(network, image, settings, working_size)
        assert number == 1
        expected = predict_probabilities(network, image, settings, CPU, working_size=working_size)
        np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("working_size", [40, 97, 150, 299, 300, 410])
def test_rows_at_the_working_size_are_those_of_the_whole(working_size, monkeypatch):
    monkeypatch.setattr(tiles, "_ROWS", 37)
    image = draw_photograph(300, 211)
    size = at_working_size(image.shape[:2], working_size)
    expected = photograph_at_working_size(image, working_size).astype(int)
    for start, stop in ((0, size[0]), (0, 1), (13, 31), (size[0] - 3, size[0])):
        found = working_rows(in_memory(image), size, start, stop)
        assert np.abs(found.astype(int) - expected[start:stop]).max() <= 1


def test_a_photograph_that_shrinks_is_read_some_rows_at_a_time(small_tiles, monkeypatch):
    monkeypatch.setattr(tiles, "_ROWS", 64)
    image, asked = draw_photograph(2000, 90), []

    def rows(start, stop):
        asked.append(stop - start)
        return image[start:stop]

    pieces = predict_windows(
        Blurred(), Photograph(image.shape[:2], 3, "uint8", rows), WHOLE_IMAGE, CPU, working_size=400
    )
    assert len(list(pieces)) > 1
    assert max(asked) <= 64
