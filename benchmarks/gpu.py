"""Time training steps, the loader, CAMs and the evaluation on a GPU; under four minutes.

    python benchmarks/gpu.py --output gpu.json

It prints its rows as it goes and writes the same numbers as JSON. Steps are of a synthetic batch,
loading excluded; the loader is timed on its own. `--device cpu --small` runs every row in
miniature, to see that it works where there is no GPU. Snakemake is not needed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from cdsp.dataset.prepare import describe_folder
from cdsp.dataset.shapes import draw_shape_scene
from cdsp.dataset.voc_layout import Dataset
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.io.store import LabelStore, write_store
from cdsp.maps import MAPS, STORED
from cdsp.memory import keep_free_memory
from cdsp.networks.classifier import Classifier
from cdsp.networks.heads import build_network
from cdsp.networks.predictor import predict_probabilities
from cdsp.networks.settings import NetworkSettings
from cdsp.pseudo_labels.cams import IMAGES_PER_BATCH, activation_maps
from cdsp.pseudo_labels.settings import CamSettings
from cdsp.segmentation.data import TrainingCrops, TrainingData
from cdsp.segmentation.method import parse_method
from cdsp.segmentation.objective import SegmentationObjective
from cdsp.training import runtime

NUM_CLASSES = 21
HEIGHT, WIDTH = 375, 500
EPOCHS, IMAGES = 50, 10_582  # of the paper, on ScribbleSup
VALIDATION_IMAGES = 1_449
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 rate of a card's matrix units, FLOP/s, by a part of its name."""

BOTH = {"scribble": 1, "pseudo_label": 1}
WITHOUT_LORM = {**BOTH, "scribble_distance": 1, "pseudo_label_distance": 1}
ALL = {**WITHOUT_LORM, "lorm": 1}


class Way(NamedTuple):
    """A way to run a step."""

    precision: torch.dtype = torch.bfloat16
    channels_last: bool = True
    deterministic: bool = False


SHIPPED = Way()


class Bench:
    """Where it runs, how large, and what was measured."""

    def __init__(self, device: torch.device, small: bool) -> None:
        self.device, self.small = device, small
        self.backbone = "resnet18" if small else "resnet101"
        self.crop, self.batch = (65, 2) if small else (465, 16)
        self.rounds = 2 if small else 8
        self.results: list[dict[str, Any]] = []

    def add(self, group: str, what: str, **numbers: Any) -> None:
        self.results.append({"group": group, "what": what, **numbers})
        shown = " | ".join(
            f"{key.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in numbers.items()
        )
        print(f"| {group} | {what} | {shown} |", flush=True)

    @contextmanager
    def row(self, group: str, what: str) -> Iterator[None]:
        """A row that says why it is missing instead of ending the others."""
        try:
            yield
        except RuntimeError as error:  # out of memory, or an operation that the card lacks
            self.add(group, what, failed=str(error).splitlines()[0][:120])
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def seconds(self, function: Callable[[], object], warm_up: int = 3) -> float:
        """The median over the rounds, each waited for."""
        times = []
        for number in range(self.rounds + warm_up):
            self.wait()
            start = time.perf_counter()
            function()
            self.wait()
            if number >= warm_up:
                times.append(time.perf_counter() - start)
        return statistics.median(times)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def memory(self) -> float:
        """Largest memory since the last call, GiB; NaN on a CPU."""
        if self.device.type != "cuda":
            return float("nan")
        found = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
        return found

    def prepare(self, way: Way) -> None:
        """Set PyTorch up as a training of this way does."""
        runtime.prepare(1, str(self.device), deterministic=way.deterministic, fixed_sizes=True)


def batch_of(bench: Bench) -> dict[str, torch.Tensor]:
    """A batch as the loader gives it: images of noise, maps of blocks of classes."""
    rng = torch.Generator().manual_seed(0)
    size, crop = bench.batch, bench.crop
    batch = {
        "image": torch.randn(size, 1, 3, crop, crop, generator=rng),
        "matrix": torch.eye(2, 3, dtype=torch.float64).expand(size, 1, 2, 3),
    }
    for name in MAPS:
        low, high = (1, 2) if name == "valid" else (0, NUM_CLASSES)
        blocks = torch.randint(low, high, (size, 1, 8, 8), generator=rng)
        rows = torch.arange(crop) * 8 // crop
        batch[name] = blocks[:, :, rows[:, None], rows].to(torch.uint8)
    return {name: value.to(bench.device) for name, value in batch.items()}


