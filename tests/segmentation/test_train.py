import logging
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_network import TINY_NETWORK, WITHOUT_POOLING

from cdsp.io.files import IGNORE
from cdsp.io.json_files import read_object
from cdsp.io.outputs import file_digest
from cdsp.networks import checkpoint, tensor_files
from cdsp.networks.backbones import build_backbone
from cdsp.networks.checkpoint import read_network
from cdsp.networks.settings import NetworkSettings
from cdsp.segmentation import train
from cdsp.segmentation.data import TrainingData
from cdsp.segmentation.method import Method, parse_method
from cdsp.segmentation.settings import SegmentationSettings
from cdsp.segmentation.train import build_trainer
from cdsp.training import loop, run_files, runtime, state
from cdsp.training.loop import Trainer
from cdsp.training.optimizer import cosine_after_warmup
from cdsp.training.record import read_training
from cdsp.training.run_files import RunFiles
from cdsp.training.stopping import EXIT_CODE

FINISHED = {
    ".cdsp-outputs",
    ".lock",
    "environment.json",
    "log.jsonl",
    "settings.json",
    "weights.pt",
}


def make_trainer(
    data: TrainingData,
    method: Method,
    settings: SegmentationSettings,
    *,
    network: NetworkSettings = TINY_NETWORK,
    seed: int = 0,
    num_workers: int = 0,
    start_from: Path | None = None,
) -> Trainer:
    return build_trainer(
        replace(data, method=method),
        network,
        settings,
        name={"method": "tiny", "seed": seed},
        seed=seed,
        device=runtime.prepare(1, "cpu"),
        num_workers=num_workers,
        start_from=start_from,
    )


def read_log(folder: Path) -> list[dict[str, Any]]:
    return list(read_training(folder).log or ())


def parameters(trainer: Trainer) -> torch.Tensor:
    """All parameters of the network, as one vector."""
    return torch.cat([p.detach().flatten() for p in trainer.objective.network.parameters()])


class Interrupted(Exception):
    pass


def interrupt(monkeypatch: pytest.MonkeyPatch, trainer: Trainer, folder: Path, steps: int) -> None:
    """Train until an exception stops it after ``steps`` steps."""
    original = Trainer._step
    done = []

    def step(*arguments: Any) -> Any:
        if len(done) == steps:
            raise Interrupted
        done.append(None)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(Interrupted):
            trainer.run(folder / "weights.pt")
    assert not list(folder.glob("unfinished-*/weights.pt"))


@pytest.fixture(autouse=True)
def a_state_every_epoch(monkeypatch):
    """However short the epochs are, beside what it costs to write a state."""
    monkeypatch.setattr(state, "LARGEST_SHARE", math.inf)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_training, tiny_settings, all_terms):
    """Folder of a run that nothing ever stopped."""
    folder = tmp_path_factory.mktemp("finished")
    make_trainer(tiny_training.open(all_terms), all_terms, tiny_settings).run(folder / "weights.pt")
    return folder


@pytest.fixture(scope="module")
def weights(finished):
    return (finished / "weights.pt").read_bytes()


@pytest.fixture(scope="module")
def one_step(tiny_settings):
    return replace(tiny_settings, epochs=1, warmup_epochs=0, batch_size=8)


# --- what a run leaves behind -------------------------------------------------------------------


def test_a_finished_run_leaves_its_record_and_no_state(finished, tiny_training, tiny_settings):
    assert {path.name for path in finished.iterdir()} == FINISHED
    settings = read_object(finished / "settings.json")
    assert settings["settings"]["learning_rate"] == tiny_settings.learning_rate
    assert settings["terms"]["pseudo_label_distance"] == {"weight": 0.125, "exponent": 7.0}
    assert settings["dataset"] == tiny_training.dataset.digest
    assert len(set(settings["stores"].values())) == 4
    assert settings["seed"] == 0
    environment = read_object(finished / "environment.json")
    assert environment["torch"] == torch.__version__
    assert environment["device"] == "cpu"


def test_the_weights_know_what_they_are(finished, tiny_training, tiny_settings):
    stored = read_network(finished / "weights.pt", "segmentation")
    assert stored.classes == tiny_training.dataset.classes
    assert stored.name == {"method": "tiny", "seed": 0}
    assert stored.settings == read_object(finished / "settings.json")
    output = stored.network(torch.zeros(1, 3, 33, 33))
    assert output.logits.shape == (1, 3, 33, 33)
    assert output.features["backbone"].shape == (1, 1280, 3, 3)


def test_the_log_has_one_line_per_epoch_with_every_term(finished, all_terms, tiny_settings):
    log = read_log(finished)
    assert [record["epoch"] for record in log] == [1, 2, 3]
    for record in log:
        assert all(math.isfinite(value) for value in record.values())
        assert all(record[name] > 0 for name in (*all_terms.terms, "feature_variance"))
        assert 0 < record["feature_variance_share"] < 1
        total = sum(term.weight * record[name] for name, term in all_terms.terms.items())
        assert record["loss"] == pytest.approx(total, rel=1e-5)
        assert record["images_per_second"] == pytest.approx(6 / record["seconds"])
        assert 0 < record["learning_rate"] <= tiny_settings.learning_rate


