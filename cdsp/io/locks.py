"""Locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_held: set[int] = set()  # descriptors

logger = logging.getLogger(__name__)


class LockHeldError(Exception):
    """Another process holds the lock."""


@contextmanager
def held_lock(path: Path) -> Iterator[None]:
    """Hold a file's lock in the block; the file is made if it is missing, and stays.

    On a file system without locks (some mounts of Lustre) a warning says so, and nothing is held.

    Raises:
        LockHeldError: another process has it.
    """
    handle = take_lock(path)
    try:
        yield
    finally:
        _held.discard(handle)
        os.close(handle)


def take_lock(path: Path) -> int:
    """Take a file's lock until this process ends, or its descriptor, which is returned, is closed.

    Raises:
        LockHeldError: another process has it.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT)  # for writing, as NFS asks
    except PermissionError:  # another user's, in a folder for all
        handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise LockHeldError(path) from error
    except OSError as error:
        logger.warning(
            "%s: cannot be locked (%s): nothing here keeps a second process from the same work",
            path,
            error.strerror,
        )
    _held.add(handle)
    return handle


def leave_locks_to_the_parent() -> None:
    """For a forked process: its parent's locks must not outlive the parent in it."""
    for handle in _held:
        os.close(handle)
    _held.clear()
