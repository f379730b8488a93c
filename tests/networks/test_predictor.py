import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from network_contract import Stub

from cdsp.evaluation.settings import EvaluationSettings
from cdsp.networks.interface import NetworkOutput
from cdsp.networks.predictor import predict_probabilities, window_positions
from cdsp.training.augmentation import IMAGENET_MEAN, IMAGENET_STD

CPU = torch.device("cpu")
WHOLE = EvaluationSettings(scales=(1.0,), long_side=0, window=0)
SLIDING = EvaluationSettings(scales=(1.0,), long_side=0, window=16, stride=11)


class Constant(Stub):
    """Says the same of every pixel."""

    logits = torch.tensor([0.3, -1.0, 2.0, 0.0])

    def forward(self, images):
        logits = self.logits[None, :, None, None].expand(len(images), -1, *images.shape[-2:])
        return NetworkOutput(logits, {})


class PerPixel(Stub):
    """Says of each pixel what its own colour says: three colour values are the logits."""

    def forward(self, images):
        self.shapes = [*getattr(self, "shapes", []), tuple(images.shape)]
        return NetworkOutput(images, {})


class LeftIsBright(Stub):
    """Says how far left a pixel is: not symmetrical."""

    def forward(self, images):
        ramp = torch.linspace(3, 0, images.shape[-1]).expand(len(images), 1, *images.shape[-2:])
        return NetworkOutput(torch.cat([ramp, 0 * ramp], dim=1), {})


def draw_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def softmax_of_colours(image):
    logits = (image / 255.0 - IMAGENET_MEAN) / IMAGENET_STD
    odds = np.exp(logits)
    return (odds / odds.sum(axis=2, keepdims=True)).transpose(2, 0, 1)


@given(st.integers(1, 200), st.integers(1, 60), st.data())
def test_windows_cover_every_pixel_and_stay_inside(length, window, data):
    stride = data.draw(st.integers(1, window))
    starts = window_positions(length, window, stride)
    covered = {pixel for start in starts for pixel in range(start, start + window)}
    assert covered >= set(range(length))
    assert max(covered) == max(length, window) - 1
    assert min(covered) == 0
    assert starts == sorted(set(starts))
    # No window is idle: one fewer of this stride could not reach the end.
    assert (len(starts) - 2) * stride + window < length or len(starts) == 1


PROTOCOLS = {
    "whole": {"scales": (1.0,), "long_side": 0, "window": 0},
    "resized": {"scales": (1.0,), "long_side": 30, "window": 0},
    "sliding": {"scales": (1.0,), "long_side": 0, "window": 16, "stride": 11},
    "touching": {"scales": (1.0,), "long_side": 0, "window": 9, "stride": 9},
    "multi-scale": {"scales": (0.5, 1.0, 1.75), "long_side": 24, "window": 0},
    "all": {"scales": (0.5, 1.0, 2.0), "long_side": 24, "window": 16, "stride": 11, "flip": True},
}
SIZES = [(1, 1), (1, 7), (33, 33), (20, 41), (47, 2)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("size", SIZES)
def test_probabilities_are_the_networks_under_every_protocol(protocol, size):
    settings = EvaluationSettings(**PROTOCOLS[protocol])
    found = predict_probabilities(Constant(), draw_image(*size), settings, CPU)
    assert (found.shape, found.dtype) == ((4, *size), torch.float32)
    expected = Constant.logits.softmax(0)[:, None, None].expand(4, *size)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("times", [2, 4])
def test_a_photograph_of_any_size_is_seen_at_the_working_size(times):
    image = draw_image(24, 32)
    enlarged = image.repeat(times, axis=0).repeat(times, axis=1)
    network = PerPixel()
    found = predict_probabilities(network, enlarged, WHOLE, CPU, working_size=32)
    assert network.shapes == [(1, 3, 33, 33)]  # with padding
    assert found.shape == (3, 24 * times, 32 * times)
    explicit = EvaluationSettings(scales=(1.0,), long_side=16, window=0)
    predict_probabilities(network, enlarged, explicit, CPU, working_size=32)
    assert network.shapes[1] == (1, 3, 17, 17)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("size", SIZES)
def test_probabilities_sum_to_one(protocol, size):
    settings = EvaluationSettings(**PROTOCOLS[protocol])
    found = predict_probabilities(PerPixel(), draw_image(*size), settings, CPU)
    torch.testing.assert_close(found.sum(dim=0), torch.ones(size))
    assert (found >= 0).all()


@pytest.mark.parametrize("size", SIZES)
def test_a_per_pixel_network_sees_each_pixel_once_whole_or_in_windows(size):
    image = draw_image(*size)
    expected = softmax_of_colours(image)
    for settings in (WHOLE, SLIDING, EvaluationSettings(**PROTOCOLS["touching"])):
        found = predict_probabilities(PerPixel(), image, settings, CPU)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(4, 40), st.data())
