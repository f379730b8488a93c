import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from cdsp.networks.backbones import (
    BACKBONES,
    build_backbone,
    freeze_batch_norm,
    load_backbone_weights,
    read_checkpoint,
)
from cdsp.networks.classifier import Classifier


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
    assert found.low_level.shape == (1, backbone.low_level_channels, 17, 13)
    assert found.feature.shape[1] == backbone.feature_channels


@pytest.mark.parametrize("size", [(65, 129), (64, 50)])
@pytest.mark.parametrize("name", ["resnet18", "resnet34", "mobilenet_v2"])
@torch.inference_mode()
def test_dilation_keeps_what_striding_would_have_computed(name, size):
    strided = build_backbone(name, 32).eval().double()
    shake_batch_norm(strided)
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
    with pytest.raises(ValueError, match=r"resnet19.*resnet18"):
        build_backbone("resnet19", 16)
    for output_stride in (0, 4, 12, 64):
        with pytest.raises(ValueError, match=f"output_stride {output_stride}: expected 8 or 16"):
            build_backbone("resnet18", output_stride)


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
    load_backbone_weights(backbone, name, str(tmp_path / "weights.pt"))
    for key, value in backbone.state_dict().items():
        assert value.dtype == original.state_dict()[key].dtype
        assert torch.equal(value, state[key].to(value.dtype)), key


def test_no_weights_leave_the_random_ones():
    backbone = build_backbone("resnet18", 16)
    before = backbone.state_dict()["conv1.weight"].clone()
    load_backbone_weights(backbone, "resnet18", "none")
    assert torch.equal(backbone.state_dict()["conv1.weight"], before)


def test_weights_of_another_network_are_refused_by_their_keys(tmp_path):
    path = tmp_path / "weights.pt"
    backbone = build_backbone("resnet18", 16)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}

    torch.save(build_backbone("mobilenet_v2", 16).state_dict(), path)
    with pytest.raises(ValueError, match=r"not the weights of resnet18.*conv1\.weight.*features\."):
        load_backbone_weights(backbone, "resnet18", str(path))

    state = build_backbone("resnet34", 16).state_dict()
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"keys unknown \(layer1\.2\.conv1\.weight"):
        load_backbone_weights(backbone, "resnet18", str(path))

    state = dict(backbone.state_dict())
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"conv1\.weight is \(64, 1, 7, 7\) instead of \(64, 3"):
        load_backbone_weights(backbone, "resnet18", str(path))

    for key, value in backbone.state_dict().items():
        assert torch.equal(value, before[key]), key


class Bomb:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_objects_are_refused_and_never_executed(tmp_path):
    path, mark = tmp_path / "weights.pt", tmp_path / "executed"
    for write in (
        lambda: path.write_bytes(pickle.dumps({"conv1.weight": Bomb(mark)}, protocol=2)),
        lambda: path.write_bytes(pickle.dumps(Bomb(mark), protocol=2)),
        lambda: torch.save({"conv1.weight": Bomb(mark)}, path),
        lambda: torch.save(nn.Conv2d(1, 1, 1), path),
    ):
        write()
        with pytest.raises(
            ValueError, match=r"weights\.pt: no weights of cdsp or PyTorch that can be read"
        ) as caught:
            read_checkpoint(path)
        assert "weights_only" not in str(caught.value)
        assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()  # so it would have gone off


def test_broken_files_of_weights_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    with pytest.raises(ValueError, match=r"weights\.pt: no such file"):
        read_checkpoint(path)
    torch.save({"a": torch.arange(1000.0), "b": {"c": [1, "x"]}}, path)
    data = path.read_bytes()
    assert torch.equal(read_checkpoint(path)["a"], torch.arange(1000.0))
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match="no weights of cdsp or PyTorch that can be read"):
            read_checkpoint(path)
    torch.save([torch.zeros(2)], path)
    with pytest.raises(ValueError, match="expected a dictionary of tensors, found list"):
        read_checkpoint(path)


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


def test_every_backbone_is_tested_against_torchvision():
    assert set(BACKBONES) == {"resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v2"}
