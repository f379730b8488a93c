"""Train the multi-label classifier on the image-level classes, and on the pixels, of scribbles."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.json_files import digest, write_json
from cdsp.io.outputs import check_outputs
from cdsp.io.pixels import resize
from cdsp.losses.cross_entropy import labelled_cross_entropy
from cdsp.networks.backbones import weights_content
from cdsp.networks.checkpoint import NetworkCheckpoint, pixels_argument, write_network
from cdsp.networks.classifier import Classifier
from cdsp.networks.layers import freeze_batch_norm
from cdsp.pseudo_labels.classifier_data import ClassifierCrops, balance_weights, open_scribbles
from cdsp.pseudo_labels.settings import ClassifierSettings
from cdsp.scribbles.image_classes import check_image_classes
from cdsp.settings import settings_dict
from cdsp.training.augmentation import normalise
from cdsp.training.contract import Losses, Objective, Sum
from cdsp.training.loop import Trainer
from cdsp.training.optimizer import Schedule, build_optimizer, polynomial
from cdsp.versions import VERSIONS

logger = logging.getLogger(__name__)


class ClassifierObjective(Objective):
    """The classifier with the multi-label soft-margin loss and, with strokes, cross-entropy.

    Strokes are thinner than a feature, so that the logits are brought to their size by bilinear
    interpolation, never the strokes to that of the logits.
    """

    network: Classifier
    balance: torch.Tensor | None

    def __init__(
        self,
        network: Classifier,
        *,
        balance: torch.Tensor | None = None,
        stroke_weight: float = 0.0,
        frozen_batch_norm: bool = False,
    ) -> None:
        """Join the network and its losses.

        Args:
            network: with a background channel, where there are strokes.
            balance: (K-1,) weight of the presence of each class; None: 1.
            stroke_weight: factor of the cross-entropy.
            frozen_batch_norm: whether batch norm keeps its statistics.
        """
        super().__init__(network, {"classes": 1.0, "strokes": stroke_weight})
        self.register_buffer("balance", balance)
        self.frozen_batch_norm = frozen_batch_norm

    def train(self, mode: bool = True) -> ClassifierObjective:
        """As of any module, but that a frozen batch norm stays in evaluation mode."""
        super().train(mode)
        if self.frozen_batch_norm:
            freeze_batch_norm(self)
        return self

    def forward(self, batch: dict[str, torch.Tensor], progress: float) -> Losses:
        """The losses of images and image-level classes and, where there are some, of strokes.

        Args:
            batch: "image" (B, 3, H, W) float32, normalised; "classes" (B, K-1) float32, 1 where the
                image shows the class; "strokes" (B, H, W) uint8 scribble labels.
            progress: of the training; no part of the result.
        """
        images, targets = batch["image"], batch["classes"]
        images = images.to(memory_format=torch.channels_last)
        feature = self.network.backbone(images).feature
        logits = self.network.image_logits(feature)
        # Either way the mean over the classes, summed over the images.
        if self.balance is None:
            total = nn.functional.multilabel_soft_margin_loss(logits, targets, reduction="sum")
        else:
            total = len(targets) * nn.functional.binary_cross_entropy_with_logits(
                logits, targets, pos_weight=self.balance
            )
        terms = {"classes": Sum(total, total.new_tensor(len(targets)))}
        if "strokes" in batch:
            strokes = batch["strokes"]
            at_pixels = self.network.backbone.resize(self.network.head(feature), strokes.shape[-2:])
            terms["strokes"] = labelled_cross_entropy(at_pixels.log_softmax(dim=1), strokes)
        return Losses(terms, {})


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
    network: nn.Module, dataset: Dataset, scale: float, device: torch.device
) -> dict[str, float | None]:
    """Average precision of each object class on the validation images; their masks tell the truth.

    Args:
        network: the classifier, on ``device``; it is put into evaluation mode.
        dataset: with masks of its validation images; without, nothing is known.
        scale: of the images.
        device: where to compute.
    """
    network.eval()
    scores, present = [], []
    for image_id in dataset.splits["val"] if dataset.val_masks else ():
        image = dataset.image(image_id)
        size = tuple(max(17, round(side * scale)) for side in image.shape[1::-1])
        scaled = normalise(resize(image, size, cv2.INTER_LINEAR), dataset.pixels)
        view = torch.from_numpy(scaled)[None].to(device)
        scores.append(network(view.contiguous(memory_format=torch.channels_last))[0].cpu().numpy())
        present.append(np.isin(np.arange(1, len(dataset.classes)), dataset.mask(image_id)))
    columns = zip(np.array(scores).T, np.array(present).T, strict=True) if scores else ()
    precisions = [average_precision(*column) for column in columns]
    return dict(zip(dataset.classes[1:], precisions, strict=False))


def train_classifier(
    dataset: Dataset,
    image_classes: dict[str, list[int]],
    settings: ClassifierSettings,
    output: Path,
    *,
    scribbles: Path | None = None,
    device: torch.device,
    num_workers: int,
) -> Path:
    """Train a `ClassifierObjective` with a polynomial learning rate, or go on where it stopped.

    Args:
        dataset: the training images.
        image_classes: training image id → object classes in it.
        settings: network and optimisation.
        output: the file of the trained classifier; beside it, with ``.json``, stands its average
            precision per class on the validation images, and with ``.log.jsonl``, what it logged.
        scribbles: store of scribble labels, for a `stroke_weight` above 0 and only then.
        device: where to train.
        num_workers: data-loading processes; no part of the result.

    Returns:
        ``output``.

    Raises:
        ValueError: see `build_trainer` and `Trainer.run`.
    """
    check_outputs([output], inputs=[scribbles])
    trainer = build_trainer(
        dataset,
        image_classes,
        settings,
        scribbles=scribbles,
        device=device,
        num_workers=num_workers,
    )
    return trainer.run(output, prefix=f"{output.stem}.", measured=("json",))


def build_trainer(
    dataset: Dataset,
    image_classes: dict[str, list[int]],
    settings: ClassifierSettings,
    *,
    scribbles: Path | None = None,
    device: torch.device,
    num_workers: int,
) -> Trainer:
    """Build everything; nothing is written. See `train_classifier`.

    Raises:
        ValueError: see `check_image_classes` and `open_scribbles`; another network's weights.
    """
    check_image_classes(dataset, image_classes)
    store = open_scribbles(dataset, scribbles, settings)
    torch.manual_seed(settings.seed)
    arguments = {
        "backbone": settings.backbone,
        "output_stride": settings.output_stride,
        "num_classes": len(dataset.classes) - 1,
        "background": store is not None,
        **pixels_argument(dataset.pixels),
    }
    network = Classifier(**{**arguments, "pixels": dataset.pixels})
    network.backbone.load_weights(settings.backbone_weights)
    if hint := network.backbone.side_hint(settings.crop_size):
        logger.warning("crop_size: %s", hint)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    crops = ClassifierCrops(dataset, image_classes, settings, store)
    objective = ClassifierObjective(
        network,
        balance=balance_weights(crops.targets) if settings.class_balance else None,
        stroke_weight=settings.stroke_weight,
        frozen_batch_norm=settings.frozen_batch_norm,
    ).to(device)
    optimizer = build_optimizer(
        settings.optimizer,
        [
            {"params": network.backbone.parameters(), "factor": 1.0},
            {"params": network.head.parameters(), "factor": settings.head_factor},
        ],
        learning_rate=settings.learning_rate,
        momentum=0.9,
        weight_decay=settings.weight_decay,
    )
    identity = {
        **settings_dict(settings),
        "version": VERSIONS["pseudo_labels classifier"],
        "dataset": dataset.digest,
        "image_classes": digest({name: image_classes[name] for name in crops.ids}),
        "scribbles": None if store is None else store.digest,
        **weights_content(settings.backbone_weights),
    }

    checkpoint = NetworkCheckpoint(
        kind="classifier",
        arguments=arguments,
        classes=dataset.classes,
        colours=dataset.colours,
        name={"dataset": dataset.name},
        settings=identity,
        network=network,
    )

    def learning_rate(step: int, steps_per_epoch: int) -> float:
        return settings.learning_rate * polynomial(step, settings.epochs * steps_per_epoch)

    def write(trained: nn.Module, path: Path) -> None:
        precision = measure_classifier(trained, dataset, settings.scale[1], device)
        _write(replace(checkpoint, network=trained), precision, path)

    return Trainer(
        objective,
        crops,
        len(crops.ids),
        optimizer,
        Schedule(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            seed=settings.seed,
            learning_rate=learning_rate,
        ),
        identity=identity,
        kind="classifier",
        write=write,
        device=device,
        num_workers=num_workers,
    )


def _write(checkpoint: NetworkCheckpoint, precision: dict[str, float | None], path: Path) -> None:
    """Write a trained classifier, and beside it its average precision."""
    known = [value for value in precision.values() if value is not None]
    report = {"average_precision": precision, "mean": float(np.mean(known)) if known else None}
    write_json(path.with_suffix(".json"), report)
    logger.info("average precision on validation images: %s", report["mean"])
    write_network(path, checkpoint)
