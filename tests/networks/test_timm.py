"""Backbones of timm: against a stand-in of its interface, and against itself where it is there."""

import sys

import pytest
import timm_stand_in
import torch
from network_contract import BackboneContract, from_its_file, one_step, small_settings

from cdsp.evaluation.settings import EvaluationSettings
from cdsp.networks.backbones import build_backbone
from cdsp.networks.heads import build_network
from cdsp.networks.predictor import predict_probabilities
from cdsp.networks.settings import NetworkSettings
from cdsp.settings import parse_settings

REAL = ("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto", "pvt_v2_b0")


@pytest.fixture
def timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", timm_stand_in)


@pytest.fixture(scope="class")
def timm_of_class():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "timm", timm_stand_in)
        yield


@pytest.mark.usefixtures("timm_of_class")
class TestPyramid(BackboneContract):
    names = ("timm/pyramid",)

    @pytest.fixture(scope="class", params=[32])
    @classmethod
    def output_stride(cls, request):
        return request.param


@pytest.mark.usefixtures("timm_of_class")
class TestTokens(BackboneContract):
    names = ("timm/tokens",)

    @pytest.fixture(scope="class", params=[14])
    @classmethod
    def output_stride(cls, request):
        return request.param


@pytest.mark.usefixtures("timm")
def test_levels_from_stride_4_are_the_pyramid_and_tokens_have_none():
    pyramid = build_backbone("timm/pyramid", 32)
    assert pyramid.pyramid_channels == (6, 8, 10, 14)
    with torch.inference_mode():
        levels = pyramid(torch.randn(1, 3, 64, 96)).pyramid
    assert [tuple(x.shape[-2:]) for x in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    tokens = build_backbone("timm/tokens", 14)
    with torch.inference_mode():
        low_level, feature, levels = tokens(torch.randn(1, 3, 28, 42))
    assert low_level.shape == feature.shape == (1, 12, 2, 3)
    assert levels == ()
    for x in (low_level, feature):  # both after the last normalisation
        torch.testing.assert_close(x.mean(dim=1), torch.zeros(1, 2, 3), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"output_stride 32: timm/tokens has 14; .* with a head"):
        build_network(small_settings("segformer", "timm/tokens", None), 2)


@pytest.mark.usefixtures("timm")
def test_images_reach_it_in_its_own_normalisation():
    backbone = build_backbone("timm/pyramid", 32)
    assert (backbone.mean, backbone.std) == ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.usefixtures("timm")
def test_weights_come_from_timm_and_from_a_file_that_names_them_as_timm_does(tmp_path):
    backbone = build_backbone("timm/tokens", 14)
    backbone.load_weights("imagenet")
    assert all((value == 0.25).all() for value in backbone.state_dict().values())
    whole = timm_stand_in.create_model("tokens")  # with its classifier, as it is published
    torch.save(whole.state_dict(), tmp_path / "timm.pt")
    backbone.load_weights(str(tmp_path / "timm.pt"))
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, whole.state_dict()[key.removeprefix("model.")]), key
    with pytest.raises(ValueError, match=r"timm\.pt: not the weights of timm/pyramid"):
        build_backbone("timm/pyramid", 32).load_weights(str(tmp_path / "timm.pt"))
    with pytest.raises(ValueError, match=r"weights of timm/pyramid could not be fetched .No pretr"):
        build_backbone("timm/pyramid", 32).load_weights("imagenet")


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "stride", "message"),
    [
        ("timm/tokes", 14, "backbone timm/tokes: timm knows no such network"),
        ("timm/tokens", 16, "output_stride 16: timm/tokens has 14; set output_stride to it"),
        ("timm/old", 32, "timm 1.0.stand-in gives neither feature maps nor patch tokens"),
    ],
)
def test_what_it_cannot_use_is_told(name, stride, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(name, stride)


@pytest.mark.usefixtures("timm")
def test_a_network_for_one_size_of_images_says_so():
    backbone = build_backbone("timm/fixed_tokens", 14)
    assert backbone(torch.zeros(1, 3, 28, 28)).feature.shape[-1] == 2
    with pytest.raises(ValueError, match=r"fixed_tokens: takes no images of 14×42 pixels .Input"):
        backbone(torch.zeros(1, 3, 14, 42))


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"timm is not installed here; pip install 'cdsp\[timm\]'"):
        build_backbone("timm/tokens", 14)


def test_settings_take_its_names_without_loading_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    value = {"head": "linear", "backbone": "timm/vit_small_patch14_dinov2.lvd142m"}
    settings = parse_settings(NetworkSettings, value, "networks.mine")
    assert settings.name == "linear-timm/vit_small_patch14_dinov2.lvd142m"
    for name in ("timm/", "tim/x", 3):
        with pytest.raises(ValueError, match=r"backbone: unknown value.*resnet"):
            parse_settings(NetworkSettings, {"backbone": name}, "networks.mine")


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("head", "name", "stride", "side"),
    [
        ("linear", "timm/tokens", 14, 56),
        ("segformer", "timm/pyramid", 32, 64),
        ("deeplabv3plus", "timm/pyramid", 32, 64),
    ],
)
def test_the_papers_method_and_protocol_work_on_it(tmp_path, head, name, stride, side):
    settings = small_settings(head, name, stride)
    network = build_network(settings, 4)
    one_step(network, {"scribble": 1, "lorm": 0.1, "agmm_soft": 1}, side)
    image = torch.randint(0, 256, (50, 70, 3), dtype=torch.uint8).numpy()
    for protocol in ({"window": 0, "long_side": 0}, {"window": side, "stride": 28}):
        used = EvaluationSettings(scales=(1.0,), **{"long_side": 80, **protocol})
        found = predict_probabilities(network.eval(), image, used, torch.device("cpu"))
        assert found.shape == (4, 50, 70)
    with pytest.raises(ValueError, match=rf"{name} takes sides of {stride}k, such as"):
        network(torch.zeros(1, 3, side + 1, side))
    classes = ("background", "a", "b", "c")
    again = from_its_file(network, settings, classes, tmp_path / "weights.pt")
    images = torch.randn(1, 3, side, side)
    torch.testing.assert_close(again(images).logits, network(images).logits)


@pytest.mark.parametrize("name", REAL)
def test_timms_own_networks_keep_to_what_is_expected_of_them(name):
    pytest.importorskip("timm", reason="timm, an optional extra, is not installed")
    stride = 16 if name.startswith("vit") else 32
    backbone = build_backbone(f"timm/{name}", stride).eval()
    with torch.inference_mode():
        low_level, feature, levels = backbone(torch.randn(1, 3, 96, 160))
    assert low_level.shape[1] == backbone.channels["low_level"]
    assert feature.shape == (1, backbone.channels["backbone"], 96 // stride, 160 // stride)
    assert tuple(level.shape[1] for level in levels) == backbone.pyramid_channels
