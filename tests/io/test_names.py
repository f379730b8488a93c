import pytest

from cdsp.io.names import first_few, nearest_name, nearest_pairs, without_ending


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a.jpg", "a"),
        ("a.JPEG", "a"),
        ("cam1.frame_01", "cam1.frame_01"),
        ("cam1.frame_01.png", "cam1.frame_01"),
        ("b1.jpg.png", "b1.jpg"),
        ("a", "a"),
    ],
)
def test_only_endings_of_images_are_cut(name, plain):
    assert without_ending(name) == plain


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("b0_scribble", ["b0", "b1", "b"], "b0"),
        ("B0.png", ["b1.jpg", "b0.jpg"], "b0.jpg"),
        ("img_0001", ["site_1", "IMG_001"], "IMG_001"),
        ("a1  1", ["a1", "a2"], "a1"),
        ("entirely", ["other"], None),
        ("x", ["y", "z"], None),
        ("anything", [], None),
    ],
)
def test_the_nearest_name(name, known, near):
    assert nearest_name(name, known) == near


def test_few_of_many_are_shown():
    assert first_few(["a", "b"]) == "a, b"
    assert first_few([str(i) for i in range(9)]) == "0, 1, 2, 3, 4 …"
    shown = nearest_pairs([f"b{i}_mask" for i in range(9)], ["b0", "b3"])
    assert shown.startswith("'b0_mask' (near 'b0'), 'b1_mask'")
    assert shown.endswith(" …")
    assert shown.count("_mask") == 5
