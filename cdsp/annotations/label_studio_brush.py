"""What Label Studio's brush painted, in its run-length encoding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cdsp.annotations.annotation import MAX_PIXELS


def decode_brush(data: bytes) -> np.ndarray:
    """Decode what a brush painted: the pixels of an RGBA image that are not wholly transparent.

    Args:
        data: see `decode_runs`; 4 words for each pixel, row by row, the fourth is its opacity.

    Returns:
        (height * width,) bool.

    Raises:
        ValueError: damaged, or for no image or one that is too large.
    """
    num_words = int.from_bytes(data[:4])
    if num_words % 4 or not 0 < num_words <= 4 * MAX_PIXELS:
        raise ValueError(
            f"a brush of {num_words:,} values does not fit an image; expected 4 for each pixel, "
            f"and at most {MAX_PIXELS:,} pixels"
        )
    painted = np.zeros(num_words // 4, dtype=bool)
    position = 0
    for length, value in decode_runs(data):
        # Words position..following-1 hold the opacity of these pixels.
        following = position + length
        painted[position // 4 : following // 4] = value > 0
        position = following
    return painted


def decode_runs(data: bytes) -> Iterator[tuple[int, int]]:
    """Decode Label Studio's run-length encoding, which is that of the package rle-pack.

    A stream of bits, highest first. Header: the number of words (32 bits), the bits of a word less
    1 (5), and four numbers of bits less 1 (4 each), by which lengths are written. Then, for each
    run: whether it repeats one word (1 bit), which of the four numbers applies (2), the length less
    1, and that word; or, where it does not repeat, as many words as its length says.

    Yields:
        Length and value of each run; words that do not repeat are runs of length 1.

    Raises:
        ValueError: the data end too early, or the runs are longer than the header says.
    """
    position = 0

    def bits(count: int) -> int:
        nonlocal position
        start, position = position, position + count
        if position > 8 * len(data):
            raise ValueError("the brush's data are cut short")
        last = (position + 7) // 8
        return int.from_bytes(data[start // 8 : last]) >> (8 * last - position) & ((1 << count) - 1)

    remaining = bits(32)
    word = bits(5) + 1
    counts = [bits(4) + 1 for _ in range(4)]
    while remaining > 0:
        repeats = bits(1)
        length = bits(counts[bits(2)]) + 1
        if length > remaining:
            raise ValueError("the brush's data have more values than they say")
        if repeats:
            yield length, bits(word)
        else:
            for _ in range(length):
                yield 1, bits(word)
        remaining -= length
