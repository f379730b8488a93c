"""GPUs that are only names: which processes get which, without any GPU."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from cdsp.training import gpus
from cdsp.training.gpus import take_gpu, visible_gpus


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        ("0", ["0"]),
        ("2, 0", ["2", "0"]),
        ("GPU-8a5c,GPU-11f0", ["GPU-8a5c", "GPU-11f0"]),
        ("-1", []),
        ("1,-1,0", ["1"]),
        ("NoDevFiles", ["NoDevFiles"]),
    ],
)
def test_the_environment_says_what_is_visible(monkeypatch, value, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_gpus() == expected


@pytest.mark.parametrize(
    ("script", "number"),
    [
        ("echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'; echo 'GPU 1: NVIDIA H100 (UUID: GPU-2)'", 2),
        ("echo 'GPU 0: A100 (UUID: GPU-1)'; echo '  MIG 3g.20gb Device 0: (UUID: MIG-1)'", 1),
        (
            "echo 'NVIDIA-SMI has failed because it could not communicate with the driver'; exit 9",
            0,
        ),
    ],
)
def test_else_the_driver_does(monkeypatch, tmp_path, script, number):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert len(visible_gpus()) == number


def test_a_machine_without_a_driver_has_none(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []


NAMES = ("GPU-a", "GPU-b")


def hold(folder: Path, taken) -> None:
    taken.put((os.getpid(), take_gpu(NAMES, folder)))
    time.sleep(600)


def test_each_process_has_its_own_and_the_next_waits_for_one_to_be_free(tmp_path):
    context = multiprocessing.get_context("fork")
    taken = context.SimpleQueue()
    processes = [context.Process(target=hold, args=(tmp_path, taken)) for _ in range(2)]
    for process in processes:
        process.start()
    first = dict(taken.get() for _ in processes)
    assert set(first.values()) == {0, 1}

    third = context.Process(target=hold, args=(tmp_path, taken))
    third.start()
    third.join(timeout=0.3)
    assert taken.empty()
    assert third.is_alive()
    os.kill(processes[1].pid, signal.SIGKILL)  # a lock ends with its process, however it ends
    assert taken.get() == (third.pid, first[processes[1].pid])
    for process in (*processes, third):
        process.kill()
        process.join()


def test_a_process_keeps_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus, "_taken", {})
    assert [take_gpu(NAMES, tmp_path) for _ in range(2)] == [0, 0]
