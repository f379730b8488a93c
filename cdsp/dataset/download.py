"""Downloads that bear a broken line: several addresses, continued by byte range, checked by MD5."""

# urllib, because the usual helper, pooch, begins a broken download again with its first byte.

from __future__ import annotations

import hashlib
import itertools
import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError

from tqdm import tqdm

from cdsp.io.files import write_text
from cdsp.progress import progress_options

_ATTEMPTS = 3
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
        file_name: as it is called on disk.
        addresses: http or https; they are tried in this order.
        md5: of the file, in hexadecimal; None where nobody published one.
        largest: size in bytes that it surely does not exceed; a download stops there.
    """

    file_name: str
    addresses: tuple[str, ...]
    md5: str | None
    largest: int


class _FailedError(Exception):
    """An address that cannot give the file; the next one may."""


class _CutOffError(_FailedError):
    """A download that can go on at the same address."""


def fetch(archive: Archive, folder: Path, *, timeout: float = 30.0) -> Path:
    """Download an archive, unless it is there.

    What came of it stays in `<name>.part`, from where the next call goes on, even after this
    process was killed. The file appears under its own name when it is complete and its MD5 right.

    Args:
        archive: what to download.
        folder: where to; made if it is missing.
        timeout: seconds without a byte after which a server is given up.

    Returns:
        The path of the file.

    Raises:
        ValueError: No address gives the file; the message has the reason of each. Or a file of
            this name is there but is not the archive: it is left as it is.
    """
    path = folder / archive.file_name
    if path.exists():
        check_file(path, archive)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    reasons = []
    for address in archive.addresses:
        try:
            _fetch_from(address, archive, part, timeout)
        except _FailedError as error:
            reasons.append(f"{address}: {error}")
            continue
        part.replace(path)
        _discard(part)
        return path
    listed = "\n  ".join(reasons)
    raise ValueError(
        f"{archive.file_name}: could not be downloaded:\n  {listed}\nTry again later (what has "
        f"come is kept), or get '{archive.file_name}' by hand, put it into a folder DIR and give "
        "--from DIR (in a configuration file, 'archives: DIR')"
    )


def check_file(path: Path, archive: Archive) -> None:
    """Check that a file on disk is an archive's: its size, and its MD5 where one is known.

    Raises:
        ValueError: It is not; the message says what to do.
    """
    advice = f"delete it or put the right '{archive.file_name}' in its place"
    if not path.is_file():
        raise ValueError(f"{path}: expected a file, found something else; {advice}")
    size = path.stat().st_size
    if size > archive.largest:
        raise ValueError(
            f"{path}: {size} bytes; expected at most {archive.largest}, so that it is another "
            f"file; {advice}"
        )
    found = _md5(path)
    if archive.md5 not in (None, found):
        raise ValueError(
            f"{path}: its MD5 is {found}, expected {archive.md5}: it is damaged or another file; "
            f"{advice}"
        )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _fetch_from(address: str, archive: Archive, part: Path, timeout: float) -> None:
    """Complete ``part`` from one address, going on where it was cut off."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return _receive(address, archive, part, timeout)
        except _CutOffError:
            continue
    return _receive(address, archive, part, timeout)


def _receive(address: str, archive: Archive, part: Path, timeout: float) -> None:
    """Ask once for what is missing of ``part``, append it and check the whole."""
    headers = _range_headers(address, archive, part)
    start = part.stat().st_size if headers else 0
    response = _open(address, headers, timeout)
    if response.status == 416:
        complete = response.headers.get("Content-Range") == f"bytes */{start}"
        response.close()
        if not complete:
            _discard(part)
            raise _CutOffError("416: it has no such part of the file")
    else:
        with response:
            if response.status == 206:
                total = _continued_size(response, headers, start, part)
            elif response.status == 200:
                start, total = 0, response.length
            else:
                raise _FailedError(f"{response.status} {response.reason}")
            _save(response, address, archive, part, start, total)
    found = _md5(part)
    if archive.md5 not in (None, found):
        _discard(part)
        reason = f"wrong content: its MD5 is {found}, expected {archive.md5}"
        # The fault may lie in an older half: then this address gets a chance to send all of it.
        raise (_CutOffError if start else _FailedError)(reason)


