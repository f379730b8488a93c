"""The trainer of stage two: any network, any set of loss terms, resumable at every epoch.

Everything random depends on (seed, epoch) or (seed, epoch, image) alone, and the learning rate on
the step, so that the state to resume from is weights and momentum: a run that was stopped, however
rudely, and started again ends with the same weights as one that never was.
"""

from __future__ import annotations

import fcntl
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from cdsp.io.json_files import digest, write_json, write_json_lines
from cdsp.io.outputs import check_outputs
from cdsp.losses import LOSS_TERMS
from cdsp.networks.checkpoint import (
    NetworkCheckpoint,
    read_network,
    segmentor_arguments,
    write_network,
)
from cdsp.networks.heads import build_network
from cdsp.networks.interface import NetworkOutput
from cdsp.networks.layers import freeze_batch_norm
from cdsp.networks.tensor_files import read_tensors, save_tensors
from cdsp.progress import progress_options
from cdsp.segmentation.data import TrainingCrops, TrainingData, count_without_label
from cdsp.segmentation.method import Method
from cdsp.segmentation.settings import SegmentationSettings
from cdsp.settings import settings_dict
from cdsp.training import runtime
from cdsp.training.optimizer import build_optimizer
from cdsp.training.sampling import EpochSampler

STAGE_VERSION = 1

logger = logging.getLogger(__name__)


