"""The configuration: the settings of every stage, and `config.yaml` which puts them together.

Each stage has one settings dataclass. Its defaults are the paper's; `config.yaml` says what an
experiment does differently. A rule or a command gets its own stage's settings, never the whole.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from cdsp.files import check_image_id
from cdsp.losses import DISTANCE_MAPS, LOSS_TERMS, TermOptions
from cdsp.networks.interface import BackboneName, SegmentorName
from cdsp.optimizers import OptimizerName
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.strokes import WIDEST
from cdsp.settings import nearest, parse_settings, read_yaml, setting


@dataclass(frozen=True)
class ShapesSettings:
    """The data set that the project draws itself."""

    num_train: int = setting(400, "training images", minimum=1)
    num_val: int = setting(120, "validation images", minimum=1)
    size: int = setting(97, "side of the square images, pixels", minimum=32)
    seed: int = setting(0, "of all random draws", minimum=0)


@dataclass(frozen=True)
class FolderSettings:
    """A data set of one's own, in VOC layout."""

    path: str = setting(
        ..., "folder with JPEGImages/, SegmentationClassAug/ and ImageSets/SegmentationAug/"
    )
    classes: tuple[str, ...] = setting(..., "names of all classes; the first is the background")
    colours: dict[str, tuple[int, int, int]] = setting(
        {}, "class → red, green, blue, where VOC's colours are not wanted", minimum=0, maximum=255
    )


@dataclass(frozen=True)
class ScribbleSupSettings:
    """PASCAL VOC 2012 + SBD with the strokes of ScribbleSup, fetched where they are missing."""

    path: str = setting("data/scribblesup", "folder to build it in, or of a copy made by hand")
    archives: str | None = setting(None, "folder of archives downloaded before, used first")


SOURCES: dict[str, type] = {
    "shapes": ShapesSettings,
    "folder": FolderSettings,
    "scribblesup": ScribbleSupSettings,
}
"""Where a data set comes from → its settings."""


@dataclass(frozen=True)
class SimulationSettings:
    """Strokes simulated from the masks, as a hand would draw them."""

    coverage: float = setting(
        0.03, "fraction of the pixels to be labelled (ScribbleSup: 0.03)", minimum=0.001, maximum=1
    )
    seed: int = setting(0, "of all random draws", minimum=0)


@dataclass(frozen=True)
class AnnotationSettings:
    """Strokes that people drew: ScribbleSup XML, PNG, labelme, CVAT or Label Studio exports."""

    path: str | None = setting(
        None, "folder or file of annotations; none: Scribbles/ in the data set's own folder"
    )
    width: float = setting(
        3.0, "of strokes whose file does not say it, pixels", minimum=0.5, maximum=WIDEST
    )


STROKE_SOURCES: dict[str, type] = {
    "simulated": SimulationSettings,
    "annotations": AnnotationSettings,
}
"""Where strokes come from → the settings."""


@dataclass(frozen=True)
class DegradationSettings:
    """How strokes, boxes and tags are dropped (shrinking has no settings)."""

    drop_background: bool = setting(False, "drop background strokes too")
    min_per_image: int = setting(
        0, "object strokes, boxes and tags that each image keeps", minimum=0
    )
    seed: int = setting(0, "of the draw of the dropped strokes, boxes and tags", minimum=0)


