"""What every segmentation network and every backbone keeps to; a new one inherits these tests."""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from cdsp.networks.backbones import Backbone, build_backbone
from cdsp.networks.checkpoint import (
    NetworkCheckpoint,
    read_network,
    segmentation_arguments,
    write_network,
)
from cdsp.networks.heads import SegmentationNetwork, build_network
from cdsp.networks.settings import NetworkSettings
from cdsp.segmentation.method import parse_method
from cdsp.segmentation.objective import SegmentationObjective

NUM_CLASSES = 3
SMALL_OPTIONS: dict[str, dict[str, Any]] = {
    "deeplabv3plus": {"decoder_channels": 8},
    "segformer": {"decoder_channels": 8},
    "random_walk": {"decoder_channels": 8, "gamma": 0.5},
}
"""Options of each head that keep its tests quick."""


def small_settings(head: Any, backbone: Any = "resnet18", stride: int | None = 16):
    return NetworkSettings(
        head=head,
        head_options=SMALL_OPTIONS.get(head, {}),
        backbone=backbone,
        backbone_weights="none",
        output_stride=stride,
    )


def small_network(head: Any, backbone: Any = "resnet18", stride: int | None = 16):
    torch.manual_seed(0)
    return build_network(small_settings(head, backbone, stride), NUM_CLASSES)


