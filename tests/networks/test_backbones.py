import pytest
import torch
import torchvision
from network_contract import BackboneContract
from torch import Tensor, nn
from torchvision.ops.misc import SqueezeExcitation

from cdsp.io.pixels import PixelFormat
from cdsp.networks.backbones import Backbone, Features, build_backbone
from cdsp.networks.classifier import Classifier
from cdsp.networks.layers import freeze_batch_norm
from cdsp.networks.settings import BACKBONES, backbone_class
from cdsp.training.augmentation import IMAGENET_MEAN, IMAGENET_STD


class TestResNet(BackboneContract):
    names = ("resnet18", "resnet34", "resnet50", "resnet101")


class TestMobileNetV2(BackboneContract):
    names = ("mobilenet_v2",)


class TestMobile(BackboneContract):
    names = ("mobilenet_v3_small", "efficientnet_v2_s")


class Patches(Backbone):
    """A backbone of another kind: patches of 14 pixels, their own normalisation, exact sides."""

    output_strides = (14,)
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.5, 1.0)
    align_corners, side_step, exact_sides = False, 14, True

    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__()
        self.describe(name, output_stride, low_level_channels=3, channels=3, low_level_stride=14)

    def extract(self, images: Tensor) -> Features:
        patches = nn.functional.avg_pool2d(images, 14)
        return Features(patches, patches)


class TestPatches(BackboneContract):
    names = ("patches",)

    @classmethod
    def build(cls, name: str, output_stride: int) -> Backbone:
        return Patches(name, output_stride)

    @pytest.fixture(scope="class", params=[14])
    @classmethod
    def output_stride(cls, request):
        return request.param


def shake_batch_norm(network: nn.Module, seed: int = 0) -> None:
    """Give every batch norm statistics and weights of its own, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            with torch.no_grad():
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.weight.uniform_(0.7, 1.3, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)


def draw_images(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def torchvision_features(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features of torchvision's own network at stride 4 and at its end, caught on the way."""
    caught = {}
    is_resnet = hasattr(network, "layer4")
    names = ("layer1", "layer4") if is_resnet else ("features.3", "features")
    modules = dict(network.named_modules())
    for name in names:
        modules[name].register_forward_hook(lambda _, __, y, name=name: caught.update({name: y}))
    network(images)
    return caught[names[0]], caught[names[1]]


@pytest.mark.parametrize(
    ("name", "output_stride"),
    [
        ("resnet18", 32),
        ("resnet34", 32),
        ("mobilenet_v2", 32),
        ("resnet50", 32),
        ("resnet50", 16),
        ("resnet50", 8),
        ("resnet101", 16),
        ("resnet101", 8),
    ],
)
@torch.inference_mode()
def test_features_equal_torchvisions_with_the_same_weights(name, output_stride):
    options = {}
    if output_stride < 32:
        options["replace_stride_with_dilation"] = [False, output_stride == 8, True]
    original = torchvision.models.get_model(name, weights=None, num_classes=2, **options).eval()
    shake_batch_norm(original)
    backbone = build_backbone(name, output_stride).eval()
    state = original.state_dict()
    head = [key for key in state if key.startswith(("fc.", "classifier."))]
    assert set(backbone.state_dict()) == set(state) - set(head)
    backbone.load_state_dict({key: state[key] for key in backbone.state_dict()})

    images = draw_images(65, 50)
    low_level, feature = torchvision_features(original, images)
    found = backbone(images)
    torch.testing.assert_close(found.low_level, low_level)
    torch.testing.assert_close(found.feature, feature)
    assert found.low_level.shape == (1, backbone.channels["low_level"], 17, 13)
    assert found.feature.shape[1] == backbone.channels["backbone"]


