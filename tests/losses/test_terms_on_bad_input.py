"""Every loss term on input that is of no use: 0 or a number, never NaN, and gradients likewise.

The terms are run by the objective, as in a training: with two views, a further forward pass and a
teacher where they ask for them. The network says all features that any head has, of images down to
a single pixel.
"""

import pytest
import torch
from loss_steps import BATCH, CHANNELS, CLASSES, draw, draw_labels
from torch import Tensor, nn

from cdsp.losses import LOSS_TERMS
from cdsp.maps import MAPS
from cdsp.networks.interface import NetworkOutput
from cdsp.segmentation.method import parse_method
from cdsp.segmentation.objective import SegmentationObjective

NAMES = ("low_level", "backbone", "decoder", "query", "key")
LABELS = ("scribble", "pseudo_label", "mask")
OF_LABELS_ALONE = {
    *("agmm_contrast", "agmm_gaussian", "cycle"),
    *LABELS,
    *(f"{name}_dice" for name in LABELS),
}
"""Terms that have nothing to say where no pixel is labelled."""


class Features(nn.Module):
    feature_channels = dict.fromkeys(NAMES, CHANNELS)

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, CHANNELS, 1)
        self.classify = nn.Conv2d(CHANNELS, CLASSES, 1)

    def forward(self, images: Tensor) -> NetworkOutput:
        size = images.shape[-2:]
        small = nn.functional.interpolate(images, tuple(-(-side // 4) for side in size))
        feature = self.embed(small).tanh()
        logits = nn.functional.interpolate(self.classify(feature), size, mode="bilinear")
        return NetworkOutput(logits, dict.fromkeys(NAMES, feature))  # type: ignore[arg-type]


def objective_of(name: str) -> SegmentationObjective:
    torch.manual_seed(0)
    return SegmentationObjective(
        Features(),  # type: ignore[arg-type]
        parse_method({name: 1}, "method"),
        precision=torch.float32,
        memory_format=torch.contiguous_format,
        frozen_batch_norm=False,
    ).double()


def draw_batch(views: int, size: tuple[int, int]) -> dict[str, Tensor]:
    """As the loader gives it, every map in it; the last columns of the first image are padding."""
    batch = {"image": draw(BATCH, views, 3, *size)}
    batch["matrix"] = torch.eye(2, 3, dtype=torch.float64).expand(BATCH, views, 2, 3)
    for seed, (name, entry) in enumerate(MAPS.items()):
        values = draw_labels(BATCH, views, *size, seed=seed)
        batch[name] = values if name in LABELS else values.clamp(min=1)
        if size[1] > 1:
            batch[name][0, ..., -2:] = entry.padding
    return batch


def spoil(batch: dict[str, Tensor], how: str) -> None:
    if how == "no label":
        for name in LABELS:
            batch[name].fill_(255)
    if how == "background alone":
        for name in LABELS:
            batch[name][batch[name] != 255] = 0
    if how == "one class":
        for name in LABELS:
            batch[name][batch[name] != 255] = 1
    if how == "a class in one image alone":
        for name in LABELS:
            batch[name][0][batch[name][0] == 2] = 255
    if how == "an image without a label":
        for name in LABELS:
            batch[name][0] = 255
    if how == "padding alone":
        for name, entry in MAPS.items():
            batch[name].fill_(entry.padding)
    if how == "an image of padding":
        for name, entry in MAPS.items():
            batch[name][0] = entry.padding
    if how == "distances of 0":
        for name in ("scribble_distance", "pseudo_label_distance"):
            batch[name].fill_(0)
    if how == "an image of one colour":
        batch["image"].fill_(0.25)


CASES = {
    "one pixel": (1, 1),
    "one row": (1, 13),
    "one column": (13, 1),
    **dict.fromkeys(
        (
            "no label",
            "background alone",
            "one class",
            "a class in one image alone",
            "an image without a label",
            "padding alone",
            "an image of padding",
            "distances of 0",
            "an image of one colour",
        ),
        (9, 13),
    ),
}


@pytest.mark.parametrize("how", CASES)
@pytest.mark.parametrize("name", LOSS_TERMS)
def test_no_term_is_nan_whatever_it_is_given(name, how):
    objective = objective_of(name)
    batch = draw_batch(LOSS_TERMS[name].views, CASES[how])
    spoil(batch, how)
    terms, logged = objective(batch, 0.9)
    found = terms[name]
    for value in (found, *logged.values()):
        assert value.total.isfinite()
        assert value.count.isfinite()
        assert not value.count.requires_grad
        assert value.count != 0 or value.total == 0
        assert value.mean().isfinite()
    # The walk is over all places of the feature, those of padding among them.
    padded = how == "padding alone" and name != "walk_consistency"
    if padded or (how == "no label" and name in OF_LABELS_ALONE):
        assert found.total == 0
    found.mean().backward()
    for key, parameter in objective.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), key
    objective.after_step(0.9)
    for key, value in objective.state_dict().items():
        assert value.isfinite().all(), key
