"""`cdsp start FOLDER`: an experiment on one's own photographs, planned from what is there."""

from __future__ import annotations

import re
import shlex
import statistics
from dataclasses import replace
from pathlib import Path

from cdsp.io.files import problem_list, write_text
from cdsp.io.outputs import check_outputs
from cdsp.networks.settings import BackboneName
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.tools.check.examine import FolderReport, examine_folder
from cdsp.tools.check.summary import one_class_message
from cdsp.tools.start.choices import Choices, Folder, choose
from cdsp.tools.start.configuration import Sources, configuration_text
from cdsp.tools.start.labels import try_labels
from cdsp.tools.start.machine import Machine, backbone_of, find_weights, this_machine
from cdsp.tools.start.trial import try_out

USUAL = AnnotationSettings()


def start(
    path: Path,
    output: Path | None,
    *,
    classes: tuple[str, ...] = (),
    annotations: Path | None = None,
    settings: AnnotationSettings = USUAL,
    void_regions: bool = False,
    weights: str | None = None,
) -> Path:
    """Look at a folder of one's own and at the machine, and write a configuration for them.

    Args:
        path: the folder, see `cdsp.tools.check.examine.examine_folder`.
        output: the configuration to write; None: called like the folder, where one is.
        classes: names of all classes, the background first; none: as the files say.
        annotations: their file or folder, where it is not ``Scribbles`` in the folder.
        settings: of reading them; their path does not count.
        void_regions: whether 255 fills whole regions of masks on purpose.
        weights: of the backbone: a file, "imagenet" or "none"; None: a file that is found, or else
            "imagenet" where it can be fetched.

    Returns:
        The configuration.

    Raises:
        ValueError: problems in the folder, with all of them; no strokes, or of one class alone;
            weights that do not fit; or a file of somebody's in the place of the configuration.
    """
    name = re.sub(r"[^A-Za-z0-9]+", "_", path.resolve().name).strip("_") or "mine"
    output = output or Path(f"{name}.yaml")
    check_outputs([output])
    report = examine_folder(
        path, classes, annotations, settings=settings, void_regions=void_regions
    )
    if report.findings.problems:
        raise ValueError(problem_list(str(path), list(report.findings.problems)))
    for hint in report.findings.hints:
        print(f"hint: {hint}".replace(f"{path}/", ""))
    summary = report.summary
    if summary is None or not summary.annotated:
        raise ValueError(
            f"{path}: no stroke and no tag on any training image, from which all else is made; "
            f"draw some, and put their files into {path / 'Scribbles'}"
        )
    if len(summary.placed) == 1:
        raise ValueError(f"{path}: {one_class_message(report.dataset.classes[summary.placed[0]])}")
    folder, machine = measure(report), this_machine()
    choices, seconds = _try_choices(folder, machine, len(report.dataset.classes), weights)
    labels = try_labels(report, settings, choices) if folder.strokes else None
    sources = Sources(
        name, path, report.dataset.classes, void_regions, replace(settings, path=_text(annotations))
    )
    minutes = max(1, seconds / 60)
    text = configuration_text(
        sources, folder, choices, labels, machine, file=output, minutes=minutes
    )
    write_text(output, text)
    _tell(output, folder, choices, machine, minutes)
    return output


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def measure(report: FolderReport) -> Folder:
    """The sizes and numbers that the rules go by."""
    assert report.summary is not None
    sizes = [(height, width) for _, height, width in report.dataset.images.values()]
    num_val = len(report.dataset.splits["val"])
    return Folder(
        long_side=round(statistics.median(map(max, sizes))),
        short_side=round(statistics.median(map(min, sizes))),
        extents=tuple(report.summary.extents),
        num_train=len(report.summary.annotated),
        num_val=num_val,
        val_masks=report.dataset.val_masks,
        strokes=bool(report.summary.labelled or report.summary.extents),
        measured=bool(num_val or report.summary.held_out),
    )


def _try_choices(
    folder: Folder, machine: Machine, num_classes: int, weights: str | None
) -> tuple[Choices, float]:
    """The choices, and the seconds that a network takes with them.

    Args:
        folder: sizes and numbers.
        machine: what trains.
        num_classes: with the background.
        weights: see `start`.
    """
    backbone: BackboneName = "resnet50" if machine.gpu else "mobilenet_v2"
    if weights not in (None, "imagenet", "none"):
        backbone = backbone_of(Path(weights))
    wanted = weights or str(find_weights(backbone) or "imagenet")
    try:
        return _tried(choose(folder, machine, backbone, wanted), folder, num_classes)
    except ValueError as error:
        if weights is not None or wanted != "imagenet":
            raise
        print(
            f"{error}.\nThe network starts from random weights instead, and is given three times "
            "as many steps. With a file of ImageNet weights: cdsp start … --weights FILE"
        )
        return _tried(choose(folder, machine, backbone, "none"), folder, num_classes)


def _tried(choices: Choices, folder: Folder, num_classes: int) -> tuple[Choices, float]:
    return choices, try_out(choices, folder, num_classes).seconds(choices, folder)


def _tell(output: Path, folder: Folder, choices: Choices, machine: Machine, minutes: float) -> None:
    print(
        f"\n{output}: a {choices.backbone} on photographs of {choices.working_size} pixels, "
        f"{choices.steps(folder.num_train)} steps, about {minutes:.0f} min on "
        f"{machine.name}.\nLook it through, then:\n\n"
        f"    snakemake --cores {machine.processors} {folder.target} "
        f"--configfile {shlex.quote(str(output))}"
    )
    if not folder.strokes:
        print(
            "\nThere are tags and no strokes: labels come from class activation maps, which cover "
            "a part of each object. A stroke for each class in each photograph brings far more."
        )
    if not folder.measured:
        lacking = "no class has a second stroke in a photograph, which could be held out"
        print(
            "\nThis trains, and measures nothing: there are no masks, and "
            f"{lacking if folder.strokes else 'no strokes'}."
        )
    elif not folder.num_val:
        print("\nNo photograph has a mask: the score is that of strokes kept from the training.")
