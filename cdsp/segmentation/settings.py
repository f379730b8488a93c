"""Augmentation and optimisation of stage two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from cdsp.settings import setting
from cdsp.training.settings import OptimizerName


@dataclass(frozen=True)
class SegmentationSettings:
    """Augmentation and optimisation of stage two; the defaults are the paper's Table 1."""

    epochs: int = setting(50, "passes over the training images", minimum=1)
    min_steps: int = setting(
        0,
        "steps of the optimizer at least: passes are added until there are so many, for few images",
        minimum=0,
    )
    warmup_epochs: float = setting(10, "linear warm-up from 0 (authors' code: 5)", minimum=0)
    batch_size: int = setting(16, "images", minimum=1)
    micro_batches: int = setting(
        1,
        "parts that a batch is computed in, one after another, where memory is short: the same "
        "step but for batch norm, which sees a part",
        minimum=1,
    )
    optimizer: OptimizerName = setting("sgd", "AdamW learns sooner from random weights")
    learning_rate: float = setting(1e-3, "after the warm-up; falls as a cosine to 0", minimum=0)
    momentum: float = setting(0.9, "of SGD", minimum=0, maximum=1)
    weight_decay: float = setting(5e-4, "of the optimizer", minimum=0)
    gradient_clip: float = setting(0.0, "largest norm of the gradient; 0 = off", minimum=0)
    crop_size: int = setting(
        465, "side of the training crop, pixels; 16k+1 aligns features", minimum=17
    )
    scale: tuple[float, float] = setting((0.5, 2.0), "range of the random scale", minimum=0.05)
    rotation: float = setting(10.0, "largest rotation, degrees", minimum=0, maximum=180)
    rotation_probability: float = setting(0.5, "of a rotation", minimum=0, maximum=1)
    blur_probability: float = setting(0.5, "of a 5×5 Gaussian blur", minimum=0, maximum=1)
    flip_probability: float = setting(0.5, "of a horizontal flip", minimum=0, maximum=1)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto",
        "of the forward pass; the 16-bit ones are mixed precision. auto: bfloat16 on a GPU that "
        "has it, else float32",
    )
    deterministic: Literal["auto", True, False] = setting(
        "auto",
        "equal seeds give equal results; on a GPU a step takes about three times as long for it. "
        "auto: true on a CPU, false on a GPU",
    )
    channels_last: bool = setting(True, "memory layout of images and features")
    compile: bool = setting(False, "torch.compile the network")
    cpu_threads: int = setting(1, "of PyTorch on a CPU; another number, other roundings", minimum=1)

    def __post_init__(self) -> None:
        """Check what one setting says of another.

        Raises:
            ValueError: a warm-up as long as the training, or a range that ends before it starts.
        """
        if not self.min_steps:
            self.passes(num_images=1)
        if self.micro_batches > self.batch_size:
            raise ValueError(
                f"micro_batches {self.micro_batches}: expected at most the images of a batch, "
                f"batch_size {self.batch_size}"
            )
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)}: expected [smallest, largest]")

    def passes(self, num_images: int) -> int:
        """Passes over so many training images: ``epochs``, or as many as ``min_steps`` asks for.

        Raises:
            ValueError: the warm-up is as long as they are.
        """
        steps = max(1, num_images // self.batch_size)  # an incomplete batch is left out
        passes = max(self.epochs, math.ceil(self.min_steps / steps))
        if self.warmup_epochs >= passes:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} must be below epochs {passes}")
        return passes
