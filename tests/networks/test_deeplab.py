import pytest
import torch
from torch import nn

from cdsp.networks.backbones import BACKBONES, resize
from cdsp.networks.deeplab import SEGMENTORS, build_segmentor

NUM_CLASSES = 3


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("segmentor", SEGMENTORS)
def test_every_network_answers_at_the_images_size_and_trains_every_parameter(
    segmentor, backbone, output_stride
):
    torch.manual_seed(0)
    network = build_segmentor(segmentor, backbone, output_stride, NUM_CLASSES, decoder_channels=8)
    network.train()
    # Three images: the norm after image pooling sees one value of each.
    output = network(torch.randn(3, 3, 33, 25))
    logits = output.logits
    assert logits.shape == (3, NUM_CLASSES, 33, 25)
    height, width = -(-33 // output_stride), -(-25 // output_stride)
    assert output.backbone.shape == (3, network.backbone.feature_channels, height, width)
    assert output.low_level.shape == (3, network.backbone.low_level_channels, 9, 7)
    for name in ("low_level", "backbone", "decoder"):
        assert network.channels[name] == getattr(output, name).shape[1]
    (logits * torch.randn_like(logits)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("segmentor", SEGMENTORS)
def test_features_are_those_of_their_names_and_the_logits_come_from_them(segmentor):
    torch.manual_seed(0)
    network = build_segmentor(segmentor, "resnet18", 16, NUM_CLASSES, decoder_channels=8).eval()
    images = torch.randn(1, 3, 33, 33)
    output = network(images)
    low_level, feature = network.backbone(images)
    assert torch.equal(output.low_level, low_level)
    assert torch.equal(output.backbone, feature)
    for feature in (output.backbone, output.decoder):
        (gradient,) = torch.autograd.grad(output.logits.square().sum(), feature, retain_graph=True)
        assert gradient.any()


@pytest.mark.parametrize("segmentor", SEGMENTORS)
def test_one_layer_stands_between_the_decoders_feature_and_the_logits(segmentor):
    torch.manual_seed(0)
    network = build_segmentor(segmentor, "resnet18", 16, NUM_CLASSES, decoder_channels=8)
    network.train()
    output = network(torch.randn(2, 3, 33, 33))
    decoder = output.decoder.detach()
    network.eval()  # dropout lies after the feature
    classify = {
        "deeplabv3plus": lambda: network.decoder[-1](decoder),
        "deeplabv2": lambda: sum(convolution(decoder) for convolution in network.head),
        "deeplabv2_aspp21": lambda: network.aspp.project(decoder),
    }[segmentor]
    assert classify().shape == (2, NUM_CLASSES, *decoder.shape[-2:])
    assert (
        decoder.shape[1]
        == {"deeplabv3plus": 8, "deeplabv2": 512, "deeplabv2_aspp21": 15}[segmentor]
    )


@pytest.mark.parametrize(
    ("segmentor", "output_stride", "rates"),
    [
        ("deeplabv3plus", 16, [6, 12, 18]),
        ("deeplabv3plus", 8, [12, 24, 36]),
        ("deeplabv2", 8, [6, 12, 18, 24]),
        ("deeplabv2", 16, [3, 6, 9, 12]),
        ("deeplabv2_aspp21", 16, [6, 12, 18]),
        ("deeplabv2_aspp21", 8, [12, 24, 36]),
    ],
)
def test_heads_have_the_published_rates(segmentor, output_stride, rates):
    network = build_segmentor(segmentor, "resnet18", output_stride, NUM_CLASSES, decoder_channels=8)
    head = [
        module
        for name, module in network.named_modules()
        if not name.startswith("backbone") and isinstance(module, nn.Conv2d)
    ]
    found = [convolution.dilation[0] for convolution in head if convolution.dilation[0] > 1]
    assert found == rates
    for convolution in head:
        kernel, dilation = convolution.kernel_size[0], convolution.dilation[0]
        assert convolution.padding == (dilation * (kernel // 2),) * 2


def test_deeplabv2_is_the_sum_of_its_dilated_convolutions():
    torch.manual_seed(0)
    network = build_segmentor("deeplabv2", "resnet18", 16, NUM_CLASSES).eval()
    logits, _, feature, _ = network(torch.randn(1, 3, 33, 33))
    summed = sum(
        nn.functional.conv2d(feature, layer.weight, layer.bias, padding=rate, dilation=rate)
        for layer, rate in zip(network.head, (3, 6, 9, 12), strict=True)  # type: ignore[arg-type]
    )
    assert isinstance(summed, torch.Tensor)
    # Corners are aligned and 33 = 16·2 + 1: the pixels at multiples of 16 hold the features' own.
    torch.testing.assert_close(logits[..., ::16, ::16], summed)


def test_the_published_heads_have_the_published_sizes():
    v3 = build_segmentor("deeplabv3plus", "resnet18", 16, 21)
    shapes = {
        name: tuple(parameter.shape)
        for name, parameter in v3.named_parameters()
        if not name.startswith("backbone") and parameter.ndim == 4
    }
    assert shapes["low_level.0.weight"] == (48, 64, 1, 1)
    assert shapes["decoder.0.0.weight"] == (256, 304, 3, 3)
    assert shapes["decoder.3.weight"] == (21, 256, 1, 1)
    assert shapes["aspp.project.0.0.weight"] == (256, 5 * 256, 1, 1)
    aspp21 = build_segmentor("deeplabv2_aspp21", "resnet18", 16, 21)
    assert aspp21.state_dict()["aspp.project.0.0.weight"].shape == (21, 5 * 21, 1, 1)


@pytest.mark.parametrize("stride", [8, 16])
def test_resizing_leaves_the_features_on_their_pixels(stride):
    small = torch.randn(1, 2, 4, 6)
    large = resize(small, (3 * stride + 1, 5 * stride + 1))
    torch.testing.assert_close(large[..., ::stride, ::stride], small)
    middle = large[..., stride // 2 :: stride, ::stride]
    torch.testing.assert_close(middle, (small[..., 1:, :] + small[..., :-1, :]) / 2)


def test_unknown_segmentors_are_refused():
    with pytest.raises(ValueError, match=r"'unet'.*deeplabv3plus"):
        build_segmentor("unet", "resnet18", 16, NUM_CLASSES)
    with pytest.raises(ValueError, match="output_stride 4"):
        build_segmentor("deeplabv2", "resnet18", 4, NUM_CLASSES)
