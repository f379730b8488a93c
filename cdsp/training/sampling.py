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
        images: of each batch.
        epoch: the epoch that the next iteration gives; set it before iterating.
        start: the batch that it begins with; 0 for the whole epoch.
    """

    def __init__(
        self, num_images: int, batch_size: int, seed: int, rank: int = 0, num_ranks: int = 1
    ) -> None:
        """Name the images.

        Args:
            num_images: of the training.
            batch_size: of all processes together.
            seed: of the order.
            rank: of this process, which is given its share of each batch.
            num_ranks: the number of processes.

        Raises:
            ValueError: a process would have no image.
        """
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed
        self.images = min(num_images, batch_size)
        self.rank, self.num_ranks = rank, num_ranks
        if self.images < num_ranks:
            raise ValueError(
                f"batch_size {batch_size}, {num_images} training images: a batch has fewer images "
                f"than there are processes ({num_ranks}); start fewer, or raise batch_size"
            )
        self.epoch = self.start = 0

    def __len__(self) -> int:
        return len(epoch_batches(self.num_images, self.batch_size, self.seed, 0))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        batches = epoch_batches(self.num_images, self.batch_size, self.seed, self.epoch)
        for batch in batches[self.start :]:
            yield [(self.epoch, index) for index in batch[self.rank :: self.num_ranks]]
