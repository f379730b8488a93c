"""What the evaluation of a run left, and what its training did: read once for all of reporting."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cdsp.io.files import IGNORE, METRICS_FORMAT, METRICS_VERSION
from cdsp.io.json_files import read_json
from cdsp.io.outputs import file_digest
from cdsp.training.record import TrainingRecord, read_training

NAMES = (
    "dataset",
    "method",
    "supervision",
    "network",
    "head",
    "backbone",
    "scribbles",
    "pseudo_labels",
    "seed",
)
"""What every run's name says of it, at least."""

OBJECTS = ("name", "protocol_settings", "dataset", "training", "environment")
"""The entries of ``metrics.json`` that are JSON objects."""


@dataclass(frozen=True)
class Score:
    """A score of networks, by what their predictions were compared with.

    Attributes:
        title: what to call it, with its unit.
        column: what its columns of a table begin with.
        mean_entry: of ``metrics.json``.
        entry: the entry of each class's is ``class_<entry>``.
        of_class: what to call that of a class.
        caption: what it is measured on.
    """

    title: str
    column: str
    mean_entry: str
    entry: str
    of_class: str
    caption: str


_INTERVALS = (
    "with its 95 % interval (Wilson's for each class, with the images as trials; MOVER's for the "
    "mean)"
)
SCORES = {
    "masks": Score(
        "mIoU (%)", "miou", "mean_iou", "iou", "IoU (%)", "mIoU on the masks of validation images"
    ),
    "validation_strokes": Score(
        "validation strokes right (%)",
        "strokes",
        "held_out_accuracy",
        "held_out_accuracy",
        "validation strokes right (%)",
        "The share of the pixels of the validation images' strokes which get their class, mean "
        f"over the classes, {_INTERVALS}",
    ),
    "held_out_strokes": Score(
        "held-out strokes right (%)",
        "held_out",
        "held_out_accuracy",
        "held_out_accuracy",
        "held-out strokes right (%)",
        "The share of the pixels of strokes that were held out of the training which get their "
        f"class, mean over the classes, {_INTERVALS}",
    ),
}
"""`truth` of a protocol → the score."""


def table_score(columns: Iterable[str]) -> Score:
    """The score that a table tells, by the names of its columns; mIoU where they name none."""
    names = set(columns)
    return next((s for s in SCORES.values() if f"{s.column}_mean" in names), SCORES["masks"])


@dataclass(frozen=True)
class Evaluation:
    """What ``metrics.json`` tells of an evaluated run.

    Attributes:
        path: of the file.
        name: what the run is: `NAMES` → text, and what else the training named.
        weights: the file of the evaluated network.
        protocol: name of the protocol.
        protocol_settings: its settings.
        dataset: name, digest and number of images.
        truth: what the predictions were compared with, a key of `SCORES`.
        score: fraction, see `SCORES`; NaN where none of the averaged classes occurs.
        interval: its 95 % confidence interval, fractions; None for masks.
        class_scores: class → fraction; NaN for a class that does not occur.
        agreement: mean IoU between its predictions of training images and the labels that it was
            trained on, a fraction; None where they were not compared.
        probe_accuracy: of a linear classifier on the backbone's feature, see
            `cdsp.evaluation.probe`; a fraction, NaN where there was nothing to compare.
        training: what the weights depend on, as the network's file says.
        environment: versions, hardware and command of the evaluation.
        confusion: digest of the file of the confusion matrix; None where nobody tells it.
    """

    path: Path
    name: dict[str, str]
    weights: Path
    protocol: str
    protocol_settings: dict[str, Any]
    dataset: dict[str, Any]
    truth: str
    score: float
    interval: tuple[float, float] | None
    class_scores: dict[str, float]
    agreement: float | None
    probe_accuracy: float
    training: dict[str, Any]
    environment: dict[str, Any]
    confusion: str | None

    def read_training(self) -> TrainingRecord:
        """What lies beside the evaluated network.

        Raises:
            ValueError: a damaged file, or the folder now holds another training.
        """
        record = read_training(self.weights.parent)
        record.require(self.training, self.path, "evaluate it again")
        return record

    @property
    def confusion_path(self) -> Path:
        """The file of the confusion matrix."""
        return self.path.with_name("confusion.npy")

    def read_confusion(self) -> np.ndarray:
        """The confusion matrix, (K, K) integers: rows are the truth, columns the prediction.

        Raises:
            ValueError: the file is missing, damaged or of another number of classes.
        """
        path = self.confusion_path
        if self.confusion is not None and path.is_file() and file_digest(path) != self.confusion:
            raise ValueError(f"{path}: damaged, or of another evaluation; evaluate again")
        try:
            # Mapped, not read: a header that promises more than the file holds costs no memory.
            counts = np.lib.format.open_memmap(path, mode="r")
        except FileNotFoundError as error:
            raise ValueError(f"{path}: no such file; evaluate the network again") from error
        except Exception as error:  # NumPy reads the header as Python, and fails in as many ways
            raise ValueError(f"{path}: not readable ({error}); evaluate again") from error
        expected = (len(self.class_scores), len(self.class_scores))
        if counts.shape != expected or counts.dtype.kind not in "iu":
            raise ValueError(
                f"{path}: expected {expected} integers, found {counts.shape} of {counts.dtype}; "
                "evaluate again"
            )
        return np.array(counts)


def read_evaluation(path: Path) -> Evaluation:
    """Read a ``metrics.json``.

    Raises:
        ValueError: the file is missing, damaged or of another version.
    """
    value = read_json(path, METRICS_FORMAT, METRICS_VERSION)
    try:
        objects = {key: value[key] for key in OBJECTS}
        for key, item in objects.items():
            if not isinstance(item, Mapping):
                raise TypeError(f"{key!r} is {str(item)[:40]!r}")
        name = {key: str(item) for key, item in objects.pop("name").items()}
        missing = [key for key in NAMES if key not in name]
        if missing:
            raise KeyError(missing[0])
        truth = str(value["protocol_settings"].get("truth", "masks"))
        score = SCORES[truth]
        if not isinstance(value[f"class_{score.entry}"], Mapping):
            raise TypeError(f"class_{score.entry}")
        class_scores = {key: _fraction(of) for key, of in value[f"class_{score.entry}"].items()}
        if not 0 < len(class_scores) <= IGNORE:
            raise ValueError(f"{len(class_scores)} classes")
        interval = value.get("held_out_interval")
        return Evaluation(
            path=path,
            name=name,
            weights=Path(value["weights"]),
            protocol=str(value["protocol"]),
            truth=truth,
            score=_fraction(value[score.mean_entry]),
            interval=interval and (float(interval[0]), float(interval[1])),
            class_scores=class_scores,
            agreement=value["own_labels"] and float(value["own_labels"]["mean_iou"]),
            probe_accuracy=_fraction(value.get("probe_accuracy")),
            confusion=value.get("confusion"),
            **objects,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: damaged ({error!r}); evaluate the network again") from error


def _fraction(value: Any) -> float:
    return math.nan if value is None else float(value)
