import math

import numpy as np
import pytest
import torch
from loss_steps import draw, draw_maps, make_term, step_of
from torch import Tensor

from cdsp.losses import gaussian_filter as module
from cdsp.losses.gaussian_filter import gaussian_filter

OPTIONS = {"colour_scale": 40.0, "spatial_scale": 3.0, "stride": 2}


def loop_kernel(colour: Tensor, valid: Tensor, stride: int) -> dict[tuple[int, int], float]:
    """W of one image, by pairs of points: (3, h, w) colours from 0 to 255, (h, w) bool."""
    places = [(y, x) for y, x in np.ndindex(*valid.shape) if valid[y, x]]
    kernel = {}
    for i, (y, x) in enumerate(places):
        for j, (v, u) in enumerate(places):
            alike = sum((colour[c, y, x] - colour[c, v, u]).item() ** 2 for c in range(3))
            near = ((y - v) ** 2 + (x - u) ** 2) * stride**2
            exponent = alike / OPTIONS["colour_scale"] ** 2 + near / OPTIONS["spatial_scale"] ** 2
            kernel[i, j] = math.exp(-0.5 * exponent)
    return kernel


def loop_losses(logits: Tensor, image: Tensor, valid: Tensor) -> tuple[float, float]:
    """The mean of the Potts energy over pairs and of the normalised cut over images."""
    potts = pairs = cut = 0.0
    mean, std = (torch.tensor(v) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for b in range(len(logits)):
        kept = valid[b, ::2, ::2] != 0
        colour = torch.zeros(3, *kept.shape, dtype=torch.float64)
        for y, x in np.ndindex(*kept.shape):
            rows, columns = (slice(max(0, 2 * i - 1), 2 * i + 2) for i in (y, x))
            inside = valid[b, rows, columns] != 0
            if inside.any():
                colour[:, y, x] = image[b, :, rows, columns][:, inside].mean(dim=1)
        colour = 255 * (colour * std[:, None, None] + mean[:, None, None])
        p = logits[b, :, ::2, ::2].softmax(dim=0)[:, kept]
        kernel = loop_kernel(colour, kept, 2)
        for k in range(len(p)):
            between = sum(float(p[k, i] * (1 - p[k, j])) * w for (i, j), w in kernel.items())
            degree = sum(float(p[k, i]) * w for (i, j), w in kernel.items())
            potts += between
            cut += between / degree
        pairs += len(p[0]) ** 2
    return potts / pairs, cut / len(logits)


@pytest.mark.parametrize("part", [2**24, 50, 1])
@pytest.mark.parametrize("position", [0, 1])
def test_both_energies_equal_loops_however_the_kernel_is_cut(position, part, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_KERNEL", part)
    logits, image, maps = draw(2, 3, 5, 7), draw(2, 3, 5, 7, seed=7), draw_maps(5, 7)
    name = ("dense_crf", "normalized_cut")[position]
    found = make_term(name, **OPTIONS)(step_of(logits, maps, image=image)).mean()
    wanted = loop_losses(logits, image, maps["valid"])[position]
    assert found.item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("name", ["dense_crf", "normalized_cut"])
def test_gradients(name):
    term, maps = make_term(name, **OPTIONS), draw_maps(5, 7)
    logits = draw(2, 3, 5, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: term(step_of(x, maps)).mean(), (logits,))


def test_the_filter_is_its_own_gradient():
    values, features = draw(2, 3, 11).requires_grad_(), draw(2, 5, 11, seed=1)
    assert torch.autograd.gradcheck(lambda x: gaussian_filter(x, features), (values,))


def test_a_cut_along_an_edge_of_colours_is_the_cheapest():
    image = torch.zeros(1, 3, 9, 9, dtype=torch.float64)
    image[..., 5:] = 3
    maps = {"valid": torch.ones(1, 9, 9, dtype=torch.uint8)}
    for name in ("dense_crf", "normalized_cut"):
        term = make_term(name, stride=1, spatial_scale=5)
        costs = []
        for column in range(1, 9):
            label = (torch.arange(9) >= column).long().expand(1, 9, 9)
            logits = 20.0 * torch.nn.functional.one_hot(label, 2).movedim(-1, 1)
            costs.append(term(step_of(logits.double(), maps, image=image)).mean().item())
        assert int(np.argmin(costs)) + 1 == 5
