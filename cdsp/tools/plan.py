"""What tables will cost before they are made: runs that are needed, and hours by earlier runs."""

from __future__ import annotations

import csv
import heapq
import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdsp.dataset.voc_layout import read_dataset
from cdsp.experiment.config import Config
from cdsp.experiment.paths import Paths
from cdsp.experiment.read import read_config
from cdsp.experiment.run import Run
from cdsp.processors import usable_processors
from cdsp.settings import nearest
from cdsp.training.gpus import visible_gpus
from cdsp.training.record import TrainingRecord, read_training, read_unfinished

HARDWARE = ("platform", "device", "cpu")
"""Entries of `cdsp.training.runtime.describe`: equal ones let one run predict another's time."""

SAME_STEP = {
    "network": ("head", "backbone", "output_stride"),
    "settings": ("crop_size", "precision", "deterministic", "cpu_threads"),
}
"""Section of a run's settings → those that change the time of an epoch several times over."""


@dataclass(frozen=True)
class PlannedRun:
    """A run that tables need, and how far it is.

    Attributes:
        run: what it is.
        finished: whether its network is there.
        epochs: of its whole training.
        done: epochs that are trained.
        outdated: whether it was begun with other settings than are configured now, so that it is
            trained again.
        epoch_seconds: time of an epoch in earlier runs; None where there is no such run.
    """

    run: Run
    finished: bool
    epochs: int
    done: int
    outdated: bool
    epoch_seconds: float | None

    @property
    def seconds(self) -> float | None:
        """Time of what remains; None where it is not known."""
        remaining = self.epochs - self.done
        if remaining == 0:
            return 0.0
        return None if self.epoch_seconds is None else remaining * self.epoch_seconds


def describe_cost(
    paths: Sequence[Path],
    tables: Sequence[str],
    *,
    results: Path,
    hardware: Mapping[str, Any],
    jobs: int | None = None,
) -> str:
    """Say how many runs tables need, how many of them are made, and how long the others take.

    Args:
        paths: of configuration files, see `cdsp.experiment.read.read_config`.
        tables: their names, or paths such as ``results/table1.csv``; none, or "all": all of them.
        results: folder of the results of all data sets.
        hardware: of this machine, by `cdsp.training.runtime.describe`; runs made on other
            hardware tell nothing.
        jobs: runs at a time; None: see `default_jobs`.

    Raises:
        ValueError: an unknown table, a wrong configuration or a damaged file of a run.
    """
    config = read_config(*paths)
    names = _table_names(tables, config)
    if jobs is None:
        jobs = default_jobs(config.segmentation.cpu_threads)
    folder = results / config.dataset
    plans = plan_tables(config, names, folder, hardware)
    together = {plan.run: plan for plans_of_table in plans.values() for plan in plans_of_table}
    at_a_time = "one run" if jobs == 1 else f"{jobs} runs"
    lines = [
        f"Data set {config.dataset}, {at_a_time} at a time on {hardware['device']}",
        "",
        _line("table", "runs", "finished", "begun", "to do", "hours"),
        *(_counts(name, of_table, jobs) for name, of_table in plans.items()),
    ]
    if len(plans) > 1:
        lines.append(_counts("together", together.values(), jobs))
    lines += ["", *_notes(config, plans, together)]
    lines += _unknown(config, together.values(), folder, paths)
    return "\n".join([*lines, *_on_top(folder)])


