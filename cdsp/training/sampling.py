"""The order of training images: shuffled batches that depend on (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def epoch_batches(num_images: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The shuffled batches of an epoch.

    The last, incomplete batch is left out, as batch norm asks, unless it is the only one.
    """
    order = np.random.default_rng([seed, epoch]).permutation(num_images).tolist()
    batches = [order[i : i + batch_size] for i in range(0, num_images, batch_size)]
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) < batch_size else batches


class EpochSampler:
    """Batch sampler of one epoch after another; yields (epoch, index) pairs.

    Attributes:
        epoch: the epoch that the next iteration gives; set it before iterating.
        start: the batch that it begins with; 0 for the whole epoch.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int) -> None:
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed
        self.epoch = self.start = 0

    def __len__(self) -> int:
        return len(epoch_batches(self.num_images, self.batch_size, self.seed, 0))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        batches = epoch_batches(self.num_images, self.batch_size, self.seed, self.epoch)
        for batch in batches[self.start :]:
            yield [(self.epoch, index) for index in batch]
