import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from cdsp.dataset.prepare import describe_folder
from cdsp.io.files import write_label
from cdsp.io.store import LabelStore
from cdsp.networks.checkpoint import NetworkCheckpoint, write_network
from cdsp.networks.classifier import Classifier
from cdsp.pseudo_labels.cams import (
    activation_maps,
    export_cams,
    pixel_probabilities,
    size_batches,
)
from cdsp.pseudo_labels.settings import CamSettings

CPU = torch.device("cpu")
NUM_CLASSES = 12
ONE_SCALE = CamSettings(scales=(1.0,), flip=False)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    network = Classifier("resnet18", 16, NUM_CLASSES)
    with torch.no_grad():
        network.head.weight[3] = -1  # features are never negative: this class's map is 0
    return network.eval()


def draw_images(number, height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (number, 4, 4, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (width, height)) for image in coarse])


def stretch(small, height, width):
    """Bilinear interpolation with aligned corners, pixel by pixel."""
    result = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            v = y * (small.shape[0] - 1) / max(height - 1, 1)
            u = x * (small.shape[1] - 1) / max(width - 1, 1)
            for row in {int(v), min(int(v) + 1, small.shape[0] - 1)}:
                for column in {int(u), min(int(u) + 1, small.shape[1] - 1)}:
                    weight = (1 - abs(v - row)) * (1 - abs(u - column))
                    result[y, x] += weight * small[row, column]
    return result


