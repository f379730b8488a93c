"""What a hundred thousand images cost before anything is computed: files that list all of them.

    python benchmarks/scale.py 10000 100000

The maps are tiny, so that what is measured is the index: seconds and bytes for each image, and how
long a stage takes to open what it reads.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

from cdsp.dataset.voc_layout import FORMAT, VERSION, read_dataset
from cdsp.io.json_files import write_json
from cdsp.io.store import LabelStore, write_store
from cdsp.training.sampling import EpochSampler

SIDE = 8  # pixels


def measure(number: int, folder: Path) -> list[dict[str, object]]:
    """Rows of the table for a number of images."""
    rows: list[dict[str, object]] = []

    def row(what: str, seconds: float, **more: object) -> None:
        rows.append({"images": number, "what": what, "CPU s": round(seconds, 2), **more})

    def maps():
        rng = np.random.default_rng(0)
        for index in range(number):
            yield f"image_{index:07d}", rng.integers(0, 21, (SIDE, SIDE), np.uint8), {}

    path = folder / "labels.h5"
    start = time.process_time()
    write_store(path, maps(), kind="scale", parameters={}, sources={})
    size = path.stat().st_size
    row("store, written", time.process_time() - start, MiB=round(size / 2**20, 1))
    start = time.process_time()
    store = LabelStore(path)
    row("store, opened", time.process_time() - start)
    start = time.process_time()
    names = [f"image_{index:07d}" for index in range(0, number, max(1, number // 1000))]
    for name in names:
        store[name]
    row(f"{len(names)} maps of it, read", time.process_time() - start)
    store.close()

    (folder / "JPEGImages").mkdir()
    path = folder / "dataset.json"
    ids = [f"image_{index:07d}" for index in range(number)]
    start = time.process_time()
    write_json(path, description(ids))
    row(
        "dataset.json, written",
        time.process_time() - start,
        MiB=round(path.stat().st_size / 2**20, 1),
    )
    start = time.process_time()
    read_dataset(path)
    row("dataset.json, read", time.process_time() - start)

    start = time.process_time()
    len(list(EpochSampler(number, 16, 0)))
    row("order of an epoch", time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row("memory of all this, at most", 0.0, MiB=round(peak))
    return rows


def description(ids: list[str]) -> dict[str, object]:
    """What the stage `dataset` writes of a folder, of images that are not there."""
    files = {f"JPEGImages/{name}.jpg": f"{index:016x}" for index, name in enumerate(ids)}
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": "scale",
        "root": ".",
        "classes": ["background", "thing"],
        "colours": {},
        "splits": {"train": ids, "val": []},
        "images": {name: [f"JPEGImages/{name}.jpg", 375, 500] for name in ids},
        "train_masks": False,
        "digest": "0" * 16,
        "masks": {},
        "working_size": 0,
        "files": files,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", type=int, nargs="*", default=[10_000, 100_000])
    rows: list[dict[str, object]] = []
    for number in parser.parse_args().numbers:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(number, Path(folder))
    print(tabulate(rows, headers="keys", tablefmt="github"))


if __name__ == "__main__":
    main()
