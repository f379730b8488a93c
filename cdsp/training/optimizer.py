"""The optimizers and the learning rates over the steps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch


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
