"""Files of tensors: PyTorch's own format, checked before any of it is believed."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cdsp.io.files import no_such
from cdsp.io.outputs import atomic_path, file_digest

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,16})\.pth$")

logger = logging.getLogger(__name__)


def save_tensors(path: Path, value: dict[str, Any]) -> None:
    """`torch.save`, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(value, file)  # to an open file: the temporary name must not enter the bytes
        except RuntimeError as error:  # what torch makes of a full disk
            reason = str(error).splitlines()[0]
            raise OSError(f"{path}: cannot be written ({reason}); is the disk full?") from error


def read_tensors(path: Path) -> dict[str, Any]:
    """Read a file of tensors and plain values; nothing that it holds is ever executed.

    PyTorch writes a checksum of each tensor and does not compare it: this does. Files of before
    PyTorch 1.6 have none; the hash in torchvision's file names takes its place, where there is one.

    Raises:
        ValueError: missing, truncated, damaged, or holding anything else than tensors and plain
            values, or tensors that are larger than the file.
    """
    if not path.is_file():
        raise ValueError(no_such(path, "file of weights"))
    checked = _has_right_checksums(path)
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
    if not checked:
        logger.warning("%s: in PyTorch's old format, without checksums: damage goes unseen", path)
    size = path.stat().st_size
    for name, tensor in tensors_of(value):
        if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > size:
            raise ValueError(f"{path}: {name} of shape {tuple(tensor.shape)} is not in the file")
    return value


def tensors_of(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested dictionaries and lists, with the names that lead to them."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from tensors_of(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from tensors_of(inner, f"{name}[{index}]")


def require_finite(
    state: Mapping[str, Tensor],
    where: Path | str,
    otherwise: str = "train the network again, or take another file",
) -> None:
    """Check that every number of a network is finite.

    Args:
        state: name → tensor.
        where: what holds them, for the message.
        otherwise: what to do where one is not.

    Raises:
        ValueError: naming the first tensor that has NaN or infinity in it.
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            count = int((~tensor.isfinite()).sum())
            raise ValueError(f"{where}: {name} has {count} values that are not finite; {otherwise}")


def _has_right_checksums(path: Path) -> bool:
    """Compare the checksums of a file of tensors, in bounded memory; False where it has none.

    Raises:
        ValueError: one is not that of the bytes, or the file is compressed, as torch never does.
    """
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise ValueError(f"{path}: not a file of PyTorch: it is compressed")
                damaged = archive.testzip()
        except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError) as error:
            raise ValueError(
                f"{path}: no weights of cdsp or PyTorch that can be read ({error})"
            ) from error
        if damaged is not None:
            raise ValueError(
                f"{path}: damaged: {damaged} is not what its checksum says; copy or make it again"
            )
        return True
    stated = _HASH_IN_NAME.search(path.name)
    if stated is not None and not file_digest(path).startswith(stated[1]):
        raise ValueError(f"{path}: damaged: its SHA-256 does not begin with {stated[1]}")
    return stated is not None


def describe_mismatch(wanted: Mapping[str, Tensor], given: Mapping[str, Any]) -> str:
    """Say in words how two state dicts differ in keys and shapes; empty when they agree."""
    missing = [key for key in wanted if key not in given]
    extra = [key for key in given if key not in wanted]
    shapes = [
        f"{key} is {_shape(given[key])} instead of {_shape(wanted[key])}"
        for key in wanted
        if key in given and _shape(given[key]) != _shape(wanted[key])
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


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else f"{value!r:.20} (no tensor)"
