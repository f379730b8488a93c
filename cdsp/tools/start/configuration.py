"""The text of a configuration: what was chosen, and why, line by line."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cdsp.pictures.overlay import clear_colours
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.settings import settings_dict
from cdsp.tools.check.summary import HOLD_OUT
from cdsp.tools.start.choices import PROTOCOL, Choices, Folder
from cdsp.tools.start.labels import TriedLabels
from cdsp.tools.start.machine import Machine

RECIPE, TAG_RECIPE = "pixels_walk", "image_cam"
WARMUP_STEPS = 20


@dataclass(frozen=True)
class Sources:
    """Where photographs, classes and strokes come from.

    Attributes:
        name: of the data set.
        path: the folder of photographs.
        classes: in the order of the masks.
        void_regions: see `cdsp.dataset.settings.FolderSettings`.
        annotations: how strokes are read.
    """

    name: str
    path: Path
    classes: tuple[str, ...]
    void_regions: bool
    annotations: AnnotationSettings


def configuration_text(
    sources: Sources,
    folder: Folder,
    choices: Choices,
    labels: TriedLabels | None,
    machine: Machine,
    *,
    file: Path,
    minutes: float,
) -> str:
    """The configuration of an experiment, with comments.

    Args:
        sources: of photographs and strokes.
        folder: their sizes.
        choices: what was chosen.
        labels: the recipe that was chosen; None for that of tags.
        machine: for which.
        file: where the text is to stand.
        minutes: that labels and a network take.
    """
    network = f"deeplabv3plus-{choices.backbone}"
    cores, quoted = machine.processors, [shlex.quote(str(path)) for path in (sources.path, file)]
    return f"""\
# Written by `cdsp start {quoted[0]}`, from what is in the folder (photographs with strokes:
# {folder.num_train}; to measure on: {folder.num_val}), and for {machine.name}.
# Every line may be changed; `cdsp settings` lists all that there are.
#
#     snakemake --cores {cores} {folder.target} --configfile {quoted[1]}
#
# takes about {minutes:.0f} min for labels and one network.

dataset: {_value(sources.name)} # names the folder below results/

datasets:
  {_value(sources.name)}:
    source: folder
    path: {_value(str(sources.path))}
    # In the order of the numbers in masks and scribble images, from 0; the first is the background.
    classes: {_value(list(sources.classes))}
{_colours(sources)}\
    # Longer side that every photograph is brought to, of {folder.long_side} pixels:
    # {choices.size_reason}.
    # All sizes and scales below refer to it; a larger one shows more, and costs its square.
    working_size: {choices.working_size}
{_void_regions(sources)}
scribbles:
  source: annotations
{_annotations(sources)}

pseudo_labels:
{_recipe(labels, choices)}

networks:
  {network}:
    backbone: {choices.backbone}
    backbone_weights: {_value(choices.weights)} # {_weights_comment(choices)}
    # Small batches of crops teach the pooling of whole images little that holds of photographs.
    head_options: {_value(choices.network.head_options)}
    frozen_batch_norm: {_value(choices.pretrained)}
    backbone_factor: {choices.network.backbone_factor:g} # of learning_rate

segmentation:
  # {choices.steps(folder.num_train)} steps: so many passes, or as many more as min_steps asks for.
  epochs: {choices.epochs}
  min_steps: {choices.min_steps}
  warmup_epochs: {WARMUP_STEPS / choices.steps_per_epoch(folder.num_train):.2g}
  batch_size: {choices.batch_size}
  crop_size: {choices.crop_size}
  scale: [0.75, 1.5] # about 1, at which the network is used
  optimizer: adamw
  learning_rate: {choices.learning_rate}
  weight_decay: 0.01

{_measure(folder)}
{_rows(folder, network)}
    seeds: [0] # more tell how much chance there is in the score: [0, 1, 2]