def learning_rate_factor(step: int, warmup_steps: int, num_steps: int) -> float:
    """Linear warm-up from 0, then half a cosine to 0; 1 at the end of the warm-up.

    Args:
        step: 0 … num_steps − 1.
        warmup_steps: steps of the warm-up; 0 for none.
        num_steps: steps of the whole training.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (num_steps - warmup_steps)))


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a run's folder: a second process that wants to train the same run is refused.

    Temporary files of a process that was killed while it wrote are removed.

    Raises:
        ValueError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"{folder}: another process is training this run; wait for it or stop it first"
            ) from error
        for leftover in folder.glob(".*.tmp*"):
            leftover.unlink()
        yield


class Trainer:
    """One training run, between its data and its folder."""

    def __init__(
        self,
        data: TrainingData,
        method: Method,
        settings: SegmentationSettings,
        *,
        name: dict[str, Any],
        seed: int,
        device: torch.device,
        num_workers: int,
    ) -> None:
        """Build everything; nothing is read but the headers of the data.

        Args:
            data: images and maps.
            method: loss terms and weights.
            settings: network, augmentation, optimisation.
            name: what the run is; stored beside its weights.
            seed: of weights, order and augmentation.
            device: to train on.
            num_workers: data-loading processes; 0 loads in this one. No part of the result.
        """
        data.check()
        self.settings, self.name, self.device = settings, name, device
        self.classes, self.colours = data.dataset.classes, data.dataset.colours
        self.seed = seed
        torch.manual_seed(seed)
        self.network = build_network(settings.network, len(self.classes))
        self.network.backbone.load_weights(settings.network.backbone_weights)
        if hint := self.network.backbone.side_hint(settings.crop_size):
            logger.warning("crop_size: %s", hint)
        channels = self.network.feature_channels["backbone"]
        self.terms = nn.ModuleDict(
            {name: LOSS_TERMS[name](options, channels) for name, options in method.terms.items()}
        )
        self.memory_format = (
            torch.channels_last if settings.channels_last else torch.contiguous_format
        )
        self.network.to(device=device, memory_format=self.memory_format)  # type: ignore[call-overload]
        self.terms.to(device)
        self.forward = torch.compile(self.network) if settings.compile else self.network
        self.parameters = [*self.network.parameters(), *self.terms.parameters()]
        self.optimizer = build_optimizer(
            settings.optimizer,
            [
                *self.network.parameter_groups(settings.network),
                {"params": list(self.terms.parameters()), "factor": 1.0},
            ],
            learning_rate=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "float16")
        self.sampler = EpochSampler(len(data.dataset.splits["train"]), settings.batch_size, seed)
        augmentation = {
            key: getattr(settings, key)
            for key in (
                "crop_size",
                "scale",
                "rotation",
                "rotation_probability",
                "blur_probability",
                "flip_probability",
            )
        }
        self.loader = DataLoader(
            TrainingCrops(data, seed, augmentation),
            batch_sampler=self.sampler,  # type: ignore[arg-type]
            num_workers=num_workers,
            pin_memory=device.type == "cuda",
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),  # its own: dropout must not depend on the loader
        )
        # What the weights depend on: a state of anything else is not resumed from.
        self.identity = {
            "version": STAGE_VERSION,
            "name": name,
            "seed": seed,
            "settings": settings_dict(settings),
            "terms": {key: settings_dict(options) for key, options in method.terms.items()},
            "dataset": data.dataset.digest,
            "stores": {key: store.digest for key, store in data.stores.items()},
        }
        self.epoch = 0
        self.log: list[dict[str, Any]] = []

    def run(self, folder: Path) -> Path:
        """Train to the end, resuming from the folder's state if there is one.

        Args:
            folder: of the run. Written: ``settings.json`` and ``environment.json`` at the start,
                ``log.jsonl`` and the state after every epoch, ``weights.pt`` at the end.

        Returns:
            The path of ``weights.pt``.

        Raises:
            ValueError: another process trains in this folder, or the loss is not finite.
        """
        weights = folder / "weights.pt"
        with only_writer(folder):
            state = folder / f"state-{digest(self.identity)}.pt"
            if weights.is_file() and self._made(weights):
                state.unlink(missing_ok=True)  # of a process that was killed right here
                logger.info("%s: trained already with these settings and data", weights)
                return weights
            names = ("settings.json", "environment.json", "log.jsonl", state.name, weights.name)
            self._resume(state)
            check_outputs(folder / file for file in names)
            write_json(folder / "settings.json", self.identity)
            environment = {**runtime.describe(self.device), **runtime.describe_command()}
            write_json(folder / "environment.json", environment)
            num_steps = len(self.sampler)
            with tqdm(
                total=self.settings.epochs * num_steps,
                initial=self.epoch * num_steps,
                unit="step",
                **progress_options(),
            ) as bar:
                while self.epoch < self.settings.epochs:
                    self.log.append(self._train_epoch(bar))
                    self.epoch += 1
                    # The log first: killed between the two, its last epoch is trained again.
                    write_json_lines(folder / "log.jsonl", self.log)
                    save_tensors(state, self._state())
            write_network(
                weights,
                NetworkCheckpoint(
                    kind="segmentor",
                    arguments=segmentor_arguments(self.settings.network, len(self.classes)),
                    classes=self.classes,
                    colours=self.colours,
                    name=self.name,
                    settings=self.identity,
                    network=self.network,
                ),
            )
            for old in folder.glob("state-*.pt"):
                old.unlink()
        return weights

    def _made(self, weights: Path) -> bool:
        """Whether a file of weights is what this run would end with."""
        return digest(read_network(weights, "segmentor").settings) == digest(self.identity)

    def _train_epoch(self, bar: tqdm) -> dict[str, Any]:
        self.sampler.epoch = self.epoch
        torch.manual_seed(self.seed * 1_000_003 + self.epoch)  # dropout
        self.network.train()
        if self.settings.frozen_batch_norm:
            freeze_batch_norm(self.network.backbone)
        self.terms.train()
        sums: dict[str, Tensor] = {}
        start = time.perf_counter()
        for index, batch in enumerate(self.loader):
            losses = self._step(batch, self.epoch * len(self.sampler) + index)
            for name, loss in losses.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + loss
            bar.update()
            if index % 10 == 0 or index + 1 == len(self.sampler):
                self._show(bar, sums, index + 1, start)
        means = {name: value.item() / len(self.sampler) for name, value in sums.items()}
        if not all(math.isfinite(value) for value in means.values()):
            raise ValueError(
                f"the loss is not finite in epoch {self.epoch + 1}: {means}; "
                "lower learning_rate or set gradient_clip"
            )
        seconds = time.perf_counter() - start
        return {
            "epoch": self.epoch + 1,
            **means,
            "learning_rate": self.optimizer.param_groups[-1]["lr"],  # of the terms: factor 1
            "images_per_second": len(self.sampler) * self.settings.batch_size / seconds,
            "seconds": seconds,
        }

    def _show(self, bar: tqdm, sums: dict[str, Tensor], num_steps: int, start: float) -> None:
        terms = "  ".join(f"{name} {value.item() / num_steps:.3f}" for name, value in sums.items())
        speed = num_steps * self.settings.batch_size / (time.perf_counter() - start)
        bar.set_description(f"epoch {self.epoch + 1}/{self.settings.epochs}", refresh=False)
        bar.set_postfix_str(f"{terms}  {speed:.0f} images/s", refresh=False)

    def _step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        warmup_steps = round(self.settings.warmup_epochs * len(self.sampler))
        num_steps = self.settings.epochs * len(self.sampler)
        rate = self.settings.learning_rate * learning_rate_factor(step, warmup_steps, num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        batch = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
        images = batch.pop("image").to(memory_format=self.memory_format)
        precision = getattr(torch, self.settings.precision)
        with torch.autocast(
            self.device.type, dtype=precision, enabled=precision is not torch.float32
        ):
            output: NetworkOutput = self.forward(images)
        losses = {name: term(output, batch) for name, term in self.terms.items()}
        total = torch.stack(
            [self.terms[name].options.weight * loss for name, loss in losses.items()]  # type: ignore[union-attr]
        ).sum()
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(total).backward()
        if self.settings.gradient_clip > 0:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        logged = {"loss": total, **losses, "feature_variance": feature_variance(output.feature)}
        return {name: value.detach() for name, value in logged.items()}

    def _state(self) -> dict[str, Any]:
        return {
            "identity": digest(self.identity),
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "terms": self.terms.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "log": self.log,
        }

    def _resume(self, path: Path) -> None:
        if not path.is_file():
            return
        state = read_tensors(path)
        if state.get("identity") != digest(self.identity):
            raise ValueError(f"{path}: the state of another run; delete it to start from scratch")
        self.network.load_state_dict(state["network"])
        self.terms.load_state_dict(state["terms"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.log = state["epoch"], state["log"]
        logger.info("resuming after epoch %d of %d", self.epoch, self.settings.epochs)


def feature_variance(feature: Tensor) -> Tensor:
    """Mean variance of a feature map (B, C, h, w) over its locations.

    It tells a feature that is collapsing, all locations alike, from one that is not.
    """
    return feature.detach().float().var(dim=(2, 3), correction=0).mean()


def report_unlabelled(data: TrainingData) -> None:
    """Say how many training images have no label at all in a map that the method learns from."""
    for name in ("scribble", "pseudo_label"):
        if name in data.stores:
            ids = data.dataset.splits["train"]
            without = count_without_label(data.stores[name], ids)
            data.stores[name].close()
            if without:
                logger.warning(
                    "%d of %d training images have no %s; they are trained with what is there",
                    without,
                    len(ids),
                    name,
                )
