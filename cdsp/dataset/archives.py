"""Reading archives that came from elsewhere: member by member, and nothing that is no plain file.

Nothing is ever extracted to where an archive says. A reader gets names and bytes, and decides
itself where they go.
"""

from __future__ import annotations

import gzip
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

_LONGEST_NAME = 1024
_LONGEST_HEADER = 16 << 10
_CHUNK = 1 << 20


class _RefusedError(ValueError):
    """Something in an archive that does not belong into an archive of data."""


def read_members(
    path: Path,
    wanted: Callable[[str], bool],
    *,
    member_bytes: int = 64 << 20,
    total_bytes: int = 8 << 30,
    members: int = 200_000,
) -> Iterator[tuple[str, bytes]]:
    """Read the wanted files of a .tar, .tgz or .zip in the order in which they lie there.

    One file is held at a time. Every member is checked when it is reached, whether wanted or not;
    to know that all of an archive is sound before anything of it is used, go through it once.

    Args:
        path: the archive; its first bytes tell its format, not its name.
        wanted: given a member's name, parts joined by "/", whether to yield it.
        member_bytes: largest size of one file, unpacked.
        total_bytes: largest size of all files together, unpacked.
        members: largest number of files and folders.

    Yields:
        Name and content.

    Raises:
        ValueError: The file is missing, damaged or cut short, or one of its members has a name
            that leaves the folder, is a link or a device, occurs twice, is encrypted, or exceeds
            a size or number.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such archive")
    guard = _Guard(path, member_bytes, total_bytes, members)
    try:
        with path.open("rb") as file:
            start = file.read(4)
        read = _read_zip if start in (b"PK\x03\x04", b"PK\x05\x06") else _read_tar
        yield from read(path, wanted, guard)
    except _RefusedError:
        raise
    except Exception as error:  # whatever a damaged file leads the libraries into
        raise ValueError(
            f"{path}: damaged, cut short or not a .tar, .tgz or .zip "
            f"({str(error) or type(error).__name__}); delete it and get it again"
        ) from error


class _Guard:
    """Checks the name and size of each member of one archive, and counts them."""

    def __init__(self, path: Path, member_bytes: int, total_bytes: int, members: int) -> None:
        self._path = path
        self._member_bytes = member_bytes
        self._bytes_left = total_bytes
        self._members_left = members
        self._names: set[str] = set()

    def admit(self, name: str, size: int, is_folder: bool) -> str:
        """The name of a member, without empty and "." parts."""
        parts = name.split("/")
        plain = "/".join(part for part in parts if part not in ("", "."))
        self._members_left -= 1
        self._bytes_left -= size
        for is_wrong, reason in (
            (len(name) > _LONGEST_NAME, f"has a name of more than {_LONGEST_NAME} characters"),
            (name.startswith("/") or re.match("[A-Za-z]:", name), "has an absolute path"),
            (".." in parts, "leads out of its folder"),
            ("\\" in name or not name.isprintable(), "has a path with unsafe characters"),
            (not plain and not is_folder, "has no name"),
            (not is_folder and plain in self._names, "occurs twice"),
            (not 0 <= size <= self._member_bytes, f"is larger than {self._member_bytes} bytes"),
            (self._bytes_left < 0, "makes the whole too large to be the data set"),
            (self._members_left < 0, "is one too many"),
        ):
            if is_wrong:
                self.refuse(name, reason)
        if not is_folder:
            self._names.add(plain)
        return plain

    def refuse(self, name: str, reason: str) -> None:
        """Refuse the archive because of one member."""
        raise _RefusedError(
            f"{self._path}: refused, because its member {name[:100]!r} {reason}; "
            "delete the archive and get it from where it was published"
        )


class _StrictTarInfo(tarfile.TarInfo):
    """A header that is damaged ends in an error; tarfile takes it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        """Read a header; headers that hold a long name are read whole, so their size is bounded."""
        header = super().frombuf(buf, encoding, errors)
        holds_file = header.type in tarfile.REGULAR_TYPES
        if header.size < 0 or (header.size > _LONGEST_HEADER and not holds_file):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """Read the next header."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"broken header: {error}") from error


def _read_tar(
    path: Path, wanted: Callable[[str], bool], guard: _Guard
) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if packed else file
        # As a stream, a tar is read from front to back and nothing can jump back in it.
        with tarfile.open(
            fileobj=stream, mode="r|", tarinfo=_StrictTarInfo, bufsize=_CHUNK
        ) as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore # else it keeps every header
                name = guard.admit(member.name, member.size, member.isdir())
                if not (member.isreg() or member.isdir()) or member.issparse():
                    guard.refuse(member.name, "is a link, a device or another special file")
                content = archive.extractfile(member) if wanted(name) else None
                if content is not None:
                    yield name, content.read()


def _read_zip(
    path: Path, wanted: Callable[[str], bool], guard: _Guard
) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        files = {}
        for member in archive.infolist():
            name = guard.admit(member.orig_filename, member.file_size, member.is_dir())
            # The upper half holds the mode on Unix, or nothing.
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                guard.refuse(name, "is a link, a device or another special file")
            if member.flag_bits & 1:
                guard.refuse(name, "is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                guard.refuse(name, "is packed in a way that data sets are not")
            if not member.is_dir():
                files[name] = member
        for name, member in files.items():
            if wanted(name):
                with archive.open(member) as file:
                    content = file.read(member.file_size)
                if len(content) != member.file_size:
                    guard.refuse(name, "is cut short")
                yield name, content
