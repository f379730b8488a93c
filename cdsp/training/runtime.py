"""What a run runs on: device, threads, random seeds, and a record of versions and hardware."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torchvision

from cdsp import __version__


def prepare(cpu_threads: int, device: str = "auto") -> torch.device:
    """Set up PyTorch so that equal seeds give equal results, and return the device to use.

    Args:
        cpu_threads: threads of PyTorch's operations. They are part of the result: another number
            sums in another order.
        device: "auto" (a GPU when there is one), "cpu", "cuda" or "cuda:<index>".

    Raises:
        ValueError: a device that this machine does not have.
    """
    torch.set_num_threads(cpu_threads)
    cv2.setNumThreads(1)  # loading workers are processes: threads inside them only fight
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory that it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r}: {str(error).splitlines()[0]}") from error


def describe(device: torch.device) -> dict[str, Any]:
    """Versions and hardware, to be stored beside a result."""
    return {
        "cdsp": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": cpu_model(),
        "cpu_threads": torch.get_num_threads(),
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
    """The command line of this process, and the commit of the code where it is a git checkout."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    here = Path(__file__)
    try:
        # Tracked: not a copy that is installed inside of somebody's own checkout.
        _git("ls-files", "--error-unmatch", here.name, folder=here.parent)
        commit = _git("describe", "--always", "--dirty", "--abbrev=40", folder=here.parent)
    except (OSError, subprocess.CalledProcessError):
        commit = None
    return {"command": command, "commit": commit}


def _git(*arguments: str, folder: Path) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()
