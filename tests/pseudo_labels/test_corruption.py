import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cdsp.io.files import IGNORE
from cdsp.io.store import LabelStore
from cdsp.pseudo_labels.corruption import (
    corrupt_mask,
    corrupt_masks,
    displaced_pixels,
    lose_regions,
)
from cdsp.pseudo_labels.settings import CorruptionSettings

MASKS = arrays(
    np.uint8,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.sampled_from([0, 0, 1, 2, IGNORE]),
)
SEEDS = st.integers(0, 1000)


def rng(seed=0):
    return np.random.default_rng(seed)


def corrupt(mask, seed=0, **settings):
    return corrupt_mask(mask, CorruptionSettings(**settings), rng(seed))


def regions(mask):
    """The 8-connected regions of object classes, by flooding: sets of (row, column)."""
    left = {(y, x) for y, x in np.ndindex(mask.shape) if mask[y, x] not in (0, IGNORE)}
    found = []
    while left:
        region, front = set(), [left.pop()]
        while front:
            y, x = front.pop()
            region.add((y, x))
            near = {(y + v, x + u) for v in (-1, 0, 1) for u in (-1, 0, 1)} & left
            same = {place for place in near if mask[place] == mask[y, x]}
            left -= same
            front += same
        found.append(region)
    return found


@given(MASKS, SEEDS)
def test_without_displacement_or_loss_it_is_the_mask(mask, seed):
    np.testing.assert_array_equal(corrupt(mask, seed), mask)


@given(MASKS, SEEDS, st.floats(0, 30), st.floats(0, 20), st.floats(0, 1))
def test_void_stays_and_no_class_is_invented(mask, seed, displacement, smoothness, lost):
    found = corrupt(mask, seed, displacement=displacement, smoothness=smoothness, lost=lost)
    assert (found.shape, found.dtype) == (mask.shape, np.uint8)
    np.testing.assert_array_equal(found == IGNORE, mask == IGNORE)
    assert set(np.unique(found)) <= set(np.unique(mask)) | {0}


@given(MASKS, SEEDS, st.floats(0, 1))
def test_regions_are_lost_whole_or_not_at_all(mask, seed, lost):
    found = lose_regions(mask, lost, rng(seed))
    changed = {(y, x) for y, x in np.argwhere(found != mask).tolist()}
    for region in regions(mask):
        assert region <= changed or not region & changed
        changed -= region
    assert not changed
    assert not found[found != mask].any()


@given(MASKS, SEEDS, st.floats(0, 1), st.floats(0, 1))
def test_what_is_lost_stays_lost_when_more_is(mask, seed, one, other):
    few, many = (lose_regions(mask, lost, rng(seed)) != mask for lost in sorted((one, other)))
    assert (many | ~few).all()
    if other == 1:
        assert (corrupt(mask, seed, lost=1.0)[mask != IGNORE] == 0).all()


def test_the_share_of_lost_regions_is_as_told():
    mask = np.zeros((61, 61), np.uint8)
    mask[::2, ::2] = 3
    assert len(regions(mask)) == 31**2
    left = (lose_regions(mask, 0.3, rng()) == 3).sum() / 31**2
    assert left == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("displacement", [2, 4, 8])
def test_the_field_is_as_long_as_told_and_smooth(displacement):
    shape = (90, 130)
    rows, columns = displaced_pixels(shape, displacement, 8, rng()) - np.indices(shape)
    inner = np.s_[30:-30, 30:-30]  # elsewhere the image's rim holds it
    length = np.sqrt((rows[inner] ** 2 + columns[inner] ** 2).mean())
    assert length == pytest.approx(displacement, rel=0.4)
    for axis in (0, 1):
        assert np.abs(np.diff(rows, axis=axis)).max() <= 1 + displacement / 2
    rough = displaced_pixels(shape, displacement, 0, rng()) - np.indices(shape)
    assert np.abs(np.diff(rough[0], axis=0)).mean() > 3 * np.abs(np.diff(rows, axis=0)).mean()


@given(SEEDS, st.floats(0.5, 40))
def test_twice_the_displacement_is_twice_the_field(seed, displacement):
    shape = (12, 15)
    one, two = (
        displaced_pixels(shape, factor * displacement, 3, rng(seed)) - np.indices(shape)
        for factor in (1, 2)
    )
    inside = (two + np.indices(shape) > 0) & (
        two + np.indices(shape) < np.array(shape)[:, None, None] - 1
    )
    assert (np.abs(two - 2 * one)[inside] <= 1.5).all()  # each is rounded


def test_a_mask_is_resampled_pixel_by_pixel():
    mask = rng(5).integers(0, 4, (20, 30)).astype(np.uint8)
    found = corrupt(mask, 7, displacement=3.0, smoothness=2.0)
    generator = rng(7)
    lose_regions(mask, 0.0, generator)
    rows, columns = displaced_pixels(mask.shape, 3.0, 2.0, generator)
    for y, x in np.ndindex(mask.shape):
        assert found[y, x] == mask[rows[y, x], columns[y, x]]
    assert (found != mask).mean() > 0.3


def test_void_gives_way_to_the_class_beside_it():
    mask = np.zeros((40, 40), np.uint8)
    mask[:, 20:] = 1
    mask[:, 19:22] = IGNORE  # a contour, as VOC draws it
    found = corrupt(mask, displacement=4.0)
    beside = (mask == 0) | (mask == 1)
    assert 0 < (found != mask)[beside].mean() < 0.3
    assert not (found[beside] == IGNORE).any()


def test_a_store_of_corrupted_masks(tiny_data, tmp_path):
    data = tiny_data.dataset
    settings = CorruptionSettings(displacement=2.0, smoothness=4.0, lost=0.3, seed=5)
    for name in ("one.h5", "two.h5"):
        corrupt_masks(data, "shrink-0.5", settings, tmp_path / name, recipe="worse")
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    store = LabelStore(tmp_path / "one.h5", "pseudo_labels")
    assert list(store) == list(data.splits["train"])
    assert store.sources == {"dataset": data.digest}
    names = {"recipe": "worse", "scribbles": "shrink-0.5"}
    assert store.parameters.items() >= {**names, **dataclasses.asdict(settings)}.items()
    agreement = [(store[i] == data.mask(i)).mean() for i in store]
    assert 0.5 < np.mean(agreement) < 0.99


def test_draws_depend_on_seed_and_name_alone(tiny_data, tmp_path):
    data = tiny_data.dataset
    settings = CorruptionSettings(displacement=3.0, lost=0.5)
    backwards = dataclasses.replace(data, splits={"train": data.splits["train"][::-1][:5]})
    other = dataclasses.replace(settings, seed=1)
    corrupt_masks(data, "full", settings, tmp_path / "all.h5", recipe="r")
    corrupt_masks(backwards, "full", settings, tmp_path / "few.h5", recipe="r")
    corrupt_masks(data, "full", other, tmp_path / "other.h5", recipe="r")
    every, few, others = (LabelStore(tmp_path / f"{n}.h5") for n in ("all", "few", "other"))
    for image_id in few:
        np.testing.assert_array_equal(few[image_id], every[image_id])
    assert any((others[image_id] != every[image_id]).any() for image_id in every)


def test_training_images_without_masks_are_refused(tiny_data, tmp_path):
    without = dataclasses.replace(tiny_data.dataset, train_masks=False)
    output = tmp_path / "labels.h5"
    with pytest.raises(ValueError, match="labels of chosen quality: needs masks of the training"):
        corrupt_masks(without, "full", CorruptionSettings(), output, recipe="r")
    assert not output.exists()
