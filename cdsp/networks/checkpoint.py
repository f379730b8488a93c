"""The file of a trained network: the arguments that build it and its tensors, never an object."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from cdsp.networks.classifier import Classifier
from cdsp.networks.heads import build_network
from cdsp.networks.settings import NetworkSettings
from cdsp.networks.tensor_files import describe_mismatch, read_tensors, save_tensors
from cdsp.settings import parse_settings, settings_dict

FORMAT = "cdsp-network"
VERSION = 3


@dataclass(frozen=True)
class NetworkCheckpoint:
    """A network as it is kept in a file.

    Attributes:
        kind: "segmentor" or "classifier".
        arguments: what builds it: see `segmentor_arguments`, or the arguments of `Classifier`.
        classes: names of all classes; the first is the background.
        colours: class → (red, green, blue), where it is not VOC's.
        name: what the network is: its method, data set, seed and whatever else tells it apart.
        settings: the settings that trained it, JSON-able like the arguments and the name.
        network: the network itself, on the CPU, in evaluation mode.
    """

    kind: str
    arguments: dict[str, Any]
    classes: tuple[str, ...]
    colours: dict[str, tuple[int, int, int]]
    name: dict[str, Any]
    settings: dict[str, Any]
    network: nn.Module

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


def segmentor_arguments(settings: NetworkSettings, num_classes: int) -> dict[str, Any]:
    """The arguments that a segmentation network is kept with."""
    return {"network": settings_dict(settings), "num_classes": num_classes}


def write_network(path: Path, checkpoint: NetworkCheckpoint) -> None:
    """Write a network atomically; equal networks give equal files, byte for byte."""
    description = {
        "kind": checkpoint.kind,
        "arguments": checkpoint.arguments,
        "classes": list(checkpoint.classes),
        "colours": checkpoint.colours,
        "name": checkpoint.name,
        "settings": checkpoint.settings,
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
        ValueError: missing, truncated, of another kind or version, or with tensors of another
            network.
    """
    value = read_tensors(path)
    found = (value.get("format"), value.get("version"))
    if found != (FORMAT, VERSION):
        raise ValueError(
            f"{path}: no weights of cdsp: expected {FORMAT} version {VERSION}, found {found}; name "
            "the weights.pt of a run"
        )
    if value["kind"] != kind:
        raise ValueError(f"{path}: expected a {kind}, found a {value['kind']}")
    arguments = value["arguments"]
    if kind == "classifier":
        network: nn.Module = Classifier(**arguments)
    else:
        settings = parse_settings(NetworkSettings, arguments["network"], f"{path}: network")
        network = build_network(settings, arguments["num_classes"])
    problems = describe_mismatch(network.state_dict(), value["state"])
    if problems:
        raise ValueError(f"{path}: its tensors are not those of its network: {problems}")
    network.load_state_dict(value["state"])
    network.eval()
    return NetworkCheckpoint(
        kind=kind,
        arguments=arguments,
        classes=tuple(value["classes"]),
        colours={name: tuple(colour) for name, colour in value["colours"].items()},
        name=value["name"],
        settings=value["settings"],
        network=network,
    )
