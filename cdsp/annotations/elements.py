"""XML without its dangers, a piece at a time: what the readers of XML formats share."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from cdsp.annotations.annotation import MAX_BYTES
from cdsp.io.files import NOT_UTF_8

_CHUNK = 2**20  # expat reads an unfinished tag again with every chunk: large chunks keep that cheap
_DEEPEST = 32


class _Children:
    """A target for the parser that builds one child of the root after the other."""

    def __init__(self) -> None:
        self.finished: list[Element] = []
        self._depth = 0
        self._builder = TreeBuilder()

    def doctype(self, *_: str | None) -> None:
        # Without a document type there are no entities, neither exploding nor external ones.
        raise ValueError(
            "it declares a document type (DOCTYPE), which is refused; delete that line"
        )

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f"its elements are nested deeper than {_DEEPEST}")
        if self._depth == 1:
            self.finished.append(Element(tag, attributes))
        else:
            if self._depth == 2:
                self._builder = TreeBuilder()
            self._builder.start(tag, attributes)

    def data(self, text: str) -> None:
        if self._depth > 1:
            self._builder.data(text)

    def end(self, tag: str) -> None:
        self._depth -= 1
        if self._depth > 0:
            self._builder.end(tag)
        if self._depth == 1:
            self.finished.append(self._builder.close())

    def close(self) -> None:
        """Nothing is left to do at the end of the file."""


def read_elements(path: Path) -> Iterator[Element]:
    """Read an XML file, holding one child of its root element at a time.

    Yields:
        The root element, without its content; then its children in order, each complete.

    Raises:
        ValueError: not well-formed, in an unknown encoding, with a document type, too deep, or with
            a child of more than `MAX_BYTES`.
        OSError: the file cannot be read.
    """
    children = _Children()
    parser = XMLParser(target=children)
    num_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            _parse(parser, chunk)
            num_bytes = 0 if children.finished else num_bytes + len(chunk)
            if num_bytes > MAX_BYTES:
                raise ValueError(f"an element of more than {MAX_BYTES // 2**20} MiB")
            finished, children.finished = children.finished, []
            yield from finished
    _parse(parser, None)


def _parse(parser: XMLParser, chunk: bytes | None) -> None:
    """Feed a piece of the file; None ends it."""
    try:
        if chunk is None:
            parser.close()
        else:
            parser.feed(chunk)
    except ParseError as error:
        if chunk is not None and not _is_utf8(chunk):
            raise ValueError(f"{NOT_UTF_8} (broken XML: {error})") from error
        raise ValueError(f"broken XML ({error})") from error
    except (LookupError, ValueError) as error:  # it says that it is in an encoding unknown here
        if isinstance(error, ValueError) and "encoding" not in str(error):
            raise
        raise ValueError(f"{NOT_UTF_8} (broken XML: {error})") from error


def _is_utf8(chunk: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(chunk)
    except UnicodeDecodeError:
        return False
    return True
