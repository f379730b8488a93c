import json
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch

from cdsp.dataset.prepare import describe_folder
from cdsp.io.files import IGNORE
from cdsp.io.store import LabelStore, write_store
from cdsp.losses import LOSS_TERMS, Step, View
from cdsp.networks.interface import FeatureName, NetworkOutput
from cdsp.segmentation.data import TrainingCrops, TrainingData, open_training_data
from cdsp.segmentation.method import Method, parse_method
from cdsp.training.augmentation import draw_augmentation
from cdsp.training.sampling import EpochSampler, epoch_batches

LABELS = ("scribble", "pseudo_label", "mask")
DISTANCES = ("scribble_distance", "pseudo_label_distance")
STRIDE, CROP_SIZE = 16, 49

FEATURES: tuple[FeatureName, ...] = get_args(FeatureName)


def crops(data: TrainingData, seed: int = 0, scale: tuple[float, float] = (0.5, 2.0)):
    augmentation = {
        "crop_size": CROP_SIZE,
        "scale": scale,
        "rotation": 30.0,
        "rotation_probability": 0.5,
        "blur_probability": 0.5,
        "flip_probability": 0.5,
    }
    return TrainingCrops(data, seed, augmentation)


def equal(sample: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(sample[name], other[name]) for name in sample | other)


@pytest.fixture(scope="module")
def every_map(all_terms) -> Method:
    return Method({**all_terms.terms, **parse_method({"mask": 1}, "method").terms})


# --- stores that do not belong together ---------------------------------------------------------


def test_stores_that_belong_together_open(tiny_training, all_terms):
    data = tiny_training.open(all_terms)
    data.check()
    for image_id in tiny_training.dataset.splits["train"]:
        maps = data.maps(image_id)
        assert set(maps) == {"scribble", "pseudo_label", *DISTANCES, "valid"}
        assert {values.shape for values in maps.values()} == {tiny_training.dataset.size(image_id)}


def test_a_method_opens_only_what_it_reads(tiny_training):
    method = parse_method({"mask": 1}, "method")
    nowhere = dict.fromkeys(tiny_training.paths, tiny_training.folder / "nowhere.h5")
    data = tiny_training.open(method, **nowhere)
    image_id = tiny_training.dataset.splits["train"][0]
    assert data.maps(image_id).keys() == {"mask"}
    np.testing.assert_array_equal(data.maps(image_id)["mask"], tiny_training.dataset.mask(image_id))


@pytest.mark.parametrize("name", ["scribble", "pseudo_label", *DISTANCES])
def test_a_store_that_is_not_given_is_named(tiny_training, all_terms, name):
    with pytest.raises(
        ValueError, match=rf"reads {name} maps; give their store of .* \(--{name[:3]}[\w-]*s\)"
    ):
        tiny_training.open(all_terms, **{name: None})


@pytest.mark.parametrize(("name", "given"), [("scribble", 1), ("pseudo_label", 6)])
def test_distances_of_another_exponent_are_refused(tiny_training, all_terms, name, given):
    path = tiny_training.write_distances(name, given)
    wanted = {"scribble": 2, "pseudo_label": 7}[name]
    with pytest.raises(ValueError, match=rf"exponent = {given}\.0, expected {wanted}\.0") as error:
        tiny_training.open(all_terms, **{f"{name}_distance": path})
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "kind"), [("scribble", "scribbles"), ("pseudo_label", "pseudo_labels")]
)
def test_distances_of_other_labels_are_refused(tiny_training, all_terms, name, kind):
    maps = tiny_training.maps(name)
    maps["image_5"][0, 0] ^= 1
    changed = tiny_training.write_store(f"changed_{name}", kind, maps)
    with pytest.raises(ValueError, match=f"{name}_distance_.*made with source {kind} = .*again"):
        tiny_training.open(all_terms, **{name: changed})


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("scribble", "pseudo_label"),
        ("pseudo_label", "scribble"),
        ("scribble_distance", "pseudo_label_distance"),
        ("pseudo_label_distance", "scribble_distance"),
        ("scribble", "scribble_distance"),
    ],
)
def test_a_store_of_another_kind_is_refused(tiny_training, all_terms, name, given):
    with pytest.raises(ValueError, match=r"\.h5: expected a store of \w+, found one of \w+"):
        tiny_training.open(all_terms, **{name: tiny_training.paths[given]})


