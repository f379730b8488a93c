"""The protocol of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cdsp.settings import setting

PIXEL_CLASSIFIER = "pixel_classifier"
"""What tables call the row of a pixel classifier, in the column of methods."""


@dataclass(frozen=True)
class EvaluationSettings:
    """A protocol; the defaults are the paper's."""

    scales: tuple[float, ...] = setting(
        (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0), "image scales, averaged", minimum=0.05, maximum=8
    )
    long_side: int = setting(
        512, "longer side at scale 1, pixels; 0 = the network's working size", minimum=0
    )
    window: int = setting(465, "side of the sliding window, pixels; 0 = whole image", minimum=0)
    stride: int = setting(310, "of the window, pixels", minimum=1)
    flip: bool = setting(False, "average with the mirrored image")
    truth: Literal["masks", "validation_strokes", "held_out_strokes"] = setting(
        "masks",
        "what predictions are compared with: the masks of the validation images (mIoU); or their "
        "strokes, or strokes of the training images that hold_out-<ratio> keeps from the training "
        "(share of right pixels): scores without any mask",
    )
    classes: tuple[str, ...] = setting(
        (), "classes that the score is averaged over; empty = all (for subsets of a data set)"
    )

    def __post_init__(self) -> None:
        """Check what one setting says of another.

        Raises:
            ValueError: no scale, or a stride that leaves gaps between the windows.
        """
        if not self.scales:
            raise ValueError("scales []: expected at least one, such as [1]")
        if 0 < self.window < self.stride:
            raise ValueError(
                f"stride {self.stride} leaves gaps between windows of {self.window} pixels; "
                "expected at most the window"
            )


WHOLE_IMAGE = EvaluationSettings(scales=(1.0,), long_side=0, window=0)
"""The protocol of a network for which none was chosen: whole images, at the working size."""
