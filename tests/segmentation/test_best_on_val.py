import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_network import TINY_NETWORK

from cdsp.evaluation.evaluate import evaluate
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.networks.checkpoint import read_network
from cdsp.segmentation.best_on_val import BestOnVal
from cdsp.segmentation.train import train_segmentation
from cdsp.training import runtime, state
from cdsp.training.loop import Trainer
from cdsp.training.record import BEST_ON_VAL, read_training

PROTOCOL = EvaluationSettings(scales=(1.0, 1.5), long_side=0, window=0)
FILES = ("weights.pt", BEST_ON_VAL)


@pytest.fixture(scope="module")
def run(tiny_training, tiny_settings, all_terms):
    """Function that trains into a folder, and measures each epoch unless it is told not to."""

    def train(folder: Path, best_on_val: EvaluationSettings | None = PROTOCOL, **changes) -> Path:
        train_segmentation(
            tiny_training.open(all_terms),
            TINY_NETWORK,
            replace(tiny_settings, **changes),
            folder,
            name={"method": "tiny", "seed": 0},
            seed=0,
            device=runtime.prepare(1, "cpu"),
            num_workers=0,
            best_on_val=best_on_val,
        )
        return folder

    return train


@pytest.fixture(scope="module")
def measured(run, tmp_path_factory):
    """Folder of a run with both networks."""
    return run(tmp_path_factory.mktemp("measured"))


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return read_network(path, "segmentation").network.state_dict()


def test_the_last_network_is_the_one_that_it_is_without_measuring(run, measured, tmp_path):
    plain = run(tmp_path, None)
    assert not (plain / BEST_ON_VAL).exists()
    expected, found = tensors(plain / "weights.pt"), tensors(measured / "weights.pt")
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    logs = [read_training(folder).log or () for folder in (plain, measured)]
    assert [record["loss"] for record in logs[0]] == [record["loss"] for record in logs[1]]
    assert not any("validation_miou" in record for record in logs[0])


def test_the_best_network_has_the_best_score_of_the_log(measured, tiny_training, tmp_path):
    log = read_training(measured).log or ()
    logged = [record["validation_miou"] for record in log]
    kept = read_network(measured / BEST_ON_VAL, "segmentation")
    told = {"checkpoint": "best_on_val", "epoch": 1 + logged.index(max(logged))}
    assert kept.name == {"method": "tiny", "seed": 0, **told}
    for file, expected in (("weights.pt", logged[-1]), (BEST_ON_VAL, max(logged))):
        found = evaluate(
            measured / file,
            tiny_training.dataset,
            PROTOCOL,
            tmp_path / file,
            protocol="two scales",
            device=torch.device("cpu"),
        )
        assert found["mean_iou"] == expected


def test_of_equally_good_networks_the_first_is_kept(run, monkeypatch, tmp_path):
    states = []

    def score(self, network):
        assert not network.training
        states.append({k: v.clone() for k, v in network.state_dict().items()})
        return (0.2, 0.7, 0.1, 0.7)[len(states) - 1]

    monkeypatch.setattr(BestOnVal, "_mean_iou", score)
    run(tmp_path, epochs=4)
    for name, value in tensors(tmp_path / BEST_ON_VAL).items():
        assert torch.equal(value, states[1][name]), name
    for name, value in tensors(tmp_path / "weights.pt").items():
        assert torch.equal(value, states[3][name]), name


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_killed_at_any_epoch_ends_with_the_same_bytes(
    run, measured, monkeypatch, tmp_path, when
):
    """Killed before or after an epoch is measured, and its state is written or not."""
    original = BestOnVal.after_epoch
    killed = []

    def after_epoch(self, network, epoch):
        if when == "after":
            score = original(self, network, epoch)
        if epoch not in killed:
            killed.append(epoch)
            raise KeyboardInterrupt
        return score if when == "after" else original(self, network, epoch)

    monkeypatch.setattr(BestOnVal, "after_epoch", after_epoch)
    monkeypatch.setattr(state, "LARGEST_SHARE", math.inf)  # a state after each epoch
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
        assert not any((tmp_path / name).exists() for name in FILES)
    run(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (measured / name).read_bytes()


def test_a_finished_run_without_its_best_network_is_trained_again(
    run, measured, monkeypatch, tmp_path
):
    for path in measured.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    steps = []
    original = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda *a: steps.append(1) or original(*a))
    run(tmp_path)
    assert not steps
    (tmp_path / BEST_ON_VAL).unlink()
    run(tmp_path)
    assert steps
    assert (tmp_path / BEST_ON_VAL).read_bytes() == (measured / BEST_ON_VAL).read_bytes()


def test_a_best_network_of_another_training_is_refused(measured, tmp_path):
    for path in measured.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    text = (tmp_path / "settings.json").read_text()
    (tmp_path / "settings.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    (tmp_path / "environment.json").unlink()
    (tmp_path / "log.jsonl").unlink()
    with pytest.raises(ValueError, match=r"best_on_val\.pt: of another training|settings\.json"):
        read_network(tmp_path / BEST_ON_VAL, "segmentation")


def test_without_validation_images_there_is_nothing_to_choose_by(tiny_training):
    dataset = replace(tiny_training.dataset, splits={**tiny_training.dataset.splits, "val": ()})
    with pytest.raises(ValueError, match="has no validation images"):
        BestOnVal(torch.nn.Identity(), dataset, PROTOCOL)  # type: ignore[arg-type]
