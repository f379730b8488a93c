"""Stage two's run: any network, any set of loss terms, trained by `cdsp.training.loop`."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cdsp.dataset.voc_layout import Dataset
from cdsp.evaluation.settings import WHOLE_IMAGE, EvaluationSettings
from cdsp.io.outputs import file_digest
from cdsp.networks.backbones import weights_content
from cdsp.networks.checkpoint import (
    NetworkCheckpoint,
    read_network,
    segmentation_arguments,
    write_network,
)
from cdsp.networks.heads import SegmentationNetwork, build_network
from cdsp.networks.layers import freeze_batch_norm
from cdsp.networks.settings import NetworkSettings
from cdsp.segmentation.best_on_val import BestOnVal
from cdsp.segmentation.data import TrainingCrops, TrainingData
from cdsp.segmentation.objective import SegmentationObjective
from cdsp.segmentation.settings import SegmentationSettings
from cdsp.settings import parse_settings, settings_dict
from cdsp.training.loop import Trainer
from cdsp.training.optimizer import Schedule, build_optimizer, cosine_after_warmup
from cdsp.training.record import BEST_ON_VAL
from cdsp.training.runtime import precision_of
from cdsp.versions import VERSIONS

AUGMENTATION = (
    "crop_size",
    "scale",
    "rotation",
    "rotation_probability",
    "blur_probability",
    "flip_probability",
)
"""The settings that crops are cut by."""

logger = logging.getLogger(__name__)


def train_segmentation(
    data: TrainingData,
    network_settings: NetworkSettings,
    settings: SegmentationSettings,
    output: Path,
    *,
    name: dict[str, Any],
    seed: int,
    device: torch.device,
    num_workers: int,
    start_from: Path | None = None,
    best_on_val: EvaluationSettings | None = None,
    protocol: EvaluationSettings = WHOLE_IMAGE,
) -> Path:
    """Train a network in a folder of its own, or go on where a stopped training was.

    Args:
        data: images and maps, with the method that they are for.
        network_settings: head and backbone.
        settings: augmentation, optimisation.
        output: the folder of the run.
        name: what the run is; stored beside its weights.
        seed: of weights, order and augmentation.
        device: to train on.
        num_workers: data-loading processes; 0 loads in this one. No part of the result.
        start_from: the file of an earlier run's network, with whose weights the training starts (a
            warm start); None for those of the backbone alone.
        best_on_val: protocol by which each epoch is measured on the validation masks, to keep the
            network of the best one as well, in ``best_on_val.pt``; None for neither.
        protocol: by which the network is to predict; kept with it, no part of the training.

    Returns:
        The path of ``weights.pt``.

    Raises:
        ValueError: see `build_trainer` and `Trainer.run`.
    """
    trainer = build_trainer(
        data,
        network_settings,
        settings,
        name=name,
        seed=seed,
        device=device,
        num_workers=num_workers,
        start_from=start_from,
        best_on_val=best_on_val,
        protocol=protocol,
    )
    beside = () if best_on_val is None else (BEST_ON_VAL,)
    return trainer.run(output / "weights.pt", measured=beside)


def build_trainer(
    data: TrainingData,
    network_settings: NetworkSettings,
    settings: SegmentationSettings,
    *,
    name: dict[str, Any],
    seed: int,
    device: torch.device,
    num_workers: int,
    start_from: Path | None = None,
    best_on_val: EvaluationSettings | None = None,
    protocol: EvaluationSettings = WHOLE_IMAGE,
) -> Trainer:
    """Build everything; nothing is read but the headers of the data. See `train_segmentation`.

    Raises:
        ValueError: data without labels or of other images, other weights of the backbone, an
            earlier network that is another, or a batch that is too small for batch norm.
    """
    data.check()
    dataset, method = data.dataset, data.method
    num_images = len(dataset.splits["train"])
    check_batch_norm(network_settings, settings, num_images)
    torch.manual_seed(seed)
    network = _starting_network(dataset, network_settings, start_from)
    if hint := network.backbone.side_hint(settings.crop_size):
        logger.warning("crop_size: %s", hint)
    precision = precision_of(settings.precision, device)
    objective = SegmentationObjective(
        network,
        method,
        precision=precision,
        memory_format=torch.channels_last if settings.channels_last else torch.contiguous_format,
        frozen_batch_norm=network_settings.frozen_batch_norm,
        best=best_on_val and BestOnVal(network, dataset, best_on_val),
    ).to(device)
    if settings.compile:
        exact = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(exact, warn_only=True)  # tells the compiler too
        network.compile()
    optimizer = build_optimizer(
        settings.optimizer,
        [
            *network.parameter_groups(network_settings),
            {"params": objective.trained_terms(), "factor": 1.0},
        ],
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    identity = {
        "version": VERSIONS["segmentation"],
        "name": name,
        "seed": seed,
        "network": settings_dict(network_settings),
        "settings": settings_dict(settings),
        "terms": {key: settings_dict(options) for key, options in method.terms.items()},
        "dataset": dataset.digest,
        "stores": {key: store.digest for key, store in data.stores.items()},
        **weights_content(network_settings.backbone_weights),
        **({} if start_from is None else {"start_from": file_digest(start_from)}),
        **({} if best_on_val is None else {"best_on_val": settings_dict(best_on_val)}),
    }
    checkpoint = NetworkCheckpoint(
        kind="segmentation",
        arguments=segmentation_arguments(network_settings, len(dataset.classes), dataset.pixels),
        classes=dataset.classes,
        colours=dataset.colours,
        name=name,
        settings=identity,
        network=network,
        working_size=dataset.usual_size,
        protocol=protocol,
    )
    epochs = settings.passes(num_images)

    def learning_rate(step: int, steps_per_epoch: int) -> float:
        warmup_steps = round(settings.warmup_epochs * steps_per_epoch)
        num_steps = epochs * steps_per_epoch
        return settings.learning_rate * cosine_after_warmup(step, warmup_steps, num_steps)

    return Trainer(
        objective,
        TrainingCrops(data, seed, {key: getattr(settings, key) for key in AUGMENTATION}),
        num_images,
        optimizer,
        Schedule(
            epochs=epochs,
            batch_size=settings.batch_size,
            seed=seed,
            learning_rate=learning_rate,
            micro_batches=settings.micro_batches,
            gradient_clip=settings.gradient_clip,
            loss_scaling=precision is torch.float16,
        ),
        identity=identity,
        kind="segmentation",
        write=partial(_write, objective, checkpoint),
        device=device,
        num_workers=num_workers,
    )


def _starting_network(
    dataset: Dataset, settings: NetworkSettings, start_from: Path | None
) -> SegmentationNetwork:
    network = build_network(settings, len(dataset.classes), dataset.pixels)
    if start_from is None:
        network.backbone.load_weights(settings.backbone_weights)
    else:
        load_earlier(network, start_from, settings, dataset.classes)
    return network


def _write(
    objective: SegmentationObjective, checkpoint: NetworkCheckpoint, trained: nn.Module, path: Path
) -> None:
    """Write a trained network and, beside it, the best one on the validation images, if any."""
    if best := objective.best:
        told = {"checkpoint": "best_on_val", "epoch": int(best.epoch)}
        kept = replace(checkpoint, name=checkpoint.name | told, network=best.network)
        write_network(path.with_name(BEST_ON_VAL), kept)
    write_network(path, replace(checkpoint, network=trained))


def load_earlier(
    network: SegmentationNetwork,
    path: Path,
    settings: NetworkSettings,
    classes: tuple[str, ...],
) -> None:
    """Give a network the weights of an earlier run's.

    Raises:
        ValueError: the file holds another network, or one of other classes or pixels.
    """
    checkpoint = read_network(path, "segmentation")
    checkpoint.require_classes(classes, path)
    earlier = parse_settings(NetworkSettings, checkpoint.arguments["network"], f"{path}: network")
    told = ("head", "head_options", "backbone", "output_stride")
    for key in told:
        if getattr(earlier, key) != getattr(settings, key):
            raise ValueError(
                f"{path}: its network has {key} {getattr(earlier, key)!r}, this one "
                f"{getattr(settings, key)!r}; start from a network of the same kind, or from none"
            )
    if checkpoint.pixels.kind != network.backbone.pixels.kind:
        raise ValueError(
            f"{path}: its network takes {checkpoint.pixels}, this one {network.backbone.pixels}; "
            "start from a network of the same kind, or from none"
        )
    network.load_state_dict(checkpoint.network.state_dict())
    logger.info("starting from the weights of %s", path)


def check_batch_norm(
    network_settings: NetworkSettings, settings: SegmentationSettings, num_images: int
) -> None:
    """Check that no batch norm sees a single value per channel, of which there is no variance.

    That is so after image pooling, for a part of a batch that is a single image. It is tried on a
    network without memory.

    Args:
        network_settings: head and backbone.
        settings: of the batches.
        num_images: training images; when they are fewer than a batch, they are the only one.

    Raises:
        ValueError: naming the setting to change.
    """
    batch_size = min(settings.batch_size, num_images)
    smallest = max(1, batch_size // settings.micro_batches)
    if smallest > 1:
        return
    with torch.device("meta"):
        network = build_network(network_settings, num_classes=2).train()
        if network_settings.frozen_batch_norm:
            freeze_batch_norm(network.backbone)
        try:
            network(torch.empty(smallest, 3, settings.crop_size, settings.crop_size))
        except ValueError as error:
            found = f"batch_size {settings.batch_size}, micro_batches {settings.micro_batches}"
            raise ValueError(
                f"{found}, {num_images} training images: some part of a batch is a single image, "
                f"of which {network_settings.head}'s batch norm cannot take a variance ({error}); "
                "every part needs two images at least: raise batch_size or lower micro_batches, "
                "or choose the head deeplabv2"
            ) from error
