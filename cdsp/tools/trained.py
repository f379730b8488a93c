"""Finds a trained network by a short name, such as ``mine/cdsp``."""

from __future__ import annotations

from pathlib import Path

from cdsp.io.files import no_such
from cdsp.io.names import first_few, nearest_name

RESULTS = Path("results")
"""The folder that all experiments write into."""


def find_weights(name: str, results: Path = RESULTS) -> Path:
    """The weights of a run; of runs that differ by their seed alone, those of the first.

    Args:
        name: the file itself, the run's folder, or some words of the run's name in their order.
            A run's whole name is <dataset>/<method>/<network>/<scribbles>/<pseudo_labels>/<seed>.
        results: the folder below which runs are looked for.

    Raises:
        ValueError: no run has this name, or several have.
    """
    path = Path(name).expanduser()
    for file in (path, path / "weights.pt"):
        if file.is_file():
            return file
    runs: dict[str, Path] = {}
    for file in sorted(results.glob("*/segmentation/*/*/*/*/*/weights.pt")):
        dataset, _, *words = file.parent.relative_to(results).parts
        runs["/".join([dataset, *words])] = file
    if not runs:
        raise ValueError(f"{no_such(path, 'file of weights')}; there is no run in {results} either")
    wanted = [word for word in name.split("/") if word]
    found = {run: file for run, file in runs.items() if _in_order(wanted, run.split("/"))}
    if not found:
        known = sorted({"/".join(run.split("/")[:2]) for run in runs})
        near = nearest_name(name, known)
        hint = f"did you mean {near!r}? " if near else ""
        raise ValueError(f"--run {name}: no such run; {hint}in {results}: {first_few(known)}")
    if len({file.parents[1] for file in found.values()}) > 1:
        raise ValueError(
            f"--run {name}: {len(found)} runs are called so: {first_few(found)}; give as many of "
            "these words as tell it apart"
        )
    return next(iter(found.values()))


def _in_order(wanted: list[str], words: list[str]) -> bool:
    rest = iter(words)
    return all(word in rest for word in wanted)
