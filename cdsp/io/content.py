"""Digests of the contents of a user's files, read again only where size or time has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from cdsp.io.files import digest, write_json


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
            known = json.loads(memory.read_text(encoding="utf-8"))
            self._known = {str(path): list(entry) for path, entry in known.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            pass  # a memory may be lost at any time

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
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()[:16]
            self._known[key] = [*found, content]
            self._changed = True
        return str(self._known[key][2])