@pytest.mark.parametrize("size", [(65, 129), (64, 50)])
@pytest.mark.parametrize("name", ["resnet18", "resnet34", "mobilenet_v2", "mobilenet_v3_small"])
@torch.inference_mode()
def test_dilation_keeps_what_striding_would_have_computed(name, size):
    strided = build_backbone(name, 32).eval().double()
    shake_batch_norm(strided)
    for module in strided.modules():  # its mean over all features is another over more of them
        if isinstance(module, SqueezeExcitation):
            nn.init.zeros_(module.fc2.weight)
    images = draw_images(*size).double()
    expected = strided(images)
    assert expected.feature.std() > 1e-3
    for output_stride in (16, 8):
        dilated = build_backbone(name, output_stride).eval().double()
        dilated.load_state_dict(strided.state_dict())
        found = dilated(images)
        assert found.feature.shape[2:] == tuple(-(-side // output_stride) for side in size)
        step = 32 // output_stride
        torch.testing.assert_close(found.feature[..., ::step, ::step], expected.feature)
        torch.testing.assert_close(found.low_level, expected.low_level)


def test_unknown_names_and_strides_are_refused():
    with pytest.raises(ValueError, match=r"unknown name 'resnet19'; did you mean 'resnet"):
        build_backbone("resnet19", 16)
    for name in BACKBONES:
        strides = ", ".join(map(str, backbone_class(name).output_strides))
        with pytest.raises(ValueError, match=f"output_stride 12: {name} has {strides}; set"):
            build_backbone(name, 12)


def test_frozen_batch_norm_keeps_its_statistics_in_training():
    backbone = build_backbone("resnet18", 16).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    freeze_batch_norm(backbone)
    backbone(draw_images(33, 33))
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("with_head", [False, True])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_weights_load_from_a_half_precision_file(tmp_path, name, with_head):
    original = torchvision.models.get_model(name, weights=None, num_classes=2)
    shake_batch_norm(original)
    state = {
        key: value.half() if value.is_floating_point() else value
        for key, value in original.state_dict().items()
        if with_head or not key.startswith(("fc.", "classifier."))
    }
    torch.save(state, tmp_path / "weights.pt")
    backbone = build_backbone(name, 16)
    backbone.load_weights(str(tmp_path / "weights.pt"))
    for key, value in backbone.state_dict().items():
        assert value.dtype == original.state_dict()[key].dtype
        assert torch.equal(value, state[key].to(value.dtype)), key


def test_no_weights_leave_the_random_ones():
    backbone = build_backbone("resnet18", 16)
    before = backbone.state_dict()["conv1.weight"].clone()
    backbone.load_weights("none")
    assert torch.equal(backbone.state_dict()["conv1.weight"], before)


def test_weights_of_another_network_are_refused_by_their_keys(tmp_path):
    path = tmp_path / "weights.pt"
    backbone = build_backbone("resnet18", 16)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}

    torch.save(build_backbone("mobilenet_v2", 16).state_dict(), path)
    with pytest.raises(ValueError, match=r"not the weights of resnet18.*conv1\.weight.*features\."):
        backbone.load_weights(str(path))

    state = build_backbone("resnet34", 16).state_dict()
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"keys unknown \(layer1\.2\.conv1\.weight"):
        backbone.load_weights(str(path))

    state = dict(backbone.state_dict())
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"conv1\.weight is \(64, 1, 7, 7\) instead of \(64, 3"):
        backbone.load_weights(str(path))

    for key, value in backbone.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_pooled_activation_maps_are_the_classifiers_logits(name):
    classifier = Classifier(name, 16, num_classes=5).eval()
    assert [key for key, _ in classifier.named_parameters() if key.startswith("head")] == [
        "head.weight"
    ]
    images = torch.cat([draw_images(65, 50, seed) for seed in range(2)])
    with torch.inference_mode():
        feature = classifier.backbone(images).feature
        weight = classifier.state_dict()["head.weight"][:, :, 0, 0]
        response = torch.einsum("bchw,kc->bkhw", feature, weight)
        found = classifier(images)
        maps = classifier.activation_maps(images)
    assert found.shape == (2, 5)
    torch.testing.assert_close(response.mean(dim=(2, 3)), found, rtol=1e-4, atol=1e-5)
    assert maps.shape == (2, 5, 5, 4)
    assert (response < 0).any()
    torch.testing.assert_close(maps, response.clamp(min=0), rtol=1e-4, atol=1e-5)


