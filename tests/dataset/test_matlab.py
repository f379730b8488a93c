import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import loadmat, savemat

from cdsp.dataset.matlab import read_matlab_label


def matlab_file(label, *, compressed=True, name="GTcls", **fields):
    """A file as SBD has them, written by scipy."""
    boundaries = np.empty((20, 1), object)
    boundaries[:] = [[np.zeros((2, 2), np.uint8)]] * 20
    file = io.BytesIO()
    truth = {"Boundaries": boundaries, "Segmentation": label, "CategoriesPresent": [[1]], **fields}
    savemat(file, {"before": "text", name: truth}, do_compression=compressed)
    return file.getvalue()


SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
TYPES = [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64]


@given(
    label=st.sampled_from(TYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, SHAPES, elements=st.integers(0, 127))
    ),
    compressed=st.booleans(),
)
def test_labels_are_those_that_scipy_reads(label, compressed):
    content = matlab_file(label, compressed=compressed)
    found = read_matlab_label(content, "1.mat")
    expected = loadmat(io.BytesIO(content))["GTcls"][0, 0]["Segmentation"]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, label)


def test_a_real_size_with_all_values():
    label = np.random.default_rng(0).integers(0, 256, (375, 500), dtype=np.uint8)
    np.testing.assert_array_equal(read_matlab_label(matlab_file(label), "1.mat"), label)


def element(kind, content):
    return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(array_class, shape, name, *rest):
    head = element(6, struct.pack(">II", array_class, 0)), element(5, struct.pack(">2i", *shape))
    return element(14, b"".join([*head, element(1, name), *rest]))


def written_by_hand(label, *, shape=(1, 1), field=b"Segmentation", length=16):
    """A file of a machine with the other order of bytes."""
    names = element(5, struct.pack(">i", length)), element(1, field.ljust(16, b"\0"))
    truth = matrix(2, shape, b"GTcls", *names, label)
    return b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + truth


def test_the_other_order_of_bytes():
    label = matrix(9, (2, 3), b"", element(4, struct.pack(">6H", 1, 2, 3, 4, 5, 6)))
    content = written_by_hand(label)
    expected = [[1, 3, 5], [2, 4, 6]]
    assert read_matlab_label(content, "1.mat").tolist() == expected
    assert loadmat(io.BytesIO(content))["GTcls"][0, 0]["Segmentation"].tolist() == expected


ONE = np.ones((1, 1), np.uint8)
NUMBER = element(2, b"\1")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no header of version 5"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "no header"),
        (matlab_file(ONE, name="GTinst"), "no variable GTcls"),
        (matlab_file(np.array([[300]], np.int16)), "more than whole numbers in 0..255"),
        (matlab_file([[0.5]]), "more than whole numbers"),
        (matlab_file(np.array([[-1]], np.int16)), "more than whole numbers"),
        (matlab_file([[np.nan]]), "more than whole numbers"),
        (matlab_file("text"), "of type"),
        (matlab_file(np.zeros((2, 2, 2), np.uint8)), "too many values"),
        (matlab_file(np.zeros((0, 0), np.uint8)), "0 x 0 numbers"),
        (written_by_hand(matrix(9, (1, 1), b"", NUMBER), shape=(1, 2)), "is not one struct"),
        (written_by_hand(matrix(9, (1, 1), b"", NUMBER), field=b"Other"), "no field Segmentation"),
        (written_by_hand(matrix(9, (1, 1), b"", NUMBER), length=0), "must not be zero"),
        (written_by_hand(matrix(9, (1, 1), b"", NUMBER), length=-16), "no field"),
        (written_by_hand(matrix(9, (-1, 1), b"", NUMBER)), "-1 x 1 numbers"),
        (written_by_hand(matrix(9, (1 << 30, 1 << 30), b"", NUMBER)), "cannot reshape"),
        (written_by_hand(matrix(1, (1 << 14, 1 << 14), b"")), "a part is missing"),
        (written_by_hand(matrix(9, (1, 1), b"", struct.pack(">II", 2, 1 << 31))), "cut short"),
        (written_by_hand(b""), "a part is missing"),
    ],
)
def test_other_files_end_in_a_message(content, reason):
    with pytest.raises(ValueError, match=rf"sbd\.tgz: 1\.mat: .*({reason})"):
        read_matlab_label(content, "sbd.tgz: 1.mat")


def test_lists_within_lists_are_skipped_without_descending():
    nested = matrix(9, (1, 1), b"", NUMBER)
    for _ in range(3000):
        nested = matrix(1, (1, 1), b"", nested)
    with pytest.raises(ValueError, match="of type 14"):
        read_matlab_label(written_by_hand(nested), "1.mat")


def test_a_bomb_is_not_unpacked():
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 24)) for _ in range(16)) + packer.flush()
    content = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(packed))
    tracemalloc.start()
    with pytest.raises(ValueError, match="larger than a label can be"):
        read_matlab_label(content + packed, "1.mat")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 160 << 20


@settings(max_examples=300)
@given(
    compressed=st.booleans(),
    length=st.floats(0, 1),
    changes=st.lists(
        st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=4)), max_size=4
    ),
)
def test_damage_ends_in_a_message_or_in_a_label(compressed, length, changes):
    label = np.arange(20, dtype=np.uint8).reshape(4, 5)
    content = bytearray(matlab_file(label, compressed=compressed))
    for position, new in changes:
        start = position % len(content)
        content[start : start + len(new)] = new
    message, found = "1.mat: ", label
    try:
        found = read_matlab_label(bytes(content[: int(length * len(content))]), "1.mat")
    except ValueError as error:
        message = str(error)
    assert message.startswith("1.mat: ")
    assert (found.dtype, found.ndim) == (np.uint8, 2)
