"""Mean teacher (Tarvainen and Valpola, NeurIPS 2017): consistency with an averaged network."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch

from cdsp.losses import LossTerm, Step, Sum, TermOptions, at_least_float32, loss_term
from cdsp.networks.heads import SegmentationNetwork
from cdsp.settings import setting


@loss_term("mean_teacher", reads=("valid",))
class MeanTeacher(LossTerm):
    """Squared distance to the softmax of an averaged network, which sees the image mirrored.

    The averaged network is what the run leaves behind.
    """

    @dataclass(frozen=True)
    class Options(TermOptions):
        """Options of the mean teacher."""

        decay: float = setting(0.99, "of the average, per step", minimum=0, maximum=1)
        ramp: float = setting(
            0.3, "progress r up to which the loss grows as exp(−5 (1 − t/r)²)", minimum=0, maximum=1
        )

    options: Options

    def __init__(self, options: TermOptions, network: SegmentationNetwork) -> None:
        super().__init__(options, network)
        self.teacher = copy.deepcopy(network).requires_grad_(False)

    def train(self, mode: bool = True) -> LossTerm:
        """As of any module, but that the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, step: Step) -> Sum:
        """Summed over the pixels of the images."""
        with torch.no_grad():
            logits = step.forward(step.image.flip(-1), self.teacher).logits.flip(-1)
            wanted = at_least_float32(logits).softmax(dim=1)
        found = at_least_float32(step.output.logits).softmax(dim=1)
        valid = step.maps["valid"] != 0
        distance = (found - wanted).square().sum(dim=1) * valid
        return Sum(self._ramp(step.progress) * distance.sum(), valid.sum())

    def _ramp(self, progress: float) -> float:
        if progress >= self.options.ramp:
            return 1.0
        return math.exp(-5 * (1 - progress / self.options.ramp) ** 2)

    def after_step(self, network: SegmentationNetwork, progress: float) -> None:
        """Average: t ← decay · t + (1 − decay) · network."""
        new = network.state_dict()
        for name, old in self.teacher.state_dict().items():
            if old.is_floating_point():
                old.lerp_(new[name], 1 - self.options.decay)
            else:
                old.copy_(new[name])

    def deployed(self, network: SegmentationNetwork) -> SegmentationNetwork:
        """The averaged network."""
        return self.teacher
