"""What timm documents of itself, as far as it is used here, with two small networks.

Names and arguments are timm's; the networks are none of its.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

__version__ = "1.0.stand-in"
CONFIG = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "classifier": "head"}


class Base(nn.Module):
    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, num_classes) if num_classes else nn.Identity()
        self.pretrained_cfg = dict(CONFIG)

    def normalised(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Tokens(Base):
    """Tokens of patches of 14 pixels, of one size of image unless it is told otherwise."""

    def __init__(self, num_classes: int = 1000, dynamic_img_size: bool = False) -> None:
        super().__init__(num_classes, 12)
        self.dynamic = dynamic_img_size
        self.patch_embed = nn.Conv2d(3, 12, 14, 14)
        self.blocks = nn.ModuleList([nn.Conv2d(12, 12, 1) for _ in range(6)])
        names = [f"blocks.{i}" for i in range(6)]
        self.feature_info = [{"module": n, "num_chs": 12, "reduction": 14} for n in names]

    def forward_intermediates(
        self,
        x: Tensor,
        indices: list[int] | None = None,
        norm: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor]:
        assert output_fmt == "NCHW"
        assert intermediates_only
        size = tuple(x.shape[-2:])
        assert self.dynamic or size == (28, 28), f"Input height ({size[0]}) doesn't match model"
        x, found = self.patch_embed(x), []
        for index, block in enumerate(self.blocks):
            x = x + block(x).tanh()
            if indices is None or index in indices:
                found.append(self.normalised(x) if norm else x)
        return found


class FixedTokens(Tokens):
    """The same without the option."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__(num_classes)


class Pyramid(Base):
    """Levels of stride 2 to 32, as a convolutional network of timm's has."""

    def __init__(self, num_classes: int = 1000, **options: object) -> None:
        super().__init__(num_classes, 14)
        assert not options
        widths = (3, 4, 6, 8, 10, 14)
        self.stages = nn.ModuleList([nn.Conv2d(a, b, 2, 2) for a, b in pairwise(widths)])
        self.feature_info = [
            {"module": f"stages.{i}", "num_chs": widths[i + 1], "reduction": 2 ** (i + 1)}
            for i in range(5)
        ]

    def forward_intermediates(
        self,
        x: Tensor,
        indices: list[int],
        norm: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor]:
        assert output_fmt == "NCHW"
        assert intermediates_only
        found = []
        for index, stage in enumerate(self.stages):
            x = stage(x).relu()
            if index in indices:
                found.append(self.normalised(x) if norm and index == 4 else x)
        return found


class Old(nn.Module):
    """A network that gives no features."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()


MODELS = {"tokens": Tokens, "fixed_tokens": FixedTokens, "pyramid": Pyramid, "old": Old}


def create_model(
    model_name: str, pretrained: bool = False, num_classes: int = 1000, **options: object
) -> nn.Module:
    if model_name not in MODELS:
        raise RuntimeError(f"Unknown model ({model_name})")
    assert torch.empty(1).item() is not None  # as some do while they are built: none on "meta"
    model = MODELS[model_name](num_classes=num_classes, **options)
    if pretrained:
        if model_name == "pyramid":
            raise RuntimeError("No pretrained weights exist for pyramid")
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.25)
    return model
