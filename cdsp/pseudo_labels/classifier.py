"""Train the multi-label classifier on the image-level classes, and on the pixels, of scribbles."""

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

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.json_files import write_json
from cdsp.io.outputs import check_outputs
from cdsp.io.store import LabelStore
from cdsp.losses.cross_entropy import labelled_cross_entropy
from cdsp.networks.checkpoint import NetworkCheckpoint, write_network
from cdsp.networks.classifier import Classifier
from cdsp.networks.layers import freeze_batch_norm
from cdsp.progress import progress_options
from cdsp.pseudo_labels.settings import ClassifierSettings
from cdsp.settings import settings_dict
from cdsp.training.augmentation import augment_image, augment_map, draw_augmentation, normalise
from cdsp.training.optimizer import build_optimizer
from cdsp.training.sampling import EpochSampler

STAGE_VERSION = 1

LARGEST_BALANCE = 20.0
"""Bound of a class's positive weight, either way: a class of one image must not drown the rest."""

logger = logging.getLogger(__name__)


class ClassifierCrops(TorchDataset):
    """Augmented crops with their image-level classes and, where they teach, their scribbles."""

    def __init__(
        self,
        dataset: Dataset,
        image_classes: dict[str, list[int]],
        settings: ClassifierSettings,
        scribbles: LabelStore | None = None,
    ) -> None:
        self.dataset, self.settings, self.scribbles = dataset, settings, scribbles
        self.ids = dataset.splits["train"]
        self.targets = torch.zeros(len(self.ids), len(dataset.classes) - 1)
        for index, image_id in enumerate(self.ids):
            for class_id in image_classes[image_id]:
                self.targets[index, class_id - 1] = 1

    def __getitem__(self, item: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        """(epoch, index) → (3, crop, crop) float32 image and (K-1,) float32 classes.

        With scribbles also their (crop, crop) uint8 label, cut by the same draw.
        """
        epoch, index = item
        image = self.dataset.image(self.ids[index])
        low, high = (side / max(image.shape[:2]) for side in self.settings.long_side)
        draw = draw_augmentation(
            np.random.default_rng([self.settings.seed, epoch, index]),
            *image.shape[:2],
            crop_size=self.settings.crop_size,
            scale=(low, high),
        )
        crop = torch.from_numpy(normalise(augment_image(image, draw)))
        if self.scribbles is None:
            return crop, self.targets[index]
        strokes = augment_map("scribble", self.scribbles[self.ids[index]], draw)
        return crop, self.targets[index], torch.from_numpy(strokes)


def balance_weights(targets: torch.Tensor) -> torch.Tensor:
    """The weight of each class's presence: images without it ÷ images with it.

    A class then has as much say by its presence as by its absence. The weight stays between
    1 / `LARGEST_BALANCE` and `LARGEST_BALANCE`, also for a class that no image shows, or every one.

    Args:
        targets: (N, K) float32, 1 where the image shows the class.

    Returns:
        (K,) float32.
    """
    present = targets.sum(dim=0)
    ratio = (len(targets) - present) / present.clamp(min=1)
    return ratio.clamp(1 / LARGEST_BALANCE, LARGEST_BALANCE)


def classifier_loss(
    network: Classifier,
    images: torch.Tensor,
    targets: torch.Tensor,
    strokes: torch.Tensor | None = None,
    *,
    balance: torch.Tensor | None = None,
    stroke_weight: float = 0.0,
) -> torch.Tensor:
    """Multi-label soft-margin loss and, with strokes, cross-entropy at their pixels.

    Strokes are thinner than a feature, so that the logits are brought to their size by bilinear
    interpolation, never the strokes to that of the logits.

    Args:
        network: with a background channel, where there are strokes.
        images: (B, 3, H, W) float32, normalised.
        targets: (B, K-1) float32, 1 where the image shows the class.
        strokes: (B, H, W) uint8 scribble labels.
        balance: (K-1,) weight of the presence of each class; None: 1.
        stroke_weight: factor of the cross-entropy.

    Returns:
        A scalar.
    """
    feature = network.backbone(images).feature
    logits = network.image_logits(feature)
    if balance is None:
        loss = nn.functional.multilabel_soft_margin_loss(logits, targets)
    else:
        loss = nn.functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=balance)
    if strokes is None:
        return loss
    at_pixels = network.backbone.resize(network.head(feature), strokes.shape[-2:])
    return loss + stroke_weight * labelled_cross_entropy(at_pixels, strokes)


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


def open_scribbles(
    dataset: Dataset, scribbles: Path | None, settings: ClassifierSettings
) -> LabelStore | None:
    """Open the scribble labels, where the classifier learns from them.

    Raises:
        ValueError: they are missing where they have a weight, given where they have none, or of
            another data set.
    """
    if scribbles is None and settings.stroke_weight:
        raise ValueError(
            f"stroke_weight {settings.stroke_weight:g}: the classifier learns from the pixels of "
            "scribbles; give their store of labels (--scribbles), or set stroke_weight: 0"
        )
    if scribbles is None:
        return None
    if not settings.stroke_weight:
        raise ValueError(
            f"{scribbles}: a classifier with stroke_weight 0 does not learn from the pixels of "
            "scribbles; leave their store out, or set a stroke_weight above 0"
        )
    store = LabelStore(scribbles, "scribbles")
    store.require({}, {"dataset": dataset.digest})
    return store


def train_classifier(
    dataset: Dataset,
    image_classes: dict[str, list[int]],
    settings: ClassifierSettings,
    output: Path,
    *,
    scribbles: Path | None = None,
    device: torch.device,
    num_workers: int,
) -> None:
    """Train with `classifier_loss` and a polynomial learning rate.

    Args:
        dataset: the training images.
        image_classes: training image id → object classes in it.
        settings: network and optimisation.
        output: the file of the trained classifier; beside it, with ``.json``, stands its average
            precision per class on the validation images.
        scribbles: store of scribble labels, for a `stroke_weight` above 0 and only then.
        device: where to train.
        num_workers: data-loading processes; no part of the result.

    Raises:
        ValueError: see `check_image_classes` and `open_scribbles`; another network's weights; a
            loss that is not finite.
    """
    check_outputs([output, output.with_suffix(".json")], inputs=[scribbles])
    check_image_classes(dataset, image_classes)
    store = open_scribbles(dataset, scribbles, settings)
    torch.manual_seed(settings.seed)
    arguments = {
        "backbone": settings.backbone,
        "output_stride": settings.output_stride,
        "num_classes": len(dataset.classes) - 1,
        "background": store is not None,
    }
    network = Classifier(**arguments)
    network.backbone.load_weights(settings.backbone_weights)
    if hint := network.backbone.side_hint(settings.crop_size):
        logger.warning("crop_size: %s", hint)
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
    crops = ClassifierCrops(dataset, image_classes, settings, store)
    balance = balance_weights(crops.targets).to(device) if settings.class_balance else None
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
            for images, targets, *strokes in loader:
                rate = settings.learning_rate * (1 - bar.n / num_steps) ** 0.9
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["factor"]
                images = images.to(device, memory_format=torch.channels_last)
                loss = classifier_loss(
                    network,
                    images,
                    targets.to(device),
                    *(label.to(device) for label in strokes),
                    balance=balance,
                    stroke_weight=settings.stroke_weight,
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
