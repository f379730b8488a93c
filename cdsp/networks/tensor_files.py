"""Files of tensors and plain values: read without executing anything, written atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cdsp.io.files import atomic_path, no_such


def read_tensors(path: Path) -> dict[str, Any]:
    """Read a file of tensors and plain values; nothing that it holds is ever executed.

    Raises:
        ValueError: missing, truncated, or holding anything else than tensors and plain values.
    """
    if not path.is_file():
        raise ValueError(no_such(path, "file of weights"))
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds; all mean the same to the user
        # What torch says is left out: it advises to load files that execute what they hold.
        raise ValueError(
            f"{path}: no weights of cdsp or PyTorch that can be read: another kind of file, cut "
            "short, or with something else in it than tensors and plain values"
        ) from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a dictionary of tensors, found {type(value).__name__}")
    return value


def save_tensors(path: Path, value: dict[str, Any]) -> None:
    """`torch.save`, atomically.

    Raises:
        OSError: the file cannot be written, such as on a full disk.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(value, file)  # to an open file: the temporary name must not enter the bytes
        except RuntimeError as error:  # what torch makes of a full disk
            reason = str(error).splitlines()[0]
            raise OSError(f"{path}: cannot be written ({reason}); is the disk full?") from error


def describe_mismatch(wanted: Mapping[str, Tensor], given: Mapping[str, Any]) -> str:
    """Say in words how two state dicts differ in keys and shapes; empty when they agree."""
    missing = [key for key in wanted if key not in given]
    extra = [key for key in given if key not in wanted]
    shapes = [
        f"{key} is {tuple(given[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    parts = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in (
            ("keys missing", missing),
            ("keys unknown", extra),
            ("shapes differ", shapes),
        )
        if names
    ]
    return "; ".join(parts)
