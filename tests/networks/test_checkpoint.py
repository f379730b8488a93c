from pathlib import Path
from typing import Any

import pytest
import torch
from network_contract import small_network, small_settings

from cdsp.networks.checkpoint import (
    FORMAT,
    VERSION,
    NetworkCheckpoint,
    read_network,
    segmentor_arguments,
    write_network,
)
from cdsp.networks.classifier import Classifier
from cdsp.networks.tensor_files import read_tensors, save_tensors

ARGUMENTS: dict[str, dict[str, Any]] = {
    "segmentor": segmentor_arguments(small_settings("deeplabv3plus"), 3),
    "classifier": {"backbone": "resnet18", "output_stride": 16, "num_classes": 2},
}


def make_checkpoint(kind: str) -> NetworkCheckpoint:
    torch.manual_seed(0)
    is_segmentor = kind == "segmentor"
    network = small_network("deeplabv3plus") if is_segmentor else Classifier(**ARGUMENTS[kind])
    network.train()
    network(torch.randn(2, 3, 33, 33))  # so that the running statistics are not the initial ones
    return NetworkCheckpoint(
        kind=kind,
        arguments=ARGUMENTS[kind],
        classes=("background", "cat", "épée"),
        colours={"cat": (250, 120, 0)},
        name={"method": "cdsp", "seed": 3},
        settings={"learning_rate": 1e-3, "terms": ["scribble"], "lorm": None},
        network=network,
    )


@pytest.fixture(scope="module")
def segmentor() -> NetworkCheckpoint:
    return make_checkpoint("segmentor")


@pytest.mark.parametrize("kind", ["segmentor", "classifier"])
def test_a_network_comes_back_as_it_was(tmp_path, kind):
    checkpoint = make_checkpoint(kind)
    write_network(tmp_path / "new" / "network.pt", checkpoint)
    again = read_network(tmp_path / "new" / "network.pt", kind)
    assert (again.kind, again.arguments, again.classes, again.name, again.settings) == (
        checkpoint.kind,
        checkpoint.arguments,
        checkpoint.classes,
        checkpoint.name,
        checkpoint.settings,
    )
    assert not any(module.training for module in again.network.modules())
    state = checkpoint.network.state_dict()
    assert set(again.network.state_dict()) == set(state)
    for key, value in again.network.state_dict().items():
        assert torch.equal(value, state[key]), key
    images = torch.randn(1, 3, 40, 33)
    checkpoint.network.eval()
    with torch.inference_mode():
        wanted, found = checkpoint.network(images), again.network(images)
    if kind == "segmentor":
        wanted, found = wanted.logits, found.logits
    assert torch.equal(wanted, found)


def test_equal_networks_give_equal_bytes(tmp_path, segmentor):
    paths = [tmp_path / "one.pt", tmp_path / "another" / "name.pt", tmp_path / "again.pt"]
    write_network(paths[0], segmentor)
    write_network(paths[1], segmentor)
    write_network(paths[2], read_network(paths[0], "segmentor"))
    assert len({path.read_bytes() for path in paths}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.pt", "another", "one.pt"]


def test_another_kind_is_refused(tmp_path, segmentor):
    write_network(tmp_path / "network.pt", segmentor)
    with pytest.raises(ValueError, match=r"network\.pt: expected a classifier, found a segmentor"):
        read_network(tmp_path / "network.pt", "classifier")


def rewrite(path: Path, checkpoint: NetworkCheckpoint, **changes: Any) -> None:
    write_network(path, checkpoint)
    save_tensors(path, {**read_tensors(path), **changes})


def test_other_formats_and_versions_are_refused(tmp_path, segmentor):
    path = tmp_path / "network.pt"
    for changes in ({"version": VERSION + 1}, {"format": "other"}):
        rewrite(path, segmentor, **changes)
        with pytest.raises(ValueError, match=f"expected {FORMAT} version {VERSION}, found"):
            read_network(path, "segmentor")
    save_tensors(path, segmentor.network.state_dict())
    with pytest.raises(ValueError, match=r"found \(None, None\)"):
        read_network(path, "segmentor")


def test_tensors_of_another_network_are_refused(tmp_path, segmentor):
    path = tmp_path / "network.pt"
    rewrite(path, segmentor, arguments={**segmentor.arguments, "num_classes": 4})
    with pytest.raises(ValueError, match=r"tensors are not those.*decoder\.3\.weight is \(3, 8"):
        read_network(path, "segmentor")
    state = {k: v for k, v in segmentor.network.state_dict().items() if k != "decoder.3.bias"}
    rewrite(path, segmentor, state=state)
    with pytest.raises(ValueError, match=r"1 keys missing \(decoder\.3\.bias\)"):
        read_network(path, "segmentor")


def test_missing_and_truncated_files_are_refused(tmp_path, segmentor):
    path = tmp_path / "network.pt"
    with pytest.raises(ValueError, match=r"network\.pt: no such file"):
        read_network(path, "segmentor")
    write_network(path, segmentor)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="no weights of cdsp or PyTorch that can be read"):
        read_network(path, "segmentor")


def test_a_failed_write_leaves_the_old_network(tmp_path, segmentor):
    path = tmp_path / "network.pt"
    write_network(path, segmentor)
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        save_tensors(path, {"state": torch.zeros(100), "bad": lambda: None})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["network.pt"]


def test_a_trained_network_is_not_taken_for_backbone_weights(tmp_path, segmentor):
    write_network(tmp_path / "network.pt", segmentor)
    with pytest.raises(ValueError, match=r"not the weights of resnet18.*keys missing"):
        segmentor.network.backbone.load_weights(str(tmp_path / "network.pt"))  # type: ignore[operator, union-attr]
