"""JSON of bounded size, a piece at a time: what the readers of JSON formats share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, TypeVar

from cdsp.annotations.annotation import MAX_BYTES, shown
from cdsp.io.files import open_text

Kind = TypeVar("Kind")

_CHUNK = 2**16
_SPACE = re.compile(r"[ \t\r\n]*")


def expect(value: Any, kind: type[Kind], what: str) -> Kind:
    """Return ``value`` if it is of the type that the format asks for.

    Raises:
        ValueError: it is missing or of another type.
    """
    if not isinstance(value, kind):
        names = {dict: "an object", list: "a list", str: "text"}
        raise ValueError(f"{what} is {shown(value)}; expected {names[kind]}")
    return value


def read_value(path: Path) -> Any:
    """Read a JSON file of at most `MAX_BYTES`.

    Raises:
        ValueError: larger, not JSON, nested too deeply or not UTF-8.
        OSError: the file cannot be read.
    """
    with open_text(path) as file:
        values = _Values(file)
        value = values.value()
        values.end()
    return value


def read_items(path: Path) -> Iterator[Any]:
    """Read a JSON file that holds a list, one item of at most `MAX_BYTES` at a time.

    Raises:
        ValueError: an item is larger, or it is not a list, not JSON, nested too deeply, not UTF-8.
        OSError: the file cannot be read.
    """
    with open_text(path) as file:
        values = _Values(file)
        values.take("[", "a list")
        if values.next() != "]":
            yield values.value()
            while values.next() == ",":
                values.take(",", "a comma")
                yield values.value()
        values.take("]", "a comma or the end of the list")
        values.end()


class _Values:
    """JSON values and the signs between them, from a text file of any length."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._position = 0

    def next(self) -> str:
        """The next sign that is no space; "" at the end of the file."""
        while True:
            self._position = _end_of_space(self._text, self._position)
            if self._position < len(self._text):
                return self._text[self._position]
            if not self._read_on():
                return ""

    def take(self, sign: str, what: str) -> None:
        """Step over a sign, which must come next."""
        found = self.next()
        if found != sign:
            raise ValueError(
                f"broken JSON: expected {what}, found {found or 'the end of the file'}"
            )
        self._position += 1

    def end(self) -> None:
        """Nothing but spaces may come now."""
        if self.next():
            raise ValueError(f"broken JSON: {self.next()!r} after its end")

    def value(self) -> Any:
        """The value that comes next."""
        decoder = json.JSONDecoder()
        while True:
            self.next()
            try:
                value, self._position = decoder.raw_decode(self._text, self._position)
            except RecursionError as error:
                raise ValueError("broken JSON: nested too deeply") from error
            except ValueError as error:
                if not self._read_on():
                    raise ValueError(f"broken JSON ({error})") from error
            else:
                return value

    def _read_on(self) -> bool:
        """Read twice as much as is left, so that long values are not tried too often."""
        left = self._text[self._position :]
        if len(left) > MAX_BYTES:
            raise ValueError(
                f"an entry of more than {MAX_BYTES // 2**20} MiB; export without image data"
            )
        more = self._file.read(max(_CHUNK, 2 * len(left)))
        self._text, self._position = left + more, 0
        return bool(more)


def _end_of_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position
