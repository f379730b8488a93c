"""Reads annotations of every known format, from a file or a folder of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from cdsp.annotations import cvat, label_studio, labelme, painted, tag_list, voc_xml
from cdsp.annotations.annotation import Annotation
from cdsp.annotations.elements import read_elements
from cdsp.io.files import open_text
from cdsp.io.findings import Findings

PAINTED = (".png", ".bmp", ".tif", ".tiff")
"""File name extensions of images that keep an index as it is; GIF sorts them anew."""

FORMATS = {
    ".xml": "ScribbleSup, PASCAL VOC boxes, CVAT for images 1.1",
    **dict.fromkeys(PAINTED, "scribbles as class indices, 255 = unlabelled"),
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


def tell_unread(path: Path, findings: Findings) -> None:
    """Hint at the files of a folder, and of the folders in it, that are not read."""
    if not path.is_dir():
        return
    left: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for file in (*path.iterdir(), *path.glob("*/*")):
        inner = file.parent != path
        kind = f"{file.suffix.lower() or 'no ending'}{' in folders' if inner else ''}"
        unread = file.suffix.lower() in FORMATS if inner else file.suffix.lower() not in FORMATS
        if unread and file.is_file() and not file.name.startswith(".") and file.name != "Thumbs.db":
            left[kind] += 1
            examples[kind] = min(examples.get(kind, str(file)), str(file))
    for kind, number in sorted(left.items()):
        findings.hints.append(
            f"{number} files not read ({kind}), such as {Path(examples[kind]).relative_to(path)}: "
            f"read are {', '.join(FORMATS)} in the folder itself",
            path,
        )


def read_annotations(
    path: Path, findings: Findings, is_photograph: Callable[[Path], bool] = lambda _: False
) -> Iterator[Annotation]:
    """Read the annotations of a file or a folder, one image at a time; formats may be mixed.

    A file, an image or a shape that cannot be read is left out and told in ``findings``, so that
    all that is wrong with a folder is known in the end.

    Args:
        path: the file or folder.
        findings: what is wrong; grows.
        is_photograph: whether an image among the files is a photograph; these are passed over.

    Yields:
        Annotations in the order of the files' names, and within a file in its order.

    Raises:
        ValueError: there is no such file.
    """
    for file in annotation_files(path):
        if file.suffix.lower() in PAINTED and is_photograph(file):
            continue
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
        is_list = _first_sign(path) == "["
        return (label_studio if is_list else labelme).read(path, findings)
    if suffix in PAINTED:
        return painted.read(path)
    return tag_list.read(path, findings)


def _first_sign(path: Path) -> str:
    with open_text(path) as file:
        return file.read(1024).lstrip()[:1]
