"""From what a folder holds and a machine bears to the settings of an experiment: the rules.

No rule looks at a mask's content or at a score: what is chosen follows from sizes and numbers.
`docs/own_photographs.md` tells what each of them was measured to bring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cdsp.evaluation.settings import EvaluationSettings
from cdsp.networks.settings import BackboneName, NetworkSettings
from cdsp.pseudo_labels.settings import ClassifierSettings
from cdsp.tools.start.machine import Machine

SMALL_STROKE = 14.0
"""Pixels that the strokes on small objects (their lower quartile) are to be long."""

PROTOCOL = EvaluationSettings(scales=(0.75, 1.0, 1.25), flip=True, long_side=0, window=0)
"""By which a network predicts: whole photographs about the working size, and mirror images."""

CLASSIFIER_SIDES = (225, 289)
"""Longer sides at which the multi-label classifier sees photographs, pixels."""

CLASSIFIER_IMAGES = 2800
"""Photographs that it sees, each as often as that takes."""

SMALLEST, LARGEST = 320, 1024
"""Bounds of the working size, pixels."""


@dataclass(frozen=True)
class Folder:
    """The sizes and numbers of a folder that the rules go by.

    Attributes:
        long_side: median of the photographs' longer sides, pixels.
        short_side: median of the shorter ones.
        extents: see `cdsp.tools.check.summary.StrokeSummary`.
        num_train: annotated training images.
        num_val: validation images.
        val_masks: whether they have masks; otherwise strokes.
        strokes: whether strokes or boxes say where something is; otherwise tags alone.
        measured: whether validation images or strokes that can be held out give a score.
    """

    long_side: int
    short_side: int
    extents: tuple[float, ...]
    num_train: int
    num_val: int
    val_masks: bool = True
    strokes: bool = True
    measured: bool = True

    @property
    def target(self) -> str:
        """What Snakemake is asked for."""
        return "results/table1.csv" if self.measured else "networks"


@dataclass(frozen=True)
class Choices:
    """What is chosen.

    Attributes:
        working_size: pixels.
        size_reason: in words.
        crop_size: pixels.
        batch_size: images.
        epochs: passes over the images at least.
        min_steps: steps at least.
        learning_rate: of AdamW.
        backbone: of the network, a DeepLabV3+.
        weights: its weights: a path, "imagenet" or "none".
        decoder_channels: of the head.
        classifier_epochs: of the multi-label classifier, which only tags need.
    """

    working_size: int
    size_reason: str
    crop_size: int
    batch_size: int
    epochs: int
    min_steps: int
    learning_rate: float
    backbone: BackboneName
    weights: str
    decoder_channels: int
    classifier_epochs: int

    @property
    def classifier(self) -> ClassifierSettings:
        """The multi-label classifier, where tags are all that there is: the photographs reduced.

        Its class activation maps cover objects that fill a good part of what it sees.
        """
        low, high = (min(1.0, side / self.working_size) for side in CLASSIFIER_SIDES)
        return ClassifierSettings(
            backbone=self.backbone,
            backbone_weights=self.weights,
            frozen_batch_norm=self.pretrained,
            epochs=self.classifier_epochs,
            crop_size=min(CLASSIFIER_SIDES[0], self.crop_size),
            scale=(round(low, 2), round(high, 2)),
            optimizer="sgd" if self.pretrained else "adamw",
            learning_rate=0.02 if self.pretrained else 0.001,
            head_factor=10 if self.pretrained else 1,
        )

    @property
    def pretrained(self) -> bool:
        """Whether the network starts from weights that know photographs."""
        return self.weights != "none"

    @property
    def network(self) -> NetworkSettings:
        """The network."""
        return NetworkSettings(
            backbone=self.backbone,
            backbone_weights=self.weights,
            head_options={"decoder_channels": self.decoder_channels, "image_pooling": False},
            frozen_batch_norm=self.pretrained,
            backbone_factor=0.3 if self.pretrained else 1.0,
        )

    def steps(self, num_images: int) -> int:
        """Steps of a training on so many images."""
        per_epoch = self.steps_per_epoch(num_images)
        return per_epoch * max(self.epochs, math.ceil(self.min_steps / per_epoch))

    def steps_per_epoch(self, num_images: int) -> int:
        """Steps of a pass over so many images."""
        return max(1, num_images // self.batch_size)


def choose(folder: Folder, machine: Machine, backbone: BackboneName, weights: str) -> Choices:
    """Choose the settings.

    Args:
        folder: sizes and numbers.
        machine: what trains.
        backbone: the network's.
        weights: its weights: a path, "imagenet" or "none".
    """
    working_size, reason = choose_working_size(folder)
    shorter = folder.short_side * working_size / folder.long_side
    wanted = 513 if machine.gpu else 257
    batch_size = 16 if machine.gpu else 4
    steps = 2000 if machine.gpu else 400
    return Choices(
        working_size=working_size,
        size_reason=reason,
        crop_size=min(wanted, aligned(max(shorter, 129))),
        batch_size=min(batch_size, folder.num_train),
        epochs=3,
        min_steps=steps if weights != "none" else 3 * steps,
        learning_rate=0.001,
        backbone=backbone,
        weights=weights,
        decoder_channels=256 if machine.gpu else 96,
        classifier_epochs=math.ceil(CLASSIFIER_IMAGES / folder.num_train),
    )


def choose_working_size(folder: Folder) -> tuple[int, str]:
    """The working size, pixels, and why.

    At the working size, the shorter strokes on objects are `SMALL_STROKE` pixels long, so that the
    network's features, of which there is one to 4 pixels in its decoder, resolve what they mark.
    """
    largest = min(LARGEST, folder.long_side)
    if not folder.extents:
        size = min(max(SMALLEST, 512), largest)
        return size, "no stroke tells how large the objects are"
    extent = float(np.quantile(folder.extents, 0.25))
    wanted = SMALL_STROKE / max(extent, 1e-3)
    size = int(min(max(wanted, SMALLEST), largest))
    size = min(32 * math.ceil(size / 32), largest)
    return size, (
        f"a quarter of the strokes on objects is shorter than {100 * extent:.1f} % of the "
        f"photograph: {extent * size:.0f} pixels at this size"
    )


def aligned(side: float) -> int:
    """The side of a crop, 16k + 1 pixels, that is at most so long."""
    return 16 * math.floor((side - 1) / 16) + 1
