"""Lists of tags: lines of ``image_id,class[,class...]`` in a CSV or text file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from cdsp.annotations.annotation import Annotation, tag
from cdsp.io.findings import Findings

_LONGEST = 2**16


def read(path: Path, findings: Findings) -> Iterator[Annotation]:
    """Read the tags of one image after the other; empty lines are skipped.

    Args:
        path: the file.
        findings: what is wrong with single lines; grows.

    Raises:
        ValueError: not CSV or not UTF-8.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(_bounded_lines(file))
        try:
            for values in lines:
                if any(value.strip() for value in values):
                    entry = f"line {lines.line_num}"
                    with findings.collected(f"{path}, {entry}"):
                        tags = tuple(tag(label) for label in values[1:])
                        name = values[0].strip()
                        yield Annotation(name, path, None, tags, name, entry)
        except csv.Error as error:
            raise ValueError(f"line {lines.line_num}: {error}") from error


def _bounded_lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LONGEST):
        if len(line) == _LONGEST:
            raise ValueError(
                f"a line is longer than {_LONGEST:,} characters; expected image_id,class"
            )
        yield line