def test_every_backbone_keeps_to_the_contract():
    names = {name for contract in BackboneContract.__subclasses__() for name in contract.names}
    kinds = {backbone_class(name) for name in names & set(BACKBONES)}  # type: ignore[arg-type]
    for name in BACKBONES:
        assert issubclass(backbone_class(name), Backbone)
        if name.startswith(("convnext", "swin", "vit")):
            continue  # tests/networks/test_transformers.py
        assert backbone_class(name) in kinds


def test_images_reach_a_backbone_in_its_own_normalisation():
    colours = torch.tensor([0.5, 0.75, 0.0])
    images = (colours - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    feature = Patches("patches", 14)(images[None, :, None, None].expand(1, 3, 28, 14)).feature
    expected = torch.tensor([0.0, 0.5, -0.5])[None, :, None, None].expand(1, 3, 2, 1)
    torch.testing.assert_close(feature, expected)


def test_sides_that_a_backbone_does_not_take_are_refused_with_one_that_it_does():
    with pytest.raises(ValueError, match=r"28×33 pixels: patches takes sides of 14k, such as 42"):
        Patches("patches", 14)(torch.zeros(1, 3, 28, 33))


def test_sides_at_which_features_miss_the_pixels_are_told_with_one_at_which_they_do_not():
    for stride, good, bad, better in ((16, 465, 470, 465), (8, 473, 470, 473), (8, 465, 512, 513)):
        backbone = build_backbone("resnet18", stride)
        assert backbone.side_hint(good) == ""
        assert f"{bad} pixels" in backbone.side_hint(bad)
        assert f"at {better} they do" in backbone.side_hint(bad)
    assert Patches("patches", 14).side_hint(28) == ""
    assert "at 28 they do" in Patches("patches", 14).side_hint(29)


def test_resizing_follows_the_alignment_of_the_corners():
    small = torch.randn(1, 2, 4, 6)
    for stride in (8, 16):
        large = Backbone().resize(small, (3 * stride + 1, 5 * stride + 1))
        torch.testing.assert_close(large[..., ::stride, ::stride], small)
        middle = large[..., stride // 2 :: stride, ::stride]
        torch.testing.assert_close(middle, (small[..., 1:, :] + small[..., :-1, :]) / 2)
    # A feature of patches lies in the middle of its 3×3 pixels.
    large = Patches("patches", 14).resize(small, (12, 18))
    torch.testing.assert_close(large[..., 1::3, 1::3], small)


def test_a_backbone_without_imagenet_weights_says_so():
    with pytest.raises(ValueError, match=r"'imagenet': patches has none; give a file or 'none'"):
        Patches("patches", 14).load_weights("imagenet")


def test_imagenet_weights_that_cannot_be_fetched_are_no_traceback(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(ValueError, match=r"resnet18 could not be fetched \(no way out\); give the"):
        build_backbone("resnet18", 16).load_weights("imagenet")


def refuse(*_, **__):
    raise OSError("no way out")


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("channels", [1, 5])
def test_weights_for_colours_answer_equal_channels_as_they_answer_grey(
    tmp_path, caplog, name, channels
):
    torch.manual_seed(0)
    colours = build_backbone(name, 16).eval()
    torch.save(colours.state_dict(), tmp_path / "weights.pt")
    mean, std = (0.5,) * channels, (0.25,) * channels
    other = build_backbone(name, 16, PixelFormat(channels, "uint8", mean=mean, std=std)).eval()
    other.load_weights(str(tmp_path / "weights.pt"))
    assert f"weights.pt: its weights for 3 colours become weights for {channels} ch" in caplog.text
    grey = torch.randn(2, 1, 33, 49)
    with torch.inference_mode():
        for wanted, found in zip(
            colours(grey.expand(-1, 3, -1, -1)),
            other(grey.expand(-1, channels, -1, -1)),
            strict=True,
        ):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
