import pytest
import torch
from network_contract import NetworkContract, small_network
from torch import nn

from cdsp.networks.heads import SegmentationNetwork, build_network
from cdsp.networks.heads.aspp import AtrousSpatialPyramidPooling
from cdsp.networks.settings import HEADS, NetworkSettings, head_class


class TestDeepLabV3Plus(NetworkContract):
    head = "deeplabv3plus"


class TestDeepLabV2(NetworkContract):
    head = "deeplabv2"


class TestDeepLabV2ASPP21(NetworkContract):
    head = "deeplabv2_aspp21"


class TestSegFormer(NetworkContract):
    head = "segformer"


class TestRandomWalk(NetworkContract):
    head = "random_walk"


class TestLinear(NetworkContract):
    head = "linear"


def test_every_head_is_a_network_that_keeps_to_the_contract():
    tested = {contract.head for contract in NetworkContract.__subclasses__()}
    assert tested == set(HEADS)
    for name in HEADS:
        assert issubclass(head_class(name), SegmentationNetwork)


@pytest.mark.parametrize(
    ("head", "output_stride", "rates"),
    [
        ("deeplabv3plus", 16, [6, 12, 18]),
        ("deeplabv3plus", 8, [12, 24, 36]),
        ("deeplabv2", 8, [6, 12, 18, 24]),
        ("deeplabv2", 16, [3, 6, 9, 12]),
        ("deeplabv2_aspp21", 16, [6, 12, 18]),
        ("deeplabv2_aspp21", 8, [12, 24, 36]),
    ],
)
def test_heads_have_the_published_rates(head, output_stride, rates):
    convolutions = [
        module
        for name, module in small_network(head, stride=output_stride).named_modules()
        if not name.startswith("backbone") and isinstance(module, nn.Conv2d)
    ]
    found = [convolution.dilation[0] for convolution in convolutions if convolution.dilation[0] > 1]
    assert found == rates
    for convolution in convolutions:
        kernel, dilation = convolution.kernel_size[0], convolution.dilation[0]
        assert convolution.padding == (dilation * (kernel // 2),) * 2


@pytest.mark.parametrize("image_pooling", [True, False])
def test_image_pooling_alone_sees_what_is_far_away(image_pooling):
    torch.manual_seed(0)
    aspp = AtrousSpatialPyramidPooling(4, 32, 16, image_pooling=image_pooling).eval()
    feature = torch.rand(1, 4, 1, 60)
    other = feature.clone()
    other[..., 0] += 9
    changed = (aspp.concatenate(feature) != aspp.concatenate(other)).any(dim=1).flatten()
    assert changed[[0, 6, 12, 18]].all()
    assert changed[19:].all() == changed[19:].any() == image_pooling
    branches = 4 + image_pooling
    assert aspp(feature).shape == (1, 32, 1, 60)
    assert aspp.concatenate(feature).shape == (1, 32 * branches, 1, 60)


def test_deeplabv2_is_the_sum_of_its_dilated_convolutions():
    network = small_network("deeplabv2").eval()
    logits, features = network(torch.randn(1, 3, 33, 33))
    feature = features["backbone"]
    summed = sum(
        nn.functional.conv2d(feature, layer.weight, layer.bias, padding=rate, dilation=rate)
        for layer, rate in zip(network.head, (3, 6, 9, 12), strict=True)  # type: ignore[arg-type]
    )
    assert isinstance(summed, torch.Tensor)
    # Corners are aligned and 33 = 16·2 + 1: the pixels at multiples of 16 hold the features' own.
    torch.testing.assert_close(logits[..., ::16, ::16], summed)


def test_the_published_heads_have_the_published_sizes():
    v3 = build_network(NetworkSettings(backbone="resnet18"), 21)
    shapes = {
        name: tuple(parameter.shape)
        for name, parameter in v3.named_parameters()
        if not name.startswith("backbone") and parameter.ndim == 4
    }
    assert shapes["low_level.0.weight"] == (48, 64, 1, 1)
    assert shapes["decoder.0.0.weight"] == (256, 304, 3, 3)
    assert shapes["decoder.3.weight"] == (21, 256, 1, 1)
    assert shapes["aspp.project.0.0.weight"] == (256, 5 * 256, 1, 1)
    aspp21 = build_network(NetworkSettings(head="deeplabv2_aspp21", backbone="resnet18"), 21)
    assert aspp21.state_dict()["aspp.project.0.0.weight"].shape == (21, 5 * 21, 1, 1)
