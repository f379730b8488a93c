"""What is seen of a training while it runs: a bar, and lines on the workflow's terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from cdsp.progress import duration, progress_options, tell

TELL_EVERY = 15.0
"""Seconds between two lines on the terminal; the last epoch has one in any case."""


class TrainingReport:
    """Shows the epoch, the losses, the speed and the time that is left."""

    def __init__(
        self, title: str, *, epochs: int, steps_per_epoch: int, done: int, silent: bool = False
    ) -> None:
        """Show nothing yet.

        Args:
            title: what is trained.
            epochs: of the whole training.
            steps_per_epoch: steps of each.
            done: steps before this process, of a training that is resumed.
            silent: show nothing ever; another process of the same training does.
        """
        self._silent = silent
        self._title, self._epochs, self._steps = title, epochs, steps_per_epoch
        self._first = self._done = done
        self._started = self._told = time.monotonic()
        options = {**progress_options(), "disable": silent}
        self._bar = tqdm(total=epochs * steps_per_epoch, initial=done, unit="step", **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def step(self) -> None:
        """One more step is done."""
        self._done += 1
        self._bar.update()

    def show(self, means: Mapping[str, float], images_per_second: float) -> None:
        """Show losses, means over the steps of the epoch so far, and the speed."""
        epoch = min((self._done - 1) // self._steps + 1, self._epochs)
        where = f"epoch {epoch}/{self._epochs}"
        shown = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        self._bar.set_description(where, refresh=False)
        self._bar.set_postfix_str(f"{shown}  {images_per_second:.0f} images/s", refresh=False)
        now, ended = time.monotonic(), self._done == self._epochs * self._steps
        if self._silent or (now - self._told < TELL_EVERY and not ended):
            return
        self._told = now
        per_step = (now - self._started) / max(1, self._done - self._first)
        left = (self._epochs * self._steps - self._done) * per_step
        rest = f"took {duration(now - self._started)}" if ended else f"{duration(left)} left"
        step = f"step {self._done}/{self._epochs * self._steps}"
        tell(f"{self._title}: {where}, {step}  {shown}  {images_per_second:.1f} images/s  {rest}")


def run_title(identity: Mapping[str, Any], kind: str) -> str:
    """What a training is called on the terminal, by what it depends on."""
    name = identity.get("name")
    if not isinstance(name, Mapping):
        return kind
    keys = ("method", "network", "scribbles", "pseudo_labels")
    parts = [str(name[key]) for key in keys if name.get(key, "none") != "none"]
    return " ".join([*parts, f"seed {name.get('seed', 0)}"])
