"""The label store: one HDF5 file of uint8 maps, one data set per image.

Scribble labels, CAMs, pseudo-labels and distance maps are all kept in this format. The file carries
what it holds (`kind`), the parameters that made it, the digests of the stores that it was made
from, a digest of each map and one of all together, so that a reader can refuse a file that is
truncated, changed, of another format version or made with other parameters; and how many maps are
of one value throughout.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cdsp.io.files import check_image_id
from cdsp.io.json_files import canonical_json
from cdsp.io.outputs import atomic_path
from cdsp.memory import return_free_memory

FORMAT = "cdsp-label-store"
VERSION = 2
_TRIM_EVERY = 256  # maps
_MOST_MAPS = 255  # of one image
_MOST_PIXELS = 2 * 89_478_485  # the largest photograph that Pillow opens
_HIGHEST_COMPRESSION = 1032  # of DEFLATE

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
    constant: Counter[str] = Counter()
    written: list[tuple[str, tuple[int, ...], str]] = []
    with (
        atomic_path(path) as temporary,
        h5py.File(temporary, "w", libver=("v110", "v114"), track_order=True, locking=False) as file,
    ):
        for number, (image_id, array, attributes) in enumerate(maps, start=1):
            assert array.dtype == np.uint8
            if number % _TRIM_EVERY == 0:
                # HDF5's small, lasting records split the places that images have left, so that new
                # images take new memory: 100 KB for each of 375×500 pixels that Pillow has decoded.
                return_free_memory()
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
            if array.size and (array == array.flat[0]).all():
                constant[str(array.flat[0])] += 1
            written.append((image_id, array.shape, _map_digest(image_id, array, attributes)))
        header = {"kind": kind, "parameters": parameters, "sources": sources}
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["header"] = canonical_json(header)
        listed, counted = canonical_json(written), canonical_json(constant)
        file.attrs["maps"] = np.frombuffer(listed.encode(), np.uint8)
        file.attrs["constant"] = counted
        file.attrs["digest"] = _store_digest(canonical_json(header), listed, counted)


def _map_digest(image_id: str, array: np.ndarray, attributes: dict[str, Any]) -> str:
    content = hashlib.sha256(f"{image_id}{array.shape}{canonical_json(attributes)}".encode())
    content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()[:16]


def _store_digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _require_space(path: Path, num_bytes: int) -> None:
    """Stop while there is room to close the file: on a full disk the HDF5 library crashes."""
    free = shutil.disk_usage(path.parent).free
    if free < num_bytes + SPARE_BYTES:
        raise OSError(
            f"{path}: cannot be written: {free / 2**20:.0f} MiB are free, and "
            f"{SPARE_BYTES // 2**20} MiB must remain; free some space and run the stage again"
        )


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn whatever h5py makes of a damaged file into a message that names it."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(
            f"{path}: damaged or changed by hand ({error}); delete it and make it again"
        ) from error


def _check_plain(data: Any, shape: tuple[int, ...]) -> None:
    """Check that reading a map reads bytes of this file alone, and takes bounded memory.

    Raises:
        ValueError: it is kept elsewhere, no uint8, or larger than its bytes can tell.
    """
    if not isinstance(data, h5py.Dataset) or data.dtype != np.uint8 or data.shape != shape:
        raise ValueError(f"{data.name} is no uint8 map of shape {shape}")
    layout = data.id.get_create_plist()
    if layout.get_external_count() or layout.get_layout() == h5py.h5d.VIRTUAL:
        raise ValueError(f"{data.name} is kept in another file")
    maps, pixels = math.prod(shape[:-2]), math.prod(shape[-2:])
    filters = {layout.get_filter(index)[0] for index in range(layout.get_nfilters())}
    if (
        not 2 <= len(shape) <= 3
        or maps > _MOST_MAPS
        or pixels > _MOST_PIXELS
        or maps * pixels > _HIGHEST_COMPRESSION * data.id.get_storage_size()
        or (data.chunks is not None and data.chunks != shape)
        or filters - {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}
    ):
        raise ValueError(f"{data.name} of shape {shape} is larger than its bytes can tell")


def _plain_attributes(data: h5py.Dataset) -> dict[str, Any]:
    return {name: np.asarray(value).tolist() for name, value in data.attrs.items()}


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
            ValueError: missing, damaged, not a label store, another version or another kind; or its
                maps are not plain uint8 data of this file.
        """
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._process = os.getpid()
        self._checked: set[str] = set()
        with self._open() as file, _named(self.path):
            found = (file.attrs.get("format"), file.attrs.get("version"))
            if found != (FORMAT, VERSION):
                raise ValueError(
                    f"{path}: expected {FORMAT} version {VERSION}, found {found}; make it again "
                    "with this version of cdsp"
                )
            listed = np.asarray(file.attrs["maps"], np.uint8).tobytes().decode()
            self.digest = str(file.attrs["digest"])
            counted = str(file.attrs["constant"])
            if _store_digest(str(file.attrs["header"]), listed, counted) != self.digest:
                raise ValueError("its list of maps is not what its digest says")
            header = json.loads(str(file.attrs["header"]))
            entries: dict[str, tuple[tuple[int, ...], str]] = {
                check_image_id(name, "its maps"): (tuple(shape), digest)
                for name, shape, digest in json.loads(listed)
            }
            if list(entries) != list(file):
                raise ValueError("it has other maps than its list says")
            self._maps = entries
            self.kind: str = header["kind"]
            self.parameters: dict[str, Any] = header["parameters"]
            self.sources: dict[str, str] = header["sources"]
            self._constant: dict[str, int] = json.loads(counted)
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
        """How many maps are this value throughout, such as 255: no label; without reading them."""
        return self._constant.get(str(value), 0)

    def close(self) -> None:
        """Close the file, before a fork; the next access opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._maps

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)

    def shape(self, image_id: str) -> tuple[int, ...]:
        """The shape of an image's map, without reading it."""
        return self._maps[self._known(image_id)][0]

    def __getitem__(self, image_id: str) -> np.ndarray:
        self._known(image_id)
        with _named(self.path):
            data = self._data(image_id)
            if image_id in self._checked:
                return data[()]
            shape, digest = self._maps[image_id]
            _check_plain(data, shape)
            array = data[()]
            if _map_digest(image_id, array, _plain_attributes(data)) != digest:
                raise ValueError(f"the map of {image_id!r} is not what its digest says")
            self._checked.add(image_id)
            return array

    def attributes(self, image_id: str) -> dict[str, Any]:
        """The attributes stored with one image's map, which is read to check them."""
        if image_id not in self._checked:
            self[image_id]
        with _named(self.path):
            return _plain_attributes(self._data(image_id))

    def _data(self, image_id: str) -> Any:
        if self._file is not None and self._process != os.getpid():
            self._file.close()  # inherited by a fork: HDF5 would share it with the parent
            self._file = None
        if self._file is None:
            self._file = self._open()
            self._process = os.getpid()
        name = self._known(image_id).encode()
        link = self._file.id.links.get_info(name)
        if link.type != h5py.h5l.TYPE_HARD:  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(f"{image_id!r} is a link to another place")
        return h5py.Dataset(h5py.h5d.open(self._file.id, name))

    def _known(self, image_id: str) -> str:
        if image_id not in self._maps:
            raise ValueError(
                f"{self.path}: holds no map for image {image_id!r} (it has {len(self)} images); "
                "make it again from the same lists"
            )
        return image_id
