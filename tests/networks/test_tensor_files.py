import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from cdsp.networks.tensor_files import read_tensors


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
            read_tensors(path)
        assert "weights_only" not in str(caught.value)
        assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()  # so it would have gone off


def test_broken_files_of_weights_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    with pytest.raises(ValueError, match=r"weights\.pt: no such file"):
        read_tensors(path)
    torch.save({"a": torch.arange(1000.0), "b": {"c": [1, "x"]}}, path)
    data = path.read_bytes()
    assert torch.equal(read_tensors(path)["a"], torch.arange(1000.0))
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match="no weights of cdsp or PyTorch that can be read"):
            read_tensors(path)
    torch.save([torch.zeros(2)], path)
    with pytest.raises(ValueError, match="expected a dictionary of tensors, found list"):
        read_tensors(path)