def _range_headers(address: str, archive: Archive, part: Path) -> dict[str, str]:
    """Headers that ask for the rest of ``part``; none to ask for the whole file.

    A half is only continued where something tells that both halves are of one file: the server, by
    the validator that it gave with the first half, or the MD5 at the end.
    """
    size = part.stat().st_size if part.is_file() else 0
    if size == 0:
        return {}
    headers = {"Range": f"bytes={size}-"}
    validator = _stored_validator(part, address)
    if validator:
        return {**headers, "If-Range": validator}
    return headers if archive.md5 else {}


def _stored_validator(part: Path, address: str) -> str | None:
    try:
        origin = json.loads(_origin_path(part).read_text(encoding="utf-8"))
        validator = origin["validator"] if origin["address"] == address else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
    usable = isinstance(validator, str) and validator.isascii() and validator.isprintable()
    return validator if usable else None


def _validator(response: HTTPResponse) -> str | None:
    """What names this version of the file; a weak ETag does not promise equal bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _origin_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _origin_path(part).unlink(missing_ok=True)


def _open(address: str, headers: dict[str, str], timeout: float) -> HTTPResponse:
    """The response to a GET, which may be 416 where a range was asked for."""
    # Only http and https have a handler: a redirection to file or ftp leads nowhere.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "cdsp", **headers})
        return opener.open(request, timeout=timeout)
    except HTTPError as error:
        if error.code == 416 and headers:
            return error  # type: ignore[return-value]
        error.close()
        raise _FailedError(f"{error.code} {_words(error.reason)}") from error
    except URLError as error:
        raise _FailedError(_words(error.reason)) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _FailedError(_words(error)) from error


def _words(reason: object) -> str:
    """A reason on one line."""
    return " ".join(str(reason).split()) or type(reason).__name__


def _continued_size(
    response: HTTPResponse, headers: dict[str, str], start: int, part: Path
) -> int | None:
    """Size of the whole file, if it is told, in a response that continues ``part`` (status 206)."""
    found = response.headers.get("Content-Range", "")
    matched = re.fullmatch(rf"bytes {start}-\d+/(\d{{1,18}}|\*)", found)
    validator, expected = _validator(response), headers.get("If-Range")
    if matched and validator in (None, expected or validator):
        return None if matched[1] == "*" else int(matched[1])
    _discard(part)
    if matched:
        raise _CutOffError("the file has changed there since its first half came")
    raise _CutOffError(f"sent the range {found!r}, asked for the bytes from {start} on")


def _save(
    response: HTTPResponse,
    address: str,
    archive: Archive,
    part: Path,
    start: int,
    total: int | None,
) -> None:
    """Write what a response holds into ``part``, from byte ``start`` on."""
    chunks = _chunks(response)
    # Looked at before the part is opened: what is no archive must not replace the half of one.
    first = next(chunks, b"")
    is_page = start == 0 and first.lstrip().startswith(b"<")
    if is_page or response.headers.get_content_type() == "text/html":
        raise _FailedError("sent a web page instead of the file")
    if not first:
        raise _CutOffError("sent nothing")
    if total is not None and total > archive.largest:
        raise _FailedError(f"has {total} bytes, expected at most {archive.largest}")

    size = start
    bar = tqdm(
        desc=archive.file_name,
        initial=start,
        total=total,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        **progress_options(),
    )
    with part.open("ab" if start else "wb") as file, bar:
        if start == 0:
            origin = {"address": address, "validator": _validator(response)}
            _origin_path(part).unlink(missing_ok=True)  # a damaged one is no loss
            write_text(_origin_path(part), json.dumps(origin))
        for chunk in itertools.chain([first], chunks):
            size += len(chunk)
            if size > archive.largest:
                _discard(part)
                raise _FailedError(f"sent more than {archive.largest} bytes")
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and size < total:
        raise _CutOffError(f"cut off after {size} of {total} bytes")


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """The body as it comes in, so that nothing that came is lost with what did not."""
    while True:
        try:
            chunk = response.read1(_CHUNK)
        except TimeoutError as error:
            raise _CutOffError("stopped sending in the middle (timed out)") from error
        except (OSError, HTTPException) as error:
            raise _CutOffError(f"broke off in the middle ({_words(error)})") from error
        if not chunk:
            return
        yield chunk
