"""Backbones of patches, against torchvision's own networks: large ones, so each is built once."""

import pytest
import torch
import torchvision
from network_contract import one_step, small_settings

from cdsp.evaluation.settings import EvaluationSettings
from cdsp.networks.backbones import build_backbone
from cdsp.networks.heads import build_network
from cdsp.networks.predictor import predict_probabilities
from cdsp.networks.settings import BACKBONES, NetworkSettings, backbone_class

NAMES = ("convnext_tiny", "swin_t", "swin_v2_t", "vit_b_16")


@pytest.fixture(scope="module")
def built():
    torch.manual_seed(0)
    return {name: build_backbone(name, backbone_class(name).output_strides[0]) for name in NAMES}


@torch.inference_mode()
def own_classes(name: str, network: torch.nn.Module, feature: torch.Tensor) -> torch.Tensor:
    """What torchvision's classifier makes of a last feature."""
    if name.startswith("swin"):
        return network.head(feature.mean(dim=(2, 3)))  # type: ignore[operator]
    return network.classifier(feature.mean(dim=(2, 3), keepdim=True))  # type: ignore[operator]


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_it_computes_what_torchvisions_network_does(built, name):
    """The classifier, put back, says the same of an image; of ViT, whose classifier reads a token
    that is no patch, the patches' tokens are compared."""
    network = torchvision.models.get_model(name, weights=None, num_classes=4).eval()
    backbone = built[name].eval()
    state = network.state_dict()
    kept = {key: value for key, value in state.items() if key in backbone.state_dict()}
    assert all(key.startswith(backbone.other_weights) for key in state.keys() - kept.keys())
    backbone.load_state_dict(kept)
    size = (224, 224) if name == "vit_b_16" else (64, 96)
    images = torch.randn(1, 3, *size)
    low_level, feature, pyramid = backbone(images)
    if name == "vit_b_16":
        caught = []
        handle = network.encoder.ln.register_forward_hook(lambda _, __, x: caught.append(x))
        network(images)
        handle.remove()
        torch.testing.assert_close(feature.flatten(2).transpose(1, 2), caught[0][:, 1:])
        assert low_level.shape == feature.shape == (1, 768, 14, 14)
        assert not pyramid
        return
    torch.testing.assert_close(own_classes(name, network, feature), network(images))
    assert [level.shape[-1] for level in pyramid] == [24, 12, 6, 3]
    assert [level.shape[1] for level in pyramid] == list(backbone.pyramid_channels)
    assert pyramid[0] is low_level
    assert pyramid[-1] is feature


@torch.inference_mode()
def test_positions_are_resized_to_the_patches(built):
    backbone = built["vit_b_16"].eval()
    assert torch.equal(backbone._positions(torch.Size((14, 14))), backbone.encoder.pos_embedding)
    found = backbone._positions(torch.Size((28, 7)))
    assert found.shape == (1, 1 + 28 * 7, 768)
    torch.testing.assert_close(found[:, 0], backbone.encoder.pos_embedding[:, 0])
    assert backbone(torch.randn(1, 3, 32, 48)).feature.shape == (1, 768, 2, 3)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_name_is_a_network_of_the_features_that_it_says(name):
    with torch.device("meta"):
        stride = backbone_class(name).output_strides[-1]
        backbone = build_backbone(name, stride)
        side = backbone.valid_side(64)
        low_level, feature, pyramid = backbone(torch.empty(2, 3, side, side))
    assert low_level.shape[1] == backbone.channels["low_level"]
    assert feature.shape[1] == backbone.channels["backbone"]
    assert tuple(level.shape[1] for level in pyramid) == backbone.pyramid_channels
    assert feature.shape[-1] == -(-side // stride)
    assert backbone.valid_side(side) == side
    assert backbone.valid_side(side + 1) == side + backbone.side_step


@pytest.mark.parametrize(
    ("head", "name", "stride"),
    [
        ("segformer", "swin_t", 32),
        ("deeplabv3plus", "convnext_tiny", 32),
        ("linear", "vit_b_16", 16),
        ("deeplabv3plus", "vit_b_16", 16),
    ],
)
def test_the_papers_method_and_protocol_work_on_it(monkeypatch, built, head, name, stride):
    monkeypatch.setattr("cdsp.networks.heads.build_backbone", lambda *_: built[name].train())
    network = build_network(small_settings(head, name, stride), 4)
    terms = {"scribble": 1, "lorm": 0.1, "tree_energy": 0.4, "agmm_soft": 1}
    first = one_step(network, terms, 64)
    assert first.grad.any()
    network.zero_grad(set_to_none=True)
    image = torch.randint(0, 256, (50, 70, 3), dtype=torch.uint8).numpy()
    for protocol in ({"window": 0, "long_side": 0}, {"window": 64, "stride": 32, "long_side": 80}):
        settings = EvaluationSettings(scales=(1.0,), **protocol)
        found = predict_probabilities(network.eval(), image, settings, torch.device("cpu"))
        assert found.shape == (4, 50, 70)
        torch.testing.assert_close(found.sum(dim=0), torch.ones(50, 70))
    settings = EvaluationSettings(scales=(1.0,), window=65, stride=30, long_side=80)
    with pytest.raises(ValueError, match=f"{name} takes sides of"):
        predict_probabilities(network.eval(), image, settings, torch.device("cpu"))


def test_a_head_that_needs_a_pyramid_refuses_a_backbone_without_one():
    with torch.device("meta"), pytest.raises(ValueError, match="vit_b_16 has features of one str"):
        build_network(NetworkSettings(head="segformer", backbone="vit_b_16", output_stride=16), 2)