def step_row(
    bench: Bench, what: str, network: dict[str, Any], terms: dict[str, Any], way: Way = SHIPPED
) -> None:
    """Images per second and memory of a training step."""
    with bench.row("step", what):
        bench.prepare(way)
        torch.manual_seed(0)
        built = build_network(NetworkSettings(backbone_weights="none", **network), NUM_CLASSES)
        layout = torch.channels_last if way.channels_last else torch.contiguous_format
        objective = SegmentationObjective(
            built,
            parse_method(terms, "terms"),
            precision=way.precision,
            memory_format=layout,
            frozen_batch_norm=False,
        ).to(bench.device)
        objective.train()
        optimizer = torch.optim.SGD(objective.parameters(), lr=1e-3, momentum=0.9)
        batch = batch_of(bench)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            found = objective(batch, 0.5).terms.values()
            torch.stack([value.mean() for value in found]).sum().backward()
            optimizer.step()

        bench.memory()
        seconds = bench.seconds(step)
        numbers = {"images_per_second": bench.batch / seconds, "GiB": bench.memory()}
        with FlopCounterMode(display=False) as counter:
            step()
        name = runtime.describe(bench.device)["device"]
        peak = next((rate for card, rate in PEAK.items() if card in name), None)
        if peak is not None:
            numbers["share_of_matrix_rate"] = counter.get_total_flops() / seconds / peak
        numbers["hours_of_the_paper"] = EPOCHS * IMAGES * seconds / bench.batch / 3600
        bench.add("step", what, **numbers)


def training_steps(bench: Bench) -> None:
    v3plus = {"head": "deeplabv3plus", "backbone": bench.backbone}
    v2 = {"head": "deeplabv2", "backbone": bench.backbone, "output_stride": 8}
    mobile = {"head": "deeplabv3plus", "backbone": "mobilenet_v2"}
    exact = Way(torch.float32, deterministic=True)
    step_row(bench, "V3+, all terms, auto", v3plus, ALL)
    step_row(bench, "V3+, without LoRM, auto", v3plus, WITHOUT_LORM)
    step_row(bench, "V3+, both labels, auto", v3plus, BOTH)
    step_row(bench, "V3+, both labels, contiguous", v3plus, BOTH, Way(channels_last=False))
    step_row(bench, "V3+, all terms, bf16 deterministic", v3plus, ALL, Way(deterministic=True))
    step_row(bench, "V3+, all terms, float32 deterministic", v3plus, ALL, exact)
    step_row(bench, "V2 at stride 8, all terms, auto", v2, ALL)
    for layout in (True, False):
        for deterministic in (False, True):
            words = [
                "channels-last" if layout else "contiguous",
                *["deterministic"] * deterministic,
            ]
            way = Way(channels_last=layout, deterministic=deterministic)
            step_row(bench, "MobileNetV2, both labels, " + ", ".join(words), mobile, BOTH, way)


