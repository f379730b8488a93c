import pytest
import torch
from loss_steps import draw, draw_labels, draw_maps, make_term, step_of

from cdsp.losses.dice import labelled_dice


def loop_dice(logits, label) -> tuple[float, int]:
    probability = logits.softmax(dim=1).tolist()
    losses = []
    for k in range(1, logits.shape[1]):
        overlap = predicted = true = 0.0
        for b, image in enumerate(label.tolist()):
            for y, row in enumerate(image):
                for x, target in enumerate(row):
                    if target == 255:
                        continue
                    p = probability[b][k][y][x]
                    overlap += p * (target == k)
                    predicted += p
                    true += target == k
        if true:
            losses.append(1 - 2 * overlap / (predicted + true))
    return sum(losses), len(losses)


@pytest.mark.parametrize("seed", [0, 1])
def test_dice_equals_loops(seed):
    logits, label = draw(2, 4, 3, 5, seed=seed), draw_labels(2, 3, 5, seed=seed)
    found = labelled_dice(logits, label)
    total, count = loop_dice(logits, label)
    assert found.total.item() == pytest.approx(total, rel=1e-12)
    assert found.count.item() == count == 2  # class 3 has no stroke, the background does not count


@pytest.mark.parametrize("labels", ["scribble", "pseudo_label", "mask"])
def test_each_term_reads_its_own_labels(labels):
    names = ("scribble", "pseudo_label", "mask")
    maps = {name: draw_labels(2, 3, 5, seed=seed) for seed, name in enumerate(names)}
    logits = draw(2, 4, 3, 5)
    found = make_term(f"{labels}_dice")(step_of(logits, maps))
    assert found.total.item() == labelled_dice(logits, maps[labels]).total.item()


def test_gradient_of_dice():
    term, maps = make_term("scribble_dice"), draw_maps(3, 5)
    logits = draw(2, 4, 3, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: term(step_of(x, maps)).mean(), (logits,))


def test_dice_of_the_truth_is_nothing():
    label = draw_labels(2, 3, 5)
    logits = torch.nn.functional.one_hot(label.long().clamp(max=3), 4).movedim(-1, 1) * 100.0
    assert labelled_dice(logits, label).mean().item() == pytest.approx(0, abs=1e-9)
