import numpy as np
import pytest
from matplotlib.text import Text

from cdsp.distance_maps.compute import make_distance_maps
from cdsp.io.files import IGNORE
from cdsp.io.store import LabelStore, write_store
from cdsp.reporting.figures.distance_maps import draw_distance_maps


@pytest.fixture
def stores(tiny_data):
    return LabelStore(tiny_data.scribbles / "labels.h5"), LabelStore(tiny_data.pseudo_labels)


def test_maps_are_those_of_the_stage(tiny_data, stores, tmp_path):
    dataset = tiny_data.dataset
    figure = draw_distance_maps(dataset, *stores, (1, 2.5), (6,), 3)
    grid = np.array(figure.axes).reshape(3, 5)
    titles = [axis.get_title().replace("\n", " ") for axis in grid[0]]
    assert titles == [
        "image + scribbles",
        "scribble distance λ = 1",
        "scribble distance λ = 2.5",
        "pseudo-label",
        "boundary distance λ = 6",
    ]
    ids = dataset.splits["train"]
    chosen = [ids[0], ids[2], ids[5]]
    assert [axis.get_ylabel() for axis in grid[:, 0]] == chosen
    expected = {}
    for column, store, exponent in ((1, 0, 1), (2, 0, 2.5), (4, 1, 6)):
        make_distance_maps(stores[store].path, exponent, tmp_path / "maps.h5")
        expected[column] = LabelStore(tmp_path / "maps.h5")
        for row, image_id in enumerate(chosen):
            (picture,) = grid[row, column].get_images()
            np.testing.assert_array_equal(picture.get_array(), expected[column][image_id])
            assert picture.get_clim() == (0, 255)
    present = set()
    for row, image_id in enumerate(chosen):
        scribbles, labels = (store[image_id] for store in stores)
        near = (scribbles != 0) & (scribbles != IGNORE)
        (picture,) = grid[row, 2].get_images()
        assert (picture.get_array()[near] == 255).all()
        assert picture.get_array().min() < 255
        present |= {*np.unique(labels).tolist(), *np.unique(scribbles).tolist()} - {0, IGNORE}
        # The pseudo-label's column is the photograph where there is no object.
        (picture,) = grid[row, 3].get_images()
        same = (picture.get_array() == dataset.image(image_id)).all(axis=2)
        assert same[labels == 0].all()
        assert not same[labels != 0].all()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [dataset.classes[value] for value in sorted(present)]
    assert not any(text.get_parse_math() for text in figure.findobj(Text))


def test_one_kind_of_map_is_enough(tiny_data, stores):
    figure = draw_distance_maps(tiny_data.dataset, *stores, (), (7,), 1)
    titles = [axis.get_title().replace("\n", " ") for axis in figure.axes]
    assert titles == ["image + scribbles", "pseudo-label", "boundary distance λ = 7"]


def test_what_cannot_be_drawn_ends_in_a_message(tiny_data, stores, tmp_path):
    dataset, (scribbles, labels) = tiny_data.dataset, stores
    with pytest.raises(ValueError, match="expected at least one image and one λ"):
        draw_distance_maps(dataset, scribbles, labels, (), (), 2)
    with pytest.raises(ValueError, match="distance maps: 0 training images"):
        draw_distance_maps(dataset, scribbles, labels, (1,), (6,), 0)
    with pytest.raises(ValueError, match="exponent 21: expected λ between 0 and 20"):
        draw_distance_maps(dataset, scribbles, labels, (1,), (21,), 1)
    path = tmp_path / "small.h5"
    maps = [(image_id, np.zeros((5, 4), np.uint8), {}) for image_id in dataset.splits["train"]]
    write_store(path, maps, kind="pseudo_labels", parameters={}, sources={})
    with pytest.raises(ValueError, match=r"small\.h5: the map of image .* has shape \(5, 4\)"):
        draw_distance_maps(dataset, scribbles, LabelStore(path), (1,), (6,), 1)
    write_store(path, [], kind="pseudo_labels", parameters={}, sources={})
    with pytest.raises(ValueError, match="holds no map for image"):
        draw_distance_maps(dataset, scribbles, LabelStore(path), (1,), (6,), 1)