@dataclass(frozen=True)
class ClassifierSettings:
    """The multi-label classifier; the defaults are the usual recipe for CAMs."""

    backbone: BackboneName = setting("resnet50", "network")
    backbone_weights: str = setting("imagenet", "'imagenet', 'none' or the path of a state dict")
    output_stride: Literal[8, 16] = setting(16, "pixels per feature")
    frozen_batch_norm: bool = setting(False, "keep the running statistics of the loaded weights")
    epochs: int = setting(5, "passes over the training images", minimum=1)
    batch_size: int = setting(16, "images", minimum=1)
    crop_size: int = setting(513, "side of the training crop, pixels; use 8k+1", minimum=17)
    long_side: tuple[int, int] = setting(
        (320, 640), "range of the image's longer side after scaling, pixels", minimum=16
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
        """Check the range of sizes.

        Raises:
            ValueError: it ends before it starts.
        """
        if self.long_side[0] > self.long_side[1]:
            raise ValueError(f"long_side {list(self.long_side)}: expected [smallest, largest]")


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
    refinement: Literal["none", "random_walk"] = setting(
        "none", "each pixel by itself, or strokes spread by a random walk on superpixels"
    )
    superpixel_spacing: float = setting(10.0, "of the random walk's superpixels, pixels", minimum=1)
    colour_scale: float = setting(
        15.0,
        "difference of colours (8-bit Lab) that weakens an edge of the random walk to exp(-1/2)",
        minimum=0.1,
    )
    prior_weight: float = setting(
        0.01, "γ of the random walk: rate at which the evidence catches the walker", minimum=0
    )
    uncertain_band: float = setting(
        0.0, "255 where the two highest scores differ by less", minimum=0, maximum=1
    )
    unstroked: Literal["keep", "ignore"] = setting(
        "keep", "object regions that no stroke of their class touches: keep them, or 255"
    )
    write_scribbles: bool = setting(False, "write the scribbles into the pseudo-labels")


@dataclass(frozen=True, kw_only=True)
class NetworkEvidence:
    """A trained segmentation network whose predictions are the evidence of pseudo-labels."""

    method: str = setting(..., "row of `methods` that trained it")
    network: str = setting(..., "<segmentor>-<backbone>")
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
class PseudoLabelSettings:
    """A recipe of pseudo-labels: evidence and labels made from it; or labels made elsewhere."""

    evidence: Literal["cams", "network", "strokes", "masks"] = setting(
        "cams",
        "what tells the classes apart: CAMs, a trained network, or the strokes alone; or masks, "
        "the training masks corrupted, only for studying what the quality of labels brings",
    )
    classifier: ClassifierSettings = setting(ClassifierSettings(), "the multi-label classifier")
    cams: CamSettings = setting(CamSettings(), "class activation maps")
    network: NetworkEvidence | None = setting(None, "the network, where it is the evidence")
    corruption: CorruptionSettings | None = setting(
        None, "of the masks, where they are the evidence; then nothing but this counts"
    )
    labels: LabelSettings = setting(LabelSettings(), "from evidence to labels")
    classes_from: Literal["degraded", "full"] = setting(
        "degraded", "image-level classes: of the scribbles that remain, or of the full ones"
    )
    folder: str | None = setting(
        None, "folder of index PNGs made elsewhere (SEAM, AFA, BMP…); replaces all of the above"
    )

    def __post_init__(self) -> None:
        """Check what one setting says of another.

        Raises:
            ValueError: no network or corruption for its evidence, or strokes alone without a random
                walk.
        """
        if (self.evidence == "network") != (self.network is not None):
            raise ValueError("'evidence: network' and the key 'network' go together; give both")
        if (self.evidence == "masks") != (self.corruption is not None):
            raise ValueError("'evidence: masks' and the key 'corruption' go together; give both")
        if self.evidence == "strokes" and self.labels.refinement == "none":
            raise ValueError(
                "evidence 'strokes' says nothing between the strokes; "
                "set labels.refinement: random_walk"
            )


@dataclass(frozen=True)
class SegmentationSettings:
    """Network, augmentation and optimisation of stage two; the defaults are the paper's Table 1."""

    segmentor: SegmentorName = setting("deeplabv3plus", "head")
    backbone: BackboneName = setting("resnet101", "network")
    backbone_weights: str = setting("imagenet", "'imagenet', 'none' or the path of a state dict")
    output_stride: Literal[8, 16] | None = setting(
        None, "pixels per feature; none: the head's own, 16 of DeepLabV3+ and 8 of DeepLabV2"
    )
    decoder_channels: int = setting(256, "hidden channels of DeepLabV3+", minimum=1)
    frozen_batch_norm: bool = setting(
        False, "keep the backbone's running statistics, for small batches"
    )
    epochs: int = setting(50, "passes over the training images", minimum=1)
    warmup_epochs: float = setting(10, "linear warm-up from 0 (authors' code: 5)", minimum=0)
    batch_size: int = setting(16, "images", minimum=1)
    optimizer: OptimizerName = setting("sgd", "AdamW learns sooner from random weights")
    learning_rate: float = setting(1e-3, "after the warm-up; falls as a cosine to 0", minimum=0)
    momentum: float = setting(0.9, "of SGD", minimum=0, maximum=1)
    weight_decay: float = setting(5e-4, "of the optimizer", minimum=0)
    gradient_clip: float = setting(0.0, "largest norm of the gradient; 0 = off", minimum=0)
    crop_size: int = setting(465, "side of the training crop, pixels; use 8k+1", minimum=17)
    scale: tuple[float, float] = setting((0.5, 2.0), "range of the random scale", minimum=0.05)
    rotation: float = setting(10.0, "largest rotation, degrees", minimum=0, maximum=180)
    rotation_probability: float = setting(0.5, "of a rotation", minimum=0, maximum=1)
    blur_probability: float = setting(0.5, "of a 5×5 Gaussian blur", minimum=0, maximum=1)
    flip_probability: float = setting(0.5, "of a horizontal flip", minimum=0, maximum=1)
    precision: Literal["float32", "bfloat16", "float16"] = setting(
        "float32", "of the forward pass; the 16-bit ones are mixed precision"
    )
    channels_last: bool = setting(True, "memory layout of images and features")
    compile: bool = setting(False, "torch.compile the network")
    cpu_threads: int = setting(1, "of PyTorch on a CPU; another number, other roundings", minimum=1)

    def __post_init__(self) -> None:
        """Check what one setting says of another.

        Raises:
            ValueError: a warm-up as long as the training, or a range that ends before it starts.
        """
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs} must be below epochs {self.epochs}"
            )
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)}: expected [smallest, largest]")

    @property
    def stride(self) -> int:
        """The output stride, pixels per feature."""
        return self.output_stride or (16 if self.segmentor == "deeplabv3plus" else 8)


