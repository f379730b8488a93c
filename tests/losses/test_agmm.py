import math

import pytest
import torch
from loss_steps import BATCH, CHANNELS, CLASSES, draw, draw_maps, make_term, step_of

TERMS = ("agmm_soft", "agmm_gaussian", "agmm_contrast", "agmm_absent")
SIZE, SMALL = (9, 13), (3, 4)


def loop_terms(logits, feature, maps) -> dict[str, tuple[float, int]]:
    """Total and count of each term, point by point."""
    found = {name: [0.0, 0] for name in TERMS}
    sums: dict[int, list[float]] = {}
    scribble, valid = maps["scribble"], maps["valid"]
    for b in range(BATCH):
        points = [(y, x) for y in range(SMALL[0]) for x in range(SMALL[1])]
        means = {}
        for k in range(CLASSES):
            own = [feature[b, :, y, x] for y, x in points if scribble[b, 4 * y, 4 * x] == k]
            if own:
                means[k] = (sum(own) / len(own)).tolist()
                old = sums.get(k, [0.0] * CHANNELS)
                sums[k] = [a + m for a, m in zip(old, means[k], strict=True)]
        in_crop = {int(value) for value in scribble[b].unique()} - {255}
        for y, x in points:
            if not valid[b, 4 * y, 4 * x]:
                continue
            p = logits[b, :, 4 * y, 4 * x].softmax(dim=0).tolist()
            stroke = int(scribble[b, 4 * y, 4 * x])
            for k, mean in means.items():
                values = feature[b, :, y, x].tolist()
                d = sum(abs(f - m) for f, m in zip(values, mean, strict=True)) / CHANNELS
                g = min(max(math.exp(-d * d), 0), 1)
                found["agmm_soft"][0] -= g * math.log(p[k]) + (1 - g) * math.log(1 - p[k])
                found["agmm_soft"][1] += 1
                if stroke != 255:
                    g = min(max(g, 1e-6), 1 - 1e-6)
                    found["agmm_gaussian"][0] -= math.log(g if stroke == k else 1 - g)
                    found["agmm_gaussian"][1] += 1
            if in_crop:
                absent = set(range(CLASSES)) - in_crop
                found["agmm_absent"][0] -= sum(math.log(1 - p[k]) for k in absent)
                found["agmm_absent"][1] += 1
    for i in sums:
        for j in sums:
            if i < j:
                d = sum(abs(a - b) for a, b in zip(sums[i], sums[j], strict=True)) / CHANNELS
                found["agmm_contrast"][0] += math.exp(-d * d)
                found["agmm_contrast"][1] += 1
    return {name: (total, count) for name, (total, count) in found.items()}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", TERMS)
def test_it_equals_loops(name, seed):
    logits, maps = draw(BATCH, CLASSES, *SIZE, seed=seed), draw_maps(*SIZE)
    feature = draw(BATCH, CHANNELS, *SMALL, seed=10 + seed)
    found = make_term(name)(step_of(logits, maps, decoder=feature))
    total, count = loop_terms(logits, feature, maps)[name]
    assert count > 0
    assert found.total.item() == pytest.approx(total, rel=1e-9)
    assert found.count.item() == count


@pytest.mark.parametrize("name", TERMS)
def test_gradients_pass_through_prediction_and_feature(name):
    maps, term = draw_maps(*SIZE), make_term(name)
    logits = draw(BATCH, CLASSES, *SIZE).requires_grad_()
    feature = draw(BATCH, CHANNELS, *SMALL, seed=10).requires_grad_()

    def loss(logits, feature):
        return term(step_of(logits, maps, decoder=feature)).mean()

    assert torch.autograd.gradcheck(loss, (logits, feature), fast_mode=True)
    gradients = torch.autograd.grad(loss(logits, feature), (logits, feature), allow_unused=True)
    told = [gradient is not None and bool(gradient.any()) for gradient in gradients]
    assert told == [name in ("agmm_soft", "agmm_absent"), name != "agmm_absent"]
