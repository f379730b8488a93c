"""The optimizers that both trainers offer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch

OptimizerName = Literal["sgd", "adamw"]


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
