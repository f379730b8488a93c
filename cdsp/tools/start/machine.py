"""What a machine bears, and which ImageNet weights it has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from cdsp.networks.backbones import build_backbone
from cdsp.networks.settings import BACKBONES, BackboneName, backbone_class
from cdsp.networks.tensor_files import describe_mismatch, read_tensors
from cdsp.processors import usable_processors

PLACES = ("data", "weights", ".")
"""Folders, seen from where the command is given, in which weights are looked for."""


@dataclass(frozen=True)
class Machine:
    """What trains.

    Attributes:
        processors: that this process may use.
        gpu: name of the graphics card; empty where there is none.
    """

    processors: int
    gpu: str

    @property
    def name(self) -> str:
        """In words."""
        plural = "s" if self.processors > 1 else ""
        return self.gpu or f"{self.processors} processor{plural} without a graphics card"


def this_machine() -> Machine:
    """The machine that this process runs on."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    return Machine(usable_processors(), gpu)


def find_weights(backbone: BackboneName) -> Path | None:
    """A file of a backbone's ImageNet weights, by its name or what it holds; None for none.

    The folders `PLACES` are searched for files of tensors that fit.
    """
    for folder in PLACES:
        for path in sorted(Path(folder).glob("*.pth")):
            try:
                if _fits(path, backbone):
                    return path
            except ValueError:  # a damaged file, or one of something else
                continue
    return None


def backbone_of(path: Path) -> BackboneName:
    """The backbone whose weights a file holds.

    Raises:
        ValueError: it is unreadable, or of none.
    """
    read_tensors(path)
    for name in BACKBONES:
        if _fits(path, name):
            return name
    raise ValueError(
        f"{path}: the weights of no backbone that is known here ({', '.join(BACKBONES)}); give a "
        "state dict as torchvision has it"
    )


def _fits(path: Path, name: BackboneName) -> bool:
    with torch.device("meta"):
        backbone = build_backbone(name, backbone_class(name).output_strides[-1])
    state = read_tensors(path)
    own = {key: value for key, value in state.items() if not key.startswith(backbone.other_weights)}
    return not describe_mismatch(backbone.state_dict(), own)
