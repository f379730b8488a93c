"""What tells a run apart, as `metrics.json` names it; tests change what they need."""

NAME = {
    "dataset": "shapes",
    "method": "cdsp",
    "supervision": "scribbles + pseudo-labels",
    "segmentor": "deeplabv3plus",
    "backbone": "resnet18",
    "scribbles": "full",
    "pseudo_labels": "cam",
}
