"""Time data path, training, evaluation and start-up beside the obvious ways, in processor time.

    python benchmarks/ratios.py [--only NAME …] [--list]

Both sides of a pair take turns in one process, so that the ratio of their medians holds on a busy
machine where neither time does. What is to be reached stands at the end of a line.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from gpu import photographs
from PIL import Image
from skimage.segmentation import random_walker
from torch import nn

from cdsp.dataset.shapes import draw_shape_scene
from cdsp.distance_maps.compute import make_distance_maps, scribble_distance_map
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.io.store import LabelStore, write_store
from cdsp.losses import LOSS_TERMS, Step, View
from cdsp.memory import keep_free_memory
from cdsp.metrics import confusion_matrix
from cdsp.networks import predictor
from cdsp.networks.classifier import Classifier
from cdsp.networks.heads import SegmentationNetwork, build_network
from cdsp.networks.interface import NetworkOutput
from cdsp.networks.settings import NetworkSettings
from cdsp.pseudo_labels.cams import activation_maps, scaled_views
from cdsp.pseudo_labels.random_walk import build_graph, random_walk
from cdsp.pseudo_labels.settings import CamSettings
from cdsp.segmentation.data import TrainingCrops, TrainingData
from cdsp.segmentation.method import parse_method
from cdsp.training import runtime
from cdsp.training.augmentation import normalise

ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH, CROP, CLASSES = 375, 500, 465, 21
CPU = torch.device("cpu")


def show(what: str, amount: str, beside: str = "", reach: str = "") -> None:
    print(f"{what:32} {amount:>16}   {beside:52} {reach}".rstrip(), flush=True)


def compare(
    what: str,
    ours: Callable[[], object],
    obvious: Callable[[], object],
    way: str,
    *,
    rounds: int = 7,
    reach: str = "",
) -> None:
    """One pair: medians of processor time, the first round left out, and how often ours fits."""
    times: dict[Callable[[], object], list[float]] = {ours: [], obvious: []}
    for _ in range(rounds):
        for function, measured in times.items():
            start = time.process_time()
            function()
            measured.append(time.process_time() - start)
    mine, other = (1000 * statistics.median(measured[1:]) for measured in times.values())
    show(what, f"{mine:.2f} ms", f"{way}: {other:.2f} ms, {other / mine:.2f} ×", reach)


def scene(side: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """A photograph of PASCAL VOC's usual size and its mask."""
    image, mask = draw_shape_scene(0, "train", 0, side)
    size = (WIDTH, HEIGHT)
    return cv2.resize(image, size), cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)


def distance() -> None:
    _, label = scene()
    sources = ((label == 0) | (label == 255)).astype(np.uint8)
    compare(
        "a distance map",
        lambda: scribble_distance_map(label, 2),
        lambda: cv2.distanceTransform(sources, cv2.DIST_L2, cv2.DIST_MASK_PRECISE),
        "OpenCV's transform alone",
        rounds=61,
        reach="≥ 0.56 ×",
    )


def distance_stage(number: int = 100) -> None:
    _, label = scene()
    with tempfile.TemporaryDirectory() as folder:
        labels, output = Path(folder) / "labels.h5", Path(folder) / "distances.h5"
        rolled = [(f"{i:03d}", np.roll(label, 5 * i, axis=1), {}) for i in range(number)]
        write_store(labels, rolled, kind="scribbles", parameters={}, sources={})
        start = time.process_time()
        make_distance_maps(labels, 2, output)
        rate = number / (time.process_time() - start)
    show("distance maps, store to store", f"{rate:.0f} images/s", "", "≥ 250 images/s")


def samples(number: int = 24) -> None:
    """From JPEG and four maps to a crop; ours reads stores, the obvious way four PNGs."""
    augmentation = {
        "crop_size": CROP,
        "scale": (0.5, 2.0),
        "rotation": 10.0,
        "rotation_probability": 0.5,
        "blur_probability": 0.5,
    }
    terms = ("scribble", "pseudo_label", "scribble_distance", "pseudo_label_distance")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset, stores = photographs(folder, number)
        method = parse_method(dict.fromkeys(terms, 1), "terms")
        crops = TrainingCrops(TrainingData(dataset, stores, method), 0, augmentation)
        crops._room = 0  # a large data set is read anew in each epoch
        pictures = {}
        for image_id in dataset.splits["train"]:
            pictures[image_id] = [folder / f"{image_id}-{term}.png" for term in terms]
            for path, term in zip(pictures[image_id], terms, strict=True):
                Image.fromarray(stores[term][image_id]).save(path)

        def ours() -> None:
            for index in range(number):
                crops[(0, index)]

        def in_steps() -> None:
            rng = np.random.default_rng(0)
            for image_id, paths in pictures.items():
                image = np.array(Image.open(folder / "JPEGImages" / f"{image_id}.jpg"))
                maps = [np.array(Image.open(path)) for path in paths]
                augment_in_steps(image, maps, rng)

        compare(
            f"{number} training samples", ours, in_steps, "step by step, four PNGs", reach="≥ 4 ×"
        )


