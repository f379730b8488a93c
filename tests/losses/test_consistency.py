import math

import cv2
import numpy as np
import pytest
import torch
from loss_steps import BATCH, CHANNELS, CLASSES, draw, draw_maps, make_term, step_of

from cdsp.losses import Step, View
from cdsp.losses.boundary import canny_edges
from cdsp.losses.mean_teacher import MeanTeacher
from cdsp.losses.views import align
from cdsp.networks.interface import NetworkOutput
from cdsp.training.augmentation import normalise

SIZE, SMALL = (9, 13), (3, 4)


def view_of(matrix: list[list[float]], valid: torch.Tensor) -> View:
    image = torch.zeros(1, 3, *valid.shape[-2:], dtype=torch.float64)
    return View(image, {"valid": valid}, torch.tensor([matrix], dtype=torch.float64))


def test_alignment_undoes_a_shift_and_a_mirror_exactly():
    original = draw(1, 2, 6, 20)
    valid = torch.ones(1, 6, 8, dtype=torch.uint8)
    valid[0, :, 0] = 0
    first = view_of([[1, 0, -3], [0, 1, 0]], torch.ones(1, 6, 8, dtype=torch.uint8))
    second = view_of([[-1, 0, 12], [0, 1, 0]], valid)  # x → 12 − x: columns 12 down to 5
    shown = original[..., 3:11], original[..., 5:13].flip(-1)
    moved, seen = align(shown[1], second, first)
    wanted = torch.zeros(1, 6, 8, dtype=torch.bool)
    wanted[..., 2:] = True  # original columns 5 to 10; the padded column is 12
    assert torch.equal(seen, wanted)
    torch.testing.assert_close(moved[..., 2:], shown[0][..., 2:])


def test_consistency_is_the_squared_difference_where_both_see():
    valid = torch.ones(1, 6, 8, dtype=torch.uint8)
    first = view_of([[1, 0, 0], [0, 1, 0]], valid)
    second = view_of([[1, 0, -2], [0, 1, -1]], valid)  # begins at column 2, row 1
    logits = draw(1, 3, 6, 8).requires_grad_(), draw(1, 3, 6, 8, seed=1).requires_grad_()
    outputs = [NetworkOutput(value, {}) for value in logits]
    found = make_term("consistency")(Step([first, second], outputs, lambda *_: outputs[0], 0.5))
    one, other = (value.softmax(dim=1) for value in logits)
    difference = one[..., 1:, 2:] - other[..., :-1, :-2]
    assert found.total.item() == pytest.approx(difference.square().sum().item())
    assert found.count.item() == 5 * 6


def test_a_cycle_equals_loops():
    logits, maps = draw(BATCH, CLASSES, *SIZE), draw_maps(*SIZE)
    feature = draw(BATCH, CHANNELS, *SMALL, seed=3)
    found = make_term("cycle", temperature=0.5)(step_of(logits, maps, decoder=feature))
    total, count = 0.0, 0
    for b in range(BATCH):
        points = [(y, x) for y, x in np.ndindex(*SMALL) if maps["valid"][b, 4 * y, 4 * x]]
        label = {(y, x): int(maps["scribble"][b, 4 * y, 4 * x]) for y, x in points}
        present = sorted(set(label.values()) - {255})
        means = {}
        for k in present:
            mean = torch.zeros(CHANNELS, dtype=torch.float64)
            for y, x in points:
                if label[y, x] == 255:
                    p = logits[b, :, 4 * y, 4 * x].softmax(dim=0)[k]
                    mean += p * feature[b, :, y, x]
            means[k] = mean
        if len(present) < 2:
            continue
        for place, target in label.items():
            if target == 255:
                continue
            f = feature[b, :, place[0], place[1]]
            scores = {
                k: math.exp((f @ m / f.norm() / m.norm()).item() / 0.5) for k, m in means.items()
            }
            total -= math.log(scores[target] / sum(scores.values()))
            count += 1
    assert count > 0
    assert found.total.item() == pytest.approx(total, rel=1e-9)
    assert found.count.item() == count


def test_gradients_of_the_cycle():
    maps, term = draw_maps(*SIZE), make_term("cycle")
    logits = draw(BATCH, CLASSES, *SIZE).requires_grad_()
    feature = draw(BATCH, CHANNELS, *SMALL, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, f: term(step_of(p, maps, decoder=f)).mean(), (logits, feature), fast_mode=True
    )


def test_the_teachers_part_grows_to_its_weight():
    network = torch.nn.Linear(1, 1)
    term = MeanTeacher(MeanTeacher.Options(ramp=0.4), network)  # type: ignore[arg-type]
    assert term._ramp(0.0) == pytest.approx(math.exp(-5))
    assert term._ramp(0.2) == pytest.approx(math.exp(-5 / 4))
    assert term._ramp(0.4) == term._ramp(0.9) == 1


def draw_step():
    image = np.full((2, 17, 21, 3), 30, np.uint8)
    image[0, 4:12, 6:14] = 200
    logits, maps = draw(2, 3, 17, 21), draw_maps(17, 21, padded=0)
    return torch.from_numpy(normalise(image)).double(), logits, maps


def test_edges_are_opencvs():
    image, _, _ = draw_step()
    found = canny_edges(image, 100, 200)
    grey = np.full((17, 21, 3), 30, np.uint8)
    grey[4:12, 6:14] = 200
    assert torch.equal(found[0], torch.from_numpy(cv2.Canny(grey, 100, 200, L2gradient=True) != 0))
    assert not found[1].any()


def test_the_boundary_term_balances_edges_and_the_rest():
    image, logits, maps = draw_step()
    term = make_term("boundary")
    feature = draw(2, CHANNELS, 5, 6, seed=4).requires_grad_()
    found = term(step_of(logits, maps, image=image, decoder=feature))
    edges = canny_edges(image, 100, 200)
    predicted = term.edge(feature)[:, 0].sigmoid()  # type: ignore[operator]
    wanted = torch.zeros(2, 5, 6, dtype=torch.bool)
    for b, y, x in np.ndindex(2, 5, 6):
        rows, columns = (slice(max(0, 4 * i - 2), 4 * i + 3) for i in (y, x))
        wanted[b, y, x] = edges[b, rows, columns].any()
    share = wanted.double().mean().item()
    assert 0 < share < 0.5
    total = -(1 - share) * predicted[wanted].log().sum()
    total = total - share * (1 - predicted[~wanted]).log().sum()
    assert found.total.item() == pytest.approx(total.item())
    assert found.count.item() == 60
    assert torch.autograd.gradcheck(
        lambda f: term(step_of(logits, maps, image=image, decoder=f)).mean(), (feature,)
    )


def test_where_padding_begins_is_no_edge():
    image, logits, maps = draw_step()
    image[..., 15:] = 0
    maps["valid"][..., 15:] = 0
    term = make_term("boundary")
    feature = draw(2, CHANNELS, 5, 6, seed=4)
    padded = term(
        step_of(
            logits[[1]],
            {k: v[[1]] for k, v in maps.items()},
            image=image[[1]],
            decoder=feature[[1]],
        )
    )
    assert padded.total == 0  # nothing is an edge: what is not weighs nothing either