def photographs(folder: Path, number: int) -> tuple[Dataset, dict[str, LabelStore]]:
    """JPEG photographs of 500×375 pixels with a store of every map."""
    images, lists = folder / "JPEGImages", folder / "ImageSets" / "SegmentationAug"
    images.mkdir(parents=True)
    lists.mkdir(parents=True)
    labels = {}
    for index in range(number):
        name = f"image_{index:04d}"
        scene, mask = draw_shape_scene(0, "train", index, 256)
        cv2.imwrite(str(images / f"{name}.jpg"), cv2.resize(scene, (WIDTH, HEIGHT)))
        labels[name] = cv2.resize(mask, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    (lists / "train.txt").write_text("\n".join(labels) + "\n")
    classes = ("background", *(f"class_{index}" for index in range(1, NUM_CLASSES)))
    dataset = describe_folder(folder, "benchmark", classes, folder / "dataset.json")
    stores = {}
    for name, entry in STORED.items():
        path = folder / f"{name}.h5"
        values = [(image_id, label, {}) for image_id, label in labels.items()]
        write_store(
            path,
            values,
            kind=entry.store,
            parameters={},
            sources={"dataset": dataset.digest},
        )
        stores[name] = LabelStore(path, entry.store)
    return dataset, stores


def loading(bench: Bench, dataset: Dataset, stores: dict[str, LabelStore]) -> None:
    """Samples per second from JPEG and four maps, by the number of processes."""
    augmentation = {
        "crop_size": bench.crop,
        "scale": (0.5, 2.0),
        "rotation": 10.0,
        "rotation_probability": 0.5,
        "blur_probability": 0.5,
    }
    crops = TrainingCrops(
        TrainingData(dataset, stores, parse_method(ALL, "terms")), 0, augmentation
    )
    number = len(crops)
    order = [(epoch, index) for epoch in range(1 if bench.small else 12) for index in range(number)]
    for workers in (0, 2) if bench.small else (1, 8):
        with bench.row("loader", f"{workers} processes"):
            loader = DataLoader(crops, bench.batch, sampler=order, num_workers=workers)
            batches = iter(loader)
            next(batches)  # processes have started
            start, samples = time.perf_counter(), 0
            for batch in batches:
                samples += len(batch["image"])
                if time.perf_counter() - start > 8:
                    break
            seconds = time.perf_counter() - start
            bench.add("loader", f"{workers} processes", samples_per_second=samples / seconds)


def cams(bench: Bench, dataset: Dataset) -> None:
    """Photographs per second of the export of CAMs, four scales and mirrored."""
    ids = dataset.splits["train"][: 4 if bench.small else 4 * IMAGES_PER_BATCH]
    images = [dataset.image(image_id) for image_id in ids]
    settings = CamSettings(scales=(0.25, 0.5)) if bench.small else CamSettings()
    for backbone in ("resnet18",) if bench.small else ("resnet50", "mobilenet_v2"):
        with bench.row("CAMs", backbone):
            runtime.prepare(1, str(bench.device))
            network = Classifier(backbone, 16, NUM_CLASSES - 1).eval().to(bench.device)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

            def export(network: Classifier = network) -> None:
                for start in range(0, len(images), IMAGES_PER_BATCH):
                    part = np.stack(images[start : start + IMAGES_PER_BATCH])
                    activation_maps(network, part, [[1, 2]] * len(part), settings, bench.device)

            export()
            bench.wait()
            start = time.perf_counter()
            export()
            bench.wait()
            rate = len(images) / (time.perf_counter() - start)
            bench.add("CAMs", backbone, images_per_second=rate, GiB=bench.memory())


def evaluation(bench: Bench, dataset: Dataset) -> None:
    """Minutes that the paper's evaluation takes: seven scales, windows of 465 pixels."""
    images = [dataset.image(image_id) for image_id in dataset.splits["train"][: bench.rounds]]
    settings = EvaluationSettings(scales=(0.5,), window=65, stride=65, long_side=96)
    settings = settings if bench.small else EvaluationSettings()
    with bench.row("evaluation", bench.backbone):
        runtime.prepare(1, str(bench.device))
        torch.manual_seed(0)
        options = NetworkSettings(backbone=bench.backbone, backbone_weights="none")  # type: ignore[arg-type]
        network = build_network(options, NUM_CLASSES).eval().to(bench.device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        predict_probabilities(network, images[0], settings, bench.device)
        bench.wait()
        start = time.perf_counter()
        for image in images:
            predict_probabilities(network, image, settings, bench.device).argmax(dim=0).cpu()
        bench.wait()
        seconds = (time.perf_counter() - start) / len(images)
        minutes = VALIDATION_IMAGES * seconds / 60
        bench.add(
            "evaluation",
            bench.backbone,
            images_per_second=1 / seconds,
            minutes_of_1449=minutes,
            GiB=bench.memory(),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="every row in miniature")
    arguments = parser.parse_args()
    keep_free_memory()  # as a command does
    device = runtime.prepare(1, arguments.device)
    bench, start = Bench(device, arguments.small), time.perf_counter()
    print(json.dumps(runtime.describe(device)))
    training_steps(bench)
    with tempfile.TemporaryDirectory() as folder:
        dataset, stores = photographs(Path(folder), 8 if bench.small else 128)
        loading(bench, dataset, stores)
        cams(bench, dataset)
        evaluation(bench, dataset)
    print(f"{time.perf_counter() - start:.0f} s in all")
    if arguments.output:
        content = {"environment": runtime.describe(device), "results": bench.results}
        arguments.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