def test_training_learns(tmp_path, tiny_training, tiny_settings):
    method = parse_method({"mask": 1}, "method")
    settings = replace(tiny_settings, epochs=12, batch_size=4)
    make_trainer(tiny_training.open(method), method, settings).run(tmp_path / "weights.pt")
    log = read_log(tmp_path)
    assert log[-1]["mask"] < 0.6 * log[0]["mask"]


def test_a_finished_run_is_not_trained_again(
    tmp_path, tiny_training, tiny_settings, all_terms, finished
):
    folder = shutil.copytree(finished, tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    del before[folder / ".lock"]
    data = tiny_training.open(all_terms)
    make_trainer(data, all_terms, tiny_settings).run(folder / "weights.pt")
    assert {path: path.stat().st_mtime_ns for path in before} == before

    (folder / "log.jsonl").unlink()  # the workflow would wait for it
    trained = make_trainer(data, all_terms, tiny_settings).run(folder / "weights.pt")
    assert trained.read_bytes() == (finished / "weights.pt").read_bytes()
    assert len(read_log(folder)) == 3

    make_trainer(data, all_terms, replace(tiny_settings, epochs=2)).run(folder / "weights.pt")
    assert len(read_log(folder)) == 2
    assert read_network(folder / "weights.pt", "segmentation").settings["settings"]["epochs"] == 2


def test_a_finished_run_stays_whole_until_another_has_replaced_it(
    tmp_path, monkeypatch, tiny_training, tiny_settings, all_terms, finished
):
    """Settings of the one beside weights of the other would be told by nobody."""
    folder = shutil.copytree(finished, tmp_path / "copy")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    data, shorter = tiny_training.open(all_terms), replace(tiny_settings, epochs=2)
    interrupt(monkeypatch, make_trainer(data, all_terms, shorter), folder, 3)
    assert {path: path.read_bytes() for path in before} == before
    (unfinished,) = folder.glob("unfinished-*")
    assert [record["epoch"] for record in read_log(unfinished)] == [1]
    assert read_object(unfinished / "settings.json")["settings"]["epochs"] == 2

    # The replacing is stopped after each file: weights stand beside their own log, or not at all.
    original = Path.replace
    for last in (False, False, False, True):
        moved: list[Path] = []

        def replace_one(path: Path, target: Path, moved: list[Path] = moved) -> Path:
            if path.parent == unfinished and target.parent == folder:
                if moved:
                    raise Interrupted
                moved.append(path)
            return original(path, target)

        trainer = make_trainer(data, all_terms, shorter)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace_one)
            if last:
                trainer.run(folder / "weights.pt")
            else:
                with pytest.raises(Interrupted):
                    trainer.run(folder / "weights.pt")
                assert not (folder / "weights.pt").exists()
    assert {path.name for path in folder.iterdir()} == FINISHED
    stored = read_network(folder / "weights.pt", "segmentation")
    assert stored.settings == read_object(folder / "settings.json")
    assert len(read_log(folder)) == 2


# --- the same weights, bit for bit --------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_seed_determines_the_weights(
    tmp_path, tiny_training, tiny_settings, all_terms, weights, num_workers
):
    trainer = make_trainer(
        tiny_training.open(all_terms), all_terms, tiny_settings, num_workers=num_workers
    )
    torch.rand(3)  # neither this generator
    np.random.rand(3)  # nor this one has a say
    assert trainer.run(tmp_path / "weights.pt").read_bytes() == weights


def test_another_seed_gives_other_weights(
    tmp_path, tiny_training, tiny_settings, all_terms, finished
):
    trainer = make_trainer(tiny_training.open(all_terms), all_terms, tiny_settings, seed=1)
    trainer.run(tmp_path / "weights.pt")
    first = read_network(finished / "weights.pt", "segmentation").network.parameters()
    convolutions = [
        (one, other)
        for one, other in zip(first, trainer.objective.network.parameters(), strict=True)
        if one.ndim == 4
    ]
    assert len(convolutions) > 50
    assert not any(torch.equal(one, other) for one, other in convolutions)
    assert read_log(tmp_path)[0]["loss"] != read_log(finished)[0]["loss"]


