"""What every rival's term keeps to, whatever it is given."""

import pytest
import torch
from loss_steps import BATCH, CHANNELS, CLASSES, draw, draw_maps, make_term, step_of

from cdsp.losses import LOSS_TERMS

RIVALS = sorted(
    name
    for name, kind in LOSS_TERMS.items()
    if kind.views == 1
    and "distance" not in name
    and name not in ("lorm", "mask", "mask_dice", "mean_teacher", "walk_consistency")
)
SIZE = (9, 13)


def feature_of(size: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    """A decoder's feature, at stride 4."""
    return draw(BATCH, CHANNELS, *(-(-side // 4) for side in size), seed=8).to(dtype)


def bad_input(what: str) -> tuple[tuple[int, int], dict[str, torch.Tensor]]:
    size = {"one pixel": (1, 1), "one row": (1, 13)}.get(what, SIZE)
    maps = draw_maps(*size, padded=int(size[1] > 1))
    if what == "no label":
        maps["scribble"].fill_(255)
        maps["pseudo_label"].fill_(255)
    if what == "padding alone":
        for name, value in (("scribble", 255), ("pseudo_label", 255), ("valid", 0)):
            maps[name].fill_(value)
    if what == "one class":
        maps["scribble"][maps["scribble"] != 255] = 1
    if what == "an image without a stroke":
        maps["scribble"][0] = 255
    if what == "labels everywhere":
        maps["scribble"].fill_(0)
        maps["scribble"][:, :2] = 3
    return size, maps


CASES = (
    "no label",
    "padding alone",
    "one pixel",
    "one row",
    "one class",
    "an image without a stroke",
    "labels everywhere",
)


@pytest.mark.parametrize("what", CASES)
@pytest.mark.parametrize("name", RIVALS)
def test_bad_input_gives_no_nan_and_no_gradient_that_is_not_finite(name, what):
    size, maps = bad_input(what)
    term = make_term(name)
    logits = draw(BATCH, CLASSES, *size).requires_grad_()
    feature = feature_of(size, torch.float64).requires_grad_()
    found = term(step_of(logits, maps, decoder=feature))
    assert found.total.isfinite()
    assert not found.count.requires_grad
    if found.count == 0:
        assert found.total == 0
    found.mean().backward()
    for value in (logits, feature, *term.parameters()):
        assert value.grad is None or value.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", RIVALS)
def test_half_precision_and_certain_predictions_are_finite(name, dtype):
    maps = draw_maps(*SIZE)
    term = make_term(name).float()
    logits = draw(BATCH, CLASSES, *SIZE).sign().mul(6e4).to(dtype).requires_grad_()
    feature = feature_of(SIZE, dtype).mul(30).requires_grad_()
    image = draw(BATCH, 3, *SIZE, seed=7).float()
    loss = term(step_of(logits, maps, decoder=feature, image=image)).mean()
    loss.backward()
    assert loss.isfinite()
    for value in (logits, feature, *term.parameters()):
        assert value.grad is None or value.grad.isfinite().all()


ACROSS_IMAGES = ("agmm_contrast", "boundary", "pseudo_label_dice", "scribble_dice")


@pytest.mark.parametrize("name", [name for name in RIVALS if name not in ACROSS_IMAGES])
def test_images_count_one_by_one(name):
    """The total of a batch is that of its images, where the term says nothing across images."""
    maps, term = draw_maps(*SIZE), make_term(name)
    logits, image = draw(BATCH, CLASSES, *SIZE), draw(BATCH, 3, *SIZE, seed=7)
    feature = feature_of(SIZE, torch.float64)
    whole = term.eval()(step_of(logits, maps, image=image, decoder=feature))
    parts = [
        term(
            step_of(
                logits[[b]],
                {key: value[[b]] for key, value in maps.items()},
                image=image[[b]],
                decoder=feature[[b]],
            )
        )
        for b in range(BATCH)
    ]
    torch.testing.assert_close(sum(part.total for part in parts), whole.total)
    assert sum(part.count for part in parts) == whole.count