def test_windows_of_any_size_give_the_whole_image(height, width, window, data):
    stride = data.draw(st.integers(max(1, window // 3), window))
    settings = EvaluationSettings(scales=(1.0,), long_side=0, window=window, stride=stride)
    image = draw_image(height, width)
    network = PerPixel()
    found = predict_probabilities(network, image, settings, CPU)
    np.testing.assert_allclose(found.numpy(), softmax_of_colours(image), atol=1e-5)
    assert {shape[2:] for shape in network.shapes} == {(window, window)}


def test_whole_images_come_at_sides_that_features_align_with():
    for size, expected in (((1, 1), (1, 1)), ((33, 34), (33, 49)), ((17, 16), (17, 17))):
        network = PerPixel()
        predict_probabilities(network, draw_image(*size), WHOLE, CPU)
        assert network.shapes == [(1, 3, *expected)]


def test_overlapping_windows_are_averaged():
    # Two windows of 4 pixels at 0 and 2 of 6; each says how far left in itself a pixel is.
    settings = EvaluationSettings(scales=(1.0,), long_side=0, window=4, stride=2)
    found = predict_probabilities(LeftIsBright(), draw_image(4, 6), settings, CPU)[0, 0]
    window = torch.linspace(3, 0, 4).sigmoid()
    a, b, c, d = window.tolist()
    expected = torch.tensor([a, b, (c + a) / 2, (d + b) / 2, c, d])
    torch.testing.assert_close(found, expected)


def test_flipping_averages_with_the_mirrored_image():
    image = draw_image(5, 17)
    settings = EvaluationSettings(scales=(1.0,), long_side=0, window=0, flip=True)
    found = predict_probabilities(LeftIsBright(), image, settings, CPU)[0, 0]
    one_way = torch.linspace(3, 0, 17).sigmoid()
    torch.testing.assert_close(found, (one_way + one_way.flip(0)) / 2)
    torch.testing.assert_close(
        predict_probabilities(LeftIsBright(), image, WHOLE, CPU)[0, 0], one_way
    )
    # A mirrored image is told apart by nothing but its own content.
    mirrored = predict_probabilities(PerPixel(), image[:, ::-1].copy(), settings, CPU)
    straight = predict_probabilities(PerPixel(), image, settings, CPU)
    torch.testing.assert_close(mirrored.flip(-1), straight)


def test_scales_are_of_the_longer_side():
    network = PerPixel()
    settings = EvaluationSettings(scales=(0.5, 1.0, 2.0), long_side=32, window=64, stride=40)
    predict_probabilities(network, draw_image(10, 40), settings, CPU)
    # 32 × 8 pixels at scale 1 and 64 × 16 at scale 2: padded up to the window each.
    assert network.shapes == [(1, 3, 64, 64)] * 3
    network = PerPixel()
    settings = EvaluationSettings(scales=(0.5, 1.0, 2.0), long_side=33, window=0)
    predict_probabilities(network, draw_image(66, 33), settings, CPU)
    assert [shape[2:] for shape in network.shapes] == [(17, 17), (33, 17), (81, 33)]


def test_scales_are_averaged_with_equal_weight():
    class Bigger(Stub):
        """Says how large the image is."""

        def forward(self, images):
            logit = torch.full((len(images), 1, *images.shape[-2:]), float(images.shape[-1] > 20))
            return NetworkOutput(torch.cat([logit, 0 * logit], dim=1), {})

    settings = EvaluationSettings(scales=(1.0, 2.0, 1.5), long_side=0, window=0)
    found = predict_probabilities(Bigger(), draw_image(17, 17), settings, CPU)
    expected = (0.5 + 2 * torch.tensor(1.0).sigmoid()) / 3
    torch.testing.assert_close(found[0], expected.expand(17, 17))


def test_scales_weigh_the_same_where_their_windows_overlap():
    class Padded(Stub):
        """Says whether a window is padded: one of a scale that is smaller than the window."""

        def forward(self, images):
            padded = (images[..., -1, -1] == 0).all(dim=1).float()[:, None, None, None]
            logit = padded.expand(len(images), 1, *images.shape[-2:])
            return NetworkOutput(torch.cat([logit, 0 * logit], dim=1), {})

    settings = EvaluationSettings(scales=(1.0, 0.25), long_side=0, window=16, stride=8)
    found = predict_probabilities(Padded(), draw_image(33, 40), settings, CPU)
    expected = (0.5 + torch.tensor(1.0).sigmoid()) / 2
    torch.testing.assert_close(found[0], expected.expand(33, 40))


def test_the_pixels_of_a_scale_come_back_where_they_were():
    image = np.zeros((40, 60, 3), np.uint8)
    image[:20, :30] = [255, 0, 0]
    image[20:, 30:] = [0, 0, 255]
    settings = EvaluationSettings(scales=(0.5, 1.0, 2.0), long_side=0, window=0)
    found = predict_probabilities(PerPixel(), image, settings, CPU).argmax(dim=0).numpy()
    inner = np.ones((40, 60), bool)
    inner[17:23] = inner[:, 27:33] = False
    assert (found[:20, :30] == 0)[inner[:20, :30]].all()
    assert (found[20:, 30:] == 2)[inner[20:, 30:]].all()
