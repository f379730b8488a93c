"""A trained network as one ONNX graph, from the photograph to the probabilities.

What `cdsp.networks.predictor` does with OpenCV around the network is here done by tensors, so that
it becomes part of the graph: whoever runs it needs neither this package nor PyTorch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cdsp.evaluation.settings import EvaluationSettings
from cdsp.networks.heads import SegmentationNetwork


class ImageToProbabilities(nn.Module):
    """Resizing, normalisation, network and softmax, averaged over a protocol's scales and mirrors.

    It predicts whole images: a protocol's window has no part in it.
    """

    low: Tensor
    high: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: SegmentationNetwork,
        protocol: EvaluationSettings,
        working_size: int,
    ) -> None:
        """Join the network and what happens around it.

        Args:
            network: in evaluation mode.
            protocol: scales, mirror and longer side.
            working_size: of the network, pixels; 0 = images as they are.
        """
        super().__init__()
        self.network = network
        self.protocol = protocol
        self.working_size = protocol.long_side or working_size
        pixels = network.backbone.pixels
        self.is_stretched, self.rounds = bool(pixels.low), pixels.depth == "uint8"
        for name in ("low", "high", "mean", "std"):
            values = torch.tensor(getattr(pixels, name))[:, None, None]
            self.register_buffer(name, values)

    def forward(self, image: Tensor) -> Tensor:
        """(H, W, C) of the network's pixels → (K, H, W) float32, sums to 1 over K."""
        size = torch.as_tensor(image.shape[0]), torch.as_tensor(image.shape[1])
        longer = torch.maximum(*size)
        side = torch.as_tensor(self.working_size) if self.working_size else longer
        values = image.permute(2, 0, 1).float()
        if self.is_stretched:
            values = ((values - self.low) * (255 / (self.high - self.low))).clamp(0, 255)
        pixels = resample(values, *_scaled(size, side, longer), rounds=self.rounds)
        total = torch.zeros(())
        for scale in self.protocol.scales:
            view = resample(pixels, *_scaled(size, side * scale, longer), rounds=self.rounds)
            view = (view / 255 - self.mean) / self.std
            total = total + self._probabilities(view, size)
            if self.protocol.flip:
                total = total + self._probabilities(view.flip(-1), size).flip(-1)
        return total / total.sum(dim=0, keepdim=True)

    def _probabilities(self, view: Tensor, size: tuple[Tensor, Tensor]) -> Tensor:
        """(C, h, w) normalised → (K, *size); padded to sides at which features and pixels align."""
        backbone, (height, width) = self.network.backbone, view.shape[-2:]
        step, corner = backbone.side_step, int(backbone.align_corners)
        bottom, right = ((corner - side) % step for side in (height, width))
        logits = self.network(nn.functional.pad(view, (0, right, 0, bottom))[None]).logits
        probabilities = logits.softmax(dim=1)[..., :height, :width]
        return backbone.resize(probabilities, size)[0]  # type: ignore[arg-type]


def _scaled(
    size: tuple[Tensor, Tensor], numerator: Tensor, denominator: Tensor
) -> tuple[Tensor, Tensor]:
    """Sides times a fraction, rounded, at least 1."""
    factor = numerator.double() / denominator
    height, width = ((side * factor).round().clamp(min=1).long() for side in size)
    return height, width


def resample(pixels: Tensor, height: Tensor, width: Tensor, *, rounds: bool) -> Tensor:
    """(C, H, W) of 0..255 → (C, height, width), as OpenCV resizes images.

    Averaged over areas where it shrinks, bilinear where it grows; rounded, as images of 8 bits are.
    """
    rows = _resampling(torch.as_tensor(pixels.shape[1]), height)
    columns = _resampling(torch.as_tensor(pixels.shape[2]), width)
    resized = rows @ pixels @ columns.T
    return resized.round() if rounds else resized


def _resampling(length: Tensor, size: Tensor) -> Tensor:
    """(size, length) float32: how much of each old pixel is in each new one; rows sum to 1."""
    ratio = length.double() / size
    old = torch.arange(length)  # type: ignore[call-overload]
    new = torch.arange(size)[:, None]  # type: ignore[call-overload]
    overlap = torch.minimum((new + 1) * ratio, old + 1.0) - torch.maximum(new * ratio, old + 0.0)
    centre = ((new + 0.5) * ratio - 0.5).clamp(min=0)
    centre = torch.minimum(centre, length - 1.0)
    linear = (1 - (centre - old).abs()).clamp(min=0)
    return torch.where(ratio > 1, overlap.clamp(min=0) / ratio, linear).float()
