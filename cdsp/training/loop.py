"""The training loop of the segmentation network and of the classifier, resumable at every step.

Order and augmentation depend on (seed, epoch) or (seed, epoch, image) alone, and the learning rate
on the step, so that the state to resume from is weights, momentum, and dropout's random numbers: a
run that was stopped, however rudely, and started again ends with the same weights as one that never
was.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from cdsp.io.json_files import digest, write_json, write_json_lines
from cdsp.networks.checkpoint import read_network
from cdsp.networks.tensor_files import read_tensors, require_finite, save_tensors, tensors_of
from cdsp.training import ranks, runtime
from cdsp.training.contract import Objective, Sum
from cdsp.training.optimizer import Schedule
from cdsp.training.record import RUN
from cdsp.training.report import TrainingReport, run_title
from cdsp.training.run_files import RunFiles
from cdsp.training.sampling import EpochSampler
from cdsp.training.state import EpochSoFar, StateTimer, random_state, restore_random_state
from cdsp.training.stopping import EXIT_CODE, prepare_worker, stop_request

VERSION = 2
"""Of the states of unfinished runs."""

logger = logging.getLogger(__name__)


class Trainer:
    """One training run, between its data and its files."""

    def __init__(
        self,
        objective: Objective,
        crops: TorchDataset,
        num_images: int,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        *,
        identity: dict[str, Any],
        kind: str,
        write: Callable[[nn.Module, Path], None],
        device: torch.device,
        num_workers: int,
    ) -> None:
        """Prepare a run; nothing is read or written.

        Args:
            objective: the network and what trains it, on ``device``.
            crops: (epoch, index) → tensors by name, which the objective takes in batches.
            num_images: the indices that there are.
            optimizer: of the objective; a group may have a ``factor`` of the learning rate.
            schedule: epochs and steps.
            identity: what the weights depend on: a state of anything else is not resumed from.
            kind: of the file of weights, see `cdsp.networks.checkpoint`.
            write: writes the trained network, and what belongs beside it, to a path.
            device: to train on.
            num_workers: data-loading processes; 0 loads in this one. No part of the result.
        """
        self.objective, self.optimizer, self.schedule = objective, optimizer, schedule
        self.identity, self.kind, self.write, self.device = identity, kind, write, device
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.scaler = torch.amp.GradScaler(device.type, enabled=schedule.loss_scaling)
        self.sampler = EpochSampler(
            num_images, schedule.batch_size, schedule.seed, ranks.rank(), ranks.size()
        )
        ranks.synchronise_batch_norm(objective)
        self.loader = DataLoader(
            crops,
            batch_sampler=self.sampler,  # type: ignore[arg-type]
            num_workers=num_workers,
            pin_memory=device.type == "cuda",
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),  # its own: dropout must not depend on the loader
            worker_init_fn=prepare_worker,
        )
        self.num_steps = schedule.epochs * len(self.sampler)
        self.epoch = 0
        self.so_far = EpochSoFar()
        self.log: list[dict[str, Any]] = []
        self.timer = StateTimer()

    def run(self, weights: Path, prefix: str = "", measured: tuple[str, ...] = ()) -> Path:
        """Train to the end, resuming from the state that an interrupted run left, if there is one.

        Beside the weights are written, when they are: ``settings.json``, ``environment.json`` and
        ``log.jsonl``, one line per epoch. Until then they are in the folder of `RunFiles`.

        Args:
            weights: the file of the trained network.
            prefix: of the names of the other files, where the folder holds more than this run.
            measured: names of what ``write`` writes besides the weights.

        Returns:
            ``weights``.

        Raises:
            ValueError: another process trains this run, or the loss is not finite.
            SystemExit: with `EXIT_CODE`; SIGTERM or SIGINT asked to stop, and the state is saved.
        """
        files = RunFiles(weights, prefix, self.identity, measured)
        first = ranks.rank() == 0
        with files.locked() if first else nullcontext(), ranks.told_when_another_ends():
            if ranks.from_first(first and files.complete and self._made(weights)):
                if first:
                    shutil.rmtree(files.unfinished, ignore_errors=True)  # killed right here
                logger.info(
                    "%s: trained already with these settings and data; move it away to train again",
                    weights,
                )
                return weights
            if not ranks.from_first(first and files.trained.is_file()):
                if not files.state.is_file():
                    for line in files.others() if first else ():
                        logger.warning(line)
                self._resume(files.state)
                self._train(files)
                if first:
                    self.write(self.objective.deployed(), files.trained)
            if first:
                files.publish()
        return weights

    def _made(self, weights: Path) -> bool:
        """Whether a file of weights is what this run would end with."""
        try:
            settings = read_network(weights, self.kind).settings
        except ValueError as error:  # of an older version, or not of the files beside it
            logger.warning("%s: it is trained again", error)
            return False
        return digest(settings) == digest(self.identity)

    def _resume(self, path: Path) -> None:
        if not path.is_file():
            return
        state = read_tensors(path)
        if (state.get("version"), state.get("identity")) != (VERSION, digest(self.identity)):
            raise ValueError(
                f"{path}: the state of another run, or of another version of cdsp; delete it to "
                "start from scratch"
            )
        require_finite(dict(tensors_of(state)), path, "delete it to start from scratch")
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.log = state["epoch"], state["log"]
        self.so_far = EpochSoFar(**state["so_far"])
        sums = self.so_far.sums
        self.so_far.sums = {name: value.to(self.device) for name, value in sums.items()}
        if len(state["random"]) == ranks.size():
            restore_random_state(state["random"][ranks.rank()], self.device)
        done = f"epoch {self.epoch}"
        if self.so_far.batches:
            done = f"step {self.so_far.batches} of epoch {self.epoch + 1}"
        logger.info("resuming after %s of %d", done, self.schedule.epochs)

    def _state(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "identity": digest(self.identity),
            "epoch": self.epoch,
            "so_far": vars(self.so_far),
            "random": ranks.gather(random_state(self.device)),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "log": self.log,
        }

    def _save(self, path: Path) -> None:
        self.timer.start()
        state = self._state()
        where = f"weights of epoch {self.epoch + (self.so_far.batches > 0)}"
        require_finite(dict(tensors_of(state)), where, "lower learning_rate")
        if ranks.rank() == 0:
            save_tensors(path, state)
        self.timer.stop()

    def _describe(self, files: RunFiles) -> None:
        write_json(files.path("settings.json"), self.identity)
        environment = {
            RUN: files.run,
            **runtime.describe(self.device),
            **runtime.describe_command(),
            "precision": str(self.objective.precision).removeprefix("torch."),
            "loading_processes": self.loader.num_workers,
            "processes": ranks.size(),
        }
        write_json(files.path("environment.json"), environment)

    def _train(self, files: RunFiles) -> None:
        first = ranks.rank() == 0
        if first:
            self._describe(files)
        with (
            stop_request() as request,
            TrainingReport(
                run_title(self.identity, self.kind),
                epochs=self.schedule.epochs,
                steps_per_epoch=len(self.sampler),
                done=self.epoch * len(self.sampler) + self.so_far.batches,
                silent=not first,
            ) as report,
        ):
            while self.epoch < self.schedule.epochs:
                for _ in self._steps(report):
                    if ranks.any_of(request.signal is not None):
                        self._stop(files.state, request.signal or "another process")
                    if ranks.any_of(first and self.timer.due(epoch_ended=False)):
                        self._save(files.state)
                self._end_epoch()
                if first:
                    # The log first: killed between the two, its last epoch is trained again.
                    logged = ({RUN: files.run, **record} for record in self.log)
                    write_json_lines(files.path("log.jsonl"), logged)
                due = self.epoch == self.schedule.epochs or self.timer.due(epoch_ended=True)
                if ranks.any_of(first and due):
                    self._save(files.state)

    def _stop(self, path: Path, why: str) -> None:
        self._save(path)
        logger.info(
            "stopped by %s after step %d of epoch %d; the same command goes on from there",
            why,
            self.so_far.batches,
            self.epoch + 1,
        )
        raise SystemExit(EXIT_CODE)

    def _steps(self, report: TrainingReport) -> Iterator[None]:
        """Train what is left of an epoch; yields after each step."""
        self.sampler.epoch, self.sampler.start = self.epoch, self.so_far.batches
        if self.so_far.batches == 0:
            seed = self.schedule.seed * 1_000_003 + self.epoch  # of dropout
            torch.manual_seed(seed + ranks.rank() * 1_000_000_007)
        self.objective.train()
        before, start = self.so_far.seconds, time.perf_counter()
        for batch in self.loader:
            index = self.so_far.batches
            with runtime.told_of_memory(batch["image"], self.schedule.micro_batches):
                shown = self._step(batch, self.epoch * len(self.sampler) + index)
            self.so_far.add(self.sampler.images, shown)
            self.so_far.seconds = before + time.perf_counter() - start
            report.step()
            if index % 10 == 0 or index + 1 == len(self.sampler):
                report.show(self.so_far.means(), self.so_far.images / self.so_far.seconds)
            yield

    def _end_epoch(self) -> None:
        """Note what the epoch came to, and turn to the next."""
        means = self.so_far.means()
        if not all(math.isfinite(value) for value in means.values()):
            raise ValueError(
                f"the loss is not finite in epoch {self.epoch + 1}: {means}; lower learning_rate"
            )
        require_finite(  # the last step may have broken them after a loss that was fine
            self.objective.state_dict(), f"weights of epoch {self.epoch + 1}", "lower learning_rate"
        )
        self.epoch += 1
        record = {
            "epoch": self.epoch,
            **means,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "images_per_second": self.so_far.images / self.so_far.seconds,
            "seconds": self.so_far.seconds,
            **self.objective.after_epoch(self.epoch),
        }
        self.log.append(record)
        self.so_far = EpochSoFar()

    def _step(self, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """One step of the optimizer; the losses of the batch, and what else is to be logged."""
        rate = self.schedule.learning_rate(step, len(self.sampler))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        progress = step / self.num_steps
        self.optimizer.zero_grad(set_to_none=True)
        parts = self._parts(batch)
        counts = self._count(parts, progress) if len(parts) > 1 else None
        shown: dict[str, Tensor] = {}
        for part in parts:
            terms, logged = self.objective(self._to_device(part), progress)
            if counts is None:
                counts = ranks.add_up({k: value.count for k, value in (terms | logged).items()})
            means = {
                name: Sum(value.total, counts[name]).mean()
                for name, value in (terms | logged).items()
            }
            weighted = [self.objective.weights[name] * means[name] for name in terms]
            loss = torch.stack(weighted).sum()
            self.scaler.scale(loss).backward()
            for name, value in {"loss": loss, **means}.items():
                value = value.detach()
                shown[name] = shown[name] + value if name in shown else value
        ranks.add_up_gradients(self.parameters)
        if self.schedule.gradient_clip > 0:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.schedule.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with torch.no_grad():
            self.objective.after_step(progress)
        return ranks.add_up(shown)

    def _parts(self, batch: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """The micro-batches of a batch, of as equal size as can be; none is empty."""
        number = min(self.schedule.micro_batches, self.sampler.images // ranks.size())
        parts = {name: values.tensor_split(number) for name, values in batch.items()}
        return [{name: values[i] for name, values in parts.items()} for i in range(number)]

    def _to_device(self, part: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(self.device, non_blocking=True) for name, value in part.items()}

    @torch.no_grad()
    def _count(self, parts: list[dict[str, Tensor]], progress: float) -> dict[str, Tensor]:
        """The counts of a whole batch, by which the total of each of its parts is divided.

        They must be known before the first part's gradient is, and some depend on activations: so
        all parts pass the network once more, without gradients and without leaving a trace in the
        statistics of batch norm or in the random numbers of the passes that count.
        """
        buffers = [(buffer, buffer.clone()) for buffer in self.objective.buffers()]
        devices = [self.device] if self.device.type == "cuda" else []
        counts: dict[str, Tensor] = {}
        with torch.random.fork_rng(devices):
            for part in parts:
                terms, logged = self.objective(self._to_device(part), progress)
                for name, value in (terms | logged).items():
                    counts[name] = counts[name] + value.count if name in counts else value.count
        for buffer, before in buffers:
            buffer.copy_(before)
        return ranks.add_up(counts)
