"""Two processes (Gloo, on this machine's processors) beside one with the same batches."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from cdsp.dataset.voc_layout import Dataset
from cdsp.evaluation.evaluate import evaluate
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.io.json_files import read_json_lines, read_object
from cdsp.networks.checkpoint import read_network
from cdsp.networks.settings import NetworkSettings
from cdsp.pseudo_labels.classifier import build_trainer as build_trainer_of_classifier
from cdsp.pseudo_labels.settings import ClassifierSettings
from cdsp.scribbles.image_classes import read_image_classes
from cdsp.segmentation.data import open_training_data
from cdsp.segmentation.method import parse_method
from cdsp.segmentation.settings import SegmentationSettings
from cdsp.segmentation.train import build_trainer
from cdsp.training import ranks, state
from cdsp.training.loop import Trainer
from cdsp.training.sampling import EpochSampler

CPU = torch.device("cpu")


def call(function: Callable[..., Any], arguments: Any, folder: Path, rank: int, size: int) -> None:
    torch.set_num_threads(1)
    if size > 1:
        meeting = f"file://{folder}/meeting"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    torch.save(function(*arguments), folder / f"returned-{rank}")


def by(size: int, folder: Path, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What a function returns in each of some processes."""
    folder.mkdir(exist_ok=True)
    (folder / "meeting").unlink(missing_ok=True)
    context = multiprocessing.get_context("forkserver")  # of a process that has trained nothing
    context.set_forkserver_preload(["cdsp.segmentation.train"])
    processes = [
        context.Process(target=call, args=(function, arguments, folder, rank, size))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * size
    return [torch.load(folder / f"returned-{rank}", weights_only=False) for rank in range(size)]


# --- batch norm ---------------------------------------------------------------------------------


def normalise(kind: type[nn.BatchNorm2d], images: torch.Tensor, weights: torch.Tensor, part: slice):
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(3, momentum=0.3).double()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    layer.__class__ = kind
    images = images[part].clone().requires_grad_()
    for _ in range(2):
        output = layer(images)
    (weights[part] * output).sum().backward()
    ranks.add_up_gradients(layer.parameters())
    return output.detach(), images.grad, layer.weight.grad, dict(layer.state_dict())


def normalise_share(images: torch.Tensor, weights: torch.Tensor):
    part = slice(0, 3) if ranks.rank() == 0 else slice(3, 5)
    return normalise(ranks.SynchronisedBatchNorm, images, weights, part)


def test_batch_norm_sees_the_images_of_all_processes(tmp_path):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(5, 3, 4, 6, generator=generator, dtype=torch.float64) * 3 + 1
    weights = torch.randn(5, 3, 4, 6, generator=generator, dtype=torch.float64)
    expected = normalise(nn.BatchNorm2d, images, weights, slice(None))
    parts = by(2, tmp_path, normalise_share, images, weights)
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), expected[0])
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), expected[1])
    for part in parts:
        torch.testing.assert_close(part[2], expected[2])
        torch.testing.assert_close(part[3], expected[3])


def test_frozen_batch_norm_sees_nobody():
    layer = nn.BatchNorm2d(3).eval()
    images = torch.randn(2, 3, 4, 4)
    expected = layer(images)
    layer.__class__ = ranks.SynchronisedBatchNorm
    assert torch.equal(layer(images), expected)


# --- sums ---------------------------------------------------------------------------------------


def add_up_some() -> dict[str, Any]:
    rank = ranks.rank()
    one, other, nobodys = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    one.grad = torch.tensor([1.0, 2.0]) * (rank + 1)
    if rank == 1:
        other.grad = torch.ones(2)
    ranks.add_up_gradients([one, other, nobodys])
    return {
        "scalars": ranks.add_up({"b": torch.tensor(rank + 1.0), "a": torch.tensor(2**40 + rank)}),
        "gradients": [one.grad, other.grad, nobodys.grad],
        "flags": [ranks.any_of(rank == 1), ranks.any_of(False)],
        "first": ranks.from_first(rank + 5),
    }


def test_what_is_added_up(tmp_path):
    for found in by(2, tmp_path, add_up_some):
        assert found["scalars"] == {"a": 2**41 + 1, "b": 3}
        assert found["scalars"]["a"].dtype == torch.int64
        one, other, nobodys = found["gradients"]
        assert one.tolist() == [3, 6]
        assert other.tolist() == [1, 1]
        assert nobodys is None
        assert found["flags"] == [True, False]
        assert found["first"] == 5


