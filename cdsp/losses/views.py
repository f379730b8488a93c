"""From the pixels of one augmentation of an image to those of another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cdsp.losses import View


def align(values: Tensor, source: View, to: View) -> tuple[Tensor, Tensor]:
    """Bring values on the pixels of one view to the pixels of another, bilinearly.

    Args:
        values: (B, C, H, W), of the view ``source``.
        source: the view that they are of; its map "valid" tells its padding.
        to: the view that they are brought to.

    Returns:
        (B, C, H', W') on the pixels of ``to``, and (B, H', W') bool: where both views show whole
        pixels of the image.
    """
    height, width = to.image.shape[-2:]
    sides = values.new_tensor([max(side - 1, 1) for side in values.shape[:-3:-1]]).double()
    last = to.matrix.new_tensor([0.0, 0.0, 1.0]).expand(len(to.matrix), 1, 3)
    there, here = (torch.cat([view.matrix, last], dim=1) for view in (source, to))
    y, x = torch.meshgrid(
        torch.arange(height, device=values.device),
        torch.arange(width, device=values.device),
        indexing="ij",
    )
    pixels = torch.stack([x, y, torch.ones_like(x)]).flatten(1).to(here.dtype)  # (3, N)
    found = (there @ torch.linalg.inv(here) @ pixels)[:, :2].movedim(1, -1)  # (B, N, 2), x and y
    grid = (found / sides * 2 - 1).view(-1, height, width, 2)
    inside = (source.maps["valid"] != 0)[:, None].to(values.dtype)
    moved = nn.functional.grid_sample(
        torch.cat([values, inside], dim=1), grid.to(values.dtype), align_corners=True
    )
    seen = (moved[:, -1] > 1 - 1e-4) & (to.maps["valid"] != 0)
    return moved[:, :-1], seen
