import os
import pickle
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from operator import getitem
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cdsp.io.files import read_label, write_label
from cdsp.io.outputs import LEDGER
from cdsp.io.store import FORMAT, VERSION, LabelStore, write_store

PARAMETERS = {"coverage": 0.03, "seed": [0, 1], "options": {"a": None, "b": True}}
SOURCES = {"masks": "0123456789abcdef"}


def draw_maps(seed: int = 0) -> list[tuple[str, np.ndarray, dict[str, Any]]]:
    rng = np.random.default_rng(seed)
    shapes = {"2008_000003": (7, 5), "b": (1, 1), "a 2.x": (3, 4, 6), "empty": (0, 4, 6)}
    return [
        (
            image_id,
            rng.integers(0, 256, shape, dtype=np.uint8),
            {"classes": [1, 20], "size": i, "from": "naïve"},
        )
        for i, (image_id, shape) in enumerate(shapes.items())
    ]


def write(path: Path, maps: Any = None, **changes: Any) -> None:
    options = {"kind": "scribbles", "parameters": PARAMETERS, "sources": SOURCES, **changes}
    write_store(path, draw_maps() if maps is None else maps, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "labels.h5")
    return tmp_path / "labels.h5"


def test_everything_comes_back(path):
    store = LabelStore(path, "scribbles")
    maps = draw_maps()
    assert list(store) == [image_id for image_id, _, _ in maps]
    assert len(store) == len(maps)
    assert (store.kind, store.parameters, store.sources) == ("scribbles", PARAMETERS, SOURCES)
    for image_id, array, attributes in maps:
        assert image_id in store
        assert store.shape(image_id) == array.shape
        assert store[image_id].dtype == np.uint8
        np.testing.assert_array_equal(store[image_id], array)
        found = store.attributes(image_id)
        assert set(found) == set(attributes)
        assert found["classes"] == attributes["classes"]
        assert (found["size"], found["from"]) == (attributes["size"], attributes["from"])
    assert "c" not in store


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_.\- ]{0,20}[A-Za-z0-9_])?", fullmatch=True),
        arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=3, max_side=6)),
        max_size=4,
    )
)
def test_any_maps_come_back(tmp_path_factory, maps):
    path = tmp_path_factory.mktemp("store") / "labels.h5"
    write(path, ((image_id, array, {}) for image_id, array in maps.items()))
    store = LabelStore(path)
    assert list(store) == list(maps)
    for image_id, array in maps.items():
        np.testing.assert_array_equal(store[image_id], array)


def test_non_contiguous_maps_come_back(tmp_path):
    array = np.arange(60, dtype=np.uint8).reshape(6, 10)[::2, ::-3]
    write(tmp_path / "view.h5", [("a", array, {})])
    write(tmp_path / "copy.h5", [("a", array.copy(), {})])
    np.testing.assert_array_equal(LabelStore(tmp_path / "view.h5")["a"], array)
    assert (tmp_path / "view.h5").read_bytes() == (tmp_path / "copy.h5").read_bytes()


def test_equal_content_gives_equal_bytes(path):
    other = path.parent / "of-another-length" / "x.h5"
    write(other, iter(draw_maps()), parameters=dict(reversed(PARAMETERS.items())))
    assert other.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"maps": draw_maps(1)},
        {"maps": draw_maps()[::-1]},
        {"maps": draw_maps()[1:]},
        {"maps": [(i, m, {**a, "size": 9}) for i, m, a in draw_maps()]},
        {"maps": [(i, m.reshape(*m.shape[::-1]), a) for i, m, a in draw_maps()]},
        {"kind": "pseudo_labels"},
        {"parameters": {**PARAMETERS, "coverage": 0.04}},
        {"sources": {}},
    ],
)
def test_the_digest_tells_every_difference(path, changes):
    write(path.parent / "other.h5", **changes)
    assert LabelStore(path.parent / "other.h5").digest != LabelStore(path).digest


def test_writing_holds_one_map_at_a_time(tmp_path):
    alive: weakref.WeakSet[np.ndarray] = weakref.WeakSet()
    most = 0

    class Watched(np.ndarray):
        pass

    def maps() -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
        nonlocal most
        for i in range(20):
            array = np.full((4, 4), i, np.uint8).view(Watched)
            alive.add(array)  # type: ignore[arg-type]
            most = max(most, len(alive))
            yield f"image-{i}", array, {}
            del array

    # A set compares its members: arrays must be told apart by identity.
    Watched.__hash__ = object.__hash__  # type: ignore[method-assign]
    Watched.__eq__ = object.__eq__  # type: ignore[method-assign, assignment]
    write(tmp_path / "labels.h5", maps())
    assert len(LabelStore(tmp_path / "labels.h5")) == 20
    assert 1 <= most <= 2  # the last one is let go when the next one comes


