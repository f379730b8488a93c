import sys
from types import SimpleNamespace

import pytest

from cdsp.io.json_files import write_json_lines
from cdsp.reporting.tensorboard import write_events


class Writer:
    """Stands for TensorBoard's, which is no dependency: what it was given, by folder."""

    scalars: dict[str, list]

    def __init__(self, folder):
        self.given = Writer.scalars.setdefault(folder, [])

    def add_scalar(self, name, value, step):
        self.given.append((name, value, step))

    def flush(self):
        pass

    close = flush


@pytest.fixture
def results(tmp_path, monkeypatch):
    Writer.scalars = {}
    fake = SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    runs = {"cdsp/seed-0": 2, "cdsp/seed-1/unfinished-abc": 1}
    for run, epochs in runs.items():
        folder = tmp_path / "results" / run
        folder.mkdir(parents=True)
        log = [{"epoch": n, "loss": 1 / n, "seconds": 2.0} for n in range(1, epochs + 1)]
        write_json_lines(folder / "log.jsonl", log)
    return tmp_path / "results"


def test_every_epoch_of_every_run_becomes_scalars(results, tmp_path):
    out = tmp_path / "out"
    assert write_events(results, out) == 3
    assert Writer.scalars == {
        str(out / "cdsp/seed-0"): [
            ("loss", 1.0, 1),
            ("seconds", 2.0, 1),
            ("loss", 0.5, 2),
            ("seconds", 2.0, 2),
        ],
        str(out / "cdsp/seed-1"): [("loss", 1.0, 1), ("seconds", 2.0, 1)],
    }


def test_what_cannot_be_written_is_told(results, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="is not empty"):
        write_events(results, results)
    with pytest.raises(ValueError, match=r"no log\.jsonl below it"):
        write_events(tmp_path / "nowhere", tmp_path / "out")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        write_events(results, tmp_path / "out")