@dataclass(frozen=True)
class EvaluationSettings:
    """A protocol; the defaults are the paper's."""

    scales: tuple[float, ...] = setting(
        (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0), "image scales, averaged", minimum=0.05, maximum=8
    )
    long_side: int = setting(512, "longer side at scale 1, pixels; 0 = as it is", minimum=0)
    window: int = setting(465, "side of the sliding window, pixels; 0 = whole image", minimum=0)
    stride: int = setting(310, "of the window, pixels", minimum=1)
    flip: bool = setting(False, "average with the mirrored image")
    classes: tuple[str, ...] = setting(
        (), "classes that the mIoU is averaged over; empty = all (for subsets of a data set)"
    )

    def __post_init__(self) -> None:
        """Check what one setting says of another.

        Raises:
            ValueError: no scale, or a stride that leaves gaps between the windows.
        """
        if not self.scales:
            raise ValueError("scales []: expected at least one, such as [1]")
        if 0 < self.window < self.stride:
            raise ValueError(
                f"stride {self.stride} leaves gaps between windows of {self.window} pixels; "
                "expected at most the window"
            )


FigureName = Literal[
    "panel",
    "comparison",
    "distance_maps",
    "curves",
    "heat_map",
    "label_quality",
    "training",
    "class_iou",
    "confusion",
]
"""Figures that can be drawn of a table and its runs."""


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """A table: every combination of its lists, each over all seeds."""

    methods: tuple[str, ...] = setting(..., "rows of `methods`")
    networks: tuple[str, ...] = setting(..., "<segmentor>-<backbone>")
    scribbles: tuple[str, ...] = setting(("full",), "full, shrink-<ratio>, drop-<ratio>")
    pseudo_labels: tuple[str, ...] = setting(..., "recipes of `pseudo_labels`")
    measured_labels: tuple[str, ...] = setting(
        (), "more recipes whose labels are measured, without training on them"
    )
    vary: dict[str, Any] = setting(
        {}, "<loss term>.<option> → values: every combination, in the methods that have the term"
    )
    protocol: str = setting(..., "protocol of `evaluation`")
    seeds: tuple[int, ...] = setting((0, 1), "one run each", minimum=0)
    figures: tuple[FigureName, ...] = setting(("panel",), "drawn beside it")
    reported: str | None = setting(
        None, "table1, table2 or table3: the paper's and its peers' numbers on ScribbleSup, beside"
    )


