"""The file of a trained network: the arguments that build it and its tensors, never an object."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cdsp.evaluation.settings import WHOLE_IMAGE, EvaluationSettings
from cdsp.io.files import class_palette
from cdsp.io.pixels import RGB, PixelFormat
from cdsp.networks.backbones import Backbone
from cdsp.networks.classifier import Classifier
from cdsp.networks.heads import build_network
from cdsp.networks.settings import NetworkSettings
from cdsp.networks.tensor_files import (
    describe_mismatch,
    read_tensors,
    require_finite,
    save_tensors,
)
from cdsp.settings import parse_settings, settings_dict
from cdsp.training.record import BEST_ON_VAL, TRAIN_AGAIN, read_training

FORMAT = "cdsp-network"
VERSION = 5


@dataclass(frozen=True)
class NetworkCheckpoint:
    """A network as it is kept in a file.

    Attributes:
        kind: "segmentation" or "classifier".
        arguments: what builds it: see `segmentation_arguments`, or the arguments of `Classifier`.
        classes: names of all classes; the first is the background.
        colours: class → (red, green, blue), where it is not VOC's.
        name: what the network is: its method, data set, seed and whatever else tells it apart.
        settings: the settings that trained it, JSON-able like the arguments and the name.
        network: the network itself, on the CPU, in evaluation mode.
        working_size: longer side of the photographs that it was trained on, pixels; any photograph
            is brought to it before it is predicted; 0 = as it is.
        protocol: of the evaluation that measures it; it predicts by this one where nobody asks for
            another.
    """

    kind: str
    arguments: dict[str, Any]
    classes: tuple[str, ...]
    colours: dict[str, tuple[int, int, int]]
    name: dict[str, Any]
    settings: dict[str, Any]
    network: nn.Module
    working_size: int = 0
    protocol: EvaluationSettings = WHOLE_IMAGE

    @property
    def pixels(self) -> PixelFormat:
        """The pixels of the images that it takes."""
        backbone = self.network.backbone
        assert isinstance(backbone, Backbone)
        return backbone.pixels

    def require_classes(self, classes: tuple[str, ...], path: Path) -> None:
        """Check that the network, read from ``path``, knows a data set's classes.

        Raises:
            ValueError: it was trained on others.
        """
        if self.classes != classes:
            raise ValueError(
                f"{path}: trained on the classes {list(self.classes)}, "
                f"the data set has {list(classes)}"
            )


def segmentation_arguments(
    settings: NetworkSettings, num_classes: int, pixels: PixelFormat = RGB
) -> dict[str, Any]:
    """The arguments that a segmentation network is kept with."""
    kept = {"network": settings_dict(settings), "num_classes": num_classes}
    return kept | pixels_argument(pixels)


def pixels_argument(pixels: PixelFormat) -> dict[str, Any]:
    """What tells a network's pixels among its arguments; nothing for common photographs."""
    return {} if pixels.is_common else {"pixels": settings_dict(pixels)}


def write_network(path: Path, checkpoint: NetworkCheckpoint) -> None:
    """Write a network atomically; equal networks give equal files, byte for byte."""
    description = {
        "kind": checkpoint.kind,
        "arguments": checkpoint.arguments,
        "classes": list(checkpoint.classes),
        "colours": checkpoint.colours,
        "name": checkpoint.name,
        "settings": checkpoint.settings,
        "working_size": checkpoint.working_size,
        "protocol": settings_dict(checkpoint.protocol),
    }
    value = {
        "format": FORMAT,
        "version": VERSION,
        # By way of JSON, since pickle tells equal strings from one string met twice.
        **json.loads(json.dumps(description)),
        "state": {k: v.cpu().contiguous() for k, v in checkpoint.network.state_dict().items()},
    }
    save_tensors(path, value)


def read_network(path: Path, kind: str) -> NetworkCheckpoint:
    """Read a network of the given kind.

    Raises:
        ValueError: missing, damaged, of another kind or version, with tensors of another network,
            or with numbers that are not finite; or the settings or log beside it are of another
            training.
    """
    value = read_tensors(path)
    found = (value.get("format"), value.get("version"))
    if found != (FORMAT, VERSION):
        raise ValueError(
            f"{path}: no weights of cdsp: expected {FORMAT} version {VERSION}, found {found}; name "
            "the weights.pt of a run"
        )
    if value.get("kind") != kind:
        raise ValueError(f"{path}: expected a {kind} network, found a {value.get('kind')} network")
    try:
        checkpoint = _build(path, kind, value)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        if str(error).startswith(str(path)):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path}: does not describe a {kind} network ({reason}); train it again"
        ) from error
    of_run = path.name in ("weights.pt", BEST_ON_VAL)
    record = read_training(path.parent, "" if of_run else f"{path.stem}.")
    record.require(checkpoint.settings, path, TRAIN_AGAIN)
    return checkpoint


def _build(path: Path, kind: str, value: dict[str, Any]) -> NetworkCheckpoint:
    arguments = dict(value["arguments"])
    pixels = parse_settings(PixelFormat, arguments.get("pixels", {}), f"{path}: pixels")

    def build() -> nn.Module:
        if kind == "classifier":
            return Classifier(**{**arguments, "pixels": pixels})
        settings = parse_settings(NetworkSettings, arguments["network"], f"{path}: network")
        return build_network(settings, arguments["num_classes"], pixels)

    # Without memory first: what the file asks for could be of any size.
    with torch.device("meta"):
        wanted = build().state_dict()
    problems = describe_mismatch(wanted, value["state"])
    if problems:
        raise ValueError(f"{path}: its tensors are not those of its network: {problems}")
    for name, tensor in wanted.items():
        if value["state"][name].dtype != tensor.dtype:
            found = value["state"][name].dtype
            raise ValueError(f"{path}: {name} is of {found}, expected {tensor.dtype}")
    require_finite(value["state"], path)
    network = build()
    network.load_state_dict(value["state"])
    network.eval()
    classes = tuple(map(str, value["classes"]))
    number = arguments["num_classes"] + (kind == "classifier")  # which leaves the background out
    if not len(set(classes)) == len(classes) == number:
        raise ValueError(f"{path}: names {list(classes)} for the {number} classes of its network")
    colours = {str(name): tuple(colour) for name, colour in value["colours"].items()}
    class_palette(classes, colours)  # raises where a colour has no class
    return NetworkCheckpoint(
        kind=kind,
        arguments=arguments,
        classes=classes,
        colours=colours,
        name=dict(value["name"]),
        settings=dict(value["settings"]),
        network=network,
        working_size=int(value["working_size"]),
        protocol=parse_settings(EvaluationSettings, value["protocol"], f"{path}: protocol"),
    )
