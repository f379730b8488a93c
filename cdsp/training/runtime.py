"""What a run runs on: device, threads, random seeds, and a record of versions and hardware."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch

from cdsp import __version__
from cdsp.processors import usable_processors
from cdsp.training import ranks
from cdsp.training.gpus import take_gpu


def prepare(
    cpu_threads: int,
    device: str = "auto",
    *,
    deterministic: bool | Literal["auto"] = "auto",
    fixed_sizes: bool = False,
    shared: bool = False,
) -> torch.device:
    """Set PyTorch up, and return the device to use.

    On a CPU equal seeds give equal results. On a GPU they do where operations are deterministic,
    which makes a training step about three times as long; where they are not, products of float32
    are in TF32, and cuDNN may try its algorithms.

    Args:
        cpu_threads: threads of PyTorch's operations. They are part of the result: another number
            sums in another order.
        device: "auto" (a free GPU when there are GPUs, see `take_gpu`), "cpu", "cuda" or
            "cuda:<index>".
        deterministic: "auto" on a CPU alone.
        fixed_sizes: whether all images have one size, so that trying algorithms is worth it.
        shared: whether the work can be shared by several processes, see `cdsp.training.ranks`.

    Raises:
        ValueError: a device that this machine does not have, or several processes for work that
            cannot be shared.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and torch.distributed.is_torchelastic_launched():
        if not shared:
            raise ValueError(
                f"torchrun started {os.environ['WORLD_SIZE']} processes of a command that is one; "
                "trainings and the evaluation are shared: start any other without torchrun"
            )
        ranks.join()
    torch.set_num_threads(cpu_threads)
    cv2.setNumThreads(1)  # loading workers are processes: threads inside them only fight
    found = _find(device)
    exact = found.type == "cpu" if deterministic == "auto" else deterministic
    if exact:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # As `torch.use_deterministic_algorithms`, which loads PyTorch's compiler: as long as PyTorch.
    torch.set_deterministic_debug_mode("warn" if exact else "default")
    # Nothing here reads memory that it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_float32_matmul_precision("highest" if exact else "high")
    torch.backends.cudnn.benchmark = fixed_sizes and not exact
    return found


def _find(device: str) -> torch.device:
    if device == "auto":
        names = [
            str(torch.cuda.get_device_properties(index).uuid)
            for index in range(torch.cuda.device_count())
        ]
        device = f"cuda:{take_gpu(names)}" if names else "cpu"
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r}: {str(error).splitlines()[0]}") from error
    if found.type == "cuda":
        torch.cuda.set_device(found)
    return found


@contextmanager
def told_of_memory(images: torch.Tensor, micro_batches: int) -> Iterator[None]:
    """Say in words that memory did not suffice for a step of a training.

    Args:
        images: (B, …, H, W), of the step.
        micro_batches: the parts that they are computed in.

    Raises:
        ValueError: memory, of the GPU or of the machine, did not suffice.
    """
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        text = str(error).splitlines()[0]
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in text:
            raise
        number, *_, height, width = images.shape
        parts = f" in {micro_batches} parts (micro_batches)" if micro_batches > 1 else ""
        raise ValueError(
            f"memory does not suffice for a step of {number} images (batch_size) of {height} × "
            f"{width} pixels (crop_size){parts}: {text[:300]}. Lower one of these, or, for a "
            "segmentation network, let micro_batches compute a batch in parts. What was saved is "
            "kept: on a larger GPU, or one that nobody else uses, the same command goes on from "
            "there"
        ) from error


def precision_of(name: str, device: torch.device) -> torch.dtype:
    """The number format of forward passes: "auto" is bfloat16 on a GPU that has it."""
    if name != "auto":
        return getattr(torch, name)
    half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if half else torch.float32


def workers_of(number: int | None, device: torch.device) -> int:
    """Data-loading processes: a number that is given, or what the machine bears.

    On a CPU, where each job computes on processors of its own, loading is part of its work. A GPU
    is fed by the processors that the job may use, of which more than eight bring nothing.
    """
    if number is not None:
        return number
    if device.type == "cpu":
        return 0
    return min(8, usable_processors())


def describe(device: torch.device) -> dict[str, Any]:
    """Versions and hardware, to be stored beside a result."""
    return {
        "cdsp": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),  # loading it for that takes a second
        **({"timm": version("timm")} if "timm" in sys.modules else {}),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": cpu_model(),
        "cpu_threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def cpu_model(description: Path = Path("/proc/cpuinfo")) -> str:
    """The name of the processor's model; its architecture where the system does not tell.

    Args:
        description: what Linux tells of the processors, one "key : value" a line.
    """
    try:
        lines = description.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    pairs = (line.partition(":") for line in lines)
    models = [value.strip() for key, _, value in pairs if key.strip().lower() == "model name"]
    known = [model for model in (*models, platform.processor()) if model]
    return known[0] if known else platform.machine()


def describe_command() -> dict[str, str | None]:
    """The command line of this process, and the commit of the code where it is a git checkout.

    The commit ends in "-dirty" where the code is not what was committed: a changed file, or a new
    one in the package, such as a loss term of one's own.
    """
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    here = Path(__file__)
    try:
        # Tracked: not a copy that is installed inside of somebody's own checkout.
        _git("ls-files", "--error-unmatch", here.name, folder=here.parent)
        commit = _git("describe", "--always", "--dirty", "--abbrev=40", folder=here.parent)
        untracked = ("ls-files", "--others", "--exclude-standard", "--", "*.py")
        if not commit.endswith("-dirty") and _git(*untracked, folder=here.parents[1]):
            commit += "-dirty"  # new files are no change to `describe`
    except (OSError, subprocess.CalledProcessError):
        commit = None
    return {"command": command, "commit": commit}


def _git(*arguments: str, folder: Path) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()