def test_each_process_has_its_share_of_every_batch():
    whole = list(EpochSampler(11, 5, 3))
    shares = [list(EpochSampler(11, 5, 3, rank, 2)) for rank in range(2)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(batch) == sorted(parts[0] + parts[1])
        assert [len(part) for part in parts] == [3, 2]
    with pytest.raises(ValueError, match=r"batch_size 2, .* than there are processes \(3\)"):
        EpochSampler(11, 2, 3, 0, 3)


# --- trainings ----------------------------------------------------------------------------------

METHOD = parse_method({"scribble": 1, "pseudo_label": 0.5, "lorm": 0.1}, "method")
SETTINGS = SegmentationSettings(
    epochs=2,
    warmup_epochs=0,
    batch_size=4,
    learning_rate=1e-3,
    crop_size=33,
    scale=(0.75, 1.25),
    gradient_clip=5.0,
)


def segment(
    dataset: Dataset,
    stores: dict[str, Path],
    folder: Path,
    network: NetworkSettings,
    settings: SegmentationSettings,
) -> None:
    trainer = build_trainer(
        open_training_data(dataset, METHOD, stores),
        network,
        settings,
        name={"method": "tiny"},
        seed=0,
        device=CPU,
        num_workers=0,
    )
    run_in_double(trainer, folder / "weights.pt")


def run_in_double(trainer: Trainer, weights: Path) -> None:
    """Train in float64 and without dropout, of which each process has random numbers of its own."""
    trainer.objective.double()
    for module in trainer.objective.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    original = trainer._to_device
    trainer._to_device = lambda part: {  # type: ignore[method-assign]
        name: value.double() if value.dtype == torch.float32 else value
        for name, value in original(part).items()
    }
    write = trainer.write
    trainer.write = lambda network, path: write(network.float(), path)
    trainer.run(weights)


@pytest.fixture
def training(tiny_data):
    stores = {
        "scribble": tiny_data.scribbles / "labels.h5",
        "pseudo_label": tiny_data.pseudo_labels,
    }
    missing = {"scribble_distance": None, "pseudo_label_distance": None}
    return tiny_data.dataset, {**stores, **missing}


def compare(one: Path, two: Path, kind: str, weights: str, log: str) -> None:
    """Weights (float32), and what was logged, of two runs in float64."""
    states = [read_network(folder / weights, kind).network.state_dict() for folder in (one, two)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-6, atol=1e-8, msg=name)
    logs = [[record for _, record in read_json_lines(folder / log)] for folder in (one, two)]
    for record, other in zip(*logs, strict=True):
        timed = ("run", "seconds", "images_per_second")
        expected = {key: value for key, value in record.items() if key not in timed}
        found = {key: value for key, value in other.items() if key not in timed}
        assert found == pytest.approx(expected, rel=1e-6)  # some in float32


@pytest.mark.parametrize(
    ("network", "changes"),
    [
        ({"head_options": {"decoder_channels": 8}}, {}),
        ({"head_options": {"decoder_channels": 8}}, {"batch_size": 3}),
        ({"head": "deeplabv2", "frozen_batch_norm": True}, {"micro_batches": 2}),
    ],
    ids=["batch norm", "unequal shares", "micro-batches"],
)
def test_two_processes_train_as_one_does(tmp_path, training, network, changes):
    built = NetworkSettings(backbone="mobilenet_v2", backbone_weights="none", **network)
    settings = replace(SETTINGS, **changes)
    for size in (1, 2):
        folder = tmp_path / str(size)
        by(size, folder, segment, *training, folder, built, settings)
    compare(tmp_path / "1", tmp_path / "2", "segmentation", "weights.pt", "log.jsonl")
    assert read_object(tmp_path / "2/environment.json")["processes"] == 2


def classify(dataset: Dataset, classes: dict[str, list[int]], strokes: Path, folder: Path) -> None:
    settings = ClassifierSettings(
        backbone="resnet18",
        backbone_weights="none",
        epochs=2,
        batch_size=4,
        crop_size=33,
        scale=(33 / 48, 40 / 48),
        learning_rate=1e-3,
        stroke_weight=0.5,
        class_balance=True,
    )
    trainer = build_trainer_of_classifier(
        dataset, classes, settings, scribbles=strokes, device=CPU, num_workers=0
    )
    run_in_double(trainer, folder / "classifier.pt")


def test_two_processes_train_the_classifier_as_one_does(tmp_path, tiny_data):
    classes = read_image_classes(tiny_data.scribbles / "image_classes.json")
    strokes = tiny_data.scribbles / "labels.h5"
    for size in (1, 2):
        folder = tmp_path / str(size)
        by(size, folder, classify, tiny_data.dataset, classes, strokes, folder)
    compare(tmp_path / "1", tmp_path / "2", "classifier", "classifier.pt", "log.jsonl")


def segment_until(steps: int, *arguments: Any) -> int:
    """Train until the second process is asked to stop; the exit code."""
    original, done = Trainer._step, []

    def step(*given: Any) -> Any:
        done.append(None)
        if len(done) == steps and ranks.rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*given)

    Trainer._step = step  # type: ignore[method-assign]
    state.LARGEST_SHARE = 0.0
    try:
        segment(*arguments)
    except SystemExit as stopped:
        return int(stopped.code)  # type: ignore[arg-type]
    return 0


def test_processes_stop_together_and_go_on_where_they_were(tmp_path, training):
    built = NetworkSettings(
        backbone="mobilenet_v2", backbone_weights="none", head_options={"decoder_channels": 8}
    )
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    by(2, whole, segment, *training, whole, built, SETTINGS)
    assert by(2, stopped, segment_until, 3, *training, stopped, built, SETTINGS) == [75, 75]
    assert not (stopped / "weights.pt").exists()
    by(2, stopped, segment, *training, stopped, built, SETTINGS)
    assert (stopped / "weights.pt").read_bytes() == (whole / "weights.pt").read_bytes()


# --- evaluation ---------------------------------------------------------------------------------


def measure(weights: Path, dataset: Dataset, folder: Path) -> dict[str, Any]:
    settings = EvaluationSettings(scales=(1.0,), long_side=0, window=0)
    return evaluate(weights, dataset, settings, folder, protocol="tiny", device=CPU)


def test_two_processes_evaluate_exactly_as_one_does(tmp_path, tiny_data, tiny_weights):
    for size in (1, 2):
        folder = tmp_path / str(size)
        found = by(size, folder, measure, tiny_weights, tiny_data.dataset, folder)
        assert found[0]["mean_iou"] == read_object(folder / "metrics.json")["mean_iou"]
        assert found[1:] == [{}] * (size - 1)
    one, two = ((tmp_path / str(size) / "confusion.npy").read_bytes() for size in (1, 2))
    assert one == two
