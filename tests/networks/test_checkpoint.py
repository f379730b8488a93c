import copy
import re
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from network_contract import small_network, small_settings

from cdsp.evaluation.settings import EvaluationSettings
from cdsp.io.outputs import LEDGER, file_digest
from cdsp.networks.checkpoint import (
    FORMAT,
    VERSION,
    NetworkCheckpoint,
    read_network,
    segmentation_arguments,
    write_network,
)
from cdsp.networks.classifier import Classifier
from cdsp.networks.tensor_files import read_tensors, save_tensors

ARGUMENTS: dict[str, dict[str, Any]] = {
    "segmentation": segmentation_arguments(small_settings("deeplabv3plus"), 3),
    "classifier": {"backbone": "resnet18", "output_stride": 16, "num_classes": 2},
}


def make_checkpoint(kind: str) -> NetworkCheckpoint:
    torch.manual_seed(0)
    is_segmentation = kind == "segmentation"
    network = small_network("deeplabv3plus") if is_segmentation else Classifier(**ARGUMENTS[kind])
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
        working_size=640,
        protocol=EvaluationSettings(scales=(0.75,), flip=True, classes=("cat",)),
    )


@pytest.fixture(scope="module")
def segmentation() -> NetworkCheckpoint:
    return make_checkpoint("segmentation")


@pytest.mark.parametrize("kind", ["segmentation", "classifier"])
def test_a_network_comes_back_as_it_was(tmp_path, kind):
    checkpoint = make_checkpoint(kind)
    write_network(tmp_path / "new" / "network.pt", checkpoint)
    again = read_network(tmp_path / "new" / "network.pt", kind)
    for field in fields(checkpoint):
        if field.name != "network":
            assert getattr(again, field.name) == getattr(checkpoint, field.name), field.name
    assert not any(module.training for module in again.network.modules())
    state = checkpoint.network.state_dict()
    assert set(again.network.state_dict()) == set(state)
    for key, value in again.network.state_dict().items():
        assert torch.equal(value, state[key]), key
    images = torch.randn(1, 3, 40, 33)
    checkpoint.network.eval()
    with torch.inference_mode():
        wanted, found = checkpoint.network(images), again.network(images)
    if kind == "segmentation":
        wanted, found = wanted.logits, found.logits
    assert torch.equal(wanted, found)


def test_equal_networks_give_equal_bytes(tmp_path, segmentation):
    paths = [tmp_path / "one.pt", tmp_path / "another" / "name.pt", tmp_path / "again.pt"]
    write_network(paths[0], segmentation)
    write_network(paths[1], segmentation)
    write_network(paths[2], read_network(paths[0], "segmentation"))
    assert len({path.read_bytes() for path in paths}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        LEDGER,
        "again.pt",
        "another",
        "one.pt",
    ]


def test_another_kind_is_refused(tmp_path, segmentation):
    write_network(tmp_path / "network.pt", segmentation)
    with pytest.raises(
        ValueError,
        match=r"network\.pt: expected a classifier network, found a segmentation network",
    ):
        read_network(tmp_path / "network.pt", "classifier")


def rewrite(path: Path, checkpoint: NetworkCheckpoint, **changes: Any) -> None:
    write_network(path, checkpoint)
    save_tensors(path, {**read_tensors(path), **changes})


def test_other_formats_and_versions_are_refused(tmp_path, segmentation):
    path = tmp_path / "network.pt"
    for changes in ({"version": VERSION + 1}, {"format": "other"}):
        rewrite(path, segmentation, **changes)
        with pytest.raises(ValueError, match=f"expected {FORMAT} version {VERSION}, found"):
            read_network(path, "segmentation")
    save_tensors(path, segmentation.network.state_dict())
    with pytest.raises(ValueError, match=r"found \(None, None\)"):
        read_network(path, "segmentation")


def test_tensors_of_another_network_are_refused(tmp_path, segmentation):
    path = tmp_path / "network.pt"
    rewrite(path, segmentation, arguments={**segmentation.arguments, "num_classes": 4})
    with pytest.raises(ValueError, match=r"tensors are not those.*decoder\.3\.weight is \(3, 8"):
        read_network(path, "segmentation")
    state = {k: v for k, v in segmentation.network.state_dict().items() if k != "decoder.3.bias"}
    rewrite(path, segmentation, state=state)
    with pytest.raises(ValueError, match=r"1 keys missing \(decoder\.3\.bias\)"):
        read_network(path, "segmentation")