@pytest.mark.parametrize(("steps", "num_workers"), [(1, 0), (2, 0), (3, 2), (5, 0)])
def test_a_run_stopped_by_an_exception_ends_with_the_same_weights(
    tmp_path,
    monkeypatch,
    tiny_training,
    tiny_settings,
    all_terms,
    finished,
    weights,
    steps,
    num_workers,
):
    data = tiny_training.open(all_terms)
    interrupt(monkeypatch, make_trainer(data, all_terms, tiny_settings), tmp_path, steps)
    assert len(list(tmp_path.glob("unfinished-*/state.pt"))) == (1 if steps >= 2 else 0)
    trainer = make_trainer(data, all_terms, tiny_settings, num_workers=num_workers)
    assert trainer.run(tmp_path / "weights.pt").read_bytes() == weights
    assert {path.name for path in tmp_path.iterdir()} == FINISHED
    timed = ("seconds", "images_per_second")
    for record, whole in zip(read_log(tmp_path), read_log(finished), strict=True):
        assert {k: v for k, v in record.items() if k not in timed} == {
            k: v for k, v in whole.items() if k not in timed
        }


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "float16"},
        {"precision": "bfloat16", "gradient_clip": 1.0},
        {"optimizer": "adamw", "channels_last": False},
    ],
)
def test_other_settings_resume_as_well(
    tmp_path, monkeypatch, tiny_training, tiny_settings, all_terms, changes
):
    settings, data = replace(tiny_settings, epochs=2, **changes), tiny_training.open(all_terms)
    whole, resumed = (make_trainer(data, all_terms, settings) for _ in range(2))
    interrupt(monkeypatch, make_trainer(data, all_terms, settings), tmp_path / "stopped", 3)
    expected = whole.run(tmp_path / "whole" / "weights.pt").read_bytes()
    assert resumed.run(tmp_path / "stopped" / "weights.pt").read_bytes() == expected
    assert resumed.scaler.state_dict() == whole.scaler.state_dict()


@pytest.mark.parametrize(
    ("name", "steps", "num_workers"),
    [("SIGTERM", 1, 0), ("SIGINT", 2, 0), ("SIGTERM", 3, 2), ("SIGTERM", 6, 0)],
)
def test_a_run_that_is_asked_to_stop_saves_at_once_and_ends_with_the_same_weights(
    tmp_path,
    monkeypatch,
    caplog,
    tiny_training,
    tiny_settings,
    all_terms,
    finished,
    weights,
    name,
    steps,
    num_workers,
):
    caplog.set_level(logging.INFO)
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    original, done = Trainer._step, []

    def step(*arguments: Any) -> Any:
        done.append(None)
        if len(done) == steps:  # to the loading processes as well, as `scancel` does
            workers = [str(process.pid) for process in multiprocessing.active_children()]
            subprocess.run(["kill", "-s", name.removeprefix("SIG"), *workers, str(os.getpid())])
        return original(*arguments)

    data = tiny_training.open(all_terms)
    monkeypatch.setattr(Trainer, "_step", step)
    monkeypatch.setattr(state, "LARGEST_SHARE", 0)  # no state but those that must be
    trainer = make_trainer(data, all_terms, tiny_settings, num_workers=num_workers)
    with pytest.raises(SystemExit) as stopped:
        trainer.run(tmp_path / "weights.pt")
    assert stopped.value.code == EXIT_CODE == 75
    assert len(done) == steps
    assert f"stopped by {name} after step" in caplog.text
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert not (tmp_path / "weights.pt").exists()

    trainer = make_trainer(data, all_terms, tiny_settings)
    assert trainer.run(tmp_path / "weights.pt").read_bytes() == weights
    assert len(done) == 6  # no step was made twice
    assert {path.name for path in tmp_path.iterdir()} == FINISHED
    timed = ("seconds", "images_per_second")
    for record, whole in zip(read_log(tmp_path), read_log(finished), strict=True):
        assert {k: v for k, v in record.items() if k not in timed} == {
            k: v for k, v in whole.items() if k not in timed
        }