def slow_map(network, image, class_id, height, width):
    """Eq. 6 with loops: ReLU of the sum over channels of weight × feature; not normalised."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    view = torch.from_numpy(((image / 255 - mean) / std).transpose(2, 0, 1)).float()
    with torch.no_grad():
        feature = network.backbone(view[None]).feature[0].double().numpy()
    weight = network.head.weight.detach()[class_id - 1, :, 0, 0].double().numpy()
    small = np.zeros(feature.shape[1:])
    for y, x in np.ndindex(small.shape):
        small[y, x] = max(0, sum(w * f for w, f in zip(weight, feature[:, y, x], strict=True)))
    return stretch(small, height, width)


def test_maps_of_a_batch_against_loops(network):
    images = draw_images(2, 33, 49)
    classes = [[2, 7], [12]]
    maps = activation_maps(network, images, classes, ONE_SCALE, CPU)
    for image, present, found in zip(images, classes, maps, strict=True):
        assert (found.shape, found.dtype) == ((len(present), 33, 49), np.float32)
        for class_id, of_class in zip(present, found, strict=True):
            expected = slow_map(network, image, class_id, 33, 49)
            assert expected.max() > 0
            np.testing.assert_allclose(of_class, expected / expected.max(), atol=1e-4)


def test_scales_and_mirrors_are_summed_before_the_division(network):
    height, width = 40, 56  # not of the sides 16k + 1 that images are scaled to
    (image,) = draw_images(1, height, width, seed=3)
    settings = CamSettings(scales=(1.0, 0.5), flip=True)
    (found,) = activation_maps(network, image[None], [[5]], settings, CPU)
    total = np.zeros((height, width))
    for size in ((49, 33), (33, 17)):  # (width, height): 56 → 49 and 28 → 33, 40 → 33 and 20 → 17
        scaled = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        total += slow_map(network, scaled, 5, height, width)
        total += slow_map(network, scaled[:, ::-1], 5, height, width)[:, ::-1]
    np.testing.assert_allclose(found[0], total / total.max(), atol=1e-4)


def test_every_map_reaches_one_but_those_that_are_zero(network):
    images = draw_images(3, 33, 33)
    classes = [[1, 4, 9], [], [4]]
    maps = activation_maps(network, images, classes, CamSettings(), CPU)
    assert [found.shape for found in maps] == [(3, 33, 33), (0, 33, 33), (1, 33, 33)]
    assert maps[0].max(axis=(1, 2)).tolist() == [1, 0, 1]
    assert not maps[2].any()
    assert all((found >= 0).all() for found in maps)


def test_with_mirrors_a_mirrored_image_has_mirrored_maps(network):
    images = draw_images(2, 33, 49)
    classes = [[1, 2], [3]]
    settings = CamSettings(scales=(1.0, 1.5), flip=True)
    maps = activation_maps(network, images, classes, settings, CPU)
    mirrored = activation_maps(network, images[:, :, ::-1], classes, settings, CPU)
    for one, other in zip(maps, mirrored, strict=True):
        np.testing.assert_allclose(other, one[..., ::-1], atol=5e-3)
    without = activation_maps(network, images, classes, CamSettings(scales=(1.0,), flip=False), CPU)
    assert np.abs(without[0] - maps[0]).max() > 0.02


def test_an_image_does_not_depend_on_its_batch(network):
    images = draw_images(3, 33, 33)
    classes = [[1], [2, 6], [5]]
    together = activation_maps(network, images, classes, CamSettings(), CPU)
    for index in range(3):
        (alone,) = activation_maps(
            network, images[index : index + 1], classes[index : index + 1], CamSettings(), CPU
        )
        np.testing.assert_allclose(alone, together[index], atol=1e-4)


def test_the_head_pools_what_the_maps_show(network):
    images = torch.randn(2, 3, 33, 33, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        feature = network.backbone(images).feature
        weight = network.head.weight[:, :, 0, 0]
        expected = torch.einsum("kc,bc->bk", weight, feature.mean(dim=(2, 3)))
        torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def mixed_sizes(tmp_path_factory):
    """Five training images of two sizes, one of them without any class."""
    root = tmp_path_factory.mktemp("mixed")
    (root / "JPEGImages").mkdir()
    lists = root / "ImageSets" / "SegmentationAug"
    lists.mkdir(parents=True)
    for index in range(5):
        height, width = (33, 17) if index % 2 else (24, 40)
        Image.fromarray(draw_images(1, height, width, index)[0]).save(
            root / "JPEGImages" / f"i{index}.png"
        )
        mask = np.zeros((height, width), np.uint8)
        write_label(root / "SegmentationClassAug" / f"i{index}.png", mask)
    (lists / "train.txt").write_text("i0\ni1\ni2\ni3\n")
    (lists / "val.txt").write_text("i4\n")
    classes = tuple(f"class {index}" for index in range(NUM_CLASSES + 1))
    return describe_folder(root, "mixed", classes, root / "dataset.json")


IMAGE_CLASSES = {"i0": [2, 12], "i1": [], "i2": [4, 1], "i3": [7]}


@pytest.fixture
def weights(network, mixed_sizes, tmp_path):
    arguments = {"backbone": "resnet18", "output_stride": 16, "num_classes": NUM_CLASSES}
    path = tmp_path / "classifier.pt"
    settings = {"epochs": 0}
    checkpoint = NetworkCheckpoint(
        "classifier", arguments, mixed_sizes.classes, {}, {}, settings, network
    )
    write_network(path, checkpoint)
    return path


def test_batches_hold_each_training_image_once_and_one_size(mixed_sizes, tiny_data):
    batches = size_batches(mixed_sizes, 3)
    assert sorted(image_id for ids in batches for image_id in ids) == ["i0", "i1", "i2", "i3"]
    assert len(batches) == 2
    for ids in batches:
        assert len({mixed_sizes.size(image_id) for image_id in ids}) == 1
    assert [len(ids) for ids in size_batches(tiny_data.dataset, 3)] == [3, 3, 2]


def test_the_store_holds_the_maps_as_bytes(network, mixed_sizes, weights, tmp_path):
    settings = CamSettings(scales=(1.0, 1.5))
    for name in ("one.h5", "two.h5"):
        export_cams(weights, mixed_sizes, IMAGE_CLASSES, settings, tmp_path / name, device=CPU)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    store = LabelStore(tmp_path / "one.h5", "cams")
    assert set(store) == set(IMAGE_CLASSES)
    for image_id, classes in IMAGE_CLASSES.items():
        image = mixed_sizes.image(image_id)
        assert store.attributes(image_id)["classes"] == classes
        (expected,) = activation_maps(network, image[None], [classes], settings, CPU)
        assert store[image_id].shape == (len(classes), *mixed_sizes.size(image_id))
        np.testing.assert_allclose(store[image_id], expected * 255, atol=0.51)
        if classes == [2, 12]:
            assert store[image_id].max(axis=(1, 2)).tolist() == [255, 255]
    assert store.sources == {"dataset": mixed_sizes.digest}
    assert store.parameters["scales"] == [1.0, 1.5]
    assert store.parameters["classifier"] == {"epochs": 0}


def test_a_classifier_of_other_classes_is_refused(tiny_data, weights, tmp_path):
    classes = {image_id: [1] for image_id in tiny_data.dataset.splits["train"]}
    with pytest.raises(ValueError, match=r"classifier\.pt: trained on the classes"):
        export_cams(
            weights, tiny_data.dataset, classes, ONE_SCALE, tmp_path / "cams.h5", device=CPU
        )
    assert not (tmp_path / "cams.h5").exists()


def test_classes_of_other_images_are_refused(mixed_sizes, weights, tmp_path):
    output = tmp_path / "cams.h5"
    with pytest.raises(ValueError, match="4 training images have no image-level classes"):
        export_cams(weights, mixed_sizes, {"j0": [1]}, ONE_SCALE, output, device=CPU)
    wrong = {**IMAGE_CLASSES, "i2": [13]}
    with pytest.raises(ValueError, match=r"i2: image-level classes \[13\], expected some of 1 to"):
        export_cams(weights, mixed_sizes, wrong, ONE_SCALE, output, device=CPU)


# --- classifiers that know the background ---------------------------------------------------------


@pytest.fixture(scope="module")
def taught_network():
    torch.manual_seed(4)
    network = Classifier("resnet18", 16, NUM_CLASSES, background=True)
    torch.nn.init.normal_(network.head.weight, std=0.3)
    return network.eval()


@pytest.fixture
def taught_weights(taught_network, mixed_sizes, tmp_path):
    arguments = {"backbone": "resnet18", "output_stride": 16, "num_classes": NUM_CLASSES}
    path = tmp_path / "taught.pt"
    checkpoint = NetworkCheckpoint(
        "classifier",
        {**arguments, "background": True},
        mixed_sizes.classes,
        {},
        {},
        {"epochs": 0},
        taught_network,
    )
    write_network(path, checkpoint)
    return path


def slow_probabilities(network, view, channels, height, width):
    """Softmax, at every pixel, of some channels of the head's response to one view of an image."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    tensor = torch.from_numpy(((view / 255 - mean) / std).transpose(2, 0, 1)).float()
    with torch.no_grad():
        feature = network.backbone(tensor[None]).feature[0].double().numpy()
    weight = network.head.weight.detach()[:, :, 0, 0].double().numpy()
    small = np.einsum("kc,chw->khw", weight[channels], feature)
    scores = np.exp(np.stack([stretch(channel, height, width) for channel in small]))
    return scores / scores.sum(axis=0)


