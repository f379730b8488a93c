"""What a run and its evaluation leave in files; tests change what they need."""

from typing import Any

from cdsp.io.files import METRICS_FORMAT, METRICS_VERSION

NAME = {
    "dataset": "shapes",
    "method": "cdsp",
    "supervision": "scribbles + pseudo-labels",
    "network": "deeplabv3plus-resnet18",
    "head": "deeplabv3plus",
    "backbone": "resnet18",
    "scribbles": "full",
    "pseudo_labels": "cam",
}
"""What tells a run apart, but for its seed."""


def metrics_content(**changes: Any) -> dict[str, Any]:
    """What ``metrics.json`` holds, with other values for some of its entries."""
    return {
        "format": METRICS_FORMAT,
        "version": METRICS_VERSION,
        "name": {**NAME, "seed": 0},
        "weights": "weights.pt",
        "protocol": "quick",
        "protocol_settings": {"scales": [1.0], "window": 0, "classes": []},
        "dataset": {"name": "shapes", "digest": "d1d2d3d4", "num_images": 120},
        "mean_iou": 0.5,
        "pixel_accuracy": 0.75,
        "class_iou": {"background": 0.9, "cat": None},
        "own_labels": None,
        "training": {"seed": 0, "terms": {"scribble": {"weight": 1.0}}},
        "environment": {"torch": "9.8.7", "device": "cpu", "cpu": "abacus"},
        **changes,
    }
