"""The logs of trainings as TensorBoard's event files; ``log.jsonl`` stays what everything reads."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

from cdsp.training.record import TRAIN_AGAIN, read_training


def write_events(results: Path, output: Path, *, every: float = 0) -> int:
    """Write what the runs below a folder have logged, finished or not; one run for each.

    Args:
        results: folder with runs, such as ``results/shapes/segmentation``.
        output: folder for the event files, below it one for each run; new or empty.
        every: seconds after which to look again, until it is stopped; 0: once.

    Returns:
        The epochs that were written.

    Raises:
        ValueError: TensorBoard is not installed, there is no log, a damaged one, or a folder that
            holds something.
    """
    try:
        writer_of = importlib.import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        raise ValueError(
            f"TensorBoard is not installed ({error}): pip install tensorboard"
        ) from error
    if output.is_dir() and any(output.iterdir()):
        raise ValueError(f"{output}: is not empty, and events would be added twice; name another")
    writers: dict[str, Any] = {}
    written: dict[str, int] = {}
    while True:
        for name, records in _logs(results).items():
            if name not in writers:
                writers[name], written[name] = writer_of(str(output / name)), 0
            for record in records[written[name] :]:
                epoch = int(record["epoch"])
                for key, value in record.items():
                    if key != "epoch":
                        writers[name].add_scalar(key, value, epoch)
                written[name] += 1
            writers[name].flush()
        if not writers:
            raise ValueError(f"{results}: no log.jsonl below it; name the folder of some runs")
        if not every:
            break
        time.sleep(every)
    for writer in writers.values():
        writer.close()
    return sum(written.values())


def _logs(results: Path) -> dict[str, tuple[dict[str, float], ...]]:
    """Name of a run → its epochs; a run in training counts by its own folder."""
    logs: dict[str, tuple[dict[str, float], ...]] = {}
    for path in sorted(results.rglob("log.jsonl")):
        folder = path.parent
        run = folder.parent if folder.name.startswith("unfinished-") else folder
        records = read_training(folder).log or ()
        if any("epoch" not in record for record in records):
            raise ValueError(f"{path}: a line without its epoch; {TRAIN_AGAIN}")
        name = run.relative_to(results).as_posix()
        logs[name] = max(logs.get(name, ()), records, key=len)
    return logs