def test_a_truncated_file_is_refused_at_every_length(path):
    data = path.read_bytes()
    cut = path.parent / "cut.h5"
    for length in [*range(0, len(data), 61), len(data) - 1]:
        cut.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"cut\.h5: not a complete HDF5 file.*make it again"):
            LabelStore(cut)


def test_damaged_maps_are_refused_on_reading(tmp_path):
    path = tmp_path / "labels.h5"
    array = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    write(path, [("a", array, {}), ("b", array, {})])
    with h5py.File(path) as file:
        chunk = file["b"].id.get_chunk_info(0)  # type: ignore[union-attr]
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 0xFF
    path.write_bytes(data)
    store = LabelStore(path)
    np.testing.assert_array_equal(store["a"], array)
    with pytest.raises(ValueError, match=r"labels\.h5: damaged"):
        store["b"]


def test_what_is_not_a_label_store_is_refused(tmp_path):
    path = tmp_path / "labels.h5"
    with pytest.raises(ValueError, match=r"labels\.h5: no such label store"):
        LabelStore(path)
    with pytest.raises(ValueError, match="no such label store"):
        LabelStore(tmp_path)
    path.write_text("text")
    with pytest.raises(ValueError, match="not a complete HDF5 file"):
        LabelStore(path)
    with h5py.File(path, "w") as file:
        file.create_group("model/weights")
    with pytest.raises(ValueError, match=rf"expected {FORMAT} version {VERSION}, found"):
        LabelStore(path)


@pytest.mark.parametrize("attribute", [("version", VERSION + 1), ("format", "other-store")])
def test_other_versions_and_formats_are_refused(path, attribute):
    with h5py.File(path, "r+") as file:
        file.attrs[attribute[0]] = attribute[1]
    with pytest.raises(ValueError, match=rf"{FORMAT} version {VERSION}, found .*{attribute[1]}"):
        LabelStore(path)


def test_another_kind_is_refused(path):
    assert LabelStore(path).kind == "scribbles"
    with pytest.raises(ValueError, match=r"expected a store of cams, found one of scribbles"):
        LabelStore(path, "cams")


def test_other_parameters_and_sources_are_refused(path):
    store = LabelStore(path)
    store.require({}, {})
    store.require(PARAMETERS, SOURCES)
    with pytest.raises(
        ValueError, match=r"labels\.h5: .*parameter coverage = 0\.03, expected 0\.5"
    ):
        store.require({"seed": [0, 1], "coverage": 0.5}, SOURCES)
    with pytest.raises(ValueError, match=r"parameter new = None, expected 1"):
        store.require({"new": 1}, {})
    with pytest.raises(ValueError, match=r"source masks = '0123456789abcdef', expected 'f'"):
        store.require(PARAMETERS, {"masks": "f"})


def test_a_missing_image_is_named(path):
    store = LabelStore(path)
    for read in (store.__getitem__, store.attributes, store.shape):
        with pytest.raises(ValueError, match=r"labels\.h5: holds no map for image '2008_1'"):
            read("2008_1")


@pytest.mark.parametrize("kind_of_failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_midway_leaves_what_was_there(path, kind_of_failure):
    def failing() -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
        yield from draw_maps(1)[:2]
        raise kind_of_failure("midway")

    before = path.read_bytes()
    for target in (path, path.parent / "new.h5"):
        with pytest.raises(kind_of_failure, match="midway"):
            write(target, failing())
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == [LEDGER, path.name]


def test_a_repeated_image_is_refused_and_leaves_what_was_there(path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="exists"):
        write(path, draw_maps() * 2)
    assert path.read_bytes() == before


def run_python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_kill_midway_leaves_what_was_there(path):
    before = path.read_bytes()
    killed = run_python(
        """
import os, signal, sys
from pathlib import Path
import numpy as np
from cdsp.io.outputs import LEDGER
from cdsp.io.store import write_store

def maps():
    yield "a", np.zeros((500, 500), np.uint8), {}
    os.kill(os.getpid(), signal.SIGKILL)

write_store(Path(sys.argv[1]), maps(), kind="scribbles", parameters={}, sources={})
""",
        path,
    )
    assert killed.returncode == -9, killed.stderr
    assert path.read_bytes() == before
    assert list(LabelStore(path)) == [image_id for image_id, _, _ in draw_maps()]


def test_a_store_in_use_can_be_handed_to_a_new_process(path):
    store = LabelStore(path)
    wanted = store["a 2.x"]
    again = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(again["a 2.x"], wanted)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(getitem, store, "a 2.x").result()
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="lists open files by /proc")
def test_a_fork_opens_the_file_for_itself(path):
    # The child moves the position in each of its open files; a shared one moves in the parent too.
    result = run_python(
        """
import os, sys
from cdsp.io.outputs import LEDGER
from cdsp.io.store import LabelStore

def opened():
    names = [int(name) for name in os.listdir("/proc/self/fd")]
    return [fd for fd in names if os.path.realpath(f"/proc/self/fd/{fd}") == sys.argv[1]]

store = LabelStore(sys.argv[1])
wanted = store["a 2.x"].tobytes()
(parent,) = opened()
os.lseek(parent, 3, os.SEEK_SET)
child = os.fork()
if child == 0:
    good = store["a 2.x"].tobytes() == wanted and len(opened()) == 1
    for fd in opened():
        os.lseek(fd, 7, os.SEEK_SET)
    os._exit(0 if good else 1)
assert os.waitpid(child, 0)[1] == 0, "the child could not read"
assert os.lseek(parent, 0, os.SEEK_CUR) == 3, "the file is shared"
assert store["a 2.x"].tobytes() == wanted
""",
        path.resolve(),
    )
    assert result.returncode == 0, result.stderr


