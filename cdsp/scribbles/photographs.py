"""Which photograph an annotation is of: the one place where names are matched.

A file tells the name of its image, or is called like it. Both are tried: the whole name, the name
without the ending of an image, then without regard to case, without the eight hexadecimal digits
that Label Studio puts before an upload, and with the signs left out that Label Studio leaves out.
The first of these that exactly one photograph fits counts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from cdsp.annotations.annotation import Annotation
from cdsp.annotations.tag_list import HEADERS, describe_foreign
from cdsp.annotations.tag_list import SUFFIXES as LISTS
from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import normal_name
from cdsp.io.findings import Findings
from cdsp.io.names import (
    IMAGE_ENDINGS,
    counted,
    first_few,
    nearest_name,
    nearest_pairs,
    without_ending,
)

_COMPARED = 20  # names that fit nothing, to see whether others are near: comparing takes time
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")


def _as_it_is(name: str) -> str:
    return name


def _without_prefix(name: str) -> str:
    return _UPLOAD_PREFIX.sub("", name.casefold(), count=1)


def _as_uploaded(name: str) -> str:
    """As Label Studio (Django) stores a file: blanks become underscores, most signs go."""
    return re.sub(r"[^-\w.]", "", without_ending(name).casefold().replace(" ", "_"))


def _as_uploaded_without_prefix(name: str) -> str:
    return _as_uploaded(_without_prefix(name))


_Change = Callable[[str], str]
_CHANGES: tuple[tuple[_Change, _Change], ...] = (
    (_as_it_is, _as_it_is),
    (str.casefold, str.casefold),
    (_without_prefix, str.casefold),
    (_as_uploaded, _as_uploaded),
    (_as_uploaded_without_prefix, _as_uploaded),
)
"""What is done to the name in an annotation, and to the photographs' names, in order."""