def test_probabilities_are_the_mean_of_each_views_own(taught_network):
    height, width = 40, 56
    images = draw_images(2, height, width, seed=3)
    classes = [[5, 2], []]
    settings = CamSettings(scales=(1.0, 0.5), flip=True)
    found = pixel_probabilities(taught_network, images, classes, settings, CPU)
    assert [maps.shape for maps in found] == [(3, height, width), (1, height, width)]
    assert (found[1] == 1).all()  # nothing but the background is in question
    views = []
    for size in ((49, 33), (33, 17)):  # (width, height): 56 → 49 and 28 → 33, 40 → 33 and 20 → 17
        scaled = cv2.resize(images[0], size, interpolation=cv2.INTER_LINEAR)
        arguments = ([0, 5, 2], height, width)  # channel 0 is the background
        views.append(slow_probabilities(taught_network, scaled, *arguments))
        mirrored = slow_probabilities(taught_network, scaled[:, ::-1], *arguments)
        views.append(mirrored[..., ::-1])
    assert np.std(views, axis=0).max() > 0.05
    np.testing.assert_allclose(found[0], np.mean(views, axis=0), atol=1e-3)


def test_a_classifier_that_knows_the_background_exports_probabilities(
    taught_network, taught_weights, mixed_sizes, tmp_path
):
    settings = CamSettings(scales=(1.0, 1.5))
    arguments = (taught_weights, mixed_sizes, IMAGE_CLASSES, settings)
    for name in ("one.h5", "two.h5"):
        export_cams(*arguments, tmp_path / name, device=CPU)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    store = LabelStore(tmp_path / "one.h5", "probabilities")
    assert set(store) == set(IMAGE_CLASSES)
    for image_id, classes in IMAGE_CLASSES.items():
        assert store.attributes(image_id)["classes"] == [0, *classes]
        found = store[image_id]
        assert found.shape == (1 + len(classes), *mixed_sizes.size(image_id))
        off = np.abs(found.sum(axis=0, dtype=int) - 255)
        assert off.max() <= len(found) / 2  # half a unit of rounding for each class
        image = mixed_sizes.image(image_id)
        (expected,) = pixel_probabilities(taught_network, image[None], [classes], settings, CPU)
        np.testing.assert_allclose(found, expected * 255, atol=0.51)
    assert store.sources == {"dataset": mixed_sizes.digest}
    assert store.parameters["classifier"] == {"epochs": 0}