def test_a_disk_that_fills_up_ends_in_a_message_and_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "maps.h5"
    write_store(path, [("a", np.zeros((4, 4), np.uint8), {})], kind="k", parameters={}, sources={})
    before = path.read_bytes()
    free = iter([2**30, 2**20])
    monkeypatch.setattr(
        "cdsp.io.store.shutil.disk_usage", lambda folder: SimpleNamespace(free=next(free))
    )
    maps = ((name, np.ones((4, 4), np.uint8), {}) for name in "bcd")
    with pytest.raises(OSError, match=r"maps\.h5: cannot be written: 1 MiB are free"):
        write_store(path, maps, kind="k", parameters={}, sources={})
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [LEDGER, "maps.h5"]


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """Images as Pillow decodes them, whose memory HDF5's records would scatter."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        pytest.skip("the system does not tell the memory of a process")
    label = np.zeros((375, 500), np.uint8)
    label[100:200, 100:300] = 3
    write_label(tmp_path / "label.png", label)
    pages = {}

    def maps():
        for index in range(1537):
            if index % 512 == 1:  # just after memory was given back
                pages[index] = int(status.read_text().split()[1])
            yield str(index), read_label(tmp_path / "label.png"), {}

    write_store(tmp_path / "maps.h5", maps(), kind="labels", parameters={}, sources={})
    growth = (pages[1025] - pages[513]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    assert growth < 10, f"{growth:.0f} MiB for 512 images"


def test_maps_of_one_value_are_counted_without_reading_them(tmp_path):
    values = [[255, 255], [0, 255], [0, 0], [255, 255], [7, 7]]
    maps = [(str(i), np.array([row], np.uint8), {}) for i, row in enumerate(values)]
    maps.append(("empty", np.zeros((0, 3), np.uint8), {}))
    write(tmp_path / "labels.h5", maps)
    store = LabelStore(tmp_path / "labels.h5")
    assert [store.number_of_constant(value) for value in (255, 0, 7, 9)] == [2, 1, 1, 0]


# What a hostile file could do

CHANGED = "2008_000003"


def tampered(path: Path, change: Callable[[h5py.File], object]) -> LabelStore:
    write(path, draw_maps())
    with h5py.File(path, "r+") as file:
        change(file)
    return LabelStore(path)


def replace_map(file: h5py.File, **options: Any) -> None:
    old = file[CHANGED]
    shape, attributes = old.shape, dict(old.attrs)  # type: ignore[union-attr]
    del file[CHANGED]
    new = file.create_dataset(CHANGED, shape=shape, dtype=options.pop("dtype", "u1"), **options)
    new.attrs.update(attributes)


def link_elsewhere(link: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[CHANGED]
        file[CHANGED] = link

    return change


def change_a_pixel(file: h5py.File) -> None:
    file[CHANGED][0, 0] ^= 1  # type: ignore[index]


@pytest.mark.parametrize(
    "change",
    [
        lambda file: replace_map(file, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]),
        lambda file: replace_map(file, dtype="f4"),
        lambda file: replace_map(file, chunks=(1, 1)),
        lambda file: replace_map(file),
        link_elsewhere(h5py.SoftLink("/a")),
        link_elsewhere(h5py.ExternalLink("/etc/passwd", "/a")),
        change_a_pixel,
        lambda file: file[CHANGED].attrs.update({"size": 8}),
        lambda file: file.create_dataset("../../x", data=np.zeros((2, 2), np.uint8)),
        lambda file: file.create_dataset("c", data=np.zeros((2, 2), np.uint8)),
        lambda file: file.__delitem__(CHANGED),
        lambda file: file.attrs.update({"digest": "0" * 16}),
        lambda file: file.attrs.__delitem__("maps"),
        lambda file: file.attrs.update({"header": "{"}),
    ],
)
def test_maps_that_were_tampered_with_are_refused(tmp_path, change):
    with pytest.raises(ValueError, match=r"labels\.h5: damaged or changed by hand"):
        tampered(tmp_path / "labels.h5", change)[CHANGED]
