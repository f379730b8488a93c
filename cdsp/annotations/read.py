"""Reads annotations of every known format, from a file or a folder of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cdsp.annotations import cvat, label_studio, labelme, painted, tag_list, voc_xml
from cdsp.annotations.annotation import Annotation
from cdsp.annotations.elements import read_elements
from cdsp.io.findings import Findings

FORMATS = {
    ".xml": "ScribbleSup, PASCAL VOC boxes, CVAT for images 1.1",
    ".png": "scribbles as class indices, 255 = unlabelled",
    ".json": "labelme, Label Studio",
    ".csv": "lines of image_id,class",
    ".txt": "lines of image_id,class",
}
"""File name extension → the formats that it may hold."""


def annotation_files(path: Path) -> list[Path]:
    """The file itself, or the files of a folder that may hold annotations, sorted by name.

    Other files of the folder, folders in it and files whose name begins with a dot are left out.

    Raises:
        ValueError: there is no such file.
    """
    if path.is_dir():
        files = [
            file
            for file in sorted(path.iterdir())
            if file.suffix.lower() in FORMATS and not file.name.startswith(".") and file.is_file()
        ]
    else:
        files = [path] if path.suffix.lower() in FORMATS and path.is_file() else []
    if not files:
        known = "; ".join(f"{suffix}: {formats}" for suffix, formats in FORMATS.items())
        raise ValueError(f"{path}: no file of annotations there; read are {known}")
    return files


def read_annotations(path: Path, findings: Findings) -> Iterator[Annotation]:
    """Read the annotations of a file or a folder, one image at a time; formats may be mixed.

    A file, an image or a shape that cannot be read is left out and told in ``findings``, so that
    all that is wrong with a folder is known in the end.

    Args:
        path: the file or folder.
        findings: what is wrong; grows.

    Yields:
        Annotations in the order of the files' names, and within a file in its order.

    Raises:
        ValueError: there is no such file.
    """
    for file in annotation_files(path):
        with findings.collected(file):
            yield from _read_file(file, findings)


def _read_file(path: Path, findings: Findings) -> Iterator[Annotation]:
    suffix = path.suffix.lower()
    if suffix == ".xml":
        elements = read_elements(path)
        root = next(elements).tag
        readers = {voc_xml.ROOT: voc_xml.read, cvat.ROOT: cvat.read}
        if root not in readers:
            raise ValueError(
                f"its root is <{root}>; expected {' or '.join(f'<{r}>' for r in readers)}"
            )
        return readers[root](path, elements, findings)
    if suffix == ".json":
        is_list = _first_sign(path) == b"["
        return (label_studio if is_list else labelme).read(path, findings)
    if suffix == ".png":
        return painted.read(path)
    return tag_list.read(path, findings)


def _first_sign(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
