"""Time the data path, spreading strokes, training and evaluation beside the obvious ways of each.

    python benchmarks/ratios.py

Both sides of a pair take turns in one process, so that the ratio of their medians holds on a busy
machine where neither time does.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import random_walker

from cdsp.dataset.shapes import draw_shape_scene
from cdsp.distance_maps.compute import scribble_distance_map
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.io.store import LabelStore, write_store
from cdsp.metrics import confusion_matrix
from cdsp.networks import predictor
from cdsp.networks.heads import SegmentationNetwork, build_network
from cdsp.networks.settings import NetworkSettings
from cdsp.pseudo_labels.random_walk import build_graph, random_walk
from cdsp.training import runtime
from cdsp.training.augmentation import augment_image, augment_map, draw_augmentation

HEIGHT, WIDTH, CROP = 375, 500, 465
ROUNDS = 7


def compare(what: str, ours: Callable[[], object], obvious: Callable[[], object], way: str) -> None:
    times: dict[Callable[[], object], list[float]] = {ours: [], obvious: []}
    for _ in range(ROUNDS):
        for function, measured in times.items():
            start = time.perf_counter()
            function()
            measured.append(time.perf_counter() - start)
    mine, other = (1000 * statistics.median(measured[1:]) for measured in times.values())
    print(f"{what:28} {mine:9.2f} ms   {way:44} {other:9.2f} ms   {other / mine:5.2f}×", flush=True)


def augment_in_steps(image: np.ndarray, maps: list[np.ndarray]) -> None:
    """Scale, rotate, blur, flip and crop, each on its own."""
    size = (WIDTH * 3 // 2, HEIGHT * 3 // 2)
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), 5, 1)
    for values, mode in [(image, cv2.INTER_LINEAR), *((m, cv2.INTER_NEAREST) for m in maps)]:
        scaled = cv2.resize(values, size, interpolation=mode)
        turned = cv2.warpAffine(scaled, turn, size, flags=mode)
        blurred = cv2.GaussianBlur(turned, (5, 5), 0) if values.ndim == 3 else turned
        np.ascontiguousarray(blurred[:, ::-1][50 : 50 + CROP, 50 : 50 + CROP])


def data_path(image: np.ndarray, maps: list[np.ndarray], label: np.ndarray) -> None:
    draw = draw_augmentation(
        np.random.default_rng(0),
        HEIGHT,
        WIDTH,
        crop_size=CROP,
        scale=(1.5, 1.5),
        rotation=10,
        rotation_probability=1,
        blur_probability=1,
    )

    def ours() -> None:
        augment_image(image, draw)
        for values in maps:
            augment_map("scribble", values, draw)

    compare("augment image + 4 maps", ours, lambda: augment_in_steps(image, maps), "step by step")

    def exact_distance() -> None:
        distance = distance_transform_edt((label == 0) | (label == 255))
        np.minimum(255, np.exp(1) * np.asarray(distance)).astype(np.uint8)

    compare(
        "distance map", lambda: scribble_distance_map(label, 2), exact_distance, "scipy's transform"
    )
    with tempfile.TemporaryDirectory() as folder:
        store, picture = Path(folder) / "labels.h5", Path(folder) / "label.png"
        write_store(store, [("a", label, {})], kind="labels", parameters={}, sources={})
        Image.fromarray(label).save(picture)
        opened = LabelStore(store)
        compare(
            "read a label", lambda: opened["a"], lambda: np.array(Image.open(picture)), "from a PNG"
        )


def spread_strokes(image: np.ndarray, label: np.ndarray) -> None:
    strokes = np.full_like(label, 255)
    strokes[::40] = label[::40]  # every 40th row: 2.5 % of the pixels
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
    return build_network(settings, num_classes=21)


def training_step() -> None:
    images = torch.randn(4, 3, 193, 193)
    networks = [small_network() for _ in range(2)]
    networks[0].to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def step(network: torch.nn.Module, memory_format: torch.memory_format) -> None:
        network(images.to(memory_format=memory_format)).logits.square().mean().backward()

    compare(
        "training step",
        lambda: step(networks[0], torch.channels_last),
        lambda: step(networks[1], torch.contiguous_format),
        "contiguous instead of channels-last",
    )


def evaluation(image: np.ndarray, label: np.ndarray) -> None:
    network = small_network().eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    settings = EvaluationSettings(scales=(1.0,), long_side=500, window=225, stride=150)
    device = torch.device("cpu")

    def predict(windows: int) -> None:
        predictor.WINDOWS_PER_BATCH = windows
        predictor.predict_probabilities(network, image, settings, device)

    compare("predict, sliding window", lambda: predict(4), lambda: predict(1), "window by window")
    truth = np.where(label == 255, 0, label)

    def by_masks() -> None:
        for row in range(21):
            for column in range(21):
                np.count_nonzero((truth == row) & (label == column))

    compare("confusion matrix", lambda: confusion_matrix(truth, label, 21), by_masks, "by masks")


def main() -> None:
    runtime.prepare(1, "cpu")
    scene, mask = draw_shape_scene(0, "train", 0, 256)
    image = cv2.resize(scene, (WIDTH, HEIGHT))
    label = cv2.resize(mask, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    data_path(image, [label] * 4, label)
    spread_strokes(image, label)
    training_step()
    evaluation(image, label)


if __name__ == "__main__":
    main()
