"""The one thing that is read from MATLAB files: the label of an image of SBD.

scipy reads all of a file, whatever it holds: lists within lists end in a crash of the process, and
a hundred bytes that announce a large array in all of the memory. This reader takes the way to the
label and nothing else; what it reserves is bounded by what it was given.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

_LARGEST = 64 << 20  # bytes of a variable, unpacked
_MATRIX, _COMPRESSED = 14, 15
_STRUCT = 2
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
"""Types of stored numbers in MAT-files of version 5 → as numpy calls them."""

Element = tuple[int, bytes]
"""Type and content of a piece of a MAT-file."""


def read_matlab_label(content: bytes, where: str) -> np.ndarray:
    """Read `GTcls.Segmentation` from a MAT-file of version 5.

    Args:
        content: the file.
        where: its name, for the message.

    Returns:
        (H, W) uint8 label.

    Raises:
        ValueError: The file is damaged, or holds no such label of whole numbers in 0..255.
    """
    try:
        byte_order = _byte_order(content)
        struct_elements = _variable(content[128:], b"GTcls", byte_order)
        label = _numbers(_field(struct_elements, b"Segmentation", byte_order), byte_order)
    except (ValueError, StopIteration, struct.error, zlib.error) as error:
        raise ValueError(
            f"{where}: damaged, or not a MATLAB file with a label GTcls.Segmentation "
            f"({str(error) or 'a part is missing'})"
        ) from error
    with np.errstate(invalid="ignore"):
        whole = label.astype(np.uint8)
    if not np.array_equal(whole, label):
        raise ValueError(f"{where}: GTcls.Segmentation holds more than whole numbers in 0..255")
    return whole


def _byte_order(content: bytes) -> str:
    orders = {b"IM": "<", b"MI": ">"}
    if content[126:128] not in orders:
        raise ValueError("no header of version 5")
    return orders[content[126:128]]


def _elements(content: bytes, byte_order: str) -> Iterator[Element]:
    position = 0
    while position < len(content):
        kind, size = struct.unpack_from(f"{byte_order}II", content, position)
        if kind >> 16:  # up to four bytes stand in the place of the size
            kind, size, start, after = kind & 0xFFFF, kind >> 16, position + 4, position + 8
        else:
            start = position + 8
            after = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(content):
            raise ValueError("cut short")
        yield kind, content[start : start + size]
        position = after


def _variable(content: bytes, name: bytes, byte_order: str) -> Iterator[Element]:
    """What a variable of the file holds, which has to be a struct."""
    for kind, found in _elements(content, byte_order):
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(found, _LARGEST)
            if not unpacker.eof:
                raise ValueError("cut short, or larger than a label can be")
            kind, found = next(_elements(unpacked, byte_order))
        if kind == _MATRIX:
            elements = _elements(found, byte_order)
            _, flags = next(elements)
            _, dimensions = next(elements)
            _, found_name = next(elements)
            if found_name == name:
                (array_class,) = struct.unpack_from(f"{byte_order}I", flags)
                if array_class & 0xFF != _STRUCT or _integers(dimensions, byte_order) != (1, 1):
                    raise ValueError(f"{name.decode()} is not one struct")
                return elements
    raise ValueError(f"no variable {name.decode()}")


def _field(elements: Iterator[Element], name: bytes, byte_order: str) -> bytes:
    """A field of a struct, which has to be a matrix."""
    (length,) = _integers(next(elements)[1], byte_order)
    _, names = next(elements)
    for start in range(0, len(names), length):
        kind, found = next(elements)
        if names[start : start + length].rstrip(b"\0") == name and kind == _MATRIX:
            return found
    raise ValueError(f"no field {name.decode()}")


def _numbers(matrix: bytes, byte_order: str) -> np.ndarray:
    """A matrix of numbers; they lie column by column."""
    elements = _elements(matrix, byte_order)
    next(elements)
    height, width = _integers(next(elements)[1], byte_order)
    next(elements)
    kind, numbers = next(elements)
    if height < 1 or width < 1 or kind not in _NUMBERS:
        raise ValueError(f"{height} x {width} numbers of type {kind}")
    return np.frombuffer(numbers, byte_order + _NUMBERS[kind]).reshape(height, width, order="F")


def _integers(content: bytes, byte_order: str) -> tuple[int, ...]:
    return struct.unpack(f"{byte_order}{len(content) // 4}i", content)
