"""What becomes of memory that is freed; where the C library is not glibc, nothing is done."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def keep_free_memory() -> None:
    """Keep what is freed for the next array, up to 1 GiB, for as long as the process lives.

    By default glibc returns arrays of more than 32 MiB to the system at once, and others when they
    lie at the end of its memory. The system clears every page before it gives it again: for the
    features of a network, or the crops of photographs, that takes up to a third of all time.
    """
    _malloc("mallopt", _MMAP_THRESHOLD, 2**28)
    _malloc("mallopt", _TRIM_THRESHOLD, 2**30)


def return_free_memory() -> None:
    """Give free memory back to the system once."""
    _malloc("malloc_trim", 0)


def _malloc(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
