"""Reads annotations of every known format, from a file or a folder of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cdsp.annotations import cvat, label_studio, labelme, painted, tag_list, voc_xml
from cdsp.annotations.annotation import Annotation
from cdsp.annotations.elements import read_elements
from cdsp.annotations.values import read_items, read_value
from cdsp.io.files import open_text
from cdsp.io.findings import Findings
from cdsp.io.names import counted

PAINTED = (".png", ".bmp", ".tif", ".tiff")
"""File name extensions of images that keep an index as it is; GIF sorts them anew."""


class Format(NamedTuple):
    """A format of annotations.

    Attributes:
        name: as people call it.
        suffixes: of its files.
        marks: any of them tells it from other formats of these files: the root of XML, a key
            of an object or ``a list`` in JSON; empty: every such file is of this format.
        content: what is read of it, in words.
        read: from the file, its content and the findings to its annotations. The content of XML are
            the children of the root, of JSON the items of a list or an object; None else.
    """

    name: str
    suffixes: tuple[str, ...]
    marks: frozenset[str]
    content: str
    read: Callable[[Path, Any, Findings], Iterator[Annotation]]


FORMATS = (
    Format(
        *("labelme", (".json",), frozenset({"shapes"})),
        "linestrip, line, point, points; rectangle; flags",
        labelme.read,
    ),
    Format(
        *("CVAT for images 1.1", (".xml",), frozenset({cvat.ROOT})),
        "polylines, points, masks of the brush; boxes; tags",
        cvat.read,
    ),
    Format(
        *("Label Studio", (".json",), frozenset({"a list", *label_studio.KEYS})),
        "brush, key points, vectors; rectangles; choices",
        label_studio.read,
    ),
    Format(
        *("ScribbleSup, PASCAL VOC", (".xml",), frozenset({voc_xml.ROOT})),
        "polylines; boxes of objects",
        voc_xml.read,
    ),
    Format(
        *("scribbles as PNG, BMP or TIFF", PAINTED, frozenset()),
        "a class index for each pixel, 255 = unlabelled",
        painted.read,
    ),
    Format(
        *("list of tags", (".csv", ".txt"), frozenset()),
        "lines of image,class,class…",
        tag_list.read,
    ),
)
"""Every format that is read."""

SUFFIXES = tuple(sorted({suffix for known in FORMATS for suffix in known.suffixes}))


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
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
        ]
    else:
        files = [path] if path.suffix.lower() in SUFFIXES and path.is_file() else []
    if not files:
        known = "; ".join(f"{', '.join(known.suffixes)}: {known.name}" for known in FORMATS)
        packed = [file for file in _inside(path) if _is_packed(file)]
        unpack = f": {packed[0].name} is an archive, unpack it there" if packed else ""
        if any(inside.is_dir() for inside in _inside(path)):
            unpack += " (folders in it are not looked into)"
        raise ValueError(f"{path}: no file of annotations there{unpack}; read are {known}")
    return files


def _inside(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]


def _is_packed(path: Path) -> bool:
    """Whether a file is an archive, as CVAT and Label Studio export them."""
    return path.is_file() and path.suffix.lower() in (".zip", ".gz", ".tar", ".7z", ".rar")


def tell_unread(path: Path, findings: Findings) -> None:
    """Hint at the files of a folder, and of the folders in it, that are not read."""
    if not path.is_dir():
        return
    left: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for file in (*path.iterdir(), *path.glob("*/*")):
        inner = file.parent != path
        kind = f"{file.suffix.lower() or 'no ending'}{' in folders' if inner else ''}"
        unread = (file.suffix.lower() in SUFFIXES) == inner
        if unread and file.is_file() and not file.name.startswith(".") and file.name != "Thumbs.db":
            left[kind] += 1
            examples[kind] = min(examples.get(kind, str(file)), str(file))
    for kind, number in sorted(left.items()):
        example = Path(examples[kind]).relative_to(path)
        findings.hints.append(
            f"{counted(number, 'file')} not read ({kind}), such as {example}: read are "
            f"{', '.join(SUFFIXES)} in the folder itself",
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
        findings: what is wrong, and what was left out; grows.
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
    marks, content = _content(path, suffix)
    candidates = [known for known in FORMATS if suffix in known.suffixes]
    for known in candidates:
        if not known.marks or known.marks & set(marks):
            return known.read(path, content, findings)
    found = f"its root is <{marks[0]}>" if suffix == ".xml" else f"its keys are {_listed(marks)}"
    expected = "; ".join(f"{known.name} ({_listed(sorted(known.marks))})" for known in candidates)
    raise ValueError(f"{found}, of no format that is read: {expected}")


def _listed(words: list[str]) -> str:
    most = 8
    return ", ".join(word[:40] for word in words[:most]) + (" …" if len(words) > most else "")


def _content(path: Path, suffix: str) -> tuple[list[str], Any]:
    """What may tell the format of a file, and its content; see `Format`."""
    if suffix == ".xml":
        elements = read_elements(path)
        return [next(elements).tag], elements
    if suffix != ".json":
        return [], None
    with open_text(path) as file:
        first_sign = file.read(1024).lstrip()[:1]
    if first_sign == "[":
        return ["a list"], read_items(path)
    value = read_value(path)
    if not isinstance(value, dict):
        raise ValueError("the content is no object and no list; expected annotations in JSON")
    return list(value), value
