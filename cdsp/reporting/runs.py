"""What a training run left beside its weights: settings, environment and the time of its epochs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AGAIN = "move the run's folder away and train it again"


@dataclass(frozen=True)
class RunRecord:
    """The files of a run's folder.

    Attributes:
        folder: of the run.
        finished: whether its weights are there.
        settings: ``settings.json``, what the weights depend on; None where it is missing.
        environment: ``environment.json``, versions and hardware; None where it is missing.
        seconds: of each epoch that ``log.jsonl`` tells of; None where it is missing.
    """

    folder: Path
    finished: bool
    settings: dict[str, Any] | None
    environment: dict[str, Any] | None
    seconds: tuple[float, ...] | None

    @property
    def missing(self) -> list[Path]:
        """The files that are not there."""
        there = {
            "weights.pt": self.finished,
            "settings.json": self.settings is not None,
            "environment.json": self.environment is not None,
            "log.jsonl": self.seconds is not None,
        }
        return [self.folder / name for name, found in there.items() if not found]


def read_record(folder: Path) -> RunRecord:
    """Read what is there of a run; the folder itself may be missing.

    Raises:
        ValueError: a damaged file.
    """
    return RunRecord(
        folder=folder,
        finished=(folder / "weights.pt").is_file(),
        settings=_read_object(folder / "settings.json"),
        environment=_read_object(folder / "environment.json"),
        seconds=_read_seconds(folder),
    )


def read_unfinished(folder: Path) -> list[RunRecord]:
    """What there is of trainings that were begun in a run's folder and have not ended.

    Raises:
        ValueError: a damaged file.
    """
    return [read_record(path) for path in sorted(folder.glob("unfinished-*"))]


def _read_object(path: Path) -> dict[str, Any] | None:
    lines = _read_lines(path)
    return None if lines is None else _parse_object("\n".join(lines), str(path))


def read_log(folder: Path) -> list[dict[str, float]] | None:
    """What a run logged, one record for each epoch; None where there is no log.

    Raises:
        ValueError: a damaged file.
    """
    path = folder / "log.jsonl"
    lines = _read_lines(path)
    if lines is None:
        return None
    records = []
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        record = {}
        for name, value in _parse_object(line, where).items():
            try:
                record[name] = float(value)
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueError(
                    f"{where}: expected {name!r} to be a number, found {str(value)[:40]!r}; {AGAIN}"
                ) from error
        records.append(record)
    return records


def _read_seconds(folder: Path) -> tuple[float, ...] | None:
    log = read_log(folder)
    if log is None:
        return None
    seconds = tuple(record.get("seconds", math.nan) for record in log)
    for number, value in enumerate(seconds, start=1):
        if not math.isfinite(value) or value < 0:
            raise ValueError(
                f"{folder / 'log.jsonl'}:{number}: expected 'seconds' of an epoch, found {value}; "
                f"{AGAIN}"
            )
    return seconds


def _read_lines(path: Path) -> list[str] | None:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable ({error}); {AGAIN}") from error


def _parse_object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not readable JSON ({error}); {AGAIN}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a JSON object, found {str(value)[:40]!r}; {AGAIN}")
    return value