def augment_in_steps(image: np.ndarray, maps: list[np.ndarray], rng: np.random.Generator) -> None:
    """Scale, rotate, blur, flip and crop, each on its own; then as floats of PyTorch."""
    scale, turned, blurred, flipped = rng.uniform(0.5, 2), *(rng.random(3) < 0.5)
    size = (round(WIDTH * scale), round(HEIGHT * scale))
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), rng.uniform(-10, 10), 1)
    room = [(0, max(0, CROP - side)) for side in reversed(size)]
    for values, mode in [(image, cv2.INTER_LINEAR), *((m, cv2.INTER_NEAREST) for m in maps)]:
        values = cv2.resize(values, size, interpolation=mode)
        if turned:
            values = cv2.warpAffine(values, turn, size, flags=mode)
        if blurred and values.ndim == 3:
            values = cv2.GaussianBlur(values, (5, 5), 0)
        if flipped:
            values = np.ascontiguousarray(values[:, ::-1])
        values = np.pad(values, [*room, (0, 0)][: values.ndim])[:CROP, :CROP]
        if values.ndim == 3:
            values = (values / 255 - 0.45) / 0.225
            torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))).float()


def label() -> None:
    _, found = scene()
    with tempfile.TemporaryDirectory() as folder:
        store, picture = Path(folder) / "labels.h5", Path(folder) / "label.png"
        write_store(store, [("a", found, {})], kind="labels", parameters={}, sources={})
        Image.fromarray(found).save(picture)
        opened = LabelStore(store)
        compare("read a label", lambda: opened["a"], lambda: np.array(Image.open(picture)), "a PNG")


def walk() -> None:
    image, found = scene()
    strokes = np.full_like(found, 255)
    strokes[::40] = found[::40]  # every 40th row: 2.5 % of the pixels
    classes = np.unique(strokes[strokes != 255])

    def ours() -> np.ndarray:
        graph = build_graph(image, spacing=10, colour_scale=15)
        return classes[random_walk(graph, strokes, classes).argmax(axis=1)][graph.superpixels]

    def on_pixels() -> np.ndarray:
        markers = np.select([strokes == class_id for class_id in classes], classes + 1)
        return random_walker(image, markers, mode="bf", channel_axis=-1) - 1

    compare("spread strokes", ours, on_pixels, "scikit-image's walker on pixels")


def small_network() -> SegmentationNetwork:
    settings = NetworkSettings(backbone="mobilenet_v2", head_options={"decoder_channels": 64})
    return build_network(settings, num_classes=CLASSES)


def step() -> None:
    images = torch.randn(4, 3, 193, 193)
    networks = [small_network() for _ in range(2)]
    networks[0].to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train(network: nn.Module, memory_format: torch.memory_format) -> None:
        network(images.to(memory_format=memory_format)).logits.square().mean().backward()

    compare(
        "training step",
        lambda: train(networks[0], torch.channels_last),
        lambda: train(networks[1], torch.contiguous_format),
        "contiguous, not channels-last",
    )


def losses() -> None:
    """The per-pixel terms on what they share, as on a GPU, and each on its own, as on a CPU."""
    names = ("scribble", "pseudo_label", "scribble_distance", "pseudo_label_distance")
    terms = [LOSS_TERMS[name](LOSS_TERMS[name].Options(), network=None) for name in names]  # type: ignore[arg-type]
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, CLASSES, 241, 241, generator=rng)
    maps = {
        name: torch.randint(0, CLASSES, (2, 241, 241), generator=rng).to(torch.uint8)
        for name in names
    }

    def train(shares: bool) -> None:
        leaf, nothing = logits.requires_grad_(), torch.zeros(1)
        output = NetworkOutput(leaf, {})
        view = View(nothing, maps, nothing)
        seen = Step([view], [output], lambda _: output, 0.0, shares=shares)
        torch.stack([term(seen).mean() for term in terms]).sum().backward()

    compare(
        "per-pixel losses, shared", lambda: train(True), lambda: train(False), "each on its own"
    )


