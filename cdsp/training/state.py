"""What an unfinished training is resumed from, and how often it is written."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

LARGEST_SHARE = 0.02
"""Of the time of a training, for writing its states."""

SECONDS_BETWEEN = 300.0
"""From one state to the next in the middle of an epoch; what a machine that dies takes with it."""


class StateTimer:
    """Says when a state is worth what writing it costs, by what the last one cost."""

    def __init__(self) -> None:
        self.cost = 0.0  # seconds
        self.written = time.perf_counter()

    def due(self, *, epoch_ended: bool) -> bool:
        """Whether to write one now: at the end of an epoch, or when the last one is long ago."""
        elapsed = time.perf_counter() - self.written
        return self.cost <= LARGEST_SHARE * elapsed and (epoch_ended or elapsed >= SECONDS_BETWEEN)

    def start(self) -> None:
        """Called before one is written."""
        self.written = time.perf_counter()

    def stop(self) -> None:
        """Called after one is written."""
        started, self.written = self.written, time.perf_counter()
        self.cost = self.written - started


@dataclass
class EpochSoFar:
    """What has been done of an epoch, between two of its steps.

    Attributes:
        batches: that have been learned from.
        images: in them.
        seconds: that they took.
        sums: name in the log → the sum over the batches, a scalar on the training's device.
    """

    batches: int = 0
    images: int = 0
    seconds: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, num_images: int, values: dict[str, Tensor]) -> None:
        """Add a batch."""
        self.batches += 1
        self.images += num_images
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else 0 + value

    def means(self) -> dict[str, float]:
        """Name → the mean over the batches."""
        return {name: value.item() / self.batches for name, value in self.sums.items()}


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of the generators that a step draws from: dropout's."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Go on drawing where `random_state` was taken; on another kind of device, from anywhere."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
