"""Segments photographs of one's own with a trained network."""

from __future__ import annotations

import csv
import io
import logging
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import torch

from cdsp.dataset.leftovers import IMAGE_SUFFIXES
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.io.files import (
    class_palette,
    no_such,
    problem_list,
    read_text,
    write_label,
    write_picture,
    write_text,
)
from cdsp.io.findings import Findings
from cdsp.io.outputs import atomic_path, check_outputs
from cdsp.io.photograph import Photograph, open_photograph
from cdsp.io.pixels import as_picture, resize
from cdsp.io.tiff import write_map_tiff
from cdsp.networks.checkpoint import NetworkCheckpoint, read_network
from cdsp.networks.tiles import predict_windows
from cdsp.pictures.legend import write_legend
from cdsp.pictures.overlay import overlay
from cdsp.progress import progress

IN_MEMORY = 2**26
"""Pixels of a photograph of which the results are kept in memory, and written as PNG."""
LARGEST_PICTURE = 4096
"""Longer side of a picture to look at, pixels."""

AREA_COLUMNS = ("photograph", "class", "pixels", "share")
_GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predictor:
    """A network with what is wanted of it.

    Attributes:
        checkpoint: the network, in evaluation mode, on ``device``.
        settings: the protocol.
        device: where to compute.
        output: folder of the results.
        probabilities: whether all probabilities are kept.
        entropy: whether a picture of the entropy is made.
    """

    checkpoint: NetworkCheckpoint
    settings: EvaluationSettings
    device: torch.device
    output: Path
    probabilities: bool = False
    entropy: bool = False

    def predict(self, path: Path) -> np.ndarray:
        """Segment a photograph, write what is wanted of it, and count the pixels of each class."""
        photograph = open_photograph(path, self.checkpoint.pixels)
        counts = np.zeros(len(self.checkpoint.classes), np.int64)
        with ExitStack() as stack:
            number = 1 + self.entropy
            label, *entropy = stack.enter_context(_maps(self.output, photograph.size, number))
            kept = self._open_probabilities(path, photograph.size, stack)
            for rows, columns, found in self._windows(photograph):
                chosen = found.argmax(dim=0).to(torch.uint8).cpu().numpy()
                label[rows, columns] = chosen
                counts += np.bincount(chosen.ravel(), minlength=len(counts))
                if entropy:
                    entropy[0][rows, columns] = entropy_greys(found)
                if kept is not None:
                    sixteen_bits = found.mul(65535).round().int().cpu().numpy()
                    kept[:, rows, columns] = sixteen_bits.astype(np.uint16)
            palette = class_palette(self.checkpoint.classes, self.checkpoint.colours)
            _write_map(self.output / path.stem, label, palette)
            if entropy:
                _write_map(self.output / f"{path.stem}_entropy", entropy[0], _GREYS)
            picture = draw_overlay(photograph, label, palette)
            write_picture(self.output / f"{path.stem}_overlay.jpg", picture)
        return counts

    def _windows(self, photograph: Photograph) -> Iterator[tuple[slice, slice, torch.Tensor]]:
        return predict_windows(
            self.checkpoint.network,  # type: ignore[arg-type]
            photograph,
            self.settings,
            self.device,
            working_size=self.checkpoint.working_size,
        )

    def _open_probabilities(
        self, path: Path, size: tuple[int, int], stack: ExitStack
    ) -> h5py.Dataset | None:
        """The data set that takes all probabilities, (K, H, W) uint16, 65535 = 1.0."""
        if not self.probabilities:
            return None
        file = self.output / f"{path.stem}_probabilities.h5"
        temporary = stack.enter_context(atomic_path(file, sync=False))
        opened = stack.enter_context(h5py.File(temporary, "w", locking=False))
        shape = (len(self.checkpoint.classes), *size)
        chunks = (1, *(min(256, side) for side in size))
        data = opened.create_dataset(
            "probabilities", shape, np.uint16, chunks=chunks, compression=1, shuffle=True
        )
        data.attrs["classes"] = list(self.checkpoint.classes)
        data.attrs["one"] = 65535
        return data


def predict(
    images: Sequence[str],
    weights: Path,
    output: Path,
    settings: EvaluationSettings | None,
    device: torch.device,
    *,
    probabilities: bool = False,
    entropy: bool = False,
) -> None:
    """Segment photographs.

    ``output`` gets for each photograph ``<name>.png``, a palette PNG of class indices (a TIFF where
    it has more than `IN_MEMORY` pixels), and ``<name>_overlay.jpg`` to look at; for all of them
    ``classes.txt`` and ``legend.png``, which name the indices, and ``areas.csv``: the pixels of
    each class and their share of the photograph.

    Args:
        images: photographs, folders of them, or patterns with ``*``.
        weights: the network's file.
        output: folder for the results.
        settings: the protocol; None for the network's own.
        device: where to compute.
        probabilities: also write ``<name>_probabilities.h5``, a data set of (K, H, W) uint16.
        entropy: also write ``<name>_entropy.png``, the entropy of the probabilities: white where
            all classes are equally likely.

    Raises:
        ValueError: before anything is written: no such photograph, two of one name, or a result
            that would replace a file; after all others are predicted: files that are no images.
    """
    paths = find_photographs(images)
    planned = planned_outputs(paths, output, probabilities=probabilities, entropy=entropy)
    check_outputs(planned, inputs=[*paths, weights])
    checkpoint = read_network(weights, "segmentation")
    checkpoint.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    predictor = Predictor(
        checkpoint,
        settings or checkpoint.protocol,
        device,
        output,
        probabilities=probabilities,
        entropy=entropy,
    )
    lines = "".join(f"{index} {name}\n" for index, name in enumerate(checkpoint.classes))
    write_text(output / "classes.txt", lines)
    palette = class_palette(checkpoint.classes, checkpoint.colours)
    write_legend(output / "legend.png", checkpoint.classes, palette)
    findings, counts = Findings(), {}
    try:
        for path in progress(paths, "predicting"):
            with findings.collected(path):
                counts[path.name] = predictor.predict(path)
    finally:
        _write_areas(output / "areas.csv", counts, checkpoint.classes)
    if findings.problems:
        where = f"{len(paths) - len(counts)} of {len(paths)} photographs were not predicted"
        raise ValueError(problem_list(where, list(findings.problems)))