def test_missing_and_truncated_files_are_refused(tmp_path, segmentation):
    path = tmp_path / "network.pt"
    with pytest.raises(ValueError, match=r"network\.pt: no such file"):
        read_network(path, "segmentation")
    write_network(path, segmentation)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="no weights of cdsp or PyTorch that can be read"):
        read_network(path, "segmentation")


def test_a_failed_write_leaves_the_old_network(tmp_path, segmentation):
    path = tmp_path / "network.pt"
    write_network(path, segmentation)
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        save_tensors(path, {"state": torch.zeros(100), "bad": lambda: None})
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == [LEDGER, "network.pt"]


def test_a_trained_network_is_not_taken_for_backbone_weights(tmp_path, segmentation):
    write_network(tmp_path / "network.pt", segmentation)
    with pytest.raises(ValueError, match=r"not the weights of resnet18.*keys missing"):
        segmentation.network.backbone.load_weights(str(tmp_path / "network.pt"))  # type: ignore[operator, union-attr]


def test_one_flipped_bit_of_a_tensor_is_refused(tmp_path, segmentation):
    path = tmp_path / "network.pt"
    write_network(path, segmentation)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"network\.pt: damaged: .* is not what its checksum says"):
        read_network(path, "segmentation")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_of_numbers_that_are_not_finite_is_refused(tmp_path, segmentation, value):
    path = tmp_path / "network.pt"
    broken = copy.deepcopy(segmentation)
    name, parameter = next(broken.network.named_parameters())
    with torch.no_grad():
        parameter.view(-1)[3] = value
    write_network(path, broken)
    with pytest.raises(ValueError, match=rf"network\.pt: {re.escape(name)} has 1 values that are"):
        read_network(path, "segmentation")


@pytest.mark.parametrize(
    "changes",
    [
        {"arguments": {"num_classes": 2**62}},
        {"arguments": {"network": 1}},
        {"arguments": {"network": {"backbone": ["resnet18"]}}},
        {"arguments": {"network": {"head_options": {"channels": 10**9}}}},
        {"classes": 3},
        {"classes": ["background"]},
        {"classes": ["background", "cat", "cat"]},
        {"colours": {"dog": [1, 2, 3]}},
        {"colours": 7},
        {"state": {}},
        {"state": None},
        {"state": {"a": 1}},
        {"name": 3},
    ],
)
def test_a_file_that_lies_is_refused_before_memory_is_taken(tmp_path, segmentation, changes):
    path = tmp_path / "network.pt"
    write_network(path, segmentation)
    value = read_tensors(path)
    for key, change in changes.items():
        value[key] = value[key] | change if key == "arguments" else change
    save_tensors(path, value)
    with pytest.raises(ValueError, match=r"network\.pt: "):
        read_network(path, "segmentation")


def test_a_tensor_of_another_type_is_refused(tmp_path, segmentation):
    path = tmp_path / "network.pt"
    name = "decoder.3.bias"
    rewrite(
        path, segmentation, state={**segmentation.network.state_dict(), name: torch.ones(3).int()}
    )
    with pytest.raises(ValueError, match=r"network\.pt: decoder\.3\.bias is of torch\.int32, expe"):
        read_network(path, "segmentation")


def test_a_tensor_that_its_file_does_not_hold_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    save_tensors(path, {"large": [torch.zeros(1).expand(10**12)]})
    with pytest.raises(ValueError, match=r"a\.pt: large\[0\] of shape \(1000000000000,\)"):
        read_tensors(path)


def test_a_compressed_file_is_refused(tmp_path):
    save_tensors(tmp_path / "a.pt", {"a": torch.zeros(100)})
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as archive,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    with pytest.raises(ValueError, match=r"b\.pt: not a file of PyTorch: it is compressed"):
        read_tensors(tmp_path / "b.pt")


def test_old_files_are_read_with_a_warning_or_by_the_hash_in_their_name(tmp_path, caplog):
    state = {"a": torch.arange(1000.0)}
    old = tmp_path / "old.pth"
    torch.save(state, old, _use_new_zipfile_serialization=False)
    assert torch.equal(read_tensors(old)["a"], state["a"])
    assert "without checksums" in caplog.text
    caplog.clear()
    named = tmp_path / f"resnet18-{file_digest(old)[:8]}.pth"
    named.write_bytes(old.read_bytes())
    assert torch.equal(read_tensors(named)["a"], state["a"])
    assert not caplog.text
    data = bytearray(old.read_bytes())
    data[-100] ^= 1
    named.write_bytes(data)
    with pytest.raises(ValueError, match=r"\.pth: damaged: its SHA-256 does not begin with"):
        read_tensors(named)
