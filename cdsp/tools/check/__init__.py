"""`cdsp dataset check`: what a folder of one's own holds, printed with all that is wrong."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import astuple, replace
from pathlib import Path

import yaml
from tabulate import tabulate

from cdsp.annotations.read import annotation_files
from cdsp.dataset.prepare import FolderContent
from cdsp.dataset.voc_layout import Dataset
from cdsp.io.findings import Findings
from cdsp.io.outputs import check_outputs
from cdsp.pictures.overlay import clear_colours
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.tools.check.examine import examine_folder
from cdsp.tools.check.picture import draw
from cdsp.tools.check.summary import StrokeSummary

SHOWN_MESSAGES = 25
"""Problems, and hints, that are printed; the others are counted."""


def check_folder(
    root: Path,
    classes: tuple[str, ...],
    annotations: Path | None,
    *,
    settings: AnnotationSettings,
    picture: Path,
    void_regions: bool = False,
) -> list[str]:
    """Look through a folder in VOC layout, and print what is there and all that is wrong with it.

    Args:
        root: the folder, see `examine_folder`.
        classes: likewise.
        annotations: likewise.
        settings: likewise.
        picture: PNG file for a few training images with their annotations.
        void_regions: see `examine_folder`.

    Returns:
        The problems, in words.

    Raises:
        ValueError: see `examine_folder`; or a picture that is no PNG, or stands in the place of
            somebody's file.
    """
    if picture.suffix.lower() != ".png":
        raise ValueError(f"{picture}: the picture is a PNG; give a name that ends in .png")
    check_outputs([picture])
    report = examine_folder(
        root, classes, annotations, settings=settings, void_regions=void_regions
    )
    dataset, content, summary = report.dataset, report.content, report.summary
    print("\n".join(_report(dataset, content, report.annotations, summary)))
    if not classes:
        _print_classes(dataset.classes)
    shown = summary.shown if summary else {}
    drawn = [shown[name] for name in dataset.splits["train"] if name in shown]
    if drawn:
        coloured = replace(dataset, colours=clear_colours(dataset.classes))
        draw(coloured, drawn, content.good_masks, picture)
        print(f"\n{picture}: {len(drawn)} of the annotated images, to look at.")
    _print_findings(root, report.findings)
    return list(report.findings.problems)


def _report(
    dataset: Dataset,
    content: FolderContent,
    annotations: Path | None,
    summary: StrokeSummary | None,
) -> list[str]:
    train, val = (len(dataset.splits[split]) for split in ("train", "val"))
    lines = [f"{dataset.root}: {train} training images, {val} validation images"]
    if dataset.images:
        sizes = [(width, height) for _, height, width in dataset.images.values()]
        smallest, largest = min(sizes, key=math.prod), max(sizes, key=math.prod)
        lines[0] += f", {smallest[0]}×{smallest[1]} to {largest[0]}×{largest[1]} pixels"
    if not content.pixels.is_common:
        lines[0] += f", {content.pixels}"
    has_masks = (("training", content.train_masks), ("validation", val and content.val_masks))
    masked = [name for name, there in has_masks if there]
    lines.append(f"masks: of the {' and '.join(masked)} images" if masked else "masks: none")
    if annotations is None or summary is None:
        lines.append("annotations: none (expected in Scribbles/, or name their folder)")
        summary = None
    else:
        share = 100 * summary.labelled / max(summary.pixels, 1)
        lines.append(
            f"annotations: {len(annotation_files(annotations))} files in {annotations}; "
            f"{len(summary.annotated)} of {train} training images have some; strokes label "
            f"{share:.2f} % of the pixels; {summary.num_points} strokes are single points"
        )
    nothing = (0,) * 5
    rows = [
        (
            index,
            name,
            *(astuple(summary.classes[index]) if summary else nothing),
            int(content.census.pixels[index]),
        )
        for index, name in enumerate(dataset.classes)
    ]
    headers = ("", "class", "images", "strokes", "boxes", "tags", "stroke pixels", "mask pixels")
    return [*lines, "", tabulate(rows, headers, tablefmt="simple", intfmt=",")]


def _print_classes(classes: Sequence[str]) -> None:
    line = yaml.safe_dump(
        list(classes), default_flow_style=True, width=math.inf, allow_unicode=True
    )
    print(
        "\nThe names found, for the configuration; the numbers in scribble PNGs and masks "
        f"count them in this order, from 0:\n  classes: {line.strip()}"
    )


def _print_findings(root: Path, findings: Findings) -> None:
    """Hints, then problems; paths are told from the folder on."""
    if findings.hints:
        print()
    _print_lines([f"hint: {hint}" for hint in findings.hints], root)
    print()
    number = len(findings.problems)
    if not number:
        print("No problem was found.")
        return
    print(f"{number} problem{'s' if number > 1 else ''}:")
    _print_lines([f"  {problem}" for problem in findings.problems], root)


def _print_lines(lines: Collection[str], root: Path) -> None:
    for line in list(lines)[:SHOWN_MESSAGES]:
        print(line.replace(f"{root}/", ""))
    if len(lines) > SHOWN_MESSAGES:
        print(f"  … and {len(lines) - SHOWN_MESSAGES} more")
