import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import binomtest
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from cdsp.metrics import (
    HeldOut,
    class_indices,
    confusion_matrix,
    held_out_entries,
    mean_share,
    read_shares,
    recall,
    scores,
    wilson,
)

NUM_CLASSES = 4
values = st.sampled_from([*range(NUM_CLASSES), 255])
shapes = array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=6)
pairs = shapes.flatmap(lambda shape: st.tuples(*[arrays(np.uint8, shape, elements=values)] * 2))


@given(pairs)
def test_every_pixel_is_counted_once_or_ignored(pair):
    truth, prediction = pair
    expected = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    for true, predicted in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if true != 255 and predicted != 255:
            expected[true, predicted] += 1
    found = confusion_matrix(truth, prediction, NUM_CLASSES)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def draw_labels(seed, num_classes, absent=()):
    """Truth with 255 and a prediction that is right at every second pixel, of some classes only."""
    rng = np.random.default_rng(seed)
    present = [label for label in range(num_classes) if label not in absent]
    truth = rng.choice([*present, 255], (3, 17, 13)).astype(np.uint8)
    noise = rng.choice(present, truth.shape)
    guess = np.where(truth == 255, 0, truth)
    return truth, np.where(rng.random(truth.shape) < 0.5, guess, noise).astype(np.uint8)


@pytest.mark.parametrize(("seed", "absent"), [(0, ()), (1, ()), (2, (3, 5))])
def test_torchmetrics_counts_and_scores_the_same(seed, absent):
    truth, prediction = draw_labels(seed, 7, absent)
    tensors = torch.from_numpy(prediction).long(), torch.from_numpy(truth).long()
    options = {"num_classes": 7, "ignore_index": 255}
    confusion = confusion_matrix(truth, prediction, 7)
    oracle = MulticlassConfusionMatrix(**options)
    np.testing.assert_array_equal(confusion, oracle(*tensors).numpy())
    result = scores(confusion)
    class_iou = MulticlassJaccardIndex(average="none", **options)(*tensors).numpy()
    occurring = [label for label in range(7) if label not in absent]
    np.testing.assert_allclose(result.class_iou[occurring], class_iou[occurring], rtol=1e-6)
    assert np.isnan(result.class_iou[list(absent)]).all()
    # torchmetrics, too, averages over the classes that occur.
    mean_iou = MulticlassJaccardIndex(average="macro", **options)(*tensors).item()
    assert result.mean_iou == pytest.approx(mean_iou, rel=1e-6)


def test_counts_of_parts_add_up():
    truth, prediction = draw_labels(4, 5)
    parts = [confusion_matrix(a, b, 5) for a, b in zip(truth, prediction, strict=True)]
    np.testing.assert_array_equal(sum(parts), confusion_matrix(truth, prediction, 5))


def test_rows_are_the_truth():
    truth, prediction = np.array([[0, 0, 1]], np.uint8), np.array([[2, 2, 1]], np.uint8)
    assert confusion_matrix(truth, prediction, 3).tolist() == [[0, 0, 2], [0, 1, 0], [0, 0, 0]]


def test_scores_of_a_matrix_worked_out_by_hand():
    confusion = np.array([[6, 2, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0], [4, 0, 0, 0]])
    result = scores(confusion)
    # Class 2 occurs nowhere; class 3 only in the truth, so that it counts as 0.
    np.testing.assert_allclose(result.class_iou, [6 / 13, 3 / 6, np.nan, 0])
    assert result.mean_iou == pytest.approx((6 / 13 + 1 / 2 + 0) / 3)
    assert result.pixel_accuracy == pytest.approx(9 / 16)
    assert scores(confusion, [1, 3]).mean_iou == pytest.approx(1 / 4)
    assert scores(confusion, [1, 2]).mean_iou == pytest.approx(1 / 2)
    assert scores(confusion, [1]).pixel_accuracy == result.pixel_accuracy


def test_a_class_that_is_predicted_where_it_never_occurs_counts_as_zero():
    result = scores(np.array([[5, 1], [0, 0]]))
    assert result.class_iou.tolist() == [5 / 6, 0]


