"""Train the multi-label classifier on the image-level classes that the scribbles name."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from tqdm import tqdm

from cdsp.augmentation import augment_image, draw_augmentation, normalise
from cdsp.config import ClassifierSettings
from cdsp.dataset.voc_layout import Dataset
from cdsp.files import write_json
from cdsp.networks.backbones import freeze_batch_norm, load_backbone_weights
from cdsp.networks.checkpoint import NetworkCheckpoint, write_network
from cdsp.networks.classifier import Classifier
from cdsp.optimizers import build_optimizer
from cdsp.progress import progress_options
from cdsp.sampling import EpochSampler
from cdsp.settings import settings_dict

STAGE_VERSION = 1

logger = logging.getLogger(__name__)


class ClassifierCrops(TorchDataset):
    """Augmented crops with their image-level classes."""

    def __init__(
        self, dataset: Dataset, image_classes: dict[str, list[int]], settings: ClassifierSettings
    ) -> None:
        self.dataset, self.settings = dataset, settings
        self.ids = dataset.splits["train"]
        self.targets = torch.zeros(len(self.ids), len(dataset.classes) - 1)
        for index, image_id in enumerate(self.ids):
            for class_id in image_classes[image_id]:
                self.targets[index, class_id - 1] = 1

    def __getitem__(self, item: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """(epoch, index) → (3, crop, crop) float32 image and (K-1,) float32 classes."""
        epoch, index = item
        image = self.dataset.image(self.ids[index])
        low, high = (side / max(image.shape[:2]) for side in self.settings.long_side)
        draw = draw_augmentation(
            np.random.default_rng([self.settings.seed, epoch, index]),
            *image.shape[:2],
            crop_size=self.settings.crop_size,
            scale=(low, high),
        )
        return torch.from_numpy(normalise(augment_image(image, draw))), self.targets[index]


def average_precision(scores: np.ndarray, present: np.ndarray) -> float | None:
    """The mean, over the images that show a class, of the precision down to their own score.

    Args:
        scores: (N,) the higher, the surer.
        present: (N,) bool.

    Returns:
        0..1; None when no image shows the class.
    """
    hits = present[np.argsort(-scores, kind="stable")]
    if not hits.any():
        return None
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


@torch.inference_mode()
def measure_classifier(
    network: Classifier, dataset: Dataset, long_side: int, device: torch.device
) -> dict[str, float | None]:
    """Average precision of each object class on the validation images; their masks tell the truth.

    Args:
        network: the classifier, on ``device``; it is put into evaluation mode.
        dataset: with masks of its validation images.
        long_side: of the images, pixels.
        device: where to compute.
    """
    network.eval()
    scores, present = [], []
    for image_id in dataset.splits["val"]:
        image = dataset.image(image_id)
        factor = long_side / max(image.shape[:2])
        size = tuple(max(17, round(side * factor)) for side in image.shape[1::-1])
        view = torch.from_numpy(normalise(cv2.resize(image, size)))[None].to(device)
        scores.append(network(view.contiguous(memory_format=torch.channels_last))[0].cpu().numpy())
        present.append(np.isin(np.arange(1, len(dataset.classes)), dataset.mask(image_id)))
    columns = zip(np.array(scores).T, np.array(present).T, strict=True) if scores else ()
    precisions = [average_precision(*column) for column in columns]
    return dict(zip(dataset.classes[1:], precisions, strict=False))


def check_image_classes(dataset: Dataset, image_classes: dict[str, list[int]]) -> None:
    """Check that image-level classes are those of a data set's training images.

    Raises:
        ValueError: a training image has no entry, or one that the data set has no class for.
    """
    again = "make the scribbles again from the same data set"
    missing = [name for name in dataset.splits["train"] if name not in image_classes]
    if missing:
        raise ValueError(
            f"{len(missing)} training images have no image-level classes, such as {missing[0]}; "
            f"{again}"
        )
    num_classes = len(dataset.classes)
    for name in dataset.splits["train"]:
        if not all(0 < class_id < num_classes for class_id in image_classes[name]):
            raise ValueError(
                f"{name}: image-level classes {image_classes[name]}, expected some of 1 to "
                f"{num_classes - 1}; {again}"
            )


def train_classifier(
    dataset: Dataset,
    image_classes: dict[str, list[int]],
    settings: ClassifierSettings,
    output: Path,
    *,
    device: torch.device,
    num_workers: int,
) -> None:
    """Train with multi-label soft-margin loss and a polynomial learning rate.

    Args:
        dataset: the training images.
        image_classes: training image id → object classes in it.
        settings: network and optimisation.
        output: the file of the trained classifier; beside it, with ``.json``, stands its average
            precision per class on the validation images.
        device: where to train.
        num_workers: data-loading processes; no part of the result.

    Raises:
        ValueError: see `check_image_classes`; another network's weights; a loss that is not finite.
    """
    check_image_classes(dataset, image_classes)
    torch.manual_seed(settings.seed)
    arguments = {
        "backbone": settings.backbone,
        "output_stride": settings.output_stride,
        "num_classes": len(dataset.classes) - 1,
    }
    network = Classifier(**arguments)
    load_backbone_weights(network.backbone, settings.backbone, settings.backbone_weights)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups = [
        {"params": network.backbone.parameters(), "factor": 1.0},
        {"params": network.head.parameters(), "factor": settings.head_factor},
    ]
    optimizer = build_optimizer(
        settings.optimizer,
        groups,
        learning_rate=settings.learning_rate,
        momentum=0.9,
        weight_decay=settings.weight_decay,
    )
    crops = ClassifierCrops(dataset, image_classes, settings)
    sampler = EpochSampler(len(crops.ids), settings.batch_size, settings.seed)
    loader = DataLoader(
        crops,
        batch_sampler=sampler,  # type: ignore[arg-type]
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        generator=torch.Generator(),
    )
    num_steps = settings.epochs * len(sampler)
    with tqdm(total=num_steps, unit="step", **progress_options()) as bar:
        for sampler.epoch in range(settings.epochs):
            network.train()
            if settings.frozen_batch_norm:
                freeze_batch_norm(network)
            total = 0.0
            for images, targets in loader:
                rate = settings.learning_rate * (1 - bar.n / num_steps) ** 0.9
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["factor"]
                images = images.to(device, memory_format=torch.channels_last)
                loss = nn.functional.multilabel_soft_margin_loss(
                    network(images), targets.to(device)
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.item()
                bar.update()
            bar.set_description(f"classifier epoch {sampler.epoch + 1}/{settings.epochs}")
            bar.set_postfix_str(f"loss {total / len(sampler):.4f}")
    if not np.isfinite(total):
        raise ValueError(f"the classifier's loss is {total}; lower its learning_rate")
    precision = measure_classifier(network, dataset, settings.long_side[1], device)
    known = [value for value in precision.values() if value is not None]
    report = {"average_precision": precision, "mean": float(np.mean(known)) if known else None}
    write_json(output.with_suffix(".json"), report)
    logger.info("average precision on validation images: %s", report["mean"])
    write_network(
        output,
        NetworkCheckpoint(
            kind="classifier",
            arguments=arguments,
            classes=dataset.classes,
            colours=dataset.colours,
            name={"dataset": dataset.name},
            settings={**settings_dict(settings), "version": STAGE_VERSION},
            network=network,
        ),
    )
