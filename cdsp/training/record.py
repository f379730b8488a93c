"""What a training leaves in a folder, read and checked in one place.

A training is told apart by what its weights depend on. ``settings.json`` is that, the file of
weights holds the same, and ``environment.json`` and each line of ``log.jsonl`` name its digest, so
that files of two trainings in one folder are never taken for one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdsp.io.json_files import digest, read_json_lines, read_object

RUN = "run"
"""The entry of ``environment.json``, and of each line of ``log.jsonl``, that names the training."""

RECORD = ("settings.json", "environment.json", "log.jsonl")
"""The files beside the weights."""

BEST_ON_VAL = "best_on_val.pt"
"""The network of the best epoch, beside ``weights.pt``, the last one, where it was asked for."""

TRAIN_AGAIN = "move the run's folder away and train it again"


@dataclass(frozen=True)
class TrainingRecord:
    """The files of a run's folder.

    Attributes:
        folder: of the run.
        prefix: what the names of the files begin with; "" where the folder is the run's alone.
        finished: whether its weights are there; of a run alone in its folder.
        settings: ``settings.json``, what the weights depend on; None where it is missing.
        environment: ``environment.json``, versions and hardware; None where it is missing.
        log: ``log.jsonl``, one record for each epoch; None where it is missing.
        run: digest of what the weights depend on; None where no file tells it.
    """

    folder: Path
    prefix: str
    finished: bool
    settings: dict[str, Any] | None
    environment: dict[str, Any] | None
    log: tuple[dict[str, float], ...] | None
    run: str | None

    @property
    def missing(self) -> list[Path]:
        """The files that are not there."""
        there = {
            "weights.pt": self.finished,
            "settings.json": self.settings is not None,
            "environment.json": self.environment is not None,
            "log.jsonl": self.log is not None,
        }
        return [self.folder / name for name, found in there.items() if not found]

    @property
    def seconds(self) -> tuple[float, ...] | None:
        """The time of each epoch; None where there is no log.

        Raises:
            ValueError: an epoch of the log without its time.
        """
        if self.log is None:
            return None
        seconds = tuple(record.get("seconds", math.nan) for record in self.log)
        for number, value in enumerate(seconds, start=1):
            if not math.isfinite(value) or value < 0:
                raise ValueError(
                    f"{self.folder / 'log.jsonl'}:{number}: expected 'seconds' of an epoch, found "
                    f"{value}; {TRAIN_AGAIN}"
                )
        return seconds

    def differences(self, wanted: Mapping[str, Any]) -> str:
        """What its settings differ in from some of another training, in words; "" for nothing."""
        settings = self.settings or {}
        found = _differences({key: settings.get(key) for key in wanted}, wanted)
        return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if found[3:] else "")

    def starts_again(self, wanted: Mapping[str, Any]) -> str:
        """What to say where it was stopped, and is asked for with other settings."""
        return (
            f"{self.folder}: stopped after epoch {len(self.log or ())} with other settings "
            f"({self.differences(wanted)}), so that the training starts from 0"
        )

    def require(self, identity: Mapping[str, Any], path: Path, otherwise: str) -> None:
        """Check that the files are of the training that another file tells of.

        Args:
            identity: what its weights depend on.
            path: the other file.
            otherwise: what to do where they are not.

        Raises:
            ValueError: they are of another training.
        """
        if self.run not in (None, digest(identity)):
            raise ValueError(
                f"{path}: of another training than {self._names()} in {self.folder}: {otherwise}"
            )

    def _names(self) -> str:
        there = {
            "settings.json": self.settings,
            "environment.json": self.environment,
            "log.jsonl": self.log,
        }
        return ", ".join(self.prefix + name for name, found in there.items() if found)


def read_training(folder: Path, prefix: str = "") -> TrainingRecord:
    """Read what is there of a run; the folder itself may be missing.

    Args:
        folder: of the run.
        prefix: what the names of its files begin with.

    Raises:
        ValueError: a damaged file, or files of two trainings.
    """
    paths = {name: folder / f"{prefix}{name}" for name in RECORD}
    settings = _read_object(paths["settings.json"])
    environment = _read_object(paths["environment.json"])
    log, in_log = _read_log(paths["log.jsonl"])
    told = {
        "settings.json": None if settings is None else digest(settings),
        "environment.json": None if environment is None else environment.pop(RUN, None),
        "log.jsonl": in_log,
    }
    known = {name: run for name, run in told.items() if run is not None}
    first = next(iter(known), "")
    for name, run in known.items():
        if run != known[first]:
            raise ValueError(
                f"{paths[name]}: of another training than {prefix}{first} beside it. Where a "
                "training was stopped while it replaced an earlier one, run its command again, "
                f"which completes it; else {TRAIN_AGAIN}"
            )
    return TrainingRecord(
        folder=folder,
        prefix=prefix,
        finished=(folder / "weights.pt").is_file(),
        settings=settings,
        environment=environment,
        log=log,
        run=known.get(first),
    )


def read_unfinished(folder: Path, prefix: str = "") -> list[TrainingRecord]:
    """What there is of trainings that were begun in a run's folder and have not ended.

    Raises:
        ValueError: a damaged file.
    """
    return [read_training(path, prefix) for path in sorted(folder.glob(f"{prefix}unfinished-*"))]


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> list[str]:
    """What two sets of settings differ in: "settings.epochs 3, now 5" for each."""
    found = []
    for key in {**old, **new}:
        name = f"{where}{key}"
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _differences(before, after, f"{name}.")
        elif digest(before) != digest(after):  # a tuple is read as a list
            found.append(f"{name} {before}, now {after}")
    return found


def _read_object(path: Path) -> dict[str, Any] | None:
    return read_object(path) if path.is_file() else None


def _read_log(path: Path) -> tuple[tuple[dict[str, float], ...] | None, str | None]:
    """The records, and the training that they name; None for what is not there."""
    if not path.is_file():
        return None, None
    records, run = [], None
    for number, logged in read_json_lines(path):
        where = f"{path}:{number}"
        of = logged.pop(RUN, None)
        if number > 1 and of != run:
            raise ValueError(f"{where}: of another training than line 1; {TRAIN_AGAIN}")
        run, record = of, {}
        for name, value in logged.items():
            try:
                record[name] = float(value)
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueError(
                    f"{where}: expected {name!r} to be a number, found {str(value)[:40]!r}; "
                    f"{TRAIN_AGAIN}"
                ) from error
        records.append(record)
    return tuple(records), run