def test_states_are_written_within_an_epoch_and_no_more_often_than_they_are_worth(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(state.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(state, "LARGEST_SHARE", 0.02)

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    timer = state.StateTimer()
    assert timer.due(epoch_ended=True)
    assert not timer.due(epoch_ended=False)
    pass_time(state.SECONDS_BETWEEN)
    assert timer.due(epoch_ended=False)
    timer.start()
    pass_time(10)  # a slow disk
    timer.stop()
    pass_time(499)
    assert not timer.due(epoch_ended=True)
    assert not timer.due(epoch_ended=False)
    pass_time(1)
    assert timer.due(epoch_ended=False)


@pytest.mark.parametrize(
    ("error", "parts", "expected"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has …"),
            1,
            r"3 images \(batch_size\) of 33 × 33 pixels \(crop_size\): CUDA out of memory. Tried",
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            3,
            r"\(crop_size\) in 3 parts \(micro_batches\): .*DefaultCPUAllocator",
        ),
    ],
)
def test_memory_that_does_not_suffice_is_told_and_what_was_saved_goes_on(
    tmp_path, monkeypatch, tiny_training, tiny_settings, all_terms, error, parts, expected
):
    data, original, done = tiny_training.open(all_terms), Trainer._step, []
    network = TINY_NETWORK if parts == 1 else WITHOUT_POOLING
    settings = replace(tiny_settings, micro_batches=parts)

    def step(*arguments: Any) -> Any:
        if len(done) == 3:
            raise error
        done.append(None)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(ValueError, match=f"memory does not suffice.*{expected}"):
            make_trainer(data, all_terms, settings, network=network).run(tmp_path / "weights.pt")
    trainer = make_trainer(data, all_terms, settings, network=network)
    monkeypatch.setattr(Trainer, "_step", lambda *a: done.append(None) or original(*a))
    trainer.run(tmp_path / "weights.pt")
    assert len(done) == 3 + 4  # the first epoch of two steps was not made again


def test_a_run_killed_in_mid_epoch_ends_with_the_same_weights(
    tmp_path, monkeypatch, tiny_training, tiny_settings, all_terms, weights
):
    monkeypatch.setattr(state, "SECONDS_BETWEEN", 0)
    data = tiny_training.open(all_terms)
    for steps in (1, 2, 1):  # after steps 1, 3 and 4 of 6
        interrupt(monkeypatch, make_trainer(data, all_terms, tiny_settings), tmp_path, steps)
    trainer = make_trainer(data, all_terms, tiny_settings)
    assert trainer.run(tmp_path / "weights.pt").read_bytes() == weights


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half_a_file(value: Any, file: Any) -> None:
    """Stands for `torch.save` on a machine that loses its power while it writes."""
    file.write(b"half a checkpoint")
    file.flush()
    die()


def die_after(function: Callable[..., Any], *arguments: Any) -> None:
    function(*arguments)
    die()


MOMENTS: dict[str, tuple[Any, str, int, Callable[..., Any]]] = {
    "before the first step": (Trainer, "_step", 1, die),
    "in the first epoch": (Trainer, "_step", 2, die),
    "in the second epoch": (Trainer, "_step", 4, die),
    "while the first state is written": (tensor_files.torch, "save", 1, half_a_file),
    "while the second state is written": (tensor_files.torch, "save", 2, half_a_file),
    "between an epoch and its log": (loop, "write_json_lines", 2, die),
    "between the last log and the last state": (loop, "save_tensors", 3, die),
    "between the last epoch and its log": (loop, "write_json_lines", 3, die),
    "while the weights are written": (tensor_files.torch, "save", 4, half_a_file),
    "before the files are published": (
        train,
        "write_network",
        1,
        partial(die_after, train.write_network),
    ),
    "before the state is removed": (run_files.RunFiles, "forget", 1, die),
}
"""Moment → what is called then (owner, name, the how-manieth call) and what happens instead."""


def train_until_killed(
    data: TrainingData, method: Method, settings: SegmentationSettings, folder: Path, moment: str
) -> None:
    """To be run in a process of its own."""
    state.LARGEST_SHARE = math.inf
    owner, name, number, instead = MOMENTS[moment]
    original = getattr(owner, name)
    calls = []

    def called(*arguments: Any) -> Any:
        calls.append(None)
        return (instead if len(calls) == number else original)(*arguments)

    setattr(owner, name, called)
    make_trainer(data, method, settings).run(folder / "weights.pt")


@pytest.fixture(scope="module")
def clean_processes():
    """Processes forked off one that has imported everything and trained nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cdsp.segmentation.train"])
    return context


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_ends_with_the_same_weights(
    tmp_path, clean_processes, tiny_training, tiny_settings, all_terms, weights, moment
):
    data = tiny_training.open(all_terms)
    arguments = (data, all_terms, tiny_settings, tmp_path, moment)
    process = clean_processes.Process(target=train_until_killed, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "weights.pt").exists() == (moment == "before the state is removed")

    trainer = make_trainer(data, all_terms, tiny_settings)
    assert trainer.run(tmp_path / "weights.pt").read_bytes() == weights
    assert {path.name for path in tmp_path.iterdir()} == FINISHED  # no half-written file either
    assert [record["epoch"] for record in read_log(tmp_path)] == [1, 2, 3]


# --- states that are not this run's -------------------------------------------------------------


@pytest.mark.parametrize("other", ["settings", "seed", "terms", "labels"])
def test_the_state_of_another_run_is_neither_used_nor_lost(
    tmp_path, monkeypatch, tiny_training, tiny_settings, all_terms, weights, other
):
    data = tiny_training.open(all_terms)
    interrupt(monkeypatch, make_trainer(data, all_terms, tiny_settings), tmp_path, 3)
    states = set(tmp_path.glob("unfinished-*/state.pt"))

    settings, method, seed, other_data = tiny_settings, all_terms, 0, data
    if other == "settings":
        settings = replace(settings, momentum=0.8)
    elif other == "seed":
        seed = 1
    elif other == "terms":
        method = Method({**method.terms, **parse_method({"scribble": 0.5}, "method").terms})
    else:
        maps = tiny_training.maps("pseudo_label")
        maps["image_0"][0, 0] ^= 1
        tiny_training.write_store("other", "pseudo_labels", maps)
        other_data = tiny_training.open(
            method,
            pseudo_label=tiny_training.folder / "other.h5",
            pseudo_label_distance=tiny_training.write_distances("other", 7),
        )
    trainer = make_trainer(other_data, method, settings, seed=seed)
    interrupt(monkeypatch, trainer, tmp_path, 3)
    for folder in tmp_path.glob("unfinished-*"):
        assert [record["epoch"] for record in read_log(folder)] == [1]
    assert len(set(tmp_path.glob("unfinished-*/state.pt")) - states) == 1
    assert states <= set(tmp_path.glob("unfinished-*/state.pt"))

    assert (
        make_trainer(data, all_terms, tiny_settings).run(tmp_path / "weights.pt").read_bytes()
        == weights
    )


def test_a_damaged_state_is_named(tmp_path, monkeypatch, tiny_training, tiny_settings, all_terms):
    data = tiny_training.open(all_terms)
    interrupt(monkeypatch, make_trainer(data, all_terms, tiny_settings), tmp_path, 3)
    (state,) = tmp_path.glob("unfinished-*/state.pt")
    content = state.read_bytes()
    for damaged in (b"", content[:1000], content[:-1000]):
        state.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{state.name}: no weights of cdsp or PyTorch"):
            make_trainer(data, all_terms, tiny_settings).run(tmp_path / "weights.pt")
        assert state.read_bytes() == damaged


def test_a_renamed_state_is_refused(tmp_path, monkeypatch, tiny_training, tiny_settings, all_terms):
    data = tiny_training.open(all_terms)
    interrupt(monkeypatch, make_trainer(data, all_terms, tiny_settings), tmp_path / "a", 3)
    interrupt(monkeypatch, make_trainer(data, all_terms, tiny_settings, seed=1), tmp_path / "b", 3)
    (state,), (other,) = (
        (tmp_path / "a").glob("unfinished-*/state.pt"),
        (tmp_path / "b").glob("unfinished-*/state.pt"),
    )
    other.replace(state)
    with pytest.raises(ValueError, match="the state of another run, or of another version"):
        make_trainer(data, all_terms, tiny_settings).run(tmp_path / "a" / "weights.pt")


def test_a_state_with_nan_is_refused(
    tmp_path, monkeypatch, tiny_training, tiny_settings, all_terms
):
    data = tiny_training.open(all_terms)
    interrupt(monkeypatch, make_trainer(data, all_terms, tiny_settings), tmp_path, 3)
    (path,) = tmp_path.glob("unfinished-*/state.pt")
    state = torch.load(path, weights_only=True)
    state["optimizer"]["state"][2]["momentum_buffer"].view(-1)[3] = math.nan
    torch.save(state, path)
    with pytest.raises(
        ValueError,
        match=r"state\.pt: optimizer\.state\.2\.momentum_buffer has 1 values .* delete it",
    ):
        make_trainer(data, all_terms, tiny_settings).run(tmp_path / "weights.pt")


def test_what_another_training_left_is_told_before_this_one_starts_from_0(
    tmp_path, monkeypatch, caplog, tiny_training, tiny_settings, all_terms, finished
):
    folder = shutil.copytree(finished, tmp_path / "copy")
    data, longer = tiny_training.open(all_terms), replace(tiny_settings, epochs=5)
    interrupt(monkeypatch, make_trainer(data, all_terms, longer), folder, 3)
    (told,) = [line for line in caplog.messages if "weights.pt: of another training" in line]
    assert "(settings.epochs 3, now 5); it stays" in told
    (unfinished,) = folder.glob("unfinished-*")

    caplog.clear()
    make_trainer(data, all_terms, tiny_settings).run(folder / "weights.pt")
    assert unfinished.is_dir()  # trained already: what the other one has is not lost
    assert "starts from 0" not in caplog.text

    make_trainer(data, all_terms, replace(longer, momentum=0.8)).run(folder / "weights.pt")
    told = next(line for line in caplog.messages if "stopped after epoch 1" in line)
    assert told.startswith(f"{unfinished}: stopped after epoch 1 with other settings ")
    assert "(settings.momentum 0.9, now 0.8), so that the training starts from 0" in told


@pytest.mark.parametrize("other", ["settings.json", "environment.json", "log.jsonl", "weights.pt"])
def test_files_of_two_trainings_in_a_folder_are_refused(
    tmp_path, tiny_training, one_step, all_terms, finished, other
):
    folder = shutil.copytree(finished, tmp_path / "mixed")
    trainer = make_trainer(tiny_training.open(all_terms), all_terms, one_step)
    trainer.run(tmp_path / "other" / "weights.pt")
    shutil.copy(tmp_path / "other" / other, folder)
    with pytest.raises(ValueError, match=r"of another training than .*the run's folder away"):
        read_network(folder / "weights.pt", "segmentation")
    if other != "weights.pt":
        with pytest.raises(ValueError, match=r"of another training than .*the run's folder away"):
            read_training(folder)
    shutil.copy(finished / other, folder)
    alone = Path(shutil.copy(folder / "weights.pt", tmp_path))
    for path in (folder / "weights.pt", alone):
        assert read_network(path, "segmentation").settings["settings"]["epochs"] == 3


def test_weights_of_an_older_version_are_trained_again(
    tmp_path, monkeypatch, caplog, tiny_training, one_step, all_terms
):
    data = tiny_training.open(all_terms)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "VERSION", 1)
        make_trainer(data, all_terms, one_step).run(tmp_path / "weights.pt")
    trainer = make_trainer(data, all_terms, one_step)
    assert read_network(trainer.run(tmp_path / "weights.pt"), "segmentation").settings["seed"] == 0
    assert "('cdsp-network', 1); name the weights.pt of a run: it is trained again" in caplog.text


def test_weights_of_another_content_are_another_training(
    tmp_path, tiny_training, one_step, all_terms
):
    path = tmp_path / "backbone.pth"
    data = tiny_training.open(all_terms)

    def train_from(factor: float) -> bytes:
        state = build_backbone("mobilenet_v2", 16).state_dict()
        torch.save({name: factor * value for name, value in state.items()}, path)
        network = replace(TINY_NETWORK, backbone_weights=str(path))
        trainer = make_trainer(data, all_terms, one_step, network=network)
        return trainer.run(tmp_path / "run" / "weights.pt").read_bytes()

    first = train_from(1)
    assert train_from(2) != first


def test_a_second_process_in_the_same_folder_is_refused(
    tmp_path, tiny_training, tiny_settings, all_terms
):
    trainer = make_trainer(tiny_training.open(all_terms), all_terms, tiny_settings)
    files = RunFiles(tmp_path / "run" / "weights.pt", "", {"another": "configuration"})
    with (
        files.locked(),
        pytest.raises(ValueError, match=r"weights\.pt: another process is training this run; wait"),
    ):
        trainer.run(files.weights)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    with files.locked():
        pass


# --- optimisation -------------------------------------------------------------------------------


@pytest.mark.parametrize(("warmup_steps", "num_steps"), [(0, 7), (1, 7), (4, 13), (12, 13)])
def test_the_learning_rate_is_that_of_pytorchs_schedulers(warmup_steps, num_steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps - warmup_steps)
    expected = []
    for step in range(num_steps):
        if step < warmup_steps:  # a straight line through (−1, 0) and (warmup_steps − 1, 1)
            expected.append(np.interp(step, [-1, warmup_steps - 1], [0, 1]))
        else:
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            cosine.step()
    found = [cosine_after_warmup(step, warmup_steps, num_steps) for step in range(num_steps)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("warmup_steps", [0, 1, 5])
def test_the_learning_rate_rises_to_1_and_falls_almost_to_0(warmup_steps):
    factors = [cosine_after_warmup(step, warmup_steps, 50) for step in range(50)]
    assert factors[warmup_steps] == 1
    assert factors[0] == (0.2 if warmup_steps == 5 else 1)
    assert all(np.diff(factors[:warmup_steps]) > 0)
    assert all(np.diff(factors[warmup_steps:]) < 0)
    assert 0 < factors[-1] < 0.002


def test_every_step_has_its_own_learning_rate(tmp_path, tiny_training, tiny_settings):
    """Two steps per epoch: half an epoch of warm-up is one step, four more fall as a cosine."""
    method = parse_method({"mask": 1}, "method")
    settings = replace(tiny_settings, warmup_epochs=0.5)
    make_trainer(tiny_training.open(method), method, settings).run(tmp_path / "weights.pt")
    expected = [0.02 * 0.5 * (1 + math.cos(math.pi * step / 5)) for step in (0, 2, 4)]
    found = [record["learning_rate"] for record in read_log(tmp_path)]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_clipping_bounds_the_step(tmp_path, tiny_training, one_step, precision):
    method = parse_method({"mask": 1}, "method")
    plain = replace(one_step, precision=precision, momentum=0, weight_decay=0, learning_rate=1)
    lengths = {}
    for clip in (0, 0.5, 1e6):
        settings = replace(plain, gradient_clip=clip)
        trainer = make_trainer(tiny_training.open(method), method, settings)
        if precision == "float16":  # a scale at which the first step does not overflow
            trainer.scaler = torch.amp.GradScaler("cpu", init_scale=64)
        before = parameters(trainer)
        trainer.run(tmp_path / str(clip) / "weights.pt")
        lengths[clip] = (parameters(trainer) - before).norm().item()
    assert lengths[0.5] == pytest.approx(0.5, rel=1e-3)
    assert lengths[0] == lengths[1e6] > 1


@pytest.mark.parametrize("name", ["pseudo_label", "lorm", "scribble_distance", "mask"])
def test_a_term_of_weight_0_is_logged_and_changes_nothing(
    tmp_path, tiny_training, tiny_settings, name
):
    # Adding zeros to a gradient in the other layout rounds it anew: LoRM would show that.
    settings = replace(tiny_settings, epochs=2, channels_last=False)
    trainers = []
    for terms in ({"scribble": 1}, {"scribble": 1, name: 0}):
        method = parse_method(terms, "method")
        trainers.append(make_trainer(tiny_training.open(method), method, settings))
        trainers[-1].run(tmp_path / str(len(terms)) / "weights.pt")
    assert torch.equal(*(parameters(trainer) for trainer in trainers))
    assert all(record[name] > 0 for record in read_log(tmp_path / "2"))


def test_a_loss_that_explodes_is_an_error(tmp_path, tiny_training, tiny_settings, all_terms):
    settings = replace(tiny_settings, learning_rate=1e20)
    trainer = make_trainer(tiny_training.open(all_terms), all_terms, settings)
    with pytest.raises(ValueError, match=r"not finite in epoch \d: .*lower learning_rate"):
        trainer.run(tmp_path / "weights.pt")
    assert not (tmp_path / "weights.pt").exists()
    for path in tmp_path.glob("unfinished-*/state.pt"):  # of an epoch before, still good
        network = torch.load(path, weights_only=True)["objective"]
        assert all(value.isfinite().all() for value in network.values())


def first_step(trainer: Trainer, folder: Path) -> tuple[dict[str, float], torch.Tensor]:
    """The losses and the gradient of a training of one step, without dropout.

    Dropout draws in the order of the memory, which is another one for another layout.
    """
    for module in trainer.objective.network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0
    trainer.run(folder / "weights.pt")
    gradients = [parameter.grad for parameter in trainer.parameters]
    return read_log(folder)[0], torch.cat([g.flatten() for g in gradients if g is not None])


@pytest.fixture(scope="module")
def reference(tmp_path_factory, tiny_training, one_step, all_terms):
    trainer = make_trainer(tiny_training.open(all_terms), all_terms, one_step)
    return first_step(trainer, tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.02), ("float16", 0.002)])
def test_mixed_precision_computes_nearly_the_same(
    tmp_path, tiny_training, one_step, all_terms, reference, precision, tolerance
):
    settings = replace(one_step, precision=precision)
    trainer = make_trainer(tiny_training.open(all_terms), all_terms, settings)
    losses, _ = first_step(trainer, tmp_path)
    for name in ("loss", *all_terms.terms):
        assert losses[name] == pytest.approx(reference[0][name], rel=tolerance)
    assert losses["loss"] != reference[0]["loss"]


def test_mixed_precision_trains_float32_weights(tmp_path, tiny_training, tiny_settings, all_terms):
    settings = replace(tiny_settings, precision="float16", batch_size=2, epochs=2)
    trainer = make_trainer(tiny_training.open(all_terms), all_terms, settings)
    before = parameters(trainer)
    trainer.run(tmp_path / "weights.pt")
    after = parameters(trainer)
    assert after.dtype == torch.float32
    assert after.isfinite().all()
    assert (after != before).any()  # the scale came down far enough for a step


def test_the_memory_layout_is_no_part_of_the_method(
    tmp_path, tiny_training, one_step, all_terms, reference
):
    settings = replace(one_step, channels_last=False)
    trainer = make_trainer(tiny_training.open(all_terms), all_terms, settings)
    losses, gradient = first_step(trainer, tmp_path)
    for name in ("loss", *all_terms.terms):
        assert losses[name] == pytest.approx(reference[0][name], rel=1e-5)
    assert (gradient - reference[1]).norm() < 0.05 * reference[1].norm()


def test_frozen_batch_norm_keeps_the_backbones_statistics(tmp_path, tiny_training, tiny_settings):
    method = parse_method({"mask": 1}, "method")
    network = replace(TINY_NETWORK, frozen_batch_norm=True)
    trainer = make_trainer(tiny_training.open(method), method, tiny_settings, network=network)
    before = {key: value.clone() for key, value in trainer.objective.network.state_dict().items()}
    trainer.run(tmp_path / "weights.pt")
    after = trainer.objective.network.state_dict()
    statistics = [key for key in after if "running_" in key]
    of_backbone = [key for key in statistics if key.startswith("backbone.")]
    assert 0 < len(of_backbone) < len(statistics)
    for key in statistics:
        assert torch.equal(before[key], after[key]) == (key in of_backbone), key


# --- micro-batches ------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "nonzero"])
@pytest.mark.parametrize("micro_batches", [2, 3, 8])
def test_micro_batches_are_one_big_batch(
    tmp_path, tiny_training, one_step, micro_batches, reduction
):
    """With batch norm frozen: all terms, whose counts differ from part to part, and two steps."""
    terms = {
        "scribble": 1,
        "pseudo_label": 0.75,
        "lorm": {"weight": 0.5, "mask": "rectified", "reduction": reduction},
        "scribble_distance": 0.25,
        "pseudo_label_distance": 0.125,
    }
    method = parse_method(terms, "method")
    settings = replace(one_step, epochs=2)
    trainers, logs = [], []
    for number in (1, micro_batches):
        trainer = make_trainer(
            tiny_training.open(method),
            method,
            replace(settings, micro_batches=number),
            network=WITHOUT_POOLING,
        )
        before = parameters(trainer)
        folder = tmp_path / str(number)
        trainer.run(folder / "weights.pt")
        trainers.append(trainer)
        logs.append(read_log(folder))
    whole, parts = (parameters(trainer) for trainer in trainers)
    assert (parts - whole).norm() < 1e-4 * (whole - before).norm()
    for one, other in zip(*logs, strict=True):
        # The counts that the mean of the parts' means would not reproduce.
        for name in ("loss", *terms, "feature_variance", "feature_variance_share"):
            assert other[name] == pytest.approx(one[name], rel=1e-4), name


def test_counting_leaves_no_trace_in_batch_norm(tmp_path, tiny_training, one_step):
    """The statistics move once for each part, as if the parts' counts had been known."""
    method = parse_method({"mask": 1}, "method")
    trainer = make_trainer(
        tiny_training.open(method), method, replace(one_step, micro_batches=2, learning_rate=0)
    )
    trainer.run(tmp_path / "weights.pt")
    norms = [m for m in trainer.objective.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert all(norm.num_batches_tracked == 2 for norm in norms)


# --- a batch of one -----------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["deeplabv3plus", "deeplabv2_aspp21"])
@pytest.mark.parametrize(
    ("batch_size", "micro_batches"),
    [(1, 1), (3, 3), (3, 2)],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_a_batch_norm_of_one_value_is_refused_before_anything_starts(
    tiny_training, tiny_settings, head, batch_size, micro_batches, frozen
):
    method = parse_method({"mask": 1}, "method")
    settings = replace(tiny_settings, batch_size=batch_size, micro_batches=micro_batches)
    network = NetworkSettings(head=head, backbone="mobilenet_v2", frozen_batch_norm=frozen)
    with pytest.raises(ValueError, match=rf"batch_size {batch_size}, .*raise batch_size or lower"):
        make_trainer(tiny_training.open(method), method, settings, network=network)


def test_a_head_without_image_pooling_takes_single_images(tmp_path, tiny_training, tiny_settings):
    method = parse_method({"mask": 1}, "method")
    settings = replace(tiny_settings, batch_size=1, epochs=2)
    network = replace(WITHOUT_POOLING, frozen_batch_norm=False)
    trainer = make_trainer(tiny_training.open(method), method, settings, network=network)
    trainer.run(tmp_path / "weights.pt")


# --- images without labels ----------------------------------------------------------------------


def test_images_without_scribbles_are_reported(
    tmp_path, tiny_training, all_terms, one_step, caplog
):
    data = tiny_training.open(all_terms)
    with caplog.at_level(logging.WARNING):
        make_trainer(data, all_terms, one_step)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2  # of the strokes and of their distances
    assert any(
        message.endswith("2 of 8 images have no scribble; they are trained with what is there")
        for message in messages
    )


def test_data_without_any_label_are_refused(tiny_training, tiny_settings):
    method = parse_method({"scribble": 1, "scribble_distance": 1}, "method")
    empty = {
        name: np.full_like(values, IGNORE)
        for name, values in tiny_training.maps("scribble").items()
    }
    tiny_training.write_store("empty", "scribbles", empty)
    stores = {
        "scribble": tiny_training.folder / "empty.h5",
        "scribble_distance": tiny_training.write_distances("empty", 2),
    }
    data = tiny_training.open(method, **stores)
    with pytest.raises(
        ValueError, match=r"nothing to learn from: the scribble of every image is 2"
    ):
        make_trainer(data, method, tiny_settings)
    # With something else to learn from, it is said and no more.
    both = parse_method({"scribble": 1, "pseudo_label": 1}, "method")
    make_trainer(tiny_training.open(both, **stores), both, tiny_settings)


@pytest.fixture(scope="module")
def earlier(tiny_training, tiny_settings, all_terms, tmp_path_factory):
    """The weights of a run to start from."""
    folder = tmp_path_factory.mktemp("earlier")
    trainer = make_trainer(tiny_training.open(all_terms), all_terms, tiny_settings)
    return trainer.run(folder / "weights.pt")


def test_a_warm_start_begins_with_the_earlier_weights_and_says_so(
    tiny_training, tiny_settings, all_terms, earlier, tmp_path
):
    trainer = make_trainer(
        tiny_training.open(all_terms), all_terms, tiny_settings, start_from=earlier
    )
    before = read_network(earlier, "segmentation").network.state_dict()
    for name, value in trainer.objective.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    trainer.run(tmp_path / "weights.pt")
    assert read_object(tmp_path / "settings.json")["start_from"] == file_digest(earlier)
    again = make_trainer(
        tiny_training.open(all_terms), all_terms, tiny_settings, start_from=earlier
    )
    again.run(tmp_path / "again" / "weights.pt")
    written = [(tmp_path / where / "weights.pt").read_bytes() for where in ("", "again")]
    assert written[0] == written[1]
    assert written[0] != earlier.read_bytes()


def test_a_network_of_another_kind_is_no_start(tiny_training, tiny_settings, all_terms, earlier):
    with pytest.raises(ValueError, match=r"weights\.pt: its network has head_options .* this one"):
        make_trainer(
            tiny_training.open(all_terms),
            all_terms,
            tiny_settings,
            network=replace(TINY_NETWORK, head_options={"decoder_channels": 12}),
            start_from=earlier,
        )