@dataclass(frozen=True)
class Method:
    """A method: its loss terms with their options.

    Attributes:
        terms: name of a loss term → its options.
    """

    terms: dict[str, TermOptions] = field(default_factory=dict)

    @property
    def reads(self) -> frozenset[str]:
        """The maps (of `cdsp.losses.MAPS`) that its terms read."""
        return frozenset(itertools.chain(*(LOSS_TERMS[name].reads for name in self.terms)))

    @property
    def supervision(self) -> str:
        """What its terms learn from, in words."""
        sources = {"scribble": "scribbles", "pseudo_label": "pseudo-labels", "mask": "masks"}
        return " + ".join(word for name, word in sources.items() if name in self.reads)

    @property
    def exponents(self) -> dict[str, float]:
        """Distance map that its terms read → its λ, the option `exponent` of the term.

        Raises:
            ValueError: two terms want the same map with different λ.
        """
        exponents: dict[str, float] = {}
        for name, options in self.terms.items():
            for distance in DISTANCE_MAPS.intersection(LOSS_TERMS[name].reads):
                exponent = options.exponent  # type: ignore[attr-defined]
                if exponents.setdefault(distance, exponent) != exponent:
                    raise ValueError(
                        f"{name}: λ = {exponent} for the {distance}, another term has "
                        f"{exponents[distance]}; a method has one of each"
                    )
        return exponents


def parse_method(value: Any, where: str) -> Method:
    """Make a method from a mapping of loss terms to weights, or to options with a weight.

    Raises:
        ValueError: an unknown loss term or option, no term at all, or distances of one kind with
            two exponents.
    """
    if not isinstance(value, Mapping) or not value:
        raise ValueError(
            f"{where}: expected at least one loss term (name: weight), found {value!r}"
        )
    terms = {}
    for name, options in value.items():
        if name not in LOSS_TERMS:
            raise ValueError(f"{where}: unknown loss term {name!r}{nearest(str(name), LOSS_TERMS)}")
        if isinstance(options, int | float) and not isinstance(options, bool):
            options = {"weight": options}
        terms[name] = parse_settings(LOSS_TERMS[name].Options, options, f"{where}.{name}")
    method = Method(terms)
    try:
        _ = method.exponents
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return method


VARIANT = "@"
"""Stands before each change of an option in the name of a method's variant."""


def method_row(method: str) -> str:
    """The row of `methods` that a method's name begins with: "cdsp" of "cdsp@lorm.weight=0.1"."""
    return method.partition(VARIANT)[0]


def method_title(method: str) -> str:
    """A method's name as figures show it: "cdsp, lorm.weight 0.1"."""
    return method.replace(VARIANT, ", ").replace("=", " ")


REPORTED_TABLES = ("table1", "table2", "table3")
"""The paper's tables whose numbers stand in ``cdsp/reporting/reported.csv``."""


