import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cdsp.distance_maps.compute import (
    boundary_distance_map,
    make_distance_maps,
    scribble_distance_map,
)
from cdsp.io.store import LabelStore, write_store

exponents = st.integers(0, 9).map(float) | st.floats(0, 9)
values = st.sampled_from([0, 1, 20, 254, 255])


@st.composite
def labels(draw: st.DrawFn, most: int = 12) -> np.ndarray:
    shape = draw(st.tuples(st.integers(1, most), st.integers(1, most)))
    # Mostly one value, so that pixels far from every source occur.
    return draw(arrays.arrays(np.uint8, shape, elements=values, fill=values))


def is_foreground(label: np.ndarray, y: int, x: int) -> bool:
    inside = 0 <= y < label.shape[0] and 0 <= x < label.shape[1]
    return inside and int(label[y, x]) not in (0, 255)


def loop_quantised(shape: tuple[int, ...], sources: list[tuple[int, int]], exponent: float):
    found = np.zeros(shape, int)
    for y, x in np.ndindex(*shape):
        if not sources:
            found[y, x] = 255
            continue
        square = min((y - row) ** 2 + (x - column) ** 2 for row, column in sources)
        found[y, x] = math.floor(min(255, math.sqrt(math.exp(exponent) * square)))
    return found


def loop_scribble_map(label: np.ndarray, exponent: float) -> np.ndarray:
    sources = [(y, x) for y, x in np.ndindex(*label.shape) if is_foreground(label, y, x)]
    return 255 - loop_quantised(label.shape, sources, exponent)


def loop_boundary_map(label: np.ndarray, exponent: float) -> np.ndarray:
    sources = [
        (y, x)
        for y, x in np.ndindex(*label.shape)
        if is_foreground(label, y, x)
        and not all(
            is_foreground(label, y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
        )
    ]
    return loop_quantised(label.shape, sources, exponent)


@given(labels(), exponents)
def test_scribble_maps_equal_loops(label, exponent):
    found = scribble_distance_map(label, exponent)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, loop_scribble_map(label, exponent))


@given(labels(), exponents)
def test_boundary_maps_equal_loops(label, exponent):
    found = boundary_distance_map(label, exponent)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, loop_boundary_map(label, exponent))


