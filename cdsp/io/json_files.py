"""JSON files of the project: each carries a checksum of its content, which readers compare."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cdsp.io.files import no_such, write_text
from cdsp.io.outputs import adopt, atomic_path

CHECKSUM = "checksum"
"""The last entry of every JSON file, and the last line of every file of JSON lines."""

_BLOCK = 1 << 20  # bytes read at once
_LONGEST_LINE = 300  # characters of a list that is written in one line
_SHORT_LIST = re.compile(r"\[\n\s+([^\[\]{}]*?)\n\s+\]")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write an object to ``path`` atomically, as indented JSON with a checksum of its content.

    Equal objects give equal bytes. `read_object` and `read_json` check the checksum.

    Raises:
        ValueError: a number that is not finite; what was not measured is None.
    """
    value = json.loads(
        json.dumps(value, allow_nan=False)
    )  # as it will be read: tuples and keys that are numbers
    text = json.dumps({**value, CHECKSUM: digest(value)}, indent=2)
    write_text(path, _SHORT_LIST.sub(_on_one_line, text) + "\n")


def _on_one_line(found: re.Match[str]) -> str:
    line = "[" + re.sub(r",\n\s+", ", ", found[1]) + "]"
    return line if len(line) <= _LONGEST_LINE else found[0]


def read_object(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote, without its checksum.

    Raises:
        ValueError: the file is missing, not a JSON object, damaged or changed by hand.
    """
    return _check_object(path, _parse_object(path))


def read_json(path: Path, expected_format: str, version: int) -> dict[str, Any]:
    """Read a JSON file of this project and check its ``format`` and ``version`` entries.

    Raises:
        ValueError: the file is missing, is not JSON, is of another format or version, damaged or
            changed by hand.
    """
    value = _parse_object(path)
    found = (value.get("format"), value.get("version"))
    if found != (expected_format, version):
        raise ValueError(
            f"{path}: expected format '{expected_format}' version {version}, found {found}; "
            "make it again with this version of cdsp"
        )
    return _check_object(path, value)


def _parse_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(no_such(path, "file")) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a readable JSON file ({error}); make it again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, found {str(value)[:40]!r}")
    return value


def _check_object(path: Path, value: dict[str, Any]) -> dict[str, Any]:
    if value.pop(CHECKSUM, None) != digest(value):
        raise changed(path)
    return value


def changed(path: Path) -> ValueError:
    """The error of a file whose content is not what its checksum says."""
    return ValueError(
        f"{path}: damaged, cut short or changed by hand: its content is not what its checksum "
        f"says; make it again, or, if the change is yours: cdsp accept {path}"
    )


def write_json_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write objects to ``path`` atomically, one to a line, and a checksum in the last line.

    One object is held in memory at a time. Equal objects give equal bytes.
    """
    content = hashlib.sha256()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for record in records:
            line = canonical_json(record).encode() + b"\n"
            content.update(line)
            file.write(line)
        file.write(_checksum_line(content.hexdigest()))


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line numbers, from 1, and objects that `write_json_lines` wrote.

    The checksum is compared before the first of them, and one is held in memory at a time.

    Raises:
        ValueError: the file is missing, damaged, cut short or changed by hand.
    """
    try:
        length = path.stat().st_size - len(_checksum_line(""))
        with path.open("rb") as file:
            content = hashlib.sha256()
            for start in range(0, length, _BLOCK):
                content.update(file.read(min(_BLOCK, length - start)))
            if file.read() != _checksum_line(content.hexdigest()):
                raise changed(path)
            file.seek(0)
            for number, line in enumerate(file, start=1):
                if line == _checksum_line(content.hexdigest()):
                    return
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ValueError(
                        f"{path}, line {number}: the line is not JSON; make it again"
                    ) from error
                if not isinstance(record, dict):
                    raise ValueError(
                        f"{path}, line {number}: expected a JSON object, found {line[:40]!r}; "
                        "make it again"
                    )
                yield number, record
    except FileNotFoundError as error:
        raise ValueError(no_such(path, "file")) from error
    except OSError as error:
        raise ValueError(f"{path}: not readable ({error})") from error


def _checksum_line(hexadecimal: str) -> bytes:
    return canonical_json({CHECKSUM: f"{hexadecimal[:16]:16}"}).encode() + b"\n"


def accept_changes(path: Path) -> None:
    """Give a JSON file that was changed by hand the checksum of its present content.

    Raises:
        ValueError: the file is missing, not JSON, or of a kind without such a checksum.
    """
    if path.suffix not in (".json", ".jsonl"):
        raise ValueError(f"{path}: expected a .json or .jsonl file; others cannot be accepted")
    if path.suffix == ".json":
        value = _parse_object(path)
        value.pop(CHECKSUM, None)
        adopt(path)
        write_json(path, value)
        return
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable lines of JSON ({error})") from error
    adopt(path)
    write_json_lines(path, (record for record in records if set(record) != {CHECKSUM}))


def canonical_json(value: Any) -> str:
    """``value`` as compact JSON with sorted keys: equal values give equal text.

    Raises:
        ValueError: a number that is not finite; what was not measured is None.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """A short SHA-256 of a JSON-able value, to tell two sets of settings apart."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]