def default_jobs(cpu_threads: int) -> int:
    """Runs at a time where nobody says it: one for each ``cpu_threads``, and for each GPU."""
    for_processors = max(1, usable_processors() // cpu_threads)
    gpus = len(visible_gpus())
    return min(gpus, for_processors) if gpus else for_processors


def plan_tables(
    config: Config, tables: Sequence[str], folder: Path, hardware: Mapping[str, Any]
) -> dict[str, list[PlannedRun]]:
    """Find out how far the runs of tables are.

    Args:
        config: the configuration.
        tables: names of its tables.
        folder: of the data set's results.
        hardware: see `describe_cost`.

    Returns:
        Table → its runs; a run that several tables need is the same in each.
    """
    earlier = [
        record
        for record in _all_records(folder / "segmentation")
        if record.settings is not None
        and record.seconds
        and all((record.environment or {}).get(key) == hardware[key] for key in HARDWARE)
    ]
    num_images = _training_images(Path(Paths(str(folder)).dataset))
    return {
        table: [
            _plan(config, run, folder, earlier, num_images) for run in needed_runs(config, table)
        ]
        for table in tables
    }


def _training_images(description: Path) -> int | None:
    """Training images of a data set; None where it is not made, and nothing trained on it."""
    return len(read_dataset(description).splits["train"]) if description.is_file() else None


def needed_runs(config: Config, table: str) -> list[Run]:
    """The runs of a table, and the runs whose networks make its pseudo-labels."""
    runs = dict.fromkeys(config.runs(table))
    settings = config.tables[table]
    recipes = [(run.pseudo_labels, run.scribbles) for run in runs]
    recipes += itertools.product(settings.measured_labels, settings.scribbles)
    while recipes:
        recipe, scribbles = recipes.pop()
        if recipe == "none" or config.pseudo_labels[recipe].network is None:
            continue
        run = config.evidence_run(recipe, scribbles)
        runs[run] = None
        recipes.append((run.pseudo_labels, run.scribbles))
    return list(runs)


def hours_at_a_time(seconds: Iterable[float], jobs: int) -> float:
    """Hours until all runs are finished, each begun in its order as soon as a job is free."""
    free = [0.0] * jobs
    for duration in seconds:
        heapq.heapreplace(free, free[0] + duration)
    return max(free) / 3600


def _table_names(tables: Sequence[str], config: Config) -> list[str]:
    if files := [table for table in tables if table.endswith((".yaml", ".yml"))]:
        raise ValueError(
            f"{', '.join(files)}: expected names of tables; each configuration has a --configfile "
            f"of its own here: {' '.join(f'--configfile {file}' for file in files)}"
        )
    if not tables or (list(tables) == ["all"] and "all" not in config.tables):
        return list(config.tables)
    return [_table_name(table, config) for table in tables]


def _table_name(table: str, config: Config) -> str:
    name = Path(table).name.removesuffix(".csv")
    if name not in config.tables:
        raise ValueError(f"unknown table {table!r}{nearest(name, config.tables)}")
    return name


def _all_records(folder: Path) -> list[TrainingRecord]:
    return [read_training(path.parent) for path in sorted(folder.rglob("log.jsonl"))]


def _plan(
    config: Config,
    run: Run,
    folder: Path,
    earlier: Sequence[TrainingRecord],
    num_images: int | None,
) -> PlannedRun:
    trained = config.run_settings(run)
    wanted = trained.as_trained

    def is_outdated(record: TrainingRecord) -> bool:
        return bool(record.settings and record.differences(wanted))

    place = folder / "segmentation" / run.folder
    kept, begun = read_training(place), read_unfinished(place)
    records = [kept, *begun] if kept.finished else [*begun, kept]
    current = (r for r in records if r.settings is not None and not is_outdated(r))
    record = next(current, records[0])
    outdated = is_outdated(record)
    training = trained.segmentation
    epochs = training.epochs if num_images is None else training.passes(num_images)
    # What a finished training left is nothing to go on from, where its weights were deleted.
    done = epochs if record.finished else 0 if record is kept else len(record.seconds or ())
    return PlannedRun(
        run=run,
        finished=record.finished and not outdated,
        epochs=epochs,
        done=0 if outdated else min(done, epochs),
        outdated=outdated,
        epoch_seconds=_epoch_seconds(run, wanted, earlier),
    )


def _epoch_seconds(
    run: Run, wanted: Mapping[str, Any], earlier: Sequence[TrainingRecord]
) -> float | None:
    """Median time of an epoch in the runs that are most like this one."""
    like = [
        record
        for record in earlier
        if all(
            _setting(record, section, key) == wanted[section][key]
            for section, keys in SAME_STEP.items()
            for key in keys
        )
    ]
    of_method = [record for record in like if _setting(record, "name", "method") == run.method]
    seconds = [value for record in of_method or like for value in record.seconds or ()]
    return statistics.median(seconds) if seconds else None


def _setting(record: TrainingRecord, section: str, key: str) -> Any:
    values = (record.settings or {}).get(section)
    return values.get(key) if isinstance(values, Mapping) else None


def _counts(name: str, runs: Iterable[PlannedRun], jobs: int) -> str:
    runs = list(runs)
    finished = sum(run.finished for run in runs)
    begun = sum(run.done > 0 and not run.finished for run in runs)
    known = [run.seconds for run in runs if run.seconds is not None]
    hours = f"{hours_at_a_time(known, jobs):.2f}"
    if len(known) < len(runs):
        hours = "?" if not any(known) else f"{hours} + ?"
    return _line(name, len(runs), finished, begun, len(runs) - finished - begun, hours)


def _line(name: str, *cells: object) -> str:
    widths = (6, 8, 6, 6, 10)
    texts = (f"{cell!s:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return f"{name:<20}  " + "  ".join(texts)


def _notes(
    config: Config, plans: Mapping[str, Sequence[PlannedRun]], runs: Mapping[Run, PlannedRun]
) -> list[str]:
    lines = []
    tables = Counter(plan.run for of_table in plans.values() for plan in of_table)
    shared = sum(count > 1 for count in tables.values())
    if shared:
        lines.append(f"Runs that stand in several tables, and are made once: {shared}.")
    for_labels = len(runs.keys() - {run for table in plans for run in config.runs(table)})
    if for_labels:
        lines.append(f"Runs in no table, whose networks make pseudo-labels: {for_labels}.")
    outdated = sum(run.outdated for run in runs.values())
    if outdated:
        lines.append(f"Runs made or begun with other settings, to be made again: {outdated}.")
    if any(run.seconds for run in runs.values()):
        lines.append(
            "Hours: remaining epochs × the median time of an epoch in earlier runs of the network "
            "on\nthis machine, of the same method where there is one."
        )
    return lines


def _unknown(
    config: Config, runs: Iterable[PlannedRun], folder: Path, paths: Sequence[Path]
) -> list[str]:
    """Name a run to begin with, for each network without an earlier run."""
    lines = []
    unknown = [run for run in runs if run.seconds is None]
    for network in dict.fromkeys(run.run.network for run in unknown):
        # It needs the fewest other stages: masks or strokes rather than pseudo-labels.
        first = min(
            (plan.run for plan in unknown if plan.run.network == network),
            key=lambda run: len(config.method(run.method).reads - {"mask"}),
        )
        option = "" if list(paths) == [Path("config.yaml")] else " --configfile "
        lines += [
            f"No earlier run of {network} on this machine to go by. An epoch of this one is "
            "enough;\nstopped with Ctrl-C, it goes on later:",
            f"  snakemake --cores 8 {folder / 'segmentation' / first.folder / 'weights.pt'}"
            + option
            + (" ".join(map(str, paths)) if option else ""),
        ]
    return lines


def _on_top(folder: Path) -> list[str]:
    text = "On top come classifiers, CAMs, pseudo-labels, distance maps and the evaluations."
    files = sorted((folder / "benchmarks").glob("pseudo_labels*/**/*.tsv"))
    if not files:
        return [text]
    minutes = math.fsum(map(_benchmark_seconds, files)) / 60
    return [
        text,
        f"Classifiers, CAMs and pseudo-labels that are made took {minutes:.1f} min in all.",
    ]


def _benchmark_seconds(path: Path) -> float:
    """The time of a job by Snakemake's benchmark file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return math.fsum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{path}: not a benchmark of Snakemake; delete it") from error