"""


def _recipe(labels: TriedLabels | None, choices: Choices) -> str:
    if labels is not None:
        pixels = _unusual(labels.recipe.pixels)
        of_classifier = f"    pixels: {_value(pixels)}\n" if pixels else ""
        return f"""\
  # Strokes spread along colours, guided by a pixel classifier that all strokes teach.
  # {labels.reason}.
  {RECIPE}:
    evidence: pixels
{of_classifier}    labels: {_value(_unusual(labels.recipe.labels))}"""
    classifier = _unusual(choices.classifier)
    scales = [round(1.1 * scale, 2) for scale in choices.classifier.scale]
    return f"""\
  # Tags alone: class activation maps of a classifier that learns which photograph shows what.
  {TAG_RECIPE}:
    classifier: {_value(classifier)}
    cams: {{ scales: {_value(scales)} }}
    labels: {{ background: constant, threshold: 0.3 }}"""


def _unusual(settings: Any) -> dict[str, Any]:
    """The settings that are not the default's."""
    usual = settings_dict(type(settings)())
    return {key: value for key, value in settings_dict(settings).items() if value != usual[key]}


def _rows(folder: Folder, network: str) -> str:
    if folder.strokes:
        return f"""\
    methods: [pseudo_label_only] # which hold the strokes; scribble_only shows what they bring
    networks: [{network}]
    pseudo_labels: [{RECIPE}]
    pixel_classifiers: [{RECIPE}] # the pixel classifier alone is a row to beat"""
    return f"""\
    methods: [pseudo_label_only]
    networks: [{network}]
    pseudo_labels: [{TAG_RECIPE}]"""


def _colours(sources: Sources) -> str:
    colours = {name: list(colour) for name, colour in clear_colours(sources.classes).items()}
    return f"    colours: {_value(colours)} # in pictures\n" if colours else ""


def _void_regions(sources: Sources) -> str:
    return "    void_regions: true\n" if sources.void_regions else ""


def _annotations(sources: Sources) -> str:
    """How strokes are read, a setting to a line: the width, and what was asked for."""
    usual = settings_dict(AnnotationSettings())
    asked = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in settings_dict(sources.annotations).items()
        if value != usual[key] and key != "width"
    }
    width = f"  width: {sources.annotations.width:g} # pixels, where a file does not say it"
    return "\n".join([width, *(f"  {key}: {_value(value)}" for key, value in asked.items())])


def _measure(folder: Folder) -> str:
    """The protocol, and the beginning of the table, down to what depends on it."""
    scales = ", ".join(f"{scale:g}" for scale in PROTOCOL.scales)
    averaged = ", ".join(
        [
            f"scales: [{scales}]",
            *(
                f"{key}: {_value(getattr(PROTOCOL, key))}"
                for key in ("flip", "long_side", "window")
            ),
        ]
    )
    if folder.num_val and not folder.val_masks:
        return f"""\
evaluation:
  # The validation photographs have strokes, and no masks: the share of their pixels that is right.
  strokes: {{ {averaged}, truth: validation_strokes }}

tables:
  table1:
    protocol: strokes"""
    if folder.num_val or not folder.measured:
        return f"""\
evaluation:
  # Whole photographs about the working size and their mirror images, averaged; [1] is faster.
  averaged: {{ {averaged} }}

tables:
  table1:
    protocol: averaged"""
    held_out = Degradation("hold_out", HOLD_OUT).name
    return f"""\
evaluation:
  # No photograph has a mask: a quarter of the strokes is kept from the training to measure on.
  strokes: {{ {averaged}, truth: held_out_strokes }}

tables:
  table1:
    protocol: strokes
    scribbles: [{held_out}] # [full], and networks in place of the table: from all strokes"""


def _value(value: object) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _weights_comment(choices: Choices) -> str:
    if not choices.pretrained:
        return "random; a file of ImageNet's can stand here"
    return (
        "of ImageNet; fetched when first used" if choices.weights == "imagenet" else "of ImageNet"
    )
