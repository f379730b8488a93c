"""Which GPU a process uses: one that is visible to it and that no other process of cdsp uses."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cdsp.io.locks import LockHeldError, take_lock

SECONDS_BETWEEN_TRIES = 1.0

_taken: dict[str, int] = {}  # UUID → descriptor of its lock

logger = logging.getLogger(__name__)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` or ``nvidia-smi`` say.

    PyTorch is not loaded. Without ``nvidia-smi``, or with a driver that does not answer, none.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        names = [name.strip() for name in given.split(",")]
        # As CUDA reads it: what stands after the first that is none does not count.
        return list(itertools.takewhile(lambda name: name and not name.startswith("-"), names))
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]


def take_gpu(names: Sequence[str], folder: Path | None = None) -> int:
    """Take a free GPU, until this process ends, and wait for one as long as all are taken.

    Args:
        names: of the GPUs that could be taken, the same on the whole machine: their UUIDs.
        folder: where their locks are; of the machine, for all users.

    Returns:
        An index into ``names``; the same one when it is called again.
    """
    folder = Path(tempfile.gettempdir()) if folder is None else folder
    for index, name in enumerate(names):
        if name in _taken:
            return index
    waiting = False
    while True:
        for index, name in enumerate(names):
            try:
                _taken[name] = take_lock(folder / f"cdsp-gpu-{name}.lock")
            except LockHeldError:
                continue
            return index
        if not waiting:
            logger.warning(
                "every GPU (%d) is used by another process of cdsp: waiting for one; "
                "--device cuda:0 shares the first",
                len(names),
            )
            waiting = True
        time.sleep(SECONDS_BETWEEN_TRIES)
