"""Run the stages before the networks at the true size of ScribbleSup, on masks alone.

    python benchmarks/full_scale.py MASKS.zip TRAIN.txt VAL.txt --output FOLDER

MASKS.zip holds a palette PNG for each id of the two lists. The photographs, which strokes and
distance maps do not read, are blank images of the right size. Each stage is the `cdsp` command that
the workflow runs, in a process of its own; its time, its largest memory and its file are printed,
for a tenth of the training images and for all of them.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from cdsp.dataset.scribblesup import VOC_CLASSES


def write_folder(archive: Path, splits: dict[str, list[str]], folder: Path) -> None:
    """The lists' masks with blank photographs, in VOC layout."""
    for name in ("JPEGImages", "SegmentationClassAug", "ImageSets/SegmentationAug"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    blank: dict[tuple[int, int], bytes] = {}
    with zipfile.ZipFile(archive) as masks:
        members = {Path(name).stem: name for name in masks.namelist() if name.endswith(".png")}
        for ids in splits.values():
            for image_id in ids:
                data = masks.read(members[image_id])
                (folder / "SegmentationClassAug" / f"{image_id}.png").write_bytes(data)
                size = Image.open(io.BytesIO(data)).size
                if size not in blank:
                    buffer = io.BytesIO()
                    Image.fromarray(np.zeros(size[::-1], np.uint8)).save(buffer, "PNG")
                    blank[size] = buffer.getvalue()
                (folder / "JPEGImages" / f"{image_id}.png").write_bytes(blank[size])
    for split, ids in splits.items():
        (folder / "ImageSets/SegmentationAug" / f"{split}.txt").write_text("\n".join(ids) + "\n")


def measure(what: str, number: int, command: list[str], output: Path) -> None:
    start = time.perf_counter()
    process = subprocess.Popen(["cdsp", *command], stdout=subprocess.DEVNULL, stderr=None)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"cdsp {' '.join(command)}: failed")
    size = output.stat().st_size / 2**20
    memory = usage.ru_maxrss / 2**10
    row = f"| {what} | {number} | {seconds:.0f} s | {memory:.0f} MiB | {size:.1f} MiB |"
    print(row, flush=True)


def run_stages(folder: Path, out: Path, number: int) -> None:
    settings = f"{{path: {folder}, classes: [{', '.join(VOC_CLASSES)}]}}"
    dataset, strokes = out / "dataset.json", out / "strokes.jsonl"
    data = ["--dataset", str(dataset)]

    def stage(what: str, output: Path, *command: str, into: Path | None = None) -> None:
        measure(what, number, [*command, "--output", str(into or output)], output)

    stage("check", dataset, "dataset", "folder", "--name", "voc", "--settings", settings)
    style = ["--settings", "{style: medial_axis}"]
    stage("simulate strokes", strokes, "scribbles", "simulate", *data, *style)
    for name in ("full", "shrink-0.5", "drop-0.5"):
        command = ["scribbles", "degrade", str(strokes), "--degradation", name]
        stage(f"scribbles {name}", out / name / "labels.h5", *command, into=out / name)
    scribbles, labels = out / "full" / "labels.h5", out / "labels.h5"
    masks = str(folder / "SegmentationClassAug")
    stage(
        "take pseudo-labels", labels, "pseudo_labels", "import", masks, *data, "--recipe", "masks"
    )
    for what, store, exponent in (("scribble", scribbles, 2), ("boundary", labels, 7)):
        distances = out / f"{what}_distances.h5"
        command = ["distance_maps", str(store), "--exponent", str(exponent)]
        stage(f"{what} distances, λ = {exponent}", distances, *command)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("masks", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    train, val = (path.read_text().split() for path in (arguments.train, arguments.val))
    print("| stage | images | time | largest memory | file |\n|---|---|---|---|---|")
    for number in (len(train) // 10, len(train)):
        folder = arguments.output / f"voc-{number}"
        write_folder(arguments.masks, {"train": train[:number], "val": val}, folder)
        run_stages(folder, arguments.output / f"out-{number}", number)


if __name__ == "__main__":
    main()