def test_images_without_a_map_are_left_out(tiny_training, caplog):
    method = parse_method({"pseudo_label": 1}, "method")
    maps = tiny_training.maps("pseudo_label")
    del maps["image_3"]
    path = tiny_training.write_store("incomplete", "pseudo_labels", maps)
    ids = tiny_training.dataset.splits["train"]
    with caplog.at_level("INFO"):
        data = tiny_training.open(method, pseudo_label=path)
    assert data.dataset.splits["train"] == tuple(name for name in ids if name != "image_3")
    assert f"1 of {len(ids)} training images are not annotated, and left out" in caplog.text
    data.check()
    other = tiny_training.write_store("other", "pseudo_labels", {"x": maps["image_2"]})
    with pytest.raises(ValueError, match=r"none of its .* training images is annotated"):
        tiny_training.open(method, pseudo_label=other)


def test_a_map_of_another_size_is_named(tiny_training):
    method = parse_method({"pseudo_label": 1}, "method")
    maps = tiny_training.maps("pseudo_label")
    maps["image_3"] = maps["image_3"][:-1]
    data = tiny_training.open(
        method, pseudo_label=tiny_training.write_store("cropped", "pseudo_labels", maps)
    )
    for use in (data.check, lambda: data.maps("image_3")):
        with pytest.raises(ValueError, match=r"cropped\.h5: the .* of image_3 has shape"):
            use()


def relabelled(tiny_training, path, **changes):
    """The data set of ``tiny_training`` with other classes or lists: another data set."""
    content = json.loads((tiny_training.dataset.root / "dataset.json").read_text()) | changes
    path.write_text(json.dumps(content | {"root": str(tiny_training.dataset.root)}))
    return describe_folder(
        tiny_training.dataset.root, "tiny", tuple(content["classes"]), path.with_name("again.json")
    )


@pytest.mark.parametrize("name", ["scribble", "pseudo_label"])
def test_stores_of_classes_in_another_order_are_refused(tiny_training, tmp_path, name):
    other = relabelled(tiny_training, tmp_path / "d.json", classes=["background", "blue", "red"])
    method = parse_method({name: 1}, "method")
    with pytest.raises(ValueError, match=rf"{name}\.h5: made with source dataset = .*again"):
        open_training_data(other, method, tiny_training.paths)
    # Also where the store is only what the distances are made from.
    method = parse_method({f"{name}_distance": 1}, "method")
    with pytest.raises(ValueError, match=rf"{name}\.h5: made with source dataset"):
        open_training_data(other, method, tiny_training.paths)


def test_pseudo_labels_of_other_scribbles_are_refused(tiny_training, all_terms):
    scribbles = LabelStore(tiny_training.folder / "scribble.h5")
    method = parse_method({"scribble": 1, "pseudo_label": 1}, "method")

    def write(name, kind, of, parameters=None, **sources):
        path = tiny_training.folder / f"{name}.h5"
        maps = [(image_id, values, {}) for image_id, values in tiny_training.maps(of).items()]
        sources = {"dataset": tiny_training.dataset.digest, **sources}
        write_store(path, maps, kind=kind, parameters=parameters or {}, sources=sources)
        return path

    made = write("made", "pseudo_labels", "pseudo_label", scribbles=scribbles.digest)
    tiny_training.open(method, pseudo_label=made)
    made = write("made", "pseudo_labels", "pseudo_label", scribbles="others")
    with pytest.raises(ValueError, match=r"made\.h5: made with source scribbles = 'others'"):
        tiny_training.open(method, pseudo_label=made)
    tiny_training.open(parse_method({"pseudo_label": 1}, "method"), pseudo_label=made)

    boxed = write("boxed", "pseudo_labels", "pseudo_label", {"supervision": "boxes"})
    labels_alone = parse_method({"pseudo_label": 1}, "method")
    assert tiny_training.open(labels_alone, pseudo_label=boxed).supervision == "boxes"
    assert tiny_training.open(labels_alone, pseudo_label=made).supervision == "pseudo-labels"
    both = tiny_training.open(method, pseudo_label=boxed)
    assert both.supervision == "scribbles + pseudo-labels"

    full = write("full", "scribbles", "scribble", {"scribbles": "full"})
    imported = write("imported", "pseudo_labels", "pseudo_label", {"scribbles": "full"})
    tiny_training.open(method, scribble=full, pseudo_label=imported)
    imported = write("imported", "pseudo_labels", "pseudo_label", {"scribbles": "drop-0.5"})
    with pytest.raises(ValueError, match=r"parameter scribbles = 'drop-0\.5', expected 'full'"):
        tiny_training.open(method, scribble=full, pseudo_label=imported)


