"""The label store: one HDF5 file of uint8 maps, one data set per image.

Scribble labels, CAMs, pseudo-labels and distance maps are all kept in this format. The file carries
what it holds (`kind`), the parameters that made it, the digests of the stores that it was made
from, and a digest of its own content, so that a reader can refuse a file that is truncated, of
another format version or made with other parameters; and how many maps are of one value throughout.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cdsp.io.files import atomic_path, canonical_json

FORMAT = "cdsp-label-store"
VERSION = 1
_TRIM_EVERY = 256  # maps

SPARE_BYTES = 64 * 2**20
"""What must stay free on the disk while a store is written: more than HDF5 holds back in memory."""


def write_store(
    path: Path,
    maps: Iterable[tuple[str, np.ndarray, dict[str, Any]]],
    *,
    kind: str,
    parameters: dict[str, Any],
    sources: dict[str, str],
) -> None:
    """Write maps to ``path`` atomically; equal content gives an equal file, byte for byte.

    Memory stays bounded: ``maps`` may be a generator, and one image is held at a time.

    Args:
        path: the HDF5 file.
        maps: (image id, uint8 array, attributes) of each image.
        kind: what the maps are, such as "scribbles" or "distance_maps".
        parameters: the settings that made them, JSON-able.
        sources: name of each input store → its digest.

    Raises:
        OSError: the disk is full, or will be before the file can be closed.
    """
    content = hashlib.sha256()
    constant: Counter[str] = Counter()
    with (
        atomic_path(path) as temporary,
        h5py.File(temporary, "w", libver=("v110", "v114"), track_order=True) as file,
    ):
        for number, (image_id, array, attributes) in enumerate(maps, start=1):
            assert array.dtype == np.uint8
            if number % _TRIM_EVERY == 0:
                _return_free_memory()
            _require_space(path, array.nbytes)
            # Without chunks HDF5 cannot compress; empty arrays can have none.
            compression: dict[str, Any] = (
                {"compression": "gzip", "compression_opts": 4, "shuffle": True}
                if array.size
                else {}
            )
            data = file.create_dataset(
                image_id,
                data=array,
                chunks=array.shape if array.size else None,
                track_times=False,
                **compression,
            )
            for name, value in attributes.items():
                data.attrs[name] = value
            content.update(f"{image_id}{array.shape}{canonical_json(attributes)}".encode())
            content.update(np.ascontiguousarray(array).data)
            if array.size and (array == array.flat[0]).all():
                constant[str(array.flat[0])] += 1
        header = {"kind": kind, "parameters": parameters, "sources": sources}
        content.update(canonical_json(header).encode())
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["header"] = canonical_json(header)
        file.attrs["constant"] = canonical_json(constant)
        file.attrs["digest"] = content.hexdigest()[:16]


def _return_free_memory() -> None:
    """Give free memory back to the system, where the C library is glibc.

    HDF5's small, lasting records split the places that images have left, so that new images take
    new memory: without this, 100 KB for each image of 375×500 pixels that Pillow has decoded.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _require_space(path: Path, num_bytes: int) -> None:
    """Stop while there is room to close the file: on a full disk the HDF5 library crashes."""
    free = shutil.disk_usage(path.parent).free
    if free < num_bytes + SPARE_BYTES:
        raise OSError(
            f"{path}: cannot be written: {free / 2**20:.0f} MiB are free, and "
            f"{SPARE_BYTES // 2**20} MiB must remain; free some space and run the stage again"
        )


class LabelStore:
    """Reads a label store; a mapping from image id to (H, W) or (K, H, W) uint8 arrays.

    The file is opened at the first access in each process, so that a store can be handed to
    data-loading workers, and is never shared across a fork.
    """

    def __init__(self, path: Path, kind: str | None = None) -> None:
        """Open and check ``path``.

        Args:
            path: the HDF5 file.
            kind: what it must hold; None accepts anything.

        Raises:
            ValueError: missing, truncated, not a label store, another version or another kind.
        """
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._process = os.getpid()
        with self._open() as file:
            attributes = dict(file.attrs)
            found = (attributes.get("format"), attributes.get("version"))
            if found != (FORMAT, VERSION):
                raise ValueError(
                    f"{path}: expected {FORMAT} version {VERSION}, found {found}; make it again "
                    "with this version of cdsp"
                )
            self._ids = {name: tuple(data.shape) for name, data in file.items()}
        header = json.loads(str(attributes["header"]))
        self.kind: str = header["kind"]
        self.parameters: dict[str, Any] = header["parameters"]
        self.sources: dict[str, str] = header["sources"]
        self.digest = str(attributes["digest"])
        self._constant: dict[str, int] = json.loads(str(attributes.get("constant", "{}")))
        if kind is not None and self.kind != kind:
            raise ValueError(f"{path}: expected a store of {kind}, found one of {self.kind}")

    def _open(self) -> h5py.File:
        if not self.path.is_file():
            raise ValueError(f"{self.path}: no such label store")
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise ValueError(
                f"{self.path}: not a complete HDF5 file ({error}); delete it and make it again"
            ) from error

    def require(self, parameters: dict[str, Any], sources: dict[str, str]) -> None:
        """Check that the store was made with these parameters and from these stores.

        Raises:
            ValueError: naming each parameter or source that differs.
        """
        for what, wanted, found in (
            ("parameter", parameters, self.parameters),
            ("source", sources, self.sources),
        ):
            for name, value in wanted.items():
                if found.get(name) != value:
                    raise ValueError(
                        f"{self.path}: made with {what} {name} = {found.get(name)!r}, expected "
                        f"{value!r}; make it again for these settings"
                    )

    def number_of_constant(self, value: int) -> int:
        """How many maps are this value throughout, such as 255: no label; without reading them.

        0 in a file that an earlier version wrote, which does not say.
        """
        return self._constant.get(str(value), 0)

    def close(self) -> None:
        """Close the file, before a fork; the next access opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._ids

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def shape(self, image_id: str) -> tuple[int, ...]:
        """The shape of an image's map, without reading it."""
        return self._ids[self._known(image_id)]

    def __getitem__(self, image_id: str) -> np.ndarray:
        data = self._data(image_id)
        try:
            return data[()]
        except OSError as error:
            raise ValueError(
                f"{self.path}: cannot read {image_id} ({error}); make the store again"
            ) from error

    def attributes(self, image_id: str) -> dict[str, Any]:
        """The attributes stored with one image's map."""
        return dict(self._data(image_id).attrs)

    def _data(self, image_id: str) -> Any:
        if self._file is not None and self._process != os.getpid():
            self._file.close()  # inherited by a fork: HDF5 would share it with the parent
            self._file = None
        if self._file is None:
            self._file = self._open()
            self._process = os.getpid()
        return self._file[self._known(image_id)]

    def _known(self, image_id: str) -> str:
        if image_id not in self._ids:
            raise ValueError(
                f"{self.path}: holds no map for image {image_id!r} (it has {len(self)} images); "
                "make it again from the same lists"
            )
        return image_id
