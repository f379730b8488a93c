"""How well a linear classifier tells the classes apart by a network's frozen feature.

A loss that changes the backbone's feature changes its scale as well, which the head can undo, so
that neither the loss nor the feature's variance tells what the feature is still good for. A linear
probe does: it is blind to scale, and at chance where all locations are alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch

from cdsp.io.files import IGNORE
from cdsp.io.pixels import resize
from cdsp.networks.heads import SegmentationNetwork
from cdsp.training.augmentation import normalise

MAX_LOCATIONS = 20_000
"""Of all images together; 160 MB of 2,048 channels."""


class LinearProbe:
    """Linear discriminant analysis of the backbone's last feature, crossed over two halves.

    Locations of every second image are classified by the discriminants of the other images, and the
    other way round. All classes share the covariance within them, shrunk by Ledoit and Wolf's
    estimate, and every class is as likely as any other.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        num_images: int,
        classes: Sequence[int],
        device: torch.device,
    ) -> None:
        """Prepare a probe.

        Args:
            network: in evaluation mode, on ``device``.
            num_images: that will be added.
            classes: to tell apart; locations of others do not count.
            device: where to compute.
        """
        self.network, self.classes, self.device = network, classes, device
        self.per_image = max(1, MAX_LOCATIONS // num_images)
        self.samples: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # features, labels

    def add(self, index: int, image: np.ndarray, mask: np.ndarray, long_side: int) -> None:
        """Take the features of an image, at a random sample of its labelled locations.

        Args:
            index: of the image.
            image: (H, W, C), 0 to 255.
            mask: (H, W) uint8, 255 where nothing counts.
            long_side: to which the image is brought, pixels.
        """
        factor = long_side / max(image.shape[:2])
        height, width = (max(1, round(side * factor)) for side in image.shape[:2])
        size = tuple(self.network.backbone.valid_side(side) for side in (height, width))
        resized = resize(image, (width, height), cv2.INTER_LINEAR)
        scaled = normalise(resized, self.network.backbone.pixels)
        padded = torch.zeros(1, len(scaled), *size, device=self.device)
        padded[0, :, :height, :width] = torch.from_numpy(scaled)
        with torch.inference_mode():
            feature = self.network.backbone(padded).feature[0].float().cpu().numpy()
        label = np.full(size, IGNORE, np.uint8)
        nearest = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
        label[:height, :width] = nearest
        rows, columns = (
            np.linspace(0, full - 1, small).round().astype(int)
            for full, small in zip(size, feature.shape[1:], strict=True)
        )
        found = label[np.ix_(rows, columns)].ravel()
        rng = np.random.default_rng(index)
        chosen = rng.permutation(np.flatnonzero(np.isin(found, self.classes)))[: self.per_image]
        self.samples[index] = feature.reshape(len(feature), -1)[:, chosen].T, found[chosen]

    def join(self, parts: Sequence[dict[int, tuple[np.ndarray, np.ndarray]]]) -> None:
        """Take the ``samples`` of other probes of the same network, in place of its own."""
        self.samples = {index: sample for part in parts for index, sample in part.items()}

    def accuracy(self) -> float:
        """The mean over the classes of the fraction of their locations that are classified right.

        NaN where there is nothing to compare: fewer than two classes in either half of the images.
        """
        samples = [self.samples[index] for index in sorted(self.samples)]
        halves = [
            (
                np.concatenate([feature for feature, _ in samples[start::2]]),
                np.concatenate([label for _, label in samples[start::2]]),
            )
            for start in (0, 1)
            if len(samples) > 1
        ]
        if not halves or any(len(np.unique(label)) < 2 for _, label in halves):
            return math.nan
        right = [_classify(*halves[1 - i], halves[i][0]) == halves[i][1] for i in (0, 1)]
        truth = np.concatenate([label for _, label in halves])
        correct = np.concatenate(right)
        return float(np.mean([correct[truth == label].mean() for label in np.unique(truth)]))


def _classify(feature: np.ndarray, label: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The likeliest class of each of (N, C) features, by discriminants of labelled ones."""
    from sklearn.covariance import ledoit_wolf  # takes as long to load as PyTorch

    feature, others = feature.astype(np.float64), others.astype(np.float64)
    known, index = np.unique(label, return_inverse=True)
    means = np.stack([feature[label == class_id].mean(axis=0) for class_id in known])
    within = feature - means[index]
    scale = within.std(axis=0)
    scale[scale == 0] = 1
    covariance, _ = ledoit_wolf(within / scale, assume_centered=True)
    covariance.flat[:: len(covariance) + 1] += 1e-6  # invertible, even of channels without variance
    weights = np.linalg.solve(covariance, (means / scale).T)  # (C, K)
    scores = (others / scale) @ weights - 0.5 * ((means / scale).T * weights).sum(axis=0)
    return known[scores.argmax(axis=1)]