# With λ = ln 2 or ln 5, whole roots of e^λ·d² occur: the floor tells the slightest rounding.
@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0.5, math.log(2), math.log(5)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (19, 31)])
def test_every_exponent_on_strokes_and_regions(shape, exponent):
    rng = np.random.default_rng([*shape])
    label = np.zeros(shape, np.uint8)
    label[shape[0] // 4 : 3 * shape[0] // 4 + 1, shape[1] // 4 : 3 * shape[1] // 4 + 1] = 3
    label[rng.random(shape) < 0.03] = 255
    scribble = np.full(shape, 255, np.uint8)
    scribble[rng.random(shape) < 0.02] = 7
    scribble[rng.random(shape) < 0.1] = 0
    scribble[-1, -1] = 20
    np.testing.assert_array_equal(
        scribble_distance_map(scribble, exponent), loop_scribble_map(scribble, exponent)
    )
    np.testing.assert_array_equal(
        boundary_distance_map(label, exponent), loop_boundary_map(label, exponent)
    )


@pytest.mark.parametrize("exponent", [0, 0.25, 1, 2])
def test_large_distances_are_exact(exponent):
    # One source in a corner: every whole squared distance up to far beyond saturation.
    label = np.zeros((400, 700), np.uint8)
    label[0, 0] = 1
    rows, columns = np.ogrid[:400, :700]
    wanted = [
        [math.floor(min(255, math.sqrt(math.exp(exponent) * square))) for square in row]
        for row in (rows**2 + columns**2).tolist()
    ]
    np.testing.assert_array_equal(boundary_distance_map(label, exponent), wanted)
    np.testing.assert_array_equal(255 - scribble_distance_map(label, exponent), wanted)


@pytest.mark.parametrize(("exponent", "radius"), [(1, 155), (2, 94), (6, 12.7), (7, 7.7)])
def test_maps_saturate_at_the_documented_radius(exponent, radius):
    label = np.zeros((1, 200), np.uint8)
    label[0, 0] = 1
    saturated = np.flatnonzero(boundary_distance_map(label, exponent)[0] == 255)
    assert saturated[0] == math.ceil(255 / math.sqrt(math.exp(exponent)))
    assert abs(saturated[0] - radius) <= 1


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("shape", [(1, 1), (5, 8)])
def test_without_foreground_scribbles_weigh_nothing_and_pseudo_labels_everything(shape, value):
    label = np.full(shape, value, np.uint8)
    assert (scribble_distance_map(label, 2) == 0).all()
    assert (boundary_distance_map(label, 7) == 255).all()


def test_a_label_all_foreground_has_its_boundary_at_the_image_border():
    found = boundary_distance_map(np.full((5, 7), 4, np.uint8), 0)
    assert found.tolist() == [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 0],
        [0, 1, 2, 2, 2, 1, 0],
        [0, 1, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]


def test_classes_are_one_foreground_and_ignored_pixels_bound_it():
    label = np.ones((7, 7), np.uint8)
    label[:, 3:] = 2
    np.testing.assert_array_equal(
        boundary_distance_map(label, 1), boundary_distance_map(np.full_like(label, 9), 1)
    )
    for value in (0, 255):
        label[3, 3] = value
        found = boundary_distance_map(label, 0)
        assert found[3, 3] == 1
        assert (found[[2, 3, 3, 4], [3, 2, 4, 3]] == 0).all()
        assert found[2, 2] == 1  # only diagonally beside it: no boundary pixel


def test_the_label_is_left_alone():
    label = np.array([[0, 1, 255], [2, 2, 2]], np.uint8)
    before = label.copy()
    scribble_distance_map(label, 1)
    boundary_distance_map(label, 1)
    np.testing.assert_array_equal(label, before)


@pytest.mark.parametrize("make_map", [scribble_distance_map, boundary_distance_map])
def test_other_arrays_and_exponents_are_refused(make_map):
    for exponent in (-0.1, 20.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"exponent .*expected λ between 0 and 20"):
            make_map(np.ones((2, 2), np.uint8), exponent)
    for array in (
        np.ones((2, 2), np.int64),
        np.ones((2, 2), bool),
        np.ones((2, 2, 3), np.uint8),
        np.ones(3, np.uint8),
        np.ones((0, 3), np.uint8),
    ):
        with pytest.raises(ValueError, match=r"expected an \(H, W\) uint8 label, found shape"):
            make_map(array, 1)


def write_labels(path: Path, kind: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    label_of = {
        image_id: rng.choice([0, 0, 3, 255], shape).astype(np.uint8)
        for image_id, shape in (("b", (6, 9)), ("a", (1, 1)), ("c", (12, 4)))
    }
    write_store(
        path,
        ((image_id, label, {"classes": [3]}) for image_id, label in label_of.items()),
        kind=kind,
        parameters={},
        sources={},
    )
    return label_of


@pytest.mark.parametrize(
    ("kind", "made", "make_map"),
    [
        ("scribbles", "scribble_distance_maps", loop_scribble_map),
        ("pseudo_labels", "pseudo_label_distance_maps", loop_boundary_map),
    ],
)
def test_the_stage_maps_every_label_of_a_store(tmp_path, kind, made, make_map):
    labels, output = tmp_path / "labels.h5", tmp_path / "out" / "maps.h5"
    label_of = write_labels(labels, kind)
    make_distance_maps(labels, 3, output)
    store = LabelStore(output, made)
    assert list(store) == list(label_of)
    for image_id, label in label_of.items():
        np.testing.assert_array_equal(store[image_id], make_map(label, 3))
    store.require({"exponent": 3.0}, {kind: LabelStore(labels).digest})

    make_distance_maps(labels, 3.0, tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == output.read_bytes()
    make_distance_maps(labels, 3.5, tmp_path / "other.h5")
    with pytest.raises(ValueError, match=r"parameter exponent = 3\.5, expected 3\.0"):
        LabelStore(tmp_path / "other.h5").require(store.parameters, store.sources)


def test_stores_of_another_kind_and_broken_ones_are_refused(tmp_path):
    labels, output = tmp_path / "labels.h5", tmp_path / "maps.h5"
    write_labels(labels, "cams")
    with pytest.raises(ValueError, match=r"labels\.h5: holds cams; expected scribbles or pseudo"):
        make_distance_maps(labels, 1, output)
    labels.write_bytes(labels.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"labels\.h5: not a complete HDF5 file"):
        make_distance_maps(labels, 1, output)
    assert not output.exists()
