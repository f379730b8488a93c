import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdsp.io.findings import Findings
from cdsp.scribbles.class_order import ClassOrder, reordered

NAMES = ("background", "cat", "dog", "cow", "ox")


def order_of(pairs):
    """An order that saw these numbers of pixels by (class of the stroke, number in the mask)."""
    order = ClassOrder(len(NAMES))
    for (class_id, value), pixels in pairs.items():
        order.add(np.full(pixels, class_id, np.uint8), np.full(pixels, value, np.uint8))
    return order


def told(pairs):
    findings = Findings()
    order_of(pairs).tell(NAMES, findings)
    return list(findings.problems), list(findings.hints)


@given(st.permutations(range(len(NAMES))), st.integers(20, 500), st.floats(0, 0.4))
def test_any_order_is_found_from_noisy_strokes(numbers, pixels, noise):
    """Class i has number numbers[i]; a part of its strokes lies on another."""
    wrong = int(noise * pixels)
    pairs = dict.fromkeys(enumerate(numbers), pixels - wrong)
    for i in range(len(NAMES)):
        beside = numbers[(i + 1) % len(NAMES)]
        pairs[i, beside] = pairs.get((i, beside), 0) + wrong
    order = order_of(pairs)
    assert order.best() == numbers
    names = reordered(NAMES, order.best())
    assert [names[number] for number in numbers] == list(NAMES)


def test_ignored_and_foreign_values_do_not_count():
    order = ClassOrder(3)
    order.add(np.array([0, 255, 1, 1], np.uint8), np.array([0, 1, 255, 9], np.uint8))
    assert order.counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_a_right_order_and_no_evidence_are_no_problem():
    assert told({(i, i): 50 for i in range(5)}) == ([], [])
    assert told({}) == ([], [])
    assert told({(1, 1): 60, (1, 0): 40, (2, 2): 30}) == ([], [])


@pytest.mark.parametrize("absent", [(), (0,), (4,), (0, 4)])
def test_swapped_classes_are_a_problem_also_where_others_have_no_strokes(absent):
    pairs = {(0, 0): 90, (1, 2): 99, (1, 0): 1, (2, 1): 70, (2, 0): 30, (3, 3): 50, (4, 4): 50}
    (problem,), hints = told({key: n for key, n in pairs.items() if key[0] not in absent})
    assert "99 % of the strokes of 'cat' lie on number 2, which the list calls 'dog'" in problem
    assert "the order that fits is background, dog, cat, cow, ox" in problem
    assert hints == []


def test_strokes_beside_the_masks_are_a_hint():
    problems, hints = told({(1, 0): 95, (1, 1): 5, (2, 0): 93, (2, 2): 7})
    assert problems == []
    assert "of the strokes of 'cat', 5 % lie on its number in the masks" in hints[0]


def test_a_point_decides_where_no_class_has_the_number():
    """Classes with a point each, of whose numbers others have none; the fifth has no stroke."""
    pairs = {(0, 0): 90, (1, 3): 9, (2, 1): 99, (3, 2): 9}
    assert order_of(pairs).best() == [0, 3, 1, 2, 4]
    stray = {(0, 0): 90, (1, 1): 99, (2, 1): 9, (3, 3): 50}
    assert order_of(stray).best() == [0, 1, 2, 3, 4]


def test_a_point_on_another_number_is_a_hint():
    problems, hints = told({(0, 0): 90, (1, 1): 99, (2, 4): 9})
    assert problems == []
    assert "of the strokes of 'dog', 0 % lie on its number" in hints[0]
