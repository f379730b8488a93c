"""What a step of each method of a table costs in time and memory, beside its score.

    python benchmarks/cost.py table1_all config.yaml configs/table1_all.yaml

Each method is trained for a few steps on drawn images of the experiment's crop and batch, in a
process of its own: median processor time of a step (on a GPU: time), and the most memory that the
process held. Beside the CSV stands a plot of the scores of results/<table>.csv over the cost, where
that table is made.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from cdsp.experiment.config import Config
from cdsp.experiment.read import read_config
from cdsp.experiment.run import Run
from cdsp.maps import MAPS
from cdsp.networks.heads import build_network
from cdsp.pictures.style import save_figure, style
from cdsp.reporting.tables import read_table
from cdsp.segmentation.objective import SegmentationObjective
from cdsp.training import runtime

NUM_CLASSES = 13
WARM_UP = 2


def draw_batch(size: int, batch_size: int, views: int) -> dict[str, torch.Tensor]:
    """Images of smooth noise with a stroke of each class; labels and distances everywhere."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.normal(size=(batch_size * views, 3, 9, 9)).astype(np.float32))
    image = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    image = image + 0.1 * torch.from_numpy(rng.normal(size=image.shape).astype(np.float32))
    label = rng.integers(0, 4, (batch_size, views, 1, 1)) * np.ones((size, size), int)
    batch = {"image": image.view(batch_size, views, 3, size, size)}
    batch["matrix"] = torch.eye(2, 3, dtype=torch.float64).expand(batch_size, views, 2, 3)
    for name, entry in MAPS.items():
        values = np.full(label.shape, 1) if entry.padding == 0 else label.copy()
        if name == "scribble":
            kept = np.zeros((size, size), bool)
            kept[size // 4 :: size // 4, : size // 2] = True
            values = np.where(kept, label + np.arange(size) // (size // 4), 255)
        batch[name] = torch.from_numpy(values.astype(np.uint8))
    return batch


def measure(config: Config, run: Run, steps: int, device: torch.device) -> dict[str, float]:
    """Milliseconds of a step and MiB of memory of one method."""
    settings = config.run_settings(run)
    training = settings.segmentation
    torch.manual_seed(0)
    objective = SegmentationObjective(
        build_network(settings.network, NUM_CLASSES),
        settings.method,
        precision=runtime.precision_of(training.precision, device),
        memory_format=torch.channels_last if training.channels_last else torch.contiguous_format,
        frozen_batch_norm=settings.network.frozen_batch_norm,
    )
    objective.to(device).train()
    optimizer = torch.optim.SGD(objective.parameters(), lr=1e-3)
    batch = draw_batch(training.crop_size, training.batch_size, settings.method.views)
    batch = {name: values.to(device) for name, values in batch.items()}
    seconds = []
    for step in range(WARM_UP + steps):
        clock = time.perf_counter if device.type == "cuda" else time.process_time
        start = clock()
        optimizer.zero_grad(set_to_none=True)
        terms = objective(batch, 0.9).terms
        weights = objective.weights
        torch.stack([weights[name] * terms[name].mean() for name in terms]).sum().backward()
        optimizer.step()
        objective.after_step(0.9)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if step >= WARM_UP:
            seconds.append(clock() - start)
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device) / 2**20
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {"milliseconds_per_step": 1000 * statistics.median(seconds), "memory_mib": memory}


PLACES = ((4, 3, "left"), (4, -9, "left"), (4, 12, "left"), (4, -18, "left"), (-4, -9, "right"))
"""Where the name of a point may stand: points right and up of it, and its alignment."""


def label_points(axis: Axes, scored: pd.DataFrame) -> None:
    """Write each method beside its point, where it covers no other name or point if it can."""
    rows = scored.to_dict("records")
    places = [(row["times_scribble_only"], row["miou"]) for row in rows]
    taken = [Bbox.from_bounds(x - 2, y - 2, 4, 4) for x, y in axis.transData.transform(places)]
    for row, at in zip(rows, places, strict=True):
        text = axis.annotate(row["method"], at, (0, 0), textcoords="offset points", fontsize=7)
        for x, y, side in PLACES:
            text.set(position=(x, y), ha=side)
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)


def draw(table: pd.DataFrame) -> Figure:
    """Scores over the cost of a step."""
    scored = table.dropna(subset=["miou"])
    cost = scored["times_scribble_only"]
    with style():
        figure = Figure(figsize=(6, 4), layout="constrained")
        axis = figure.subplots()
        axis.scatter(cost, scored["miou"], s=14, color="#0072B2")
        axis.set_xscale("log")
        axis.set_xlim(0.9 * cost.min(), 1.1 * cost.max())
        ticks = [tick for tick in (1, 1.5, 2, 3, 5, 8) if tick <= cost.max()]
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
        axis.set_xlabel("time of a training step ÷ that of strokes alone")
        axis.set_ylabel("mIoU on the validation images (%)")
        axis.grid(color="0.9")
        label_points(axis, scored)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table")
    parser.add_argument("configfiles", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, default=Path("results/cost.csv"))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--method", help="Measure this one alone and print it as JSON.")
    arguments = parser.parse_args()
    config = read_config(*arguments.configfiles)
    runs = {run.method: run for run in reversed(config.own_runs(arguments.table))}
    if arguments.method:
        device = runtime.prepare(config.segmentation.cpu_threads, arguments.device)
        print(json.dumps(measure(config, runs[arguments.method], arguments.steps, device)))
        return
    rows = []
    for method in reversed(runs):
        command = [sys.executable, *sys.argv, "--method", method]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows.append({"method": method, **json.loads(found.splitlines()[-1])})
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    base = table.loc[table["method"] == "scribble_only", "milliseconds_per_step"]
    table.insert(2, "times_scribble_only", table["milliseconds_per_step"] / base.item())
    scores = arguments.output.with_name(f"{arguments.table}.csv")
    miou = {}
    if scores.is_file():
        measured = read_table(scores)
        measured = measured[measured["scribbles"].isin(["full", "none"])]
        miou = dict(zip(measured["method"][::-1], measured["miou_mean"][::-1], strict=True))
    table["miou"] = table["method"].map(miou).astype(float)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    table.round(2).to_csv(arguments.output, index=False)
    if miou:
        save_figure(draw(table), arguments.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