def test_a_map_that_is_only_depended_on_is_not_loaded(tiny_training):
    method = parse_method({"scribble_distance": 1}, "method")
    assert method.maps == {"scribble_distance"}
    assert method.reads == {"scribble_distance", "scribble"}
    assert method.supervision == "scribbles"
    data = tiny_training.open(method)
    assert data.stores.keys() == {"scribble", "scribble_distance"}
    assert crops(data)[0, 0].keys() == {"image", "matrix", "scribble_distance"}


# --- crops --------------------------------------------------------------------------------------


def test_crops_depend_on_seed_epoch_and_index_alone(tiny_training, every_map):
    items = [(epoch, index) for epoch in range(3) for index in range(8)]
    in_order = {item: crops(tiny_training.open(every_map))[item] for item in items}
    other = crops(tiny_training.open(every_map))
    for index in np.random.default_rng(0).permutation(len(items)):
        torch.rand(3)  # neither this generator
        np.random.rand(3)  # nor this one has a say
        assert equal(other[items[index]], in_order[items[index]])
    for epoch, index in items:
        assert not equal(in_order[epoch, index], in_order[(epoch + 1) % 3, index])
        assert not equal(in_order[epoch, index], crops(other.data, seed=1)[epoch, index])


def test_two_images_of_one_epoch_are_drawn_differently(tiny_training, every_map):
    dataset = crops(tiny_training.open(every_map))
    places = {dataset[0, index]["valid"].numpy().tobytes() for index in range(8)}
    assert len(places) > 4


def test_samples_hold_what_the_method_reads(tiny_training, all_terms):
    sample = crops(tiny_training.open(all_terms))[0, 0]
    assert sample.keys() == {"image", "matrix", "scribble", "pseudo_label", *DISTANCES, "valid"}
    assert sample.pop("image").shape == (1, 3, CROP_SIZE, CROP_SIZE)
    assert sample.pop("matrix").shape == (1, 2, 3)
    assert {(value.dtype, tuple(value.shape)) for value in sample.values()} == {
        (torch.uint8, (1, CROP_SIZE, CROP_SIZE))
    }


# --- padding ------------------------------------------------------------------------------------


def small_crops(data: TrainingData, num_images: int = 4) -> dict[str, torch.Tensor]:
    """A batch in which every image is smaller than its crop."""
    dataset = crops(data, scale=(0.5, 0.7))
    samples = [dataset[0, index] for index in range(num_images)]
    return {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}


def test_padding_is_unlabelled_and_far_from_everything(tiny_training, every_map):
    batch = small_crops(tiny_training.open(every_map), 8)
    padded = batch["valid"] == 0
    assert (padded.flatten(1).float().mean(dim=1) > 0.3).all()
    assert not padded.flatten(1).all(dim=1).any()
    for name in LABELS:
        assert (batch[name][padded] == IGNORE).all()
    for name in DISTANCES:
        assert (batch[name][padded] == 0).all()
    image = batch["image"].movedim(1, -1)
    assert image[padded].abs().median() < 0.01  # the mean colour, but for the image's blurred edge


def term_and_gradients(name: str, method: Method, batch: dict[str, torch.Tensor], noise: float):
    """A term's value and gradients; ``noise`` is added to what the network says of padding."""
    rng = torch.Generator().manual_seed(0)
    size = (CROP_SIZE - 1) // STRIDE + 1
    valid = batch["valid"]
    logits = torch.randn(len(valid), 3, CROP_SIZE, CROP_SIZE, generator=rng)
    feature = torch.randn(len(valid), 5, size, size, generator=rng)
    small = valid[:, None, ::STRIDE, ::STRIDE]
    logits += noise * (valid[:, None] == 0) * torch.randn(logits.shape, generator=rng)
    feature += noise * (small == 0) * torch.randn(feature.shape, generator=rng)
    logits.requires_grad_()
    feature.requires_grad_()
    output = NetworkOutput(logits, dict.fromkeys(FEATURES, feature))
    network: Any = SimpleNamespace(feature_channels=dict.fromkeys(FEATURES, 5))
    torch.manual_seed(0)
    step = Step(
        [View(batch["image"], batch, batch["matrix"])],
        [output],
        forward=lambda *_: output,
        progress=0.5,
    )
    loss = LOSS_TERMS[name](method.terms[name], network)(step).mean()
    loss.backward()
    of_logits = torch.zeros_like(logits) if logits.grad is None else logits.grad
    of_feature = torch.zeros_like(feature) if feature.grad is None else feature.grad
    return loss.item(), of_logits, of_feature, small