def find_photographs(names: Sequence[str]) -> list[Path]:
    """The photographs that some names mean: files, folders, or patterns with ``*``.

    Raises:
        ValueError: a name means none.
    """
    found: dict[Path, None] = {}
    for name in names:
        path = Path(name).expanduser()
        if path.is_dir():
            inside = [file for file in sorted(path.iterdir()) if _is_photograph(file)]
            if not inside:
                raise ValueError(f"{path}: no photograph ({', '.join(IMAGE_SUFFIXES)}) is in it")
        elif path.exists():
            inside = [path]
        else:
            folder = Path(path.anchor or ".")
            pattern = str(path.relative_to(path.anchor)) if path.anchor else str(path)
            inside = [file for file in sorted(folder.glob(pattern)) if _is_photograph(file)]
            if not inside:
                raise ValueError(no_such(path, "image"))
        found |= dict.fromkeys(inside)
    return list(found)


def _is_photograph(path: Path) -> bool:
    is_hidden = path.name.startswith(".")
    return path.is_file() and not is_hidden and path.suffix.lower() in IMAGE_SUFFIXES


def planned_outputs(
    paths: Sequence[Path], output: Path, *, probabilities: bool, entropy: bool
) -> list[Path]:
    """The files that a prediction writes, large photographs apart.

    Raises:
        ValueError: two photographs would make one file, or the folder is the photographs' own.
    """
    endings = [".png", "_overlay.jpg"]
    endings += ["_probabilities.h5"] * probabilities + ["_entropy.png"] * entropy
    names = [f"{path.stem}{ending}" for path in paths for ending in endings]
    names += ["classes.txt", "legend.png", "areas.csv"]
    times = Counter(names)
    for path in paths:
        if output.resolve() == path.parent.resolve():
            raise ValueError(f"{path}: give another folder for the results than the image's own")
        for ending in endings:
            if times[f"{path.stem}{ending}"] > 1:
                raise ValueError(
                    f"{path}: two images are named {path.stem!r}, or another result is called "
                    f"{path.stem}{ending}; predict them apart"
                )
    return [output / name for name in names]


@contextmanager
def _maps(folder: Path, size: tuple[int, int], number: int) -> Iterator[list[Any]]:
    """Maps of (H, W) uint8 to be filled: arrays, or where they are large, in a file.

    The file has no name, so that nothing is left of it when the process is killed.
    """
    if math.prod(size) <= IN_MEMORY:
        yield [np.empty(size, np.uint8) for _ in range(number)]
        return
    with tempfile.TemporaryFile(dir=folder) as unnamed, h5py.File(unnamed, "w") as file:
        yield [file.create_dataset(str(index), size, np.uint8) for index in range(number)]


def _write_map(stem: Path, values: Any, palette: np.ndarray) -> None:
    """Write a map as palette PNG, or as TIFF where it is large."""
    if isinstance(values, np.ndarray):
        write_label(stem.with_name(f"{stem.name}.png"), values, palette)
    else:
        write_map_tiff(stem.with_name(f"{stem.name}.tif"), values, palette)


def entropy_greys(probabilities: torch.Tensor) -> np.ndarray:
    """(K, h, w) probabilities → (h, w) uint8, their entropy: 255 where all are equal."""
    entropy = torch.special.entr(probabilities).sum(dim=0) / math.log(len(probabilities))
    return entropy.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()


def draw_overlay(photograph: Photograph, label: Any, palette: np.ndarray) -> np.ndarray:
    """A photograph under the colours of its label, smaller where it is large.

    Args:
        photograph: read some rows at a time.
        label: (H, W) uint8, an array or a data set of HDF5.
        palette: (256, 3) uint8.

    Returns:
        (h, w, 3) uint8 RGB of at most `LARGEST_PICTURE` pixels at the longer side.
    """
    height, width = photograph.size
    step = -(-max(height, width) // LARGEST_PICTURE)
    parts = []
    for row in range(0, height, 256 * step):
        stop = min(row + 256 * step, height)
        size = -(-width // step), -(-(stop - row) // step)
        image = resize(photograph.rows(row, stop), size, cv2.INTER_AREA)
        parts.append(overlay(as_picture(image), label[row:stop][::step, ::step], palette))
    return np.concatenate(parts)


def _write_areas(path: Path, counts: dict[str, np.ndarray], classes: Sequence[str]) -> None:
    """Write the areas of photographs; those of others that stand there stay."""
    rows: list[list[Any]] = []
    if path.is_file():
        before = csv.reader(io.StringIO(read_text(path)))
        rows = [row for row in list(before)[1:] if row[0] not in counts]
    for photograph, pixels in counts.items():
        shares = pixels / pixels.sum()
        entries = zip(classes, pixels.tolist(), shares.round(6).tolist(), strict=True)
        rows += [[photograph, *entry] for entry in entries]
    rows.sort(key=lambda row: str(row[0]))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([AREA_COLUMNS, *rows])
    write_text(path, text.getvalue())