@dataclass(frozen=True)
class Run:
    """One training run: what tells it apart from every other, and the folder named after it.

    Attributes:
        method: name of a row of `methods`, or of a variant of one.
        network: "<segmentor>-<backbone>".
        scribbles: "full", "shrink-<ratio>" or "drop-<ratio>"; "none" if it reads none.
        pseudo_labels: recipe, or "none" if it reads none.
        seed: of weights, order and augmentation.
    """

    method: str
    network: str
    scribbles: str
    pseudo_labels: str
    seed: int

    @property
    def folder(self) -> str:
        """The run's folder below ``results/<dataset>/segmentation``."""
        return (
            f"{self.method}/{self.network}/{self.scribbles}/{self.pseudo_labels}/seed-{self.seed}"
        )


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole of `config.yaml`, checked."""

    dataset: str = setting(..., "a name of `datasets`")
    datasets: dict[str, Any] = setting(..., "data sets: what each is drawn or read from")
    scribbles: Any = setting({"source": "simulated"}, "strokes: where they come from")
    degradation: DegradationSettings = setting(DegradationSettings(), "of drop-<ratio>")
    pseudo_labels: dict[str, PseudoLabelSettings] = setting({}, "recipes of pseudo-labels")
    methods: dict[str, Any] = setting(..., "methods: loss terms and their weights")
    segmentation: SegmentationSettings = setting(SegmentationSettings(), "stage two")
    evaluation: dict[str, EvaluationSettings] = setting(..., "protocols")
    tables: dict[str, TableSettings] = setting(..., "tables")
    panel_images: int = setting(6, "training images that the panel figure shows", minimum=1)

    def __post_init__(self) -> None:
        """Check what one section says of another.

        Raises:
            ValueError: a name that another section does not define, or that is no folder name; a
                table with an empty list.
        """
        for section in ("datasets", "pseudo_labels", "methods", "evaluation", "tables"):
            for name in getattr(self, section):
                check_image_id(name, section)
                if set(" +,()") & set(name):
                    raise ValueError(
                        f"{section}: {name!r} names folders and stands in commands; write it "
                        "without spaces, commas and brackets"
                    )
        if "none" in self.pseudo_labels:
            raise ValueError("pseudo_labels: 'none' means no pseudo-labels; choose another name")
        _known(self.dataset, self.datasets, "dataset")
        for name in self.datasets:
            self.dataset_settings(name)
        _ = self.stroke_settings
        for name in self.methods:
            self.method(name)
        for name in self.pseudo_labels:
            self._check_evidence(name)
        for name, table in self.tables.items():
            where = f"tables.{name}"
            of_labels = f"{name}_labels"
            if of_labels in self.tables:
                raise ValueError(
                    f"{where}: {of_labels}.csv is where it tells of its pseudo-labels; choose "
                    f"another name for the table {of_labels!r}"
                )
            for kind in ("methods", "networks", "scribbles", "pseudo_labels", "seeds"):
                if not getattr(table, kind):
                    raise ValueError(f"{where}.{kind}: the list is empty; name at least one")
                _unique(getattr(table, kind), f"{where}.{kind}")
            for kind in ("methods", "pseudo_labels"):
                for item in getattr(table, kind):
                    _known(item, getattr(self, kind), f"{where}.{kind}")
            for item in table.measured_labels:
                _known(item, self.pseudo_labels, f"{where}.measured_labels")
            _known(table.protocol, self.evaluation, f"{where}.protocol")
            self._check_vary(name)
            if table.reported is not None:
                _known(table.reported, dict.fromkeys(REPORTED_TABLES), f"{where}.reported")
                if self.datasets[self.dataset]["source"] != "scribblesup":
                    raise ValueError(
                        f"{where}.reported: the reported numbers are of ScribbleSup, the data set "
                        f"is {self.dataset!r}; leave the key out"
                    )
            for item in table.scribbles:
                if Degradation.parse(item).name != item:
                    raise ValueError(
                        f"{where}.scribbles: write {Degradation.parse(item).name!r}, not {item!r}"
                    )
            for item in table.networks:
                self.segmentation_settings(item)

    def _check_vary(self, table: str) -> None:
        settings, where = self.tables[table], f"tables.{table}.vary"
        terms = {term for row in settings.methods for term in self.method(row).terms}
        for option in settings.vary:
            term = option.partition(".")[0]
            if term not in terms:
                raise ValueError(
                    f"{where}: {option!r}: no method of the table has the loss term {term!r}"
                    f"{nearest(term, terms)}"
                )
            _unique(tuple(self._varied(table, option)), f"{where}.{option}")
        try:
            self.variants(table)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    def _varied(self, table: str, option: str) -> list[Any]:
        """The values of an option that a table varies, each of the option's own type."""
        values, where = self.tables[table].vary[option], f"tables.{table}.vary"
        term, _, key = option.partition(".")
        if not isinstance(values, list) or not values:
            raise ValueError(f"{where}.{option}: expected a list of values, found {values!r}")
        kind = LOSS_TERMS[term].Options
        where = f"{where}.{term}"
        return [getattr(parse_settings(kind, {key: value}, where), key) for value in values]

    def _check_evidence(self, recipe: str) -> None:
        """Follow the networks behind a recipe back to strokes, CAMs or a folder."""
        chain = [recipe]
        while (evidence := self.pseudo_labels[chain[-1]].network) is not None:
            where = f"pseudo_labels.{chain[-1]}.network"
            _known(evidence.method, self.methods, f"{where}.method")
            _known(evidence.protocol, self.evaluation, f"{where}.protocol")
            self.segmentation_settings(evidence.network)
            if "pseudo_label" not in self.method(evidence.method).reads:
                return
            _known(evidence.pseudo_labels, self.pseudo_labels, f"{where}.pseudo_labels")
            chain.append(evidence.pseudo_labels)
            if chain.count(chain[-1]) > 1:
                raise ValueError(f"{where}: the recipes go in a circle: {' → '.join(chain)}")

    def evidence_run(self, recipe: str, scribbles: str) -> Run:
        """The run whose network is the evidence of a recipe, on these scribbles."""
        evidence = self.pseudo_labels[recipe].network
        assert evidence is not None
        return self._run(
            evidence.method, evidence.network, scribbles, evidence.pseudo_labels, evidence.seed
        )

    def dataset_settings(self, name: str) -> Any:
        """The settings of a data set; its key `source` tells of which kind.

        Raises:
            ValueError: no `source`, an unknown one, or wrong settings for it.
        """
        return _parse_source(self.datasets[name], SOURCES, f"datasets.{name}")

    @property
    def stroke_settings(self) -> Any:
        """The settings of the strokes; the key `source` tells of which kind.

        Raises:
            ValueError: no `source`, an unknown one, or wrong settings for it.
        """
        return _parse_source(self.scribbles, STROKE_SOURCES, "scribbles")

    def method(self, name: str) -> Method:
        """A row of `methods`, or a variant of one, see `variants`.

        Raises:
            ValueError: a term or option that there is not, or a wrong value for it.
        """
        row, *changes = name.split(VARIANT)
        terms = self.methods[row]
        for change in changes:
            option, _, value = change.partition("=")
            term, _, key = option.partition(".")
            options = terms[term] if isinstance(terms[term], Mapping) else {"weight": terms[term]}
            terms = {**terms, term: {**options, key: _value(value)}}
        return parse_method(terms, f"methods.{name}")

    def variants(self, table: str) -> list[str]:
        """The methods of a table, with each combination of the options that it varies.

        A variant is named by what it changes, such as "cdsp@lorm.mask=literal@lorm.weight=0.1";
        what changes nothing is the row itself, so that its runs are shared with other tables.

        Raises:
            ValueError: an option of a term that no method of the table has, or a wrong value.
        """
        settings = self.tables[table]
        names = {}
        for row in settings.methods:
            terms = self.method(row).terms
            varied = [
                [(option, value) for value in self._varied(table, option)]
                for option in sorted(settings.vary)
                if option.partition(".")[0] in terms
            ]
            for changes in itertools.product(*varied):
                name = row
                for option, value in changes:
                    term, _, key = option.partition(".")
                    if getattr(terms[term], key) != value:
                        name += f"{VARIANT}{option}={_text(value)}"
                self.method(name)
                names[name] = None
        return list(names)

    def segmentation_settings(self, network: str) -> SegmentationSettings:
        """Stage two's settings with the head and backbone of "<segmentor>-<backbone>".

        Raises:
            ValueError: an unknown head or backbone.
        """
        segmentor, _, backbone = network.partition("-")
        names = {"segmentor": segmentor, "backbone": backbone}
        parsed = parse_settings(SegmentationSettings, names, f"network {network!r}")
        return replace(self.segmentation, segmentor=parsed.segmentor, backbone=parsed.backbone)

    def runs(self, table: str) -> list[Run]:
        """The runs of a table, in its order and without repetition."""
        settings = self.tables[table]
        runs = {}
        for method, network, scribbles, pseudo_labels, seed in itertools.product(
            self.variants(table),
            settings.networks,
            settings.scribbles,
            settings.pseudo_labels,
            settings.seeds,
        ):
            runs[self._run(method, network, scribbles, pseudo_labels, seed)] = None
        return list(runs)

    def _run(self, method: str, network: str, scribbles: str, pseudo_labels: str, seed: int) -> Run:
        """A run, without the scribbles and pseudo-labels that its method does not read."""
        reads = self.method(method).reads
        return Run(
            method=method,
            network=network,
            # Pseudo-labels are made from scribbles, so that their runs depend on them as well.
            scribbles=scribbles if reads & {"scribble", "pseudo_label"} else "none",
            pseudo_labels=(
                self.recipe(pseudo_labels, scribbles) if "pseudo_label" in reads else "none"
            ),
            seed=seed,
        )

    def recipe(self, name: str, scribbles: str) -> str:
        """The recipe that stands for another on these scribbles: what is equal is made once.

        Shrinking keeps a point of every stroke, and with it every class: recipes that differ in
        `classes_from` alone differ only where strokes are dropped.
        """
        recipe = self.pseudo_labels[name]
        if recipe.classes_from == "degraded" or Degradation.parse(scribbles).kind == "drop":
            return name
        twin = replace(recipe, classes_from="degraded")
        return next((other for other, same in self.pseudo_labels.items() if same == twin), name)


