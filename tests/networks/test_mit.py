import math

import pytest
import torch
from network_contract import BackboneContract

from cdsp.networks.backbones import build_backbone
from cdsp.networks.backbones.mit import Attention


class TestMixTransformer(BackboneContract):
    names = ("mit_b0",)

    @pytest.fixture(scope="class", params=[32])
    @classmethod
    def output_stride(cls, request):
        return request.param


@pytest.mark.parametrize(
    ("name", "millions"),  # as published, of the encoder alone
    [
        ("mit_b0", 3.4),
        ("mit_b1", 13.1),
        ("mit_b2", 24.2),
        ("mit_b3", 44.0),
        ("mit_b4", 60.8),
        ("mit_b5", 81.4),
    ],
)
def test_it_has_as_many_parameters_as_published(name, millions):
    with torch.device("meta"):
        backbone = build_backbone(name, 32)
    # The published counts are rounded.
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, rel=0.025)


def test_its_parameters_have_the_names_of_the_published_files():
    with torch.device("meta"):
        names = build_backbone("mit_b0", 32).state_dict().keys()
    known = {
        "patch_embed1.proj.weight",
        "patch_embed4.norm.bias",
        "block1.0.norm1.weight",
        "block1.1.attn.q.weight",
        "block2.0.attn.kv.bias",
        "block3.1.attn.sr.weight",
        "block3.0.attn.norm.bias",
        "block4.1.attn.proj.weight",
        "block4.0.mlp.fc1.weight",
        "block1.0.mlp.dwconv.dwconv.weight",
        "block2.1.mlp.fc2.bias",
        "norm4.weight",
    }
    assert known <= names
    assert not any(".sr." in name for name in names if name.startswith("block4"))


@pytest.mark.parametrize(
    ("reduction", "size"), [(1, (3, 4)), (2, (4, 6)), (4, (5, 9)), (8, (2, 3))]
)
@torch.inference_mode()
def test_attention_is_a_softmax_over_coarse_tokens(reduction, size):
    """By loops over heads and tokens, in float64; the last map is smaller than a coarse cell."""
    torch.manual_seed(0)
    attention = Attention(6, 2, reduction).double()
    tokens = torch.randn(2, size[0] * size[1], 6, dtype=torch.float64)
    found = attention(tokens, torch.Size(size))
    for image in range(2):
        coarse = tokens[image]
        if reduction > 1:
            rows, columns = (max(side, reduction) for side in size)
            grid = torch.zeros(rows, columns, 6, dtype=torch.float64)
            grid[: size[0], : size[1]] = coarse.view(*size, 6)
            cells = [
                torch.einsum(
                    "yxc,ocyx->o",
                    grid[y : y + reduction, x : x + reduction],
                    attention.sr.weight,
                )
                + attention.sr.bias
                for y in range(0, rows - reduction + 1, reduction)
                for x in range(0, columns - reduction + 1, reduction)
            ]
            coarse = attention.norm(torch.stack(cells))
        key, value = attention.kv(coarse).split(6, dim=1)
        for number, token in enumerate(tokens[image]):
            query, heads = attention.q(token), []
            for part in (slice(0, 3), slice(3, 6)):
                weight = (key[:, part] @ query[part] / math.sqrt(3)).softmax(dim=0)
                heads.append(weight @ value[:, part])
            expected = attention.proj(torch.cat(heads))
            torch.testing.assert_close(found[image, number], expected)


@torch.inference_mode()
def test_a_feature_lies_on_its_own_pixel():
    """A mirrored image gives a mirrored feature where corners are aligned, and no other."""
    torch.manual_seed(0)
    backbone = build_backbone("mit_b0", 32).double().eval()
    for name, parameter in backbone.named_parameters():
        if parameter.ndim == 4 and "sr" not in name:  # convolutions that mirror themselves
            parameter.copy_((parameter + parameter.flip(-1)) / 2)
        if "attn.proj" in name:  # whose coarse cells do not mirror
            parameter.zero_()
    images = torch.randn(1, 3, 65, 97, dtype=torch.float64)
    for level, mirrored in zip(backbone(images)[2], backbone(images.flip(-1))[2], strict=True):
        torch.testing.assert_close(level.flip(-1), mirrored)
