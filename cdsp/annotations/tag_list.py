"""Lists of tags: lines of ``image,class[,class...]`` in a CSV or text file.

Where more lines have a semicolon or a tab than a comma, these separate, as spreadsheets write them;
commas between classes are read there, too, and semicolons elsewhere.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

from cdsp.annotations.annotation import Annotation, tag
from cdsp.io.files import open_text
from cdsp.io.findings import Findings

SUFFIXES = (".csv", ".txt")
HEADERS = frozenset(
    ("image", "images", "image_id", "id", "name", "file", "filename", "file_name", "path")
)
"""What the first field of a line that names columns may be."""

_LONGEST = 2**16
_LOOKED_AT = 50  # lines, to see what a file is
_YOLO = re.compile(r"\d+(\s+-?\d*\.?\d+(e-?\d+)?){4,}\s*")


def read(path: Path, _content: None, findings: Findings) -> Iterator[Annotation]:
    """Read the tags of one image after the other; empty lines are skipped.

    Args:
        path: the file.
        findings: what is wrong with single lines; grows.

    Raises:
        ValueError: not CSV or not UTF-8.
    """
    separator = _separator(_first_lines(path))
    with open_text(path) as file:
        lines = csv.reader(_bounded_lines(file), delimiter=separator)
        try:
            for values in lines:
                if any(value.strip() for value in values):
                    entry = f"line {lines.line_num}"
                    with findings.collected(f"{path}, {entry}"):
                        other = ";" if separator == "," else ","
                        text = (label for value in values[1:] for label in value.split(other))
                        labels = [label for label in text if label.strip()]
                        name = values[0].strip()
                        tags = tuple(tag(label) for label in labels)
                        yield Annotation(name, path, None, tags, name, entry)
        except csv.Error as error:
            raise ValueError(f"line {lines.line_num}: {error}") from error


def describe_foreign(path: Path, is_image: Callable[[str], bool]) -> str:
    """What a text file is that is no list of tags, and what to do; empty where nobody knows.

    Args:
        path: the file.
        is_image: whether a name fits an image of the data set.
    """
    lines = [line for line in _first_lines(path) if line.strip()]
    if lines and all(_YOLO.fullmatch(line.strip()) for line in lines):
        return (
            "numbers alone, as YOLO writes them, which are not read: export as PASCAL VOC, labelme "
            "or CVAT for images 1.1"
        )
    if any(word in lines[0] for word in ("annotation_id", "lead_time")):
        return "a table of Label Studio, which is not read: export as JSON"
    words = [line.split() for line in lines]
    if any(len(found) > 1 and is_image(found[0].strip(",;")) for found in words):
        return "blanks are between its fields, and may be in names; write image,class"
    return ""


def _first_lines(path: Path) -> list[str]:
    with open_text(path) as file:
        return list(islice(_bounded_lines(file), _LOOKED_AT))


def _separator(lines: list[str]) -> str:
    """The sign that most lines have; a comma where none is more frequent."""
    return max(",;\t", key=lambda sign: sum(sign in line for line in lines))


def _bounded_lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LONGEST):
        if len(line) == _LONGEST:
            raise ValueError(
                f"a line is longer than {_LONGEST:,} characters; expected image_id,class"
            )
        yield line