def _parse_source(value: Any, sources: dict[str, type], where: str) -> Any:
    if not isinstance(value, Mapping) or "source" not in value:
        raise ValueError(f"{where}: the key 'source' is missing ({' or '.join(sources)})")
    _known(value["source"], sources, f"{where}.source")
    settings = {key: item for key, item in value.items() if key != "source"}
    return parse_settings(sources[value["source"]], settings, where)


def _text(value: Any) -> str:
    """A value of an option as it stands in the name of a variant; `_value` reads it."""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return value if isinstance(value, str) else json.dumps(value)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _known(name: str, known: Mapping[str, Any], where: str) -> None:
    if name not in known:
        raise ValueError(f"{where}: unknown name {name!r}{nearest(name, known)}")


def _unique(names: tuple[Any, ...], where: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{where}: {repeated[0]!r} is named twice")


def parse_config(value: Any, where: str = "config") -> Config:
    """Check a configuration read from YAML.

    Raises:
        ValueError: naming the key, what is wrong with it and what was expected.
    """
    return parse_settings(Config, value, where)


def read_config(*paths: Path) -> Config:
    """Read and check a configuration.

    Args:
        paths: of files that are merged in their order, the way Snakemake merges its
            ``--configfile``: mappings merge key by key, all else of a later file replaces.

    Raises:
        ValueError: see `parse_config`; also for a missing file or broken YAML.
    """
    merged: Any = {}
    for path in paths:
        value = read_yaml(str(path))
        if not isinstance(value, Mapping | None):
            raise ValueError(f"{path}: expected settings (key: value), found {value!r}")
        merged = _merge(merged, value or {})
    return parse_config(merged, " + ".join(map(str, paths)))


def _merge(base: Any, changes: Mapping[str, Any]) -> Any:
    if not changes:
        return base
    merged = dict(base) if isinstance(base, Mapping) else {}
    for key, value in changes.items():
        is_mapping = isinstance(value, Mapping)
        merged[key] = _merge(merged.get(key, {}), value) if is_mapping else value
    return merged
