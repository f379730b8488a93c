"""Digests of the contents of a user's files, read again only where size or time has changed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cdsp.io.json_files import digest, read_object, write_json
from cdsp.io.outputs import file_digest

_checked: dict[Path, tuple[int, int, str]] = {}


def check_unchanged(path: Path, expected: str, described_in: str) -> None:
    """Check that a file still has the content that it was described with.

    The content is read once in a process, and again only where size or time have changed.

    Args:
        path: the file.
        expected: its digest, see `file_digest`.
        described_in: the file that tells the digest, for the message.

    Raises:
        ValueError: the file is gone, or has another content.
    """
    try:
        status = path.stat()
        seen = status.st_size, status.st_mtime_ns, expected
        if _checked.get(path) == seen:
            return
        found = file_digest(path)
    except OSError as error:
        raise ValueError(
            f"{path}: not readable ({error.strerror}); it was there when {described_in} was made"
        ) from error
    if found != expected:
        raise ValueError(
            f"{path}: damaged or changed since {described_in} was made; put the old file back, or "
            f"make {described_in} and what follows from it again"
        )
    _checked[path] = seen


class ContentDigests:
    """Digests of files' contents; what was read once is remembered in a file.

    A planner asks for them each time that it plans. A file's size and time of change decide
    whether it is read again, never what the digest is: a copied or touched file keeps its own.
    """

    def __init__(self, memory: Path) -> None:
        """``memory`` is the file that remembers; a missing or damaged one is begun anew."""
        self._memory = memory
        self._known: dict[str, list[int | str]] = {}
        self._changed = False
        try:
            self._known = {path: list(entry) for path, entry in read_object(memory).items()}
        except (ValueError, TypeError):
            memory.unlink(missing_ok=True)  # a memory may be lost at any time

    def of_files(self, paths: Iterable[Path]) -> str:
        """The digest of the names and contents of some files; missing ones are left out."""
        entries = [[path.name, self._of_file(path)] for path in sorted(paths) if path.is_file()]
        return digest(entries)

    def save(self) -> None:
        """Remember what was read, if anything was."""
        if self._changed:
            write_json(self._memory, self._known)
            self._changed = False

    def _of_file(self, path: Path) -> str:
        state = path.stat()
        key, found = str(path), [state.st_size, state.st_mtime_ns]
        if self._known.get(key, [])[:2] != found:
            self._known[key] = [*found, file_digest(path)]
            self._changed = True
        return str(self._known[key][2])
