"""Writing files: never half, and never over a file that is somebody else's.

Everything is written under a temporary name in the destination's own folder and then renamed over
the destination, so that a killed process or a full disk leaves what was there before.

A file may be replaced by the command that wrote it, as long as it still is what that command wrote.
Each folder's hidden ``.cdsp-outputs`` remembers this: a line of JSON for each file and content.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

LEDGER = ".cdsp-outputs"

_TEMPORARY = ".cdsp.tmp"
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

_command = "python"
_ledgers: dict[Path, tuple[int, set[tuple[str, str, str]]]] = {}  # folder → size, entries
_swept: set[Path] = set()


@contextmanager
def outputs_of(command: str) -> Iterator[None]:
    """What is written in the block is written by ``command``, such as "scribbles degrade"."""
    global _command
    before, _command = _command, command
    try:
        yield
    finally:
        _command = before


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, its first 16 hexadecimal digits; memory stays bounded."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def check_outputs(outputs: Iterable[Path], inputs: Iterable[Path | None] = ()) -> None:
    """Check, before any work, that writing some files will lose nothing.

    Args:
        outputs: the files that will be written.
        inputs: files that the work reads; None stands for one that is left out.

    Raises:
        ValueError: an output is an input, by another name or behind a link; or it is there, and
            this command did not write it or it was changed since; or its folder cannot be written.
    """
    outputs = list(outputs)
    for folder in dict.fromkeys(output.parent for output in outputs):
        _check_folder(folder)
    sources = {path.resolve(): path for path in inputs if path is not None}
    for output in outputs:
        source = sources.get(output.resolve())
        if source is not None:
            raise ValueError(
                f"{output}: would replace {source}, which is read here; give another --output"
            )
        _check_own(output)


def _check_folder(folder: Path) -> None:
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ValueError(f"{there}: is no folder, and something is to be written in it")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f"{there.resolve()}: you may not write in this folder; give another --output, or call "
            "the command from a folder of your own"
        )


def _check_own(path: Path) -> None:
    if not os.path.lexists(path):
        return
    if not path.is_file():
        raise ValueError(f"{path}: is there and is no file; give another --output")
    if (_command, path.name, file_digest(path)) not in _read_ledger(path.parent):
        by = "this code" if _command == "python" else f"`cdsp {_command}`"
        raise ValueError(
            f"{path}: is there already, and was not written by {by} or was changed since, so that "
            "it is not replaced; move or delete it, or give another --output"
        )


def _read_ledger(folder: Path) -> set[tuple[str, str, str]]:
    """(command, file, digest) of what was written in a folder; read again only when it grew."""
    ledger = folder / LEDGER
    key, size = folder.resolve(), ledger.stat().st_size if ledger.exists() else 0
    if key not in _ledgers or _ledgers[key][0] != size:
        entries = set()
        lines = ledger.read_bytes().splitlines() if size else []
        for line in lines:
            try:
                entry = json.loads(line)
                entries.add((entry["command"], entry["file"], entry["digest"]))
            except (ValueError, KeyError, TypeError):
                continue  # damaged: what it told of counts as somebody else's
        _ledgers[key] = size, entries
    return _ledgers[key][1]


def _remember(path: Path, written: Path) -> None:
    """Note in the ledger of ``path`` what is about to become its content."""
    entry = (_command, path.name, file_digest(written))
    known = _read_ledger(path.parent)
    if entry in known:
        return
    text = json.dumps(dict(zip(("command", "file", "digest"), entry, strict=True))) + "\n"
    with (path.parent / LEDGER).open("a", encoding="utf-8") as file:
        file.write(text)  # one write of a short line: jobs side by side do not mix theirs
    known.add(entry)
    _ledgers[path.parent.resolve()] = _ledgers[path.parent.resolve()][0] + len(text), known


def adopt(path: Path) -> None:
    """Let the running command replace a file of somebody else, as it is now."""
    _remember(path, path)


def move_output(source: Path, path: Path) -> None:
    """Put a file that the running command wrote in the place of another that it wrote.

    Raises:
        ValueError: ``path`` is there and is not this command's to replace; see `check_outputs`.
    """
    _check_own(path)
    _remember(path, source)
    source.replace(path)
    _sync(path.parent)


@contextmanager
def atomic_path(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block ends well.

    The folder is made if it is missing. When the block raises, the temporary file is removed and
    ``path`` keeps what it held. Leftovers of killed processes are removed.

    Args:
        path: the file to write.
        sync: wait until the file is on the disk, so that a power failure leaves the old or the new
            one. False for one of many whose digests another file tells, or that are looked at.

    Raises:
        ValueError: ``path`` is there and is not this command's to replace; see `check_outputs`.
        OSError: the disk is full or broken.
    """
    _check_own(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.resolve()
    if sync or folder not in _swept:  # a folder of many files is looked through once
        _sweep(path.parent)
        _swept.add(folder)
    handle, temporary = _make_temporary(path)
    try:
        yield temporary
        _remember(path, temporary)
        temporary.chmod(0o666 & ~_umask())
        if sync:
            _sync(temporary)
        temporary.replace(path)
        if sync:
            _sync(path.parent)
    except OSError as error:
        if error.errno in _DISK_ERRORS and str(path) not in str(error):
            raise OSError(f"{path}: cannot be written: {error.strerror}") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _make_temporary(path: Path) -> tuple[int, Path]:
    """An empty file, and its descriptor, which holds a lock for as long as the process lives."""
    while True:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=_TEMPORARY + path.suffix, dir=path.parent
        )
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink:
                return handle, Path(name)
        except BlockingIOError:
            pass
        os.close(handle)  # another process swept it away before the lock was ours


def _sweep(folder: Path) -> None:
    """Remove temporary files whose process is gone: nobody holds their lock."""
    for name in glob.iglob(f".*{_TEMPORARY}*", root_dir=folder):
        leftover = folder / name
        try:
            with leftover.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink(missing_ok=True)
        except OSError:
            continue  # it is being written, is gone, or is another user's


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
