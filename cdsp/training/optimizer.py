"""The steps of a training, the optimizers, and the learning rates over the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Schedule:
    """How long and in which steps an objective is trained.

    Attributes:
        epochs: passes over the training images.
        batch_size: images of a step.
        seed: of the order of the images, and of dropout.
        learning_rate: (step, steps of an epoch) → learning rate of that step.
        micro_batches: parts that a batch is computed in, one after another.
        gradient_clip: largest norm of the gradient; 0 for no bound.
        loss_scaling: whether the loss is scaled, as float16 asks.
    """

    epochs: int
    batch_size: int
    seed: int
    learning_rate: Callable[[int, int], float]
    micro_batches: int = 1
    gradient_clip: float = 0.0
    loss_scaling: bool = False


def build_optimizer(
    name: str,
    parameters: Iterable[Any],
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW.

    Args:
        name: "sgd" or "adamw".
        parameters: tensors, or groups of them.
        learning_rate: at the start; the trainers change it at every step.
        momentum: of SGD.
        weight_decay: of either.
    """
    if name == "adamw":
        return torch.optim.AdamW(parameters, learning_rate, weight_decay=weight_decay)
    return torch.optim.SGD(parameters, learning_rate, momentum=momentum, weight_decay=weight_decay)


def cosine_after_warmup(step: int, warmup_steps: int, num_steps: int) -> float:
    """Linear warm-up from 0, then half a cosine to 0; 1 at the end of the warm-up.

    Args:
        step: 0 … num_steps − 1.
        warmup_steps: steps of the warm-up; 0 for none.
        num_steps: steps of the whole training.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (num_steps - warmup_steps)))


def polynomial(step: int, num_steps: int) -> float:
    """From 1 to 0 with the power 0.9, the "poly" of DeepLab."""
    return (1 - step / num_steps) ** 0.9
