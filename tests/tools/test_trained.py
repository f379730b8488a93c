import pytest

from cdsp.tools.trained import find_weights


@pytest.fixture
def results(tmp_path):
    for run in (
        "mine/segmentation/both/v3-r18/full/walk/seed-0",
        "mine/segmentation/both/v3-r18/full/walk/seed-1",
        "mine/segmentation/scribble_only/v3-r18/full/none/seed-0",
        "shapes/segmentation/both/v3-r18/full/walk/seed-0",
        "shapes/segmentation/both/v2-r18/full/walk/seed-0",
        "shapes/segmentation/both/v2-r18/shrink-0.5/walk/seed-0",
    ):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "weights.pt").touch()
    (tmp_path / "mine/pseudo_labels/full/both").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mine/both", "mine/segmentation/both/v3-r18/full/walk/seed-0"),
        ("mine/both/seed-1", "mine/segmentation/both/v3-r18/full/walk/seed-1"),
        ("scribble_only", "mine/segmentation/scribble_only/v3-r18/full/none/seed-0"),
        ("shapes/v3-r18/", "shapes/segmentation/both/v3-r18/full/walk/seed-0"),
        ("shapes/both/shrink-0.5", "shapes/segmentation/both/v2-r18/shrink-0.5/walk/seed-0"),
    ],
)
def test_some_words_of_a_name_are_enough(results, name, expected):
    assert find_weights(name, results) == results / expected / "weights.pt"


def test_a_path_is_a_name_too(results):
    folder = results / "mine/segmentation/both/v3-r18/full/walk/seed-1"
    assert find_weights(str(folder), results) == folder / "weights.pt"
    assert find_weights(str(folder / "weights.pt"), results) == folder / "weights.pt"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("both", r"--run both: 5 runs are called so: mine/both/v3-r18/full/walk/seed-0, .*"),
        ("shapes/both/v2-r18", "2 runs are called so: .*shrink-0.5"),
        ("mine/bot", "no such run; did you mean 'mine/both'[?]"),
        ("full/both", "no such run"),
    ],
)
def test_what_is_no_name_of_one_run_is_told_with_what_there_is(results, name, message):
    with pytest.raises(ValueError, match=message):
        find_weights(name, results)


def test_without_any_run_the_name_is_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"none\.pt: no such file of weights.*there is no run in"):
        find_weights("none.pt", tmp_path)