def test_nothing_counted_gives_nan():
    nothing = np.full((3, 4), 255, np.uint8)
    confusion = confusion_matrix(nothing, np.zeros_like(nothing), 3)
    assert confusion.shape == (3, 3)
    assert not confusion.any()
    for result in (scores(confusion), scores(confusion, [1])):
        assert np.isnan([*result.class_iou, result.mean_iou, result.pixel_accuracy]).all()


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"prediction of shape \(3, 2\), truth of \(2, 3\)"):
        confusion_matrix(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)


def test_names_of_classes_become_indices():
    classes = ("background", "cat", "dog")
    assert class_indices(["dog", "background"], classes) == [2, 0]
    assert class_indices([], classes) is None
    with pytest.raises(ValueError, match="unknown class 'dgo'; did you mean 'dog'"):
        class_indices(["dgo"], classes)


@given(st.integers(1, 500), st.floats(0, 1))
def test_the_interval_of_a_fraction_is_wilsons(number, share):
    right = round(share * number)
    expected = binomtest(right, number).proportion_ci(0.95, method="wilson")
    found = wilson(right / number, number)
    assert found.value == right / number
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_of_a_mean_holds_it_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth, numbers = np.array([0.9, 0.6, 0.97]), np.array([12, 20, 30])
    held = 0
    for _ in range(2000):
        found = rng.binomial(numbers, truth) / numbers
        mean = mean_share([wilson(*pair) for pair in zip(found, numbers, strict=True)])
        held += mean.low <= truth.mean() <= mean.high
    assert 0.93 < held / 2000 < 0.99
    assert mean_share([]) is None


def test_images_are_the_trials_and_not_their_pixels():
    rng = np.random.default_rng(0)
    held = number = 0
    for _ in range(300):
        counts = HeldOut(2)
        for _ in range(15):
            strokes = np.full((8, 8), 255, np.uint8)
            strokes[: rng.integers(1, 5)] = 1
            prediction = np.full((8, 8), rng.random() < 0.8)  # all of an image is right, or none
            counts.add(strokes, prediction.astype(np.uint8))
        nothing, share = counts.shares()
        assert nothing is None
        held += share.low <= 0.8 <= share.high
        number += 1
    assert held / number > 0.92


def test_held_out_pixels_are_counted_one_by_one():
    rng = np.random.default_rng(1)
    counts, right, total = HeldOut(3), np.zeros(3), np.zeros(3)
    for _ in range(4):
        strokes = rng.choice([0, 1, 255], (5, 6)).astype(np.uint8)
        prediction = rng.choice([0, 1, 2, 255], (5, 6)).astype(np.uint8)
        counts.add(strokes, prediction)
        for true, predicted in zip(strokes.flat, prediction.flat, strict=True):
            if true != 255:
                total[true] += 1
                right[true] += predicted == true
    shares = counts.shares()
    assert [share and share.value for share in shares] == [*(right[:2] / total[:2]), None]
    entries = held_out_entries(("a", "b", "c"), shares)
    assert entries["held_out_accuracy"] == pytest.approx((right[:2] / total[:2]).mean())
    assert read_shares(json.loads(json.dumps(entries))) == dict(zip("abc", shares, strict=True))
    only = held_out_entries(("a", "b", "c"), shares, [1])
    assert only["held_out_accuracy"] == shares[1].value
    assert held_out_entries(("a", "b", "c"), shares, [2])["held_out_accuracy"] is None


@given(pairs)
def test_the_recall_is_the_mean_of_the_classes(pair):
    truth, prediction = pair
    counted = (truth != 255) & (prediction != 255)
    right = [
        (prediction[counted & (truth == c)] == c).mean()
        for c in range(NUM_CLASSES)
        if (counted & (truth == c)).any()
    ]
    found = recall(confusion_matrix(truth, prediction, NUM_CLASSES))
    assert found == (pytest.approx(np.mean(right)) if right else pytest.approx(np.nan, nan_ok=True))