def one_step(network: SegmentationNetwork, terms: dict[str, Any], side: int) -> Tensor:
    """Take a step's gradients by some loss terms; the first of the backbone's parameters."""
    objective = SegmentationObjective(
        network,
        parse_method(terms, "method"),
        precision=torch.float32,
        memory_format=torch.channels_last,
        frozen_batch_norm=False,
    )
    size = (2, 1, side, side)
    batch = {name: torch.ones(size, dtype=torch.uint8) for name in ("valid", "pseudo_label")}
    batch["scribble"] = torch.full(size, 255, dtype=torch.uint8)
    batch["scribble"][..., side // 2, :] = 1
    batch |= {
        "image": torch.randn(2, 1, 3, side, side),
        "matrix": torch.eye(2, 3).expand(2, 1, 2, 3),
    }
    losses = objective(batch, 0.5).terms
    total = torch.stack([value.mean() for value in losses.values()]).sum()
    total.backward()
    assert total.isfinite()
    first = next(network.backbone.parameters())
    assert first.grad is not None
    assert first.grad.isfinite().all()
    return first


def from_its_file(
    network: SegmentationNetwork, settings: NetworkSettings, classes: tuple[str, ...], path: Path
) -> torch.nn.Module:
    """A network, written and read."""
    checkpoint = NetworkCheckpoint(
        kind="segmentation",
        arguments=segmentation_arguments(settings, len(classes)),
        classes=classes,
        colours={},
        name={},
        settings={},
        network=network,
    )
    write_network(path, checkpoint)
    return read_network(path, "segmentation").network


class BackboneContract:
    """A subclass names the backbones in ``names``."""

    names: ClassVar[tuple[str, ...]]

    @classmethod
    def build(cls, name: str, output_stride: int) -> Backbone:
        return build_backbone(name, output_stride)

    @pytest.fixture(scope="class", params=[8, 16])
    @classmethod
    def output_stride(cls, request):
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def backbones(cls, output_stride):
        torch.manual_seed(0)
        return [cls.build(name, output_stride).eval() for name in cls.names]

    @torch.inference_mode()
    def test_features_have_the_strides_and_channels_that_it_says(self, backbones, output_stride):
        for backbone in backbones:
            assert backbone.strides["backbone"] == backbone.output_stride == output_stride
            aligned = (backbone.valid_side(40), backbone.valid_side(1))
            for size in [aligned] if backbone.exact_sides else [aligned, (34, 49)]:
                features = backbone(torch.randn(1, 3, *size))
                for name, feature in zip(("low_level", "backbone"), features[:2], strict=True):
                    sides = [-(-side // backbone.strides[name]) for side in size]
                    assert feature.shape == (1, backbone.channels[name], *sides), name

    def test_weights_come_back_from_a_file(self, tmp_path, backbones, output_stride):
        backbone = backbones[0]
        torch.save(backbone.state_dict(), tmp_path / "weights.pt")
        torch.manual_seed(1)
        other = self.build(self.names[0], output_stride)
        other.load_weights(str(tmp_path / "weights.pt"))
        for key, value in other.state_dict().items():
            assert torch.equal(value, backbone.state_dict()[key]), key

    def test_valid_sides_are_fixed_points_no_smaller_than_asked(self, backbones):
        for backbone in backbones:
            for side in range(1, 70):
                valid = backbone.valid_side(side)
                assert side <= valid < side + backbone.side_step
                assert backbone.valid_side(valid) == valid
                assert abs(backbone.valid_side(side, round) - side) <= backbone.side_step / 2


class NetworkContract:
    """A subclass names its head in ``head``; it is trained on each backbone and at each stride."""

    head: ClassVar[str]

    @pytest.mark.parametrize(
        ("backbone", "stride"),
        [("resnet18", 8), ("resnet50", 16), ("mobilenet_v2", 16), ("mobilenet_v3_small", 32)],
    )
    def test_it_answers_at_the_images_size_and_trains_every_parameter(self, backbone, stride):
        network = small_network(self.head, backbone, stride).train()
        # Three images: the norm after image pooling sees one value of each. An odd size, too.
        logits, features = network(torch.randn(3, 3, 33, 26))
        assert logits.shape == (3, NUM_CLASSES, 33, 26)
        assert {"low_level", "backbone", "decoder"} <= set(features)
        assert set(features) == set(network.feature_channels)
        for name, feature in features.items():
            assert feature.shape[:2] == (3, network.feature_channels[name]), name
        (logits * torch.randn_like(logits)).sum().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name

    @pytest.fixture(scope="class")
    @classmethod
    def network(cls):
        return small_network(cls.head).eval()

    @pytest.mark.parametrize("size", [(1, 1), (2, 17), (16, 16), (47, 31)])
    @torch.inference_mode()
    def test_images_of_any_size_are_answered(self, network, size):
        logits = network(torch.randn(1, 3, *size)).logits
        assert logits.shape == (1, NUM_CLASSES, *size)
        assert logits.isfinite().all()

    def test_the_logits_come_from_each_named_feature(self, network):
        images = torch.randn(1, 3, 33, 33)
        logits, features = network(images)
        assert torch.equal(features["backbone"], network.backbone(images).feature)
        assert torch.equal(features["low_level"], network.backbone(images).low_level)
        for name, feature in features.items():
            (gradient,) = torch.autograd.grad(logits.square().sum(), feature, retain_graph=True)
            assert gradient.any(), name

    def test_equal_seeds_give_equal_networks(self, network):
        for key, value in small_network(self.head).state_dict().items():
            assert torch.equal(value, network.state_dict()[key]), key

    @pytest.mark.parametrize("num_classes", [2, 21])
    @torch.inference_mode()
    def test_it_has_as_many_classes_as_asked(self, num_classes):
        network = build_network(small_settings(self.head), num_classes).eval()
        assert network(torch.randn(1, 3, 17, 17)).logits.shape[1] == num_classes

    @torch.inference_mode()
    def test_it_comes_back_from_its_file(self, network, tmp_path):
        classes = ("background", "cat", "dog")
        again = from_its_file(network, small_settings(self.head), classes, tmp_path / "weights.pt")
        images = torch.randn(2, 3, 33, 26)
        assert torch.equal(again(images).logits, network(images).logits)

    def test_its_parameters_are_in_one_group_each_with_the_factors(self, network):
        settings = replace(small_settings(self.head), backbone_factor=0.5, head_factor=3)
        groups = network.parameter_groups(settings)
        assert [group["factor"] for group in groups] == [0.5, 3]
        found = [id(parameter) for group in groups for parameter in group["params"]]
        assert found == [id(parameter) for parameter in network.parameters()]
        assert len(groups[0]["params"]) == len(list(network.backbone.parameters()))

    def test_its_default_stride_is_one_that_it_serves(self, network):
        assert network.default_output_stride in network.output_strides
        assert {8, 16, 32} <= set(network.output_strides)

    def test_an_output_stride_that_it_does_not_serve_is_refused(self):
        with pytest.raises(ValueError, match=f"output_stride 4: {self.head} serves 8"):
            small_settings(self.head, stride=4)


class Stub(SegmentationNetwork):
    """A network without parameters, for tests of what reads its logits: a subclass says them."""

    backbone = Backbone()

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