class Photographs:
    """Finds the photographs that annotations are of, and tells of what is left over."""

    def __init__(self, dataset: Dataset, findings: Findings) -> None:
        """Prepare for the annotations of a data set; ``findings`` grows."""
        self._dataset = dataset
        self._findings = findings
        self._files = {
            i: normal_name(Path(file).name) for i, (file, _, _) in dataset.images.items()
        }
        self._known: dict[_Change, dict[str, set[str]]] = {}
        for change in {photograph for _, photograph in _CHANGES}:
            index = self._known[change] = defaultdict(set)
            for image_id, file in self._files.items():
                index[change(image_id)].add(image_id)
                index[change(file)].add(image_id)
        self._annotated: set[str] = set()
        self._orphans: dict[str, str] = {}  # name → where it stands
        self._of_lists: dict[Path, list[tuple[str, str]]] = {}  # lines of no image: name, where
        self._useful_lists: set[Path] = set()

    def find(self, annotation: Annotation) -> str | None:
        """The id of the image that an annotation is of; None, and a finding, where there is none.

        A file that is called like one photograph and names another is a problem.
        """
        stated = normal_name(PurePosixPath(annotation.image_name.replace("\\", "/")).name)
        own = "" if annotation.entry else normal_name(annotation.source.stem)
        by_name, change = self._fitting(stated)
        by_file, _ = self._fitting(own)
        found = by_name or by_file
        if by_name and by_file and not by_name & by_file:
            self._findings.problems.append(
                "it is called like one photograph and names another, and both exist; which is "
                "meant? Rename the file or correct the name in it",
                f"{annotation.where} (like {self._shown(by_file)}, names {stated!r})",
            )
            self._annotated |= by_file
            return None
        if len(found) > 1:
            self._findings.problems.append(
                f"{stated or own!r} may be any of {self._shown(found)}; rename all but one",
                annotation.where,
            )
            return None
        if not found:
            self._remember_orphan(annotation, own or stated)
            return None
        (image_id,) = found
        if by_name:
            self._tell_differences(annotation, image_id, stated, change)
        elif stated:
            self._findings.hints.append(
                "it names an image that is not there, and was taken for the one that it is called "
                "like itself",
                f"{annotation.where} ({stated!r})",
            )
        self._annotated.add(image_id)
        if annotation.source.suffix.lower() in LISTS:
            self._useful_lists.add(annotation.source)
        return image_id

    def _fitting(self, name: str) -> tuple[set[str], _Change]:
        """The images that a name fits, and by which change of the name."""
        for change, of_photograph in _CHANGES:
            for form in (name, without_ending(name)):
                found = self._known[of_photograph].get(change(form))
                if found and change(form):
                    return found, change
        return set(), _as_it_is

    def _shown(self, image_ids: set[str]) -> str:
        return first_few(sorted(self._files[image_id] for image_id in image_ids))

    def _tell_differences(
        self, annotation: Annotation, image_id: str, stated: str, change: _Change
    ) -> None:
        """Hints where the name that a file states is not quite the photograph's."""
        file = self._files[image_id]
        ending, other = PurePosixPath(stated).suffix.lower(), PurePosixPath(file).suffix.lower()
        if ending in IMAGE_ENDINGS and {ending, other} - {".jpg", ".jpeg"} and ending != other:
            self._findings.hints.append(
                "it names an image of another ending, and was taken for the one of the same name",
                f"{annotation.where} ({stated!r} for {file})",
            )
        folder = PurePosixPath(annotation.image_name.replace("\\", "/")).parent.name
        uploaded = annotation.source.suffix.lower() == ".json" and annotation.entry
        if uploaded:
            return
        if folder not in ("", ".", "..", "JPEGImages"):
            self._findings.hints.append(
                f"it names an image in the folder {folder!r}, and was taken for the one of the "
                "same name here",
                annotation.where,
            )
        if change in (_without_prefix, _as_uploaded_without_prefix):
            self._findings.hints.append(
                "eight digits and a hyphen before the name were taken for Label Studio's and left "
                "out, though this is none of its exports",
                f"{annotation.where} ({stated!r} for {file})",
            )

    def _remember_orphan(self, annotation: Annotation, name: str) -> None:
        if annotation.source.suffix.lower() in LISTS:
            self._of_lists.setdefault(annotation.source, []).append((name, annotation.where))
        else:
            self._orphans.setdefault(name, annotation.where)

    def tell_left_over(self) -> None:
        """After the last annotation: tell of annotations and of photographs that are left over."""
        for file, lines in self._of_lists.items():
            if file in self._useful_lists:
                self._orphans |= {n: where for n, where in lines if n.casefold() not in HEADERS}
            else:
                self._tell_list(file, lines)
        training = self._dataset.splits["train"]
        bare = [image_id for image_id in training if image_id not in self._annotated]
        annotated = len(training) - len(bare)
        of_validation = sorted(self._annotated & set(self._dataset.splits["val"]))
        if of_validation and self._dataset.val_masks:
            self._findings.hints.append(
                f"{counted(len(of_validation), 'annotation')} of validation images, which are "
                f"measured on their masks, left out: {first_few(of_validation)}"
            )
        if not training:
            return
        if not annotated:
            self._findings.problems.append(
                f"none of the {len(training)} training images has an annotation; photographs: "
                f"{first_few(bare)}; names in annotations: "
                f"{first_few(list(map(repr, self._orphans))) or 'none'}"
            )
        elif any(nearest_name(name, bare) for name in list(self._orphans)[:_COMPARED]):
            self._findings.problems.append(
                f"{counted(len(self._orphans), 'annotation')} without a photograph, and "
                f"{counted(len(bare), 'photograph')} without an annotation: "
                f"{nearest_pairs(list(self._orphans), bare)}; photographs: {first_few(bare)}; call "
                "them alike"
            )
        else:
            self._tell_harmless(bare, annotated)

    def _tell_harmless(self, bare: list[str], annotated: int) -> None:
        if self._orphans:
            where = next(iter(self._orphans.values()))
            self._findings.hints.append(
                f"{counted(len(self._orphans), 'annotation')} of no image of the data set, left "
                f"out: {first_few(list(map(repr, self._orphans)))} ({where})"
            )
        if bare:
            self._findings.hints.append(
                f"{len(bare)} of {len(bare) + annotated} training images have no annotation and "
                f"are left out of training: {first_few(bare)}"
            )

    def _tell_list(self, file: Path, lines: list[tuple[str, str]]) -> None:
        """Tell of a text file no line of which begins with the name of an image."""

        def is_image(name: str) -> bool:
            return bool(self._fitting(normal_name(name))[0])

        reason = describe_foreign(file, is_image)
        if reason:
            self._findings.problems.append(reason, file)
        else:
            self._findings.hints.append(
                "no line of it begins with the name of an image; it was left out",
                file,
            )


def is_photograph(file: Path, dataset: Dataset) -> bool:
    """Whether a file among annotations is an image of the data set, or a copy of one."""
    image_id = normal_name(file.stem)
    if image_id not in dataset.images:
        return False
    photograph = dataset.root / dataset.images[image_id][0]
    if file.resolve() == photograph.resolve():
        return True
    same_size = photograph.is_file() and file.stat().st_size == photograph.stat().st_size
    return same_size and file.read_bytes() == photograph.read_bytes()
