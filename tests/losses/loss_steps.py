"""Steps for loss terms: a few pixels, drawn or given."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cdsp.losses import LOSS_TERMS, LossTerm, Step, View
from cdsp.networks.interface import NetworkOutput

BATCH, CLASSES, CHANNELS = 2, 4, 5


def draw(*shape: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, spread, shape))


def draw_labels(*shape: int, seed: int = 1) -> Tensor:
    """Labels of 0, 1 and 2 of the four classes, 255 in half of the places."""
    label = np.random.default_rng(seed).choice([0, 1, 2, 255], shape, p=[0.2, 0.2, 0.1, 0.5])
    return torch.from_numpy(label.astype(np.uint8))


def draw_maps(*size: int, padded: int = 1) -> dict[str, Tensor]:
    """Maps of a batch; the last columns of its first image are padding."""
    maps = {
        "scribble": draw_labels(BATCH, *size),
        "pseudo_label": draw_labels(BATCH, *size, seed=2),
    }
    maps["valid"] = torch.ones(BATCH, *size, dtype=torch.uint8)
    if padded:
        for name, value in (("scribble", 255), ("pseudo_label", 255), ("valid", 0)):
            maps[name][0, :, -padded:] = value
    return maps


def step_of(
    logits: Tensor,
    maps: dict[str, Tensor],
    *,
    image: Tensor | None = None,
    decoder: Tensor | None = None,
    progress: float = 0.9,
) -> Step:
    size = logits.shape[-2:]
    image = draw(len(logits), 3, *size, seed=7).to(logits.dtype) if image is None else image
    decoder = draw(len(logits), CHANNELS, *size, seed=8) if decoder is None else decoder
    features: Any = dict.fromkeys(("low_level", "backbone", "decoder"), decoder)
    output = NetworkOutput(logits, features)
    identity = torch.eye(2, 3, dtype=torch.float64).expand(len(logits), 2, 3)
    return Step([View(image, maps, identity)], [output], lambda *_: output, progress)


def make_term(name: str, **options: Any) -> LossTerm:
    """A term in float64, of a network with `CHANNELS` in each of its features."""
    torch.manual_seed(0)
    features = dict.fromkeys(("low_level", "backbone", "decoder"), CHANNELS)
    kind = LOSS_TERMS[name]
    network: Any = SimpleNamespace(feature_channels=features)
    return kind(kind.Options(**options), network).double()