OWN_TERMS = ("scribble", "pseudo_label", "mask", "lorm", *DISTANCES)


@pytest.mark.parametrize("name", OWN_TERMS)
def test_padding_has_no_influence_on_any_term(tiny_training, every_map, name):
    batch = small_crops(tiny_training.open(every_map), 8)
    loss, of_logits, of_feature, small = term_and_gradients(name, every_map, batch, 0)
    assert loss > 0
    assert 0 < small.sum() < small.numel()
    assert of_logits.any() or of_feature.any()
    assert not of_logits.masked_select(batch["valid"][:, None] == 0).any()
    assert not of_feature.masked_select(small == 0).any()
    other = term_and_gradients(name, every_map, batch, 100)
    assert loss == other[0]
    assert torch.equal(of_logits, other[1])
    assert torch.equal(of_feature, other[2])


# --- order --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_images", "batch_size"), [(12, 4), (13, 4), (15, 4), (4, 4), (5, 1)])
def test_an_epoch_shows_each_image_once_but_for_the_incomplete_batch(num_images, batch_size):
    batches = epoch_batches(num_images, batch_size, seed=3, epoch=2)
    shown = [index for batch in batches for index in batch]
    assert {len(batch) for batch in batches} == {batch_size}
    assert len(set(shown)) == len(shown) == num_images // batch_size * batch_size
    assert set(shown) <= set(range(num_images))


@pytest.mark.parametrize(("num_images", "batch_size"), [(1, 4), (3, 4), (1, 1)])
def test_the_only_batch_may_be_incomplete(num_images, batch_size):
    batches = epoch_batches(num_images, batch_size, seed=0, epoch=0)
    assert [sorted(batch) for batch in batches] == [list(range(num_images))]


def test_the_order_depends_on_seed_and_epoch_and_every_image_gets_its_turn():
    orders = {(s, e): epoch_batches(13, 4, s, e) for s in range(4) for e in range(20)}
    assert len({str(order) for order in orders.values()}) == len(orders)
    assert all(order == epoch_batches(13, 4, s, e) for (s, e), order in orders.items())
    left_out = [set(range(13)).difference(*orders[0, epoch]) for epoch in range(20)]
    assert all(len(images) == 1 for images in left_out)
    assert len(set.union(*left_out)) > 5


def test_the_sampler_gives_the_epoch_that_it_was_set_to():
    sampler = EpochSampler(13, 4, seed=5)
    for epoch in (7, 0, 3):
        sampler.epoch = epoch
        expected = [[(epoch, i) for i in batch] for batch in epoch_batches(13, 4, 5, epoch)]
        assert list(sampler) == list(sampler) == expected
        assert len(sampler) == 3


def test_the_crop_of_an_image_is_drawn_from_its_own_stream(tiny_training, every_map):
    """An augmentation drawn by hand from (seed, epoch, index) places the valid pixels alike."""
    dataset = crops(tiny_training.open(every_map), seed=4)
    height, width = tiny_training.dataset.size("image_6")
    draw = draw_augmentation(
        np.random.default_rng([4, 9, 6]), height, width, **dataset.augmentation
    )
    inverse = np.linalg.inv(np.vstack([draw.matrix, [0, 0, 1]]))
    y, x = np.mgrid[:CROP_SIZE, :CROP_SIZE]
    source = inverse @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    column, row = source[:2].reshape(2, CROP_SIZE, CROP_SIZE)
    margin = np.minimum.reduce([column, row, width - 1 - column, height - 1 - row])
    sample = dataset[9, 6]
    np.testing.assert_array_equal(sample["matrix"][0], draw.matrix)
    valid = sample["valid"][0].numpy()
    assert (valid[margin > 0] == 1).all()
    assert (valid[margin < -1] == 0).all()
