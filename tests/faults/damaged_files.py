"""A file of each kind that stages read, how it is read, and what becomes of it when damaged."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cdsp.dataset.prepare import make_shapes
from cdsp.dataset.voc_layout import read_dataset
from cdsp.io import content
from cdsp.io.files import METRICS_FORMAT, METRICS_VERSION
from cdsp.io.json_files import read_json_lines, read_object, write_json, write_json_lines
from cdsp.io.outputs import file_digest
from cdsp.io.store import LabelStore, write_store
from cdsp.networks.backbones import build_backbone
from cdsp.networks.checkpoint import (
    NetworkCheckpoint,
    read_network,
    segmentation_arguments,
    write_network,
)
from cdsp.networks.classifier import Classifier
from cdsp.networks.heads import build_network
from cdsp.networks.settings import NetworkSettings
from cdsp.networks.tensor_files import read_tensors, save_tensors
from cdsp.reporting.runs import NAMES, read_evaluation
from cdsp.reporting.tables import read_table, write_table
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.image_classes import read_image_classes
from cdsp.scribbles.scribble_labels import degrade_scribbles, simulate_scribbles
from cdsp.scribbles.stroke_files import read_strokes


class Outcome(enum.Enum):
    """What became of a damaged file."""

    CLEAR = "clear"  # refused, with the file's name
    HARMLESS = "harmless"  # read as before
    UNCLEAR = "unclear"  # refused without the file's name, or by a traceback
    SILENT = "silent"  # read as something else


@dataclass
class Readable:
    """A file and what a stage makes of it, in a form that can be compared."""

    path: Path
    read: Callable[[], Any]
    good: tuple[bytes, Any] | None = None  # its bytes and what they say, once they were read


FILES = (
    "dataset.json", "image", "mask", "strokes", "image classes", "store", "store with attributes",
    "state", "settings", "log", "metrics", "confusion", "table",
)  # fmt: skip
NETWORKS = ("weights", "classifier", "backbone")  # of megabytes


def make_files(folder: Path) -> dict[str, Readable]:
    """Make a small file of each kind."""
    dataset = make_shapes(folder / "data", "tiny", num_train=3, num_val=1, size=48, seed=0)
    simulate_scribbles(
        dataset, folder / "strokes.jsonl", coverage=0.05, style="medial_axis", seed=0
    )
    degrade_scribbles(
        folder / "strokes.jsonl", Degradation("full"), folder / "full",
        drop_background=False, min_per_image=0, seed=0,
    )  # fmt: skip
    first = dataset.splits["train"][0]
    maps = np.random.default_rng(0).integers(0, 256, (2, 24, 24), dtype=np.uint8)
    write_store(
        folder / "cams.h5",
        [(name, maps, {"classes": [1, 3]}) for name in dataset.splits["train"]],
        kind="cams", parameters={"scale": 1.0}, sources={"dataset": dataset.digest},
    )  # fmt: skip
    torch.manual_seed(0)
    network_settings = NetworkSettings(
        head="deeplabv2", backbone="mobilenet_v2", backbone_weights="none", output_stride=16
    )
    num_classes = len(dataset.classes)
    classifier = {
        "backbone": "mobilenet_v2", "output_stride": 16, "num_classes": len(dataset.classes) - 1,
        "background": False,
    }  # fmt: skip
    for kind, network, arguments in (
        (
            "segmentation",
            build_network(network_settings, num_classes),
            segmentation_arguments(network_settings, num_classes),
        ),
        ("classifier", Classifier(**classifier), classifier),
    ):
        write_network(
            folder / f"{kind}.pt",
            NetworkCheckpoint(
                kind, arguments, dataset.classes, {}, {"method": "m", "seed": 0}, {"epochs": 1},
                network,
            ),
        )  # fmt: skip
    backbone = build_backbone("mobilenet_v2", 16)
    save_tensors(folder / "backbone.pth", backbone.state_dict())
    save_tensors(folder / "state.pt", {"epoch": 3, "optimizer": {"m": torch.randn(999)}})
    write_json(folder / "settings.json", {"seed": 1, "settings": {"epochs": 3, "rate": 0.1}})
    write_json_lines(folder / "log.jsonl", [{"epoch": i, "loss": 1 / (i + 1)} for i in range(9)])
    np.save(folder / "confusion.npy", np.arange(9).reshape(3, 3))
    metrics = {
        "format": METRICS_FORMAT, "version": METRICS_VERSION, "name": dict.fromkeys(NAMES, "x"),
        "weights": "weights.pt", "protocol": "quick", "protocol_settings": {"classes": []},
        "dataset": {"name": "tiny"}, "mean_iou": 0.5, "pixel_accuracy": 0.75,
        "confusion": file_digest(folder / "confusion.npy"),
        "own_labels": None,
        "class_iou": {"background": 0.5, "cat": 0.25, "dog": None}, "training": {"seed": 0},
        "environment": {"device": "cpu"},
    }  # fmt: skip
    write_json(folder / "metrics.json", metrics)
    write_table([folder / "metrics.json"], folder / "table.csv")

    def backbone_weights() -> list[np.ndarray]:
        backbone.load_weights(str(folder / "backbone.pth"))
        return _tensors(backbone)

    def network(kind: str) -> Callable[[], Any]:
        def read() -> Any:
            found = read_network(folder / f"{kind}.pt", kind)
            described = (found.arguments, found.classes, found.colours, found.name, found.settings)
            return described, _tensors(found.network)

        return read

    def store(path: Path) -> Callable[[], Any]:
        def read() -> Any:
            opened = LabelStore(path)
            try:
                found = [(name, opened[name], opened.attributes(name)) for name in opened]
            finally:
                opened.close()
            return opened.kind, opened.parameters, opened.sources, opened.digest, found

        return read

    def state() -> Any:
        value = read_tensors(folder / "state.pt")
        return value["epoch"], value["optimizer"]["m"].numpy()

    def strokes() -> Any:
        return [
            (
                image.image_id,
                image.height,
                image.width,
                [vars(s) for s in image.strokes],
                image.tags,
            )
            for image in read_strokes(folder / "strokes.jsonl")
        ]

    root = folder / "data"
    return {
        "dataset.json": Readable(
            root / "dataset.json", lambda: read_dataset(root / "dataset.json")
        ),
        "image": Readable(root / f"JPEGImages/{first}.jpg", lambda: dataset.image(first)),
        "mask": Readable(dataset.mask_path(first), lambda: dataset.mask(first)),
        "strokes": Readable(folder / "strokes.jsonl", strokes),
        "image classes": Readable(
            folder / "full/image_classes.json",
            lambda: read_image_classes(folder / "full/image_classes.json"),
        ),
        "store": Readable(folder / "full/labels.h5", store(folder / "full/labels.h5")),
        "store with attributes": Readable(folder / "cams.h5", store(folder / "cams.h5")),
        "weights": Readable(folder / "segmentation.pt", network("segmentation")),
        "classifier": Readable(folder / "classifier.pt", network("classifier")),
        "backbone": Readable(folder / "backbone.pth", backbone_weights),
        "state": Readable(folder / "state.pt", state),
        "settings": Readable(
            folder / "settings.json", lambda: read_object(folder / "settings.json")
        ),
        "log": Readable(
            folder / "log.jsonl", lambda: list(read_json_lines(folder / "log.jsonl"))
        ),
        "metrics": Readable(
            folder / "metrics.json", lambda: repr(read_evaluation(folder / "metrics.json"))
        ),
        "confusion": Readable(
            folder / "confusion.npy",
            lambda: read_evaluation(folder / "metrics.json").read_confusion(),
        ),
        "table": Readable(
            folder / "table.csv", lambda: repr(read_table(folder / "table.csv").to_dict("records"))
        ),
    }  # fmt: skip


def damage(data: bytes, place: float, bit: int) -> bytes:
    """Flip one bit of the byte at a place, a fraction of the length."""
    index = int(place * len(data))
    return data[:index] + bytes([data[index] ^ (1 << bit)]) + data[index + 1 :]


def try_damage(
    files: dict[str, Readable], kind: str, change: Callable[[bytes], bytes]
) -> tuple[Outcome, str]:
    """Read a file, damage it, read it again, and put it back."""
    file = files[kind]
    if file.good is None:
        file.good = file.path.read_bytes(), file.read()
    good, before = file.good
    try:
        file.path.write_bytes(change(good))
        content._checked.clear()  # a process that has not seen the file yet
        after = file.read()
    except ValueError as error:
        named = file.path.name in str(error)
        return (Outcome.CLEAR if named else Outcome.UNCLEAR), str(error)
    except Exception as error:
        return Outcome.UNCLEAR, repr(error)
    finally:
        file.path.write_bytes(good)
    return (Outcome.HARMLESS, "") if _equal(before, after) else (Outcome.SILENT, "another result")


def _tensors(network: nn.Module) -> list[np.ndarray]:
    return [tensor.numpy().copy() for tensor in network.state_dict().values()]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return one == other
