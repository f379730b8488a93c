"""A recipe of pseudo-labels and its parts: classifier, class activation maps, labels."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from cdsp.networks.settings import BackboneName
from cdsp.settings import setting
from cdsp.training.settings import OptimizerName


@dataclass(frozen=True)
class ClassifierSettings:
    """The multi-label classifier; the defaults are the usual recipe for CAMs."""

    backbone: BackboneName = setting("resnet50", "network")
    backbone_weights: str = setting(
        "imagenet", "'imagenet', 'none' or the path of a state dict", is_path=True
    )
    output_stride: Literal[8, 16] = setting(16, "pixels per feature")
    frozen_batch_norm: bool = setting(False, "keep the running statistics of the loaded weights")
    epochs: int = setting(5, "passes over the training images", minimum=1)
    batch_size: int = setting(16, "images", minimum=1)
    crop_size: int = setting(
        513, "side of the training crop, pixels; 16k+1 aligns features", minimum=17
    )
    scale: tuple[float, float] = setting(
        (0.64, 1.28),
        "range of the random scale (320 to 640 pixels of a longer side of 500)",
        minimum=0.05,
    )
    optimizer: OptimizerName = setting("sgd", "AdamW learns sooner from random weights")
    learning_rate: float = setting(0.1, "at the start; falls as a polynomial", minimum=0)
    head_factor: float = setting(10.0, "learning rate of the head ÷ the backbone's", minimum=0)
    weight_decay: float = setting(1e-4, "of the optimizer", minimum=0)
    class_balance: bool = setting(
        False,
        "weigh the presence of a class by the images without it ÷ those with it, 1/20 to 20",
    )
    stroke_weight: float = setting(
        0.0,
        "of the cross-entropy at scribble pixels, for which the maps get a channel of the "
        "background; 0 = off, the image-level classes alone. Wants adamw and a rate near 0.0003; "
        "SGD at 0.02 did not converge on photographs",
        minimum=0,
    )
    cpu_threads: int = setting(1, "of PyTorch on a CPU; another number, other roundings", minimum=1)
    seed: int = setting(0, "of weights, order and augmentation", minimum=0)

    def __post_init__(self) -> None:
        """Check the range of scales.

        Raises:
            ValueError: it ends before it starts.
        """
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)}: expected [smallest, largest]")


@dataclass(frozen=True)
class CamSettings:
    """How class activation maps are exported."""

    scales: tuple[float, ...] = setting(
        (1.0, 0.5, 1.5, 2.0), "image scales whose maps are summed", minimum=0.1, maximum=8
    )
    flip: bool = setting(True, "add the mirrored image's maps")

    def __post_init__(self) -> None:
        """Check that there is a map to export.

        Raises:
            ValueError: no scale.
        """
        if not self.scales:
            raise ValueError("scales []: expected at least one, such as [1]")


@dataclass(frozen=True)
class LabelSettings:
    """How strokes and other evidence become pseudo-labels."""

    background: Literal["constant", "power", "calibrated"] = setting(
        "constant",
        "background score beside CAMs: a constant threshold, (1 - max CAM)^power, or the "
        "threshold that best separates each image's own foreground from background scribbles",
    )
    threshold: float = setting(
        0.2, "the constant, and where an image cannot be calibrated", minimum=0, maximum=1
    )
    power: float = setting(4.0, "α of (1 - max CAM)^α", minimum=0)
    refinement: Literal["none", "random_walk", "graph_cut"] = setting(
        "none",
        "each pixel by itself, or strokes spread on superpixels by a random walk or a graph cut",
    )
    superpixel_spacing: float = setting(10.0, "of the superpixels, pixels", minimum=1)
    colour_scale: float = setting(
        15.0,
        "difference of colours (8-bit Lab) that weakens an edge of the superpixels to exp(-1/2)",
        minimum=0.1,
    )
    prior_weight: float = setting(
        0.01,
        "γ: rate at which the evidence catches the random walker, or its weight in the graph cut",
        minimum=0,
    )
    uncertain_band: float = setting(
        0.0,
        "255 where the two highest scores differ by less; a graph cut has no scores",
        minimum=0,
        maximum=1,
    )
    unstroked: Literal["keep", "ignore"] = setting(
        "keep", "object regions that no stroke of their class touches: keep them, or 255"
    )
    reach: float = setting(
        0.0, "pixels from the nearest stroke beyond which the label is 255; 0 = no bound", minimum=0
    )
    write_scribbles: bool = setting(False, "write the scribbles into the pseudo-labels")


@dataclass(frozen=True, kw_only=True)
class NetworkEvidence:
    """A trained segmentation network whose predictions are the evidence of pseudo-labels."""

    method: str = setting(..., "row of `methods` that trained it")
    network: str = setting(..., "row of `networks`")
    pseudo_labels: str = setting("none", "recipe that it was trained on; none: on strokes alone")
    seed: int = setting(0, "of its run", minimum=0)
    protocol: str = setting(..., "protocol of `evaluation` that its predictions follow")


@dataclass(frozen=True)
class CorruptionSettings:
    """Labels of chosen quality, from the training masks: only for studying what quality brings."""

    displacement: float = setting(
        0.0,
        "by which boundaries are off: root mean square length of the random field by which the "
        "mask is resampled, pixels",
        minimum=0,
        maximum=500,
    )
    smoothness: float = setting(
        8.0, "σ of the Gaussian that smooths the field, pixels", minimum=0, maximum=100
    )
    lost: float = setting(
        0.0,
        "probability that a connected region of an object class is background",
        minimum=0,
        maximum=1,
    )
    seed: int = setting(0, "of all random draws", minimum=0)


@dataclass(frozen=True)
class PixelSettings:
    """A pixel classifier that the strokes of all images teach at once.

    A random forest on filter responses, or a linear classifier on a frozen backbone's features.
    """

    long_side: int = setting(
        640, "to which larger photographs are reduced for it; 0 = as they are", minimum=0
    )
    smallest_scale: float = setting(
        1.0, "σ of the finest filters, pixels; the others are twice the one before", minimum=0.1
    )
    largest_scale: float = setting(16.0, "σ up to which there are filters, pixels", minimum=0.1)
    superpixel_spacing: float = setting(
        4.0, "of the superpixels that are classified, pixels", minimum=1
    )
    trees: int = setting(100, "of the forest", minimum=1)
    seed: int = setting(0, "of the forest", minimum=0)
    backbone: BackboneName | None = setting(
        None, "whose frozen features replace filters and forest by a linear classifier"
    )
    backbone_weights: str = setting(
        "imagenet", "'imagenet', 'none' or the path of a state dict", is_path=True
    )
    penalty: float = setting(
        30.0, "of the linear classifier's squared weights, on standardised features", minimum=0
    )


SECTIONS = {
    "cams": ("classifier", "cams", "labels", "classes_from"),
    "network": ("network", "labels", "classes_from"),
    "pixels": ("pixels", "labels", "classes_from"),
    "strokes": ("labels",),
    "masks": ("corruption",),
    "boxes": (),
}
"""Evidence → the keys of a recipe that it uses."""


@dataclass(frozen=True)
class PseudoLabelSettings:
    """A recipe of pseudo-labels: evidence and labels made from it; or labels made elsewhere."""

    evidence: Literal["cams", "network", "pixels", "strokes", "masks", "boxes"] = setting(
        "cams",
        "what tells the classes apart: CAMs, a trained network, a pixel classifier, or the strokes "
        "alone; or masks, the training masks corrupted, only for studying what the quality of "
        "labels brings; or boxes, those of the training masks' regions, cut out by GrabCut",
    )
    classifier: ClassifierSettings = setting(ClassifierSettings(), "the multi-label classifier")
    cams: CamSettings = setting(CamSettings(), "class activation maps")
    network: NetworkEvidence | None = setting(None, "the network, where it is the evidence")
    pixels: PixelSettings = setting(PixelSettings(), "the pixel classifier")
    corruption: CorruptionSettings | None = setting(
        None, "of the masks, where they are the evidence; then nothing but this counts"
    )
    labels: LabelSettings = setting(LabelSettings(), "from evidence to labels")
    classes_from: Literal["degraded", "full"] = setting(
        "degraded", "image-level classes: of the scribbles that remain, or of the full ones"
    )
    folder: str | None = setting(
        None,
        "folder of index PNGs made elsewhere (SEAM, AFA, BMP…); replaces all of the above",
        is_path=True,
    )

    def __post_init__(self) -> None:
        """Check that the evidence has what it needs, and nothing that would be ignored.

        Raises:
            ValueError: no network or corruption for its evidence, strokes alone without a random
                walk, or a section that the evidence does not use.
        """
        used = {"folder"} if self.folder is not None else {"evidence", *SECTIONS[self.evidence]}
        for field in fields(self):
            default = field.default_factory() if callable(field.default_factory) else field.default
            if field.name not in used and getattr(self, field.name) != default:
                owner = "a folder of labels" if self.folder else f"evidence {self.evidence!r}"
                raise ValueError(
                    f"{owner} has no use for the key {field.name!r}, which would be ignored; "
                    "leave it out"
                )
        for section in ("network", "corruption"):
            if section in used and getattr(self, section) is None:
                raise ValueError(f"evidence {self.evidence!r}: the key {section!r} is missing")
        if self.evidence == "strokes" and self.labels.refinement == "none":
            raise ValueError(
                "evidence 'strokes' says nothing between the strokes; "
                "set labels.refinement: random_walk, or graph_cut"
            )
