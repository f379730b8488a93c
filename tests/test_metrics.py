import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from cdsp.metrics import class_indices, confusion_matrix, scores

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
