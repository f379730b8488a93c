"""Small parts that networks share."""

from __future__ import annotations

from torch import nn


def freeze_batch_norm(module: nn.Module) -> None:
    """Put every batch norm of a module into evaluation mode, keeping its running statistics."""
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d | nn.SyncBatchNorm):
            child.eval()


def initialise_head(module: nn.Module) -> None:
    """He initialisation of a head's convolutions; batch norms start as the identity."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)


def convolution_block(
    in_channels: int, out_channels: int, kernel: int = 1, rate: int = 1
) -> nn.Sequential:
    """A convolution of unchanged size, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            padding=rate * (kernel // 2),
            dilation=rate,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
