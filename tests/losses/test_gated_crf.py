import math

import numpy as np
import pytest
import torch
from loss_steps import draw, draw_maps, make_term, step_of

from cdsp.losses.gated_crf import gated_crf
from cdsp.losses.grid import grid_size, mean_colours, neighbours, rgb
from cdsp.training.augmentation import normalise

SCALES = {"radius": 2, "spatial_scale": 1.5, "colour_scale": 0.7}


def loop_gated_crf(probability, colour, valid, radius, spatial_scale, colour_scale) -> float:
    total = 0.0
    for b, y, x, v, u in np.ndindex(*valid.shape, *valid.shape[1:]):
        if (y, x) == (v, u) or max(abs(y - v), abs(x - u)) > radius:
            continue
        if not (valid[b, y, x] and valid[b, v, u]):
            continue
        near = ((y - v) ** 2 + (x - u) ** 2) / spatial_scale**2
        alike = sum((colour[b, :, y, x] - colour[b, :, v, u]).tolist()[c] ** 2 for c in range(3))
        agree = float(probability[b, :, y, x] @ probability[b, :, v, u])
        total += math.exp(-0.5 * (near + alike / colour_scale**2)) * (1 - agree)
    return total


@pytest.mark.parametrize("radius", [1, 2, 9])
def test_it_equals_loops(radius):
    probability, colour = draw(2, 4, 4, 5).softmax(dim=1), draw(2, 3, 4, 5, seed=1)
    valid = draw_maps(4, 5)["valid"] != 0
    options = {**SCALES, "radius": radius}
    found = gated_crf(probability, colour, valid, **options)
    assert found.total.item() == pytest.approx(
        loop_gated_crf(probability, colour, valid, **options)
    )
    assert found.count.item() == 36


def test_its_gradient():
    term, maps = make_term("gated_crf", stride=2), draw_maps(5, 7)
    logits = draw(2, 4, 5, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: term(step_of(x, maps)).mean(), (logits,))


def test_the_term_sees_every_stride_th_pixel_and_waits_for_its_start():
    term, maps = make_term("gated_crf", stride=4, start=0.5), draw_maps(9, 13)
    logits = draw(2, 4, 9, 13).requires_grad_()
    term(step_of(logits, maps)).mean().backward()
    assert logits.grad is not None
    seen = logits.grad.abs().sum(dim=(0, 1)) > 0
    wanted = torch.zeros(9, 13, dtype=torch.bool)
    wanted[::4, ::4] = True
    assert torch.equal(seen, wanted)
    early = term(step_of(logits, maps, progress=0.4))
    assert (early.total.item(), early.count.item()) == (0, 0)


def test_equal_predictions_cost_nothing():
    probability = torch.zeros(1, 3, 6, 6, dtype=torch.float64)
    probability[:, 1] = 1
    colour, valid = draw(1, 3, 6, 6), torch.ones(1, 6, 6, dtype=torch.bool)
    assert gated_crf(probability, colour, valid, **SCALES).total.item() == 0


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_colours_are_means_of_pixels_of_the_image_around_the_points(stride):
    height, width = 2 * stride + 1, 3 * stride + 1
    image, valid = draw(1, 3, height, width), torch.ones(1, height, width, dtype=torch.uint8)
    valid[0, :, -2:] = 0
    size = grid_size(image, stride)
    assert size == (3, 4)
    found, reach = mean_colours(image, valid, size), stride // 2
    for y, x in np.ndindex(*size):
        rows = slice(max(0, stride * y - reach), stride * y + reach + 1)
        columns = slice(max(0, stride * x - reach), stride * x + reach + 1)
        inside = valid[0, rows, columns] != 0
        wanted = image[0, :, rows, columns][:, inside].mean(dim=1) if inside.any() else 0
        torch.testing.assert_close(found[0, :, y, x], wanted * torch.ones(3, dtype=image.dtype))


def test_colours_come_back_from_their_normalisation():
    colours = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    found = rgb(torch.from_numpy(normalise(colours))[None])[0]
    torch.testing.assert_close(found, torch.from_numpy(colours / 255.0).movedim(-1, 0).float())


@pytest.mark.parametrize("step", [(0, 1), (1, 0), (2, -1), (1, 3), (5, 5), (0, 9), (9, -9)])
def test_neighbours_are_a_step_apart(step):
    down, right = step
    places = torch.arange(30).view(5, 6)
    first, second = neighbours(places, down, right)
    wanted = [
        (y * 6 + x, (y + down) * 6 + x + right)
        for y, x in np.ndindex(5, 6)
        if y + down < 5 and 0 <= x + right < 6
    ]
    assert list(zip(first.flatten().tolist(), second.flatten().tolist(), strict=True)) == wanted
