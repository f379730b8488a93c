"""A short trial on this machine, from which the time of an experiment is estimated."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch.nn import functional

from cdsp.networks.heads import build_network
from cdsp.networks.layers import freeze_batch_norm
from cdsp.networks.predictor import predict_probabilities
from cdsp.pseudo_labels.pixel_classifier import describe_places
from cdsp.pseudo_labels.settings import PixelSettings
from cdsp.tools.start.choices import PROTOCOL, Choices, Folder
from cdsp.training import runtime

STEPS = 2


@dataclass(frozen=True)
class Trial:
    """What was measured, seconds.

    Attributes:
        labels: of one photograph, in the pixel classifier.
        step: of the training.
        prediction: of one photograph.
    """

    labels: float
    step: float
    prediction: float

    def seconds(self, choices: Choices, folder: Folder) -> float:
        """Seconds that labels and a network take with its evaluation, one after the other."""
        return (
            folder.num_train * self.labels
            + choices.steps(folder.num_train) * self.step
            + folder.num_val * self.prediction
        )


def try_out(choices: Choices, folder: Folder, num_classes: int) -> Trial:
    """Train a few steps on noise, and label and predict one photograph of noise.

    Args:
        choices: the network, whose weights are loaded, and sizes.
        folder: the shape of its photographs.
        num_classes: with the background.

    Raises:
        ValueError: the weights cannot be had.
    """
    device = runtime.prepare(1)
    # A processor's own time: other work beside this trial says nothing of the training.
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    torch.manual_seed(0)
    network = choices.network
    built = build_network(network, num_classes)
    built.backbone.load_weights(network.backbone_weights)
    built = built.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    built.train()
    if network.frozen_batch_norm:
        freeze_batch_norm(built.backbone)
    optimizer = torch.optim.AdamW(built.parameters(), 1e-6)
    side = choices.crop_size
    images = torch.randn(max(2, choices.batch_size), 3, side, side, device=device)
    label = torch.randint(num_classes, (len(images), side, side), device=device)
    seconds = []
    for _ in range(1 + STEPS):  # the first is slower
        start = clock()
        functional.cross_entropy(built(images).logits, label).backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(clock() - start)
    built.eval()
    height = round(folder.short_side * choices.working_size / folder.long_side)
    photograph = torch.randint(256, (height, choices.working_size, 3), dtype=torch.uint8).numpy()
    start = clock()
    predict_probabilities(built, photograph, PROTOCOL, device)
    predicted = clock()
    describe_places(photograph, PixelSettings())
    return Trial(clock() - predicted, min(seconds[1:]), predicted - start)