def cams(number: int = 8) -> None:
    image, _ = scene()
    images = np.stack([np.roll(image, 9 * i, axis=1) for i in range(number)])
    network = Classifier("mobilenet_v2", 16, CLASSES - 1).eval()
    settings = CamSettings(scales=(0.5, 1.0))
    classes = [[1, 2]] * number

    def ours() -> None:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        activation_maps(network, images, classes, settings, CPU)

    @torch.no_grad()
    def one_at_a_time() -> None:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        for one in images:
            for views in scaled_views(network.backbone, one[None], settings.scales, CPU):
                views = views.contiguous()
                maps = network.activation_maps(views) + network.activation_maps(
                    views.flip(-1)
                ).flip(-1)
                nn.functional.interpolate(maps, (HEIGHT, WIDTH), mode="bilinear").numpy()

    way = "one image and scale at a time"
    compare(f"CAMs of {number} photographs", ours, one_at_a_time, way, rounds=4, reach="≥ 3 ×")


def evaluation() -> None:
    image, _ = scene()
    network = small_network().eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    settings = EvaluationSettings(scales=(1.0,), long_side=500, window=225, stride=150, flip=False)

    def ours() -> None:
        predictor.predict_probabilities(network, image, settings, CPU)

    @torch.no_grad()
    def window_by_window() -> None:
        values = torch.from_numpy(normalise(image, network.backbone.pixels))[None]
        total, count = np.zeros((CLASSES, HEIGHT, WIDTH)), np.zeros((HEIGHT, WIDTH))
        for y in predictor.window_positions(HEIGHT, 225, 150):
            for x in predictor.window_positions(WIDTH, 225, 150):
                logits = network(values[..., y : y + 225, x : x + 225]).logits
                total[:, y : y + 225, x : x + 225] += logits.softmax(dim=1)[0].numpy()
                count[y : y + 225, x : x + 225] += 1
        (total / count).argmax(axis=0)

    compare("predict, sliding window", ours, window_by_window, "window by window", reach="≥ 4 ×")


def confusion() -> None:
    _, found = scene()
    truth = np.where(found == 255, 0, found)

    def by_masks() -> None:
        for row in range(CLASSES):
            for column in range(CLASSES):
                np.count_nonzero((truth == row) & (found == column))

    compare(
        "confusion matrix", lambda: confusion_matrix(truth, found, CLASSES), by_masks, "by masks"
    )


def seconds_of(command: list[str], folder: Path) -> float:
    """Processor time of a command, the median of three."""
    found = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(found)


def planning() -> None:
    """All tables of the shipped configuration: the plan of `cdsp`, and Snakemake's dry run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("workflow", "profiles", "envs"):
            shutil.copytree(ROOT / part, folder / part)
        for part in ("Snakefile", "config.yaml"):
            shutil.copy(ROOT / part, folder)
        scripts = Path(sys.executable).parent
        plan = seconds_of([str(scripts / "cdsp"), "plan"], folder)
        show("cdsp plan, all tables", f"{plan:.2f} s")
        dry = [str(scripts / "snakemake"), "--cores", "1", "--dry-run", "--quiet", "all"]
        show("snakemake --dry-run all", f"{seconds_of(dry, folder):.2f} s", "", "< 5 s")


def start_up() -> None:
    script = str(Path(sys.executable).parent / "cdsp")
    show("cdsp --help", f"{seconds_of([script, '--help'], ROOT):.2f} s", "", "< 0.3 s")
    for stage in (
        "dataset",
        "scribbles",
        "pseudo_labels labels",
        "distance_maps",
        "reporting table",
    ):
        loads = "import sys; from cdsp.cli import main; sys.argv[1:] = {!r}; main()"
        command = [sys.executable, "-c", loads.format([*stage.split(), "--help"])]
        show(f"cdsp {stage} --help", f"{seconds_of(command, ROOT):.2f} s")


PIECES: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        distance,
        distance_stage,
        samples,
        label,
        walk,
        step,
        losses,
        cams,
        evaluation,
        confusion,
        planning,
        start_up,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PIECES, default=list(PIECES), metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name the pieces and end")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(PIECES))
        return
    keep_free_memory()  # as a command does; both sides of a pair have it
    runtime.prepare(1, "cpu")
    for name in arguments.only:
        PIECES[name]()


if __name__ == "__main__":
    main()
