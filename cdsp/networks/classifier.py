"""The multi-label classifier whose weights make the class activation maps (Eq. 6)."""

from __future__ import annotations

from torch import Tensor, nn

from cdsp.io.pixels import RGB, PixelFormat
from cdsp.networks.backbones import build_backbone


class Classifier(nn.Module):
    """A backbone, global average pooling and a linear head without bias.

    The head is applied as a 1×1 convolution, so that its response before pooling is the class
    activation map itself: one set of weights W for both. A classifier that also learns from pixels
    has a first channel for the background, which the image-level logits leave out.
    """

    def __init__(
        self,
        backbone: str,
        output_stride: int,
        num_classes: int,
        *,
        background: bool = False,
        pixels: PixelFormat = RGB,
    ) -> None:
        """Build it with random weights.

        Args:
            backbone: one of `cdsp.networks.settings.BACKBONES`.
            output_stride: one that the backbone has.
            num_classes: object classes, background NOT included.
            background: whether the head has a channel for the background, before the others.
            pixels: of the images.
        """
        super().__init__()
        self.background = background
        self.backbone = build_backbone(backbone, output_stride, pixels)
        channels = num_classes + background
        self.head = nn.Conv2d(self.backbone.channels["backbone"], channels, 1, bias=False)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) normalised images → (B, num_classes) logits."""
        return self.image_logits(self.backbone(images).feature)

    def image_logits(self, feature: Tensor) -> Tensor:
        """(B, C, h, w) feature of the backbone → (B, num_classes) logits."""
        logits = self.head(feature.mean(dim=(2, 3), keepdim=True)).flatten(1)
        return logits[:, self.background :]

    def pixel_logits(self, images: Tensor) -> Tensor:
        """The head's response before pooling, at the backbone's output stride.

        (B, C, H, W) normalised images → (B, num_classes, h, w), with background one channel more.
        """
        return self.head(self.backbone(images).feature)

    def activation_maps(self, images: Tensor) -> Tensor:
        """Eq. 6: CAM_k = ReLU(Σ_i W_{i,k} F_i).

        (B, C, H, W) normalised images → (B, num_classes, h, w), at the backbone's output stride.
        """
        return self.pixel_logits(images)[:, self.background :].relu()
