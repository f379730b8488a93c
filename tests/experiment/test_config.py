import copy
import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from snakemake.utils import update_config

from cdsp.dataset import settings as dataset
from cdsp.evaluation import settings as evaluation
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.experiment import config
from cdsp.experiment.plan import Plan
from cdsp.experiment.read import merge_settings, parse_config, read_config
from cdsp.experiment.run import Run
from cdsp.experiment.variants import method_row, method_title
from cdsp.losses import LOSS_TERMS, LossTerm, TermOptions
from cdsp.networks import settings as networks
from cdsp.networks.settings import NetworkSettings
from cdsp.pseudo_labels import settings as pseudo_labels
from cdsp.reporting import settings as reporting
from cdsp.scribbles import settings as scribbles
from cdsp.scribbles.degrade import Degradation
from cdsp.segmentation import settings as segmentation
from cdsp.segmentation.method import parse_method
from cdsp.segmentation.settings import SegmentationSettings
from cdsp.settings import parse_settings, setting, settings_dict

PROJECT = Path(__file__).parents[2]
EXPERIMENT = PROJECT / "config.yaml"
LAID_OVER = {  # file → the experiment that it is laid over
    "full.yaml": EXPERIMENT,
    "quick.yaml": EXPERIMENT,
    "table1_all.yaml": EXPERIMENT,
    "published_labels.yaml": PROJECT / "configs/scribblesup.yaml",
    "mix_transformers.yaml": PROJECT / "configs/scribblesup.yaml",
}
SHIPPED = [(EXPERIMENT,)] + [
    (LAID_OVER[path.name], path) if path.name in LAID_OVER else (path,)
    for path in sorted((PROJECT / "configs").glob("*.yaml"))
]
SHIPPED.append((PROJECT / "configs/scribblesup.yaml", PROJECT / "configs/full.yaml"))


def minimal():
    return {
        "dataset": "drawn",
        "datasets": {"drawn": {"source": "shapes", "num_train": 8}},
        "pseudo_labels": {"cam": {}, "other": {"folder": "somewhere"}},
        "methods": {
            "strokes": {"scribble": 1},
            "labels": {"pseudo_label": 1},
            "both": {"scribble": 1, "pseudo_label_distance": {"weight": 0.5, "exponent": 6}},
            "truth": {"mask": 1},
        },
        "networks": {
            "deeplabv3plus-resnet18": {"backbone": "resnet18"},
            "deeplabv2-resnet18": {"head": "deeplabv2", "backbone": "resnet18"},
            "deeplabv2-resnet50": {"head": "deeplabv2", "backbone": "resnet50"},
        },
        "segmentation": {"epochs": 20},
        "evaluation": {"whole": {"window": 0}},
        "tables": {
            "main": {
                "methods": ["strokes", "labels", "both", "truth"],
                "networks": ["deeplabv3plus-resnet18"],
                "scribbles": ["full"],
                "pseudo_labels": ["cam"],
                "protocol": "whole",
                "seeds": [0],
            }
        },
    }


WALK = {"evidence": "strokes", "labels": {"refinement": "random_walk"}}


def from_network(**network):
    """A recipe whose evidence is a network that was trained on strokes, unless told otherwise."""
    basics = {"method": "strokes", "network": "deeplabv2-resnet18", "protocol": "whole"}
    return {"evidence": "network", "network": {**basics, **network}}


def changed(path, value):
    """The minimal configuration with one value at 'section/key/…' replaced, or removed by None."""
    result = minimal()
    *parents, key = path.split("/")
    place = result
    for parent in parents:
        place = place.setdefault(parent, {})
    if value is None:
        del place[key]
    else:
        place[key] = value
    return result


def settings_kinds():
    stages = (dataset, evaluation, networks, pseudo_labels, reporting, scribbles, segmentation)
    kinds = [kind for stage in stages for kind in vars(stage).values()]
    kinds += [
        config.Config,
        *(term.Options for term in LOSS_TERMS.values()),
    ]
    unique = {kind for kind in kinds if isinstance(kind, type) and dataclasses.is_dataclass(kind)}
    unique -= {reporting.FigureKind}  # no settings
    return sorted(unique, key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("paths", SHIPPED, ids=lambda paths: paths[-1].name)
def test_shipped_configurations_parse_and_have_runs(paths):
    parsed = read_config(*paths)
    assert parsed.tables
    for table in parsed.tables:
        runs = parsed.runs(table)
        assert runs
        assert len({run.folder for run in runs}) == len(runs)


@pytest.mark.parametrize("paths", SHIPPED, ids=lambda paths: paths[-1].name)
def test_settings_survive_their_way_through_json(paths):
    parsed = read_config(*paths)
    parts = [parsed.stroke_settings, parsed.degradation, parsed.segmentation]
    parts += [parsed.dataset_settings(name) for name in parsed.datasets]
    parts += [*parsed.pseudo_labels.values(), *parsed.evaluation.values()]
    parts += [option for name in parsed.methods for option in parsed.method(name).terms.values()]
    for part in parts:
        text = json.dumps(settings_dict(part))
        assert parse_settings(type(part), json.loads(text), "text") == part


@pytest.mark.parametrize("kind", settings_kinds(), ids=lambda kind: kind.__qualname__)
def test_every_setting_is_explained(kind):
    fields = dataclasses.fields(kind)
    assert fields
    for field in fields:
        assert len(field.metadata["help"].split()) >= 1, field.name


def test_the_default_protocol_is_the_papers():
    protocol = EvaluationSettings()
    assert protocol.scales == tuple(np.arange(0.5, 2.01, 0.25))
    assert (protocol.long_side, protocol.window, protocol.flip) == (512, 465, False)
    assert protocol.stride == math.ceil(protocol.window * 2 / 3)


def test_the_default_training_is_that_of_table_1():
    training, network = SegmentationSettings(), NetworkSettings()
    assert (network.head, network.backbone, network.stride) == ("deeplabv3plus", "resnet101", 16)
    assert (training.epochs, training.warmup_epochs, training.batch_size) == (50, 10, 16)
    assert (training.learning_rate, training.momentum, training.weight_decay) == (1e-3, 0.9, 5e-4)
    assert (training.crop_size, training.scale, training.rotation) == (465, (0.5, 2), 10)
    method = parse_method({"scribble_distance": 1, "pseudo_label_distance": 1}, "method")
    assert method.exponents == {"scribble_distance": 2, "pseudo_label_distance": 7}


UNKNOWN = [
    ("segmentaton", {}, "config: unknown key 'segmentaton'", "segmentation"),
    ("segmentation/epoch", 3, "config.segmentation: unknown key 'epoch'", "epochs"),
    ("scribbles", {"source": "simulated", "covrage": 1}, "key 'covrage'", "coverage"),
    ("scribbles", {"source": "simulate"}, "scribbles.source: unknown name", "simulated"),
    ("pseudo_labels/cam/clasifier", {}, "config.pseudo_labels.cam: unknown key", "classifier"),
    ("pseudo_labels/cam/cams/scale", [1], "config.pseudo_labels.cam.cams: unknown key", "scales"),
    ("dataset", "drwan", "config: dataset: unknown name 'drwan'", "drawn"),
    ("datasets/drawn/source", "shape", "datasets.drawn.source: unknown name 'shape'", "shapes"),
    ("datasets/drawn/num_trian", 3, "datasets.drawn: unknown key 'num_trian'", "num_train"),
    ("methods/both", {"scrible": 1}, "methods.both: unknown loss term 'scrible'", "scribble"),
    (
        "methods/both",
        {"scribble_distance": {"wieght": 1}},
        "methods.both.scribble_distance: unknown key 'wieght'",
        "weight",
    ),
    (
        "methods/both",
        {"lorm": {"mask": "atended"}},
        "methods.both.lorm.mask: unknown value 'atended'",
        "attended",
    ),
    ("segmentation/backbone", "resnet50", "segmentation: unknown key 'backbone'", "batch_size"),
    (
        "pseudo_labels/cam/classifier",
        {"backbone": "resnt50"},
        "config.pseudo_labels.cam.classifier.backbone: unknown value 'resnt50'",
        "resnet50",
    ),
    (
        "pseudo_labels/cam/labels",
        {"background": "calibration"},
        "config.pseudo_labels.cam.labels.background: unknown value",
        "calibrated",
    ),
    ("tables/main/methods", ["stroke"], "tables.main.methods: unknown name 'stroke'", "strokes"),
    ("tables/main/pseudo_labels", ["cma"], "main.pseudo_labels: unknown name 'cma'", "cam"),
    (
        "tables/main/measured_labels",
        ["ohter"],
        "tables.main.measured_labels: unknown name 'ohter'",
        "other",
    ),
    (
        "pseudo_labels/more",
        from_network(method="stroke"),
        "pseudo_labels.more.network.method: unknown name 'stroke'",
        "strokes",
    ),
    (
        "pseudo_labels/more",
        from_network(protocol="whale"),
        "pseudo_labels.more.network.protocol: unknown name 'whale'",
        "whole",
    ),
    (
        "pseudo_labels/more",
        from_network(method="labels", pseudo_labels="camm"),
        "pseudo_labels.more.network.pseudo_labels: unknown name 'camm'",
        "cam",
    ),
    (
        "pseudo_labels/more",
        from_network(network="deeplabv3plus-resnet19"),
        "pseudo_labels.more.network.network: unknown name 'deeplabv3plus-resnet19'",
        "deeplabv3plus-resnet18",
    ),
    (
        "pseudo_labels/more/network",
        {"metod": "strokes"},
        "config.pseudo_labels.more.network: unknown key 'metod'",
        "method",
    ),
    (
        "pseudo_labels/more",
        {"evidence": "stroke"},
        "config.pseudo_labels.more.evidence: unknown value 'stroke'",
        "strokes",
    ),
    (
        "pseudo_labels/cam/labels",
        {"refinement": "random_wlak"},
        "config.pseudo_labels.cam.labels.refinement: unknown value 'random_wlak'",
        "random_walk",
    ),
    ("tables/main/protocol", "whol", "tables.main.protocol: unknown name 'whol'", "whole"),
    ("tables/main/protocols", "whole", "config.tables.main: unknown key", "protocol"),
    (
        "tables/main/networks",
        ["deeplabv3plus-resnet19"],
        "tables.main.networks: unknown name 'deeplabv3plus-resnet19'",
        "deeplabv3plus-resnet18",
    ),
    (
        "networks/small",
        {"backbone": "resnet19"},
        "config.networks.small.backbone: unknown value 'resnet19'",
        "resnet18",
    ),
    (
        "networks/small",
        {"head": "deeplabv3"},
        "config.networks.small.head: unknown value 'deeplabv3'",
        "deeplabv2",
    ),
]


@pytest.mark.parametrize(("path", "value", "where", "meant"), UNKNOWN)
def test_unknown_words_are_answered_with_the_nearest_known_one(path, value, where, meant):
    with pytest.raises(ValueError, match=re.escape(where)) as caught:
        parse_config(changed(path, value))
    assert meant in str(caught.value).split("known: ")[1]
    if meant not in ("deeplabv2", "resnet18", "batch_size"):  # several are as near, or none
        assert f"did you mean '{meant}'?" in str(caught.value)


WRONG = [
    ("dataset", None, "the key 'dataset' is missing"),
    ("datasets/drawn", {"num_train": 3}, "datasets.drawn: the key 'source' is missing"),
    ("datasets/drawn", "shapes", "datasets.drawn: the key 'source' is missing"),
    ("datasets/drawn", {"source": "folder", "path": "x"}, "datasets.drawn: the key 'classes'"),
    ("datasets/drawn/num_train", 0, "datasets.drawn.num_train: 0 is out of range"),
    ("tables/main/protocol", None, "tables.main: the key 'protocol' is missing"),
    ("tables/main/methods", "strokes", "tables.main.methods: expected a list, found 'strokes'"),
    ("tables/main/methods", ["strokes", "both", "strokes"], "'strokes' is named twice"),
    ("tables/main/pseudo_labels", ["cam", "cam"], "'cam' is named twice"),
    ("tables/main/seeds", [0, 1, 0], "tables.main.seeds: 0 is named twice"),
    ("tables/main/seeds", [-1], "tables.main.seeds[0]: -1 is out of range; expected at least 0"),
    ("tables/main/seeds", [0.5], "tables.main.seeds[0]: expected a whole number, found 0.5"),
    ("tables/main/networks", ["resnet18"], "tables.main.networks: unknown name 'resnet18'"),
    ("tables/main/scribbles", ["shrink-1.5"], "unknown degradation 'shrink-1.5'"),
    ("tables/main/scribbles", ["drop--0.5"], "unknown degradation 'drop--0.5'"),
    ("tables/main/scribbles", ["shrink"], "unknown degradation 'shrink'"),
    ("tables/main/scribbles", ["drop-0.50"], "write 'drop-0.5', not 'drop-0.50'"),
    ("methods/strokes", {}, "methods.strokes: expected at least one loss term"),
    ("methods/strokes", "scribble", "methods.strokes: expected at least one loss term"),
    ("methods/strokes/scribble", True, "methods.strokes.scribble: expected a weight"),
    ("methods/strokes/scribble", -1, "methods.strokes.scribble.weight: -1 is out of range"),
    ("methods/strokes/scribble", math.inf, "strokes.scribble.weight: expected a finite number"),
    ("methods/strokes/scribble", "1e-1", "methods.strokes.scribble: expected a weight"),
    ("methods/both/pseudo_label_distance/exponent", 21, "exponent: 21 is out of range"),
    ("segmentation/epochs", 2.5, "segmentation.epochs: expected a whole number, found 2.5"),
    ("segmentation/epochs", True, "segmentation.epochs: expected a whole number, found True"),
    ("segmentation/epochs", 10, "warmup_epochs 10 must be below epochs 10"),
    ("segmentation/learning_rate", "1e-3", "expected a number, found '1e-3' (YAML reads 1e-3 as"),
    ("segmentation/learning_rate", -0.1, "learning_rate: -0.1 is out of range"),
    ("segmentation/learning_rate", math.nan, "learning_rate: expected a finite number"),
    ("segmentation/flip_probability", 1.5, "1.5 is out of range; expected at most 1"),
    (
        "networks/deeplabv2-resnet18",
        {"output_stride": 12},
        "output_stride 12: deeplabv3plus serves",
    ),
    ("segmentation/channels_last", "yes", "channels_last: expected true or false, found 'yes'"),
    ("segmentation/scale", [1, 2, 3], "segmentation.scale: expected 2 values"),
    ("segmentation/scale", [2, 1], "scale [2.0, 1.0]: expected [smallest, largest]"),
    ("segmentation", [1], "config.segmentation: expected settings (key: value), found [1]"),
    ("pseudo_labels/cam/classifier", {"scale": [0.01, 1]}, "scale[0]: 0.01 is out of range"),
    ("pseudo_labels/cam/classifier", {"scale": [1.5, 0.5]}, "scale [1.5, 0.5]: expected"),
    ("pseudo_labels/cam/classifier", {"output_stride": 32}, "output_stride: unknown value 32"),
    ("pseudo_labels/cam/labels", {"threshold": 20}, "labels.threshold: 20 is out of range"),
    ("pseudo_labels/cam/labels", {"superpixel_spacing": 0.5}, "superpixel_spacing: 0.5 is out of"),
    ("pseudo_labels/cam/labels", {"colour_scale": 0}, "colour_scale: 0 is out of range"),
    ("pseudo_labels/cam/labels", {"prior_weight": -1}, "prior_weight: -1 is out of range"),
    ("pseudo_labels/cam/labels", {"unstroked": True}, "labels.unstroked: unknown value True"),
    (
        "pseudo_labels/more",
        {"evidence": "network"},
        "pseudo_labels.more: evidence 'network': the key 'network' is missing",
    ),
    (
        "pseudo_labels/more",
        {**from_network(), "evidence": "cams"},
        "pseudo_labels.more: evidence 'cams' has no use for the key 'network'",
    ),
    (
        "pseudo_labels/more",
        {"evidence": "masks"},
        "pseudo_labels.more: evidence 'masks': the key 'corruption' is missing",
    ),
    (
        "pseudo_labels/more",
        {"corruption": {"displacement": 2}},
        "pseudo_labels.more: evidence 'cams' has no use for the key 'corruption'",
    ),
    (
        "pseudo_labels/more",
        {"evidence": "strokes", "labels": {"refinement": "random_walk"}, "cams": {"scales": [2]}},
        "pseudo_labels.more: evidence 'strokes' has no use for the key 'cams', which would be ign",
    ),
    (
        "pseudo_labels/more",
        {"folder": "data/labels", "labels": {"write_scribbles": True}},
        "pseudo_labels.more: a folder of labels has no use for the key 'labels'",
    ),
    (
        "pseudo_labels/more",
        {"evidence": "masks", "corruption": {"lost": 30}},
        "pseudo_labels.more.corruption.lost: 30 is out of range; expected at most 1",
    ),
    (
        "pseudo_labels/more",
        {"evidence": "strokes"},
        "pseudo_labels.more: evidence 'strokes' says nothing between the strokes; set labels.refi",
    ),
    (
        "pseudo_labels/more",
        from_network(method="labels"),
        "pseudo_labels.more.network.pseudo_labels: unknown name 'none'",
    ),
    (
        "pseudo_labels/more",
        {"evidence": "network", "network": {"method": "strokes", "protocol": "whole"}},
        "pseudo_labels.more.network: the key 'network' is missing",
    ),
    ("tables/main/measured_labels", "cam", "measured_labels: expected a list, found 'cam'"),
    ("tables/main_labels", minimal()["tables"]["main"], "choose another name for the table 'main_"),
    (
        "scribbles",
        {"source": "simulated", "coverage": 3},
        "scribbles.coverage: 3 is out of range; expected at most 1",
    ),
    ("scribbles", {"coverage": 0.1}, "scribbles: the key 'source' is missing (simulated or"),
    ("evaluation/whole/scales", [0], "evaluation.whole.scales[0]: 0 is out of range"),
    ("evaluation/whole/scales", [], "evaluation.whole: scales"),
    ("evaluation/whole", {"window": 97, "stride": 98}, "evaluation.whole: stride 98"),
    ("evaluation", ["whole"], "config.evaluation: expected a mapping"),
    ("methods/a\\b", {"scribble": 1}, "names folders"),
    ("panel_images", 0, "config.panel_images: 0 is out of range"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_wrong_values_are_named_with_their_place(path, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_config(changed(path, value))


def test_recipes_that_go_in_a_circle_are_refused():
    value = minimal()
    value["pseudo_labels"] |= {
        "first": from_network(method="both", pseudo_labels="second"),
        "second": from_network(method="labels", pseudo_labels="third"),
        "third": from_network(method="labels", pseudo_labels="first"),
    }
    with pytest.raises(ValueError, match="in a circle: first → second → third → first"):
        parse_config(value)
    value["pseudo_labels"]["first"] = from_network(method="labels", pseudo_labels="first")
    with pytest.raises(ValueError, match="in a circle: first → first"):
        parse_config(value)
    # A network that reads no pseudo-labels ends the chain, whatever it says of them.
    value["pseudo_labels"]["first"] = from_network(pseudo_labels="second")
    assert parse_config(value)


def test_a_recipe_may_follow_another():
    value = minimal()
    value["pseudo_labels"] |= {
        "walk": WALK,
        "second": from_network(method="labels", pseudo_labels="walk", seed=3),
        "third": from_network(method="labels", pseudo_labels="second"),
        "masks": from_network(method="truth", pseudo_labels="walk"),
    }
    value["tables"]["main"]["measured_labels"] = ["walk", "walk", "third"]
    parsed = parse_config(value)
    network = "deeplabv2-resnet18"
    for recipe, expected in (
        ("second", Run("labels", network, "drop-0.5", "walk", 3)),
        ("third", Run("labels", network, "drop-0.5", "second", 0)),
        ("masks", Run("truth", network, "none", "none", 0)),
    ):
        assert parsed.evidence_run(recipe, "drop-0.5") == expected


def test_two_exponents_for_one_map_are_refused(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Options(TermOptions):
        exponent: float = setting(3.0, "λ")

    monkeypatch.setitem(
        LOSS_TERMS,
        "other",
        type("Other", (LossTerm,), {"Options": Options, "reads": ("scribble_distance",)}),
    )
    message = "methods.both: other: λ = 3.0 for the scribble_distance, another term has 2.0"
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_config(changed("methods/both", {"scribble_distance": 1, "other": 1}))
    same = {"scribble_distance": {"exponent": 3}, "other": 1}
    assert parse_method(same, "method").exponents == {"scribble_distance": 3}


def test_a_weight_alone_is_short_for_options():
    assert parse_method({"lorm": 0.5}, "m") == parse_method({"lorm": {"weight": 0.5}}, "m")


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (["scribble"], "scribbles"),
        (["scribble_distance"], "scribbles"),
        (["pseudo_label"], "pseudo-labels"),
        (["pseudo_label_distance"], "pseudo-labels"),
        (["lorm"], "pseudo-labels"),
        (["mask"], "masks"),
        (["pseudo_label", "scribble"], "scribbles + pseudo-labels"),
        (["mask", "scribble"], "scribbles + masks"),
        (["mask", "scribble_distance"], "scribbles + masks"),
    ],
)
def test_supervision_in_words(terms, words):
    assert parse_method(dict.fromkeys(terms, 1), "method").supervision == words


def test_runs_name_only_what_their_method_reads():
    value = minimal()
    value["methods"]["masks_near_strokes"] = {"mask": 1, "scribble_distance": 1}
    value["tables"]["main"] |= {
        "methods": ["strokes", "truth", "labels", "masks_near_strokes"],
        "scribbles": ["full", "drop-0.5"],
        "pseudo_labels": ["cam", "other"],
        "seeds": [3],
    }
    network = "deeplabv3plus-resnet18"
    assert parse_config(value).runs("main") == [
        Run("strokes", network, "full", "none", 3),
        Run("strokes", network, "drop-0.5", "none", 3),
        Run("truth", network, "none", "none", 3),
        Run("labels", network, "full", "cam", 3),
        Run("labels", network, "full", "other", 3),
        Run("labels", network, "drop-0.5", "cam", 3),
        Run("labels", network, "drop-0.5", "other", 3),
        Run("masks_near_strokes", network, "full", "none", 3),
        Run("masks_near_strokes", network, "drop-0.5", "none", 3),
    ]


def test_recipes_that_differ_in_the_classes_alone_differ_where_strokes_are_dropped():
    value = minimal()
    value["pseudo_labels"]["all_classes"] = {
        **value["pseudo_labels"]["cam"],
        "classes_from": "full",
    }
    value["pseudo_labels"]["alone"] = {
        "cams": {"scales": [3]},
        "classes_from": "full",
    }  # no recipe to stand for it
    value["tables"]["main"] |= {
        "methods": ["labels"],
        "scribbles": ["full", "shrink-1", "drop-0.5", "drop-0"],
        "pseudo_labels": ["all_classes", "cam", "alone"],
    }
    runs = parse_config(value).runs("main")
    assert [(run.scribbles, run.pseudo_labels) for run in runs] == [
        *(("full", "cam"), ("full", "alone")),
        *(("shrink-1", "cam"), ("shrink-1", "alone")),
        *(("drop-0.5", "all_classes"), ("drop-0.5", "cam"), ("drop-0.5", "alone")),
        *(("drop-0", "all_classes"), ("drop-0", "cam"), ("drop-0", "alone")),
    ]


def test_runs_cover_every_network_and_seed_once():
    value = changed("tables/main/networks", ["deeplabv3plus-resnet18", "deeplabv2-resnet50"])
    value["tables"]["main"]["seeds"] = [0, 1, 2]
    runs = parse_config(value).runs("main")
    assert len(runs) == len({run.folder for run in runs}) == 4 * 2 * 3
    assert runs[1].folder == "strokes/deeplabv3plus-resnet18/full/none/seed-1"


def test_names_of_degradations_read_back():
    for name in ("full", "shrink-0", "shrink-0.1", "drop-0.333", "drop-1"):
        value = changed("tables/main/scribbles", [name])
        assert parse_config(value).tables["main"].scribbles == (name,)
        assert Degradation.parse(name).name == name


KEYS = st.sampled_from("abc")
SETTINGS = st.dictionaries(
    KEYS,
    st.recursive(
        st.sampled_from([None, 0, 1, "text", [1, 2], [{"a": 1}]]),
        lambda inner: st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)


@given(st.lists(SETTINGS, min_size=1, max_size=3))
def test_files_are_merged_as_snakemake_merges_them(parts):
    expected = {}
    for part in copy.deepcopy(parts):
        update_config(expected, part)
    merged = {}
    for part in parts:
        merged = merge_settings(merged, part)
    assert merged == expected


def test_later_files_change_earlier_ones(tmp_path):
    parts = [
        minimal(),
        {"segmentation": {"batch_size": 3}, "tables": {"main": {"seeds": [4, 5]}}},
        {},
        {"segmentation": {"batch_size": 5}, "methods": {"strokes": {"mask": 2}}},
    ]
    paths = [tmp_path / f"{index}.yaml" for index in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        path.write_text(yaml.safe_dump(part))
    parsed = read_config(*paths)
    assert (parsed.segmentation.epochs, parsed.segmentation.batch_size) == (20, 5)
    assert parsed.tables["main"].seeds == (4, 5)
    assert list(parsed.method("strokes").terms) == ["scribble", "mask"]
    assert read_config(*paths[:2]).segmentation.batch_size == 3
    paths[1].write_text("- a\n- b\n")
    with pytest.raises(ValueError, match=r"1\.yaml: expected settings \(key: value\)"):
        read_config(*paths)
    paths[1].write_text("segmentation: {batch_sise: 3}")
    where = r"0\.yaml \+ .*\d\.yaml: segmentation: unknown key 'batch_sise'; did you mean"
    with pytest.raises(ValueError, match=where):
        read_config(*paths)


def test_broken_or_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.yaml"):
        read_config(tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").write_text("dataset: [shapes\nmethods: {")
    with pytest.raises(ValueError, match=r"broken\.yaml: broken YAML"):
        read_config(tmp_path / "broken.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(ValueError, match=r"empty\.yaml: the key 'dataset' is missing"):
        read_config(tmp_path / "empty.yaml")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"figures": ["curves"]}, r"figures: curves are drawn .*the scribbles full; list shrink-0"),
        ({"figures": ["heat_map"]}, r"figures: a heat_map .*the table varies none; list two"),
        (
            {"figures": ["heat_map"], "vary": {"scribble.weight": [1, 2]}},
            r"the table varies scribble\.weight; list two",
        ),
    ],
)
def test_figures_without_what_they_draw_are_refused_before_the_work(table, message):
    value = minimal()
    value["tables"]["main"] |= {"scribbles": ["full"], **table}
    with pytest.raises(ValueError, match=message):
        parse_config(value)
    value["tables"]["main"]["scribbles"] = ["full", "drop-0.5"]
    value["tables"]["main"]["vary"] = {"scribble.weight": [1, 2], "segmentation.epochs": [30, 40]}
    assert parse_config(value)


def with_options(vary, **table):
    value = minimal()
    value["methods"]["all"] = {
        "scribble": 1,
        "lorm": 0.5,
        "pseudo_label_distance": {"weight": 1, "exponent": 7},
    }
    value["tables"]["main"] |= {"methods": ["strokes", "all"], "vary": vary, **table}
    return value


def test_a_table_varies_options_of_the_methods_that_have_the_term():
    vary = {"pseudo_label_distance.exponent": [6, 7], "lorm.weight": [0.5, 1e-05]}
    parsed = parse_config(with_options(vary))
    assert parsed.variants("main") == [
        "strokes",
        "all@pseudo_label_distance.exponent=6",
        "all",
        "all@lorm.weight=1e-05@pseudo_label_distance.exponent=6",
        "all@lorm.weight=1e-05",
    ]
    assert [run.method for run in parsed.runs("main")] == parsed.variants("main")
    terms = parsed.method("all@lorm.weight=1e-05@pseudo_label_distance.exponent=6").terms
    assert (terms["lorm"].weight, terms["pseudo_label_distance"].exponent) == (1e-5, 6)
    assert parsed.method("all").terms["lorm"].weight == 0.5
    words = parse_config(with_options({"lorm.mask": ["literal", "attended"]}))
    assert words.variants("main") == ["strokes", "all@lorm.mask=literal", "all"]
    assert words.method("all@lorm.mask=literal").terms["lorm"].mask == "literal"


@pytest.mark.parametrize("value", [0.001, 3, 1e-12, 12345678.5, 0.1 + 0.2])
def test_the_name_of_a_variant_gives_its_options_back(value):
    parsed = parse_config(with_options({"lorm.weight": [value]}))
    (name,) = [name for name in parsed.variants("main") if name.startswith("all")]
    assert parsed.method(name).terms["lorm"].weight == value
    assert method_row(name) == "all"
    assert method_title(name).startswith("all, lorm.weight ")


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"lorm.wight": [1]}, "vary.lorm: unknown key 'wight'; did you mean 'weight'?"),
        ({"lorm": [1]}, "vary.lorm: unknown key ''"),
        ({"lorn.weight": [1]}, "has the loss term 'lorn'; did you mean 'lorm'?"),
        ({"mask.weight": [1]}, "no method of the table has the loss term 'mask'"),
        ({"lorm.weight": 1}, "vary.lorm.weight: expected a list of values, found 1"),
        ({"lorm.weight": []}, "vary.lorm.weight: expected a list of values, found []"),
        ({"lorm.weight": [1, 1.0]}, "vary.lorm.weight: 1.0 is named twice"),
        ({"lorm.weight": [-1]}, "vary.lorm.weight: -1 is out of range"),
        ({"lorm.mask": ["attend"]}, "vary.lorm.mask: unknown value 'attend'; did you mean"),
    ],
)
def test_wrong_options_to_vary_are_named(vary, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_config(with_options(vary))


def test_reported_numbers_stand_beside_scribblesup_alone():
    value = with_options({}, reported="table1")
    with pytest.raises(ValueError, match="reported numbers are of ScribbleSup, the data set is"):
        parse_config(value)
    value["datasets"]["drawn"] = {"source": "scribblesup"}
    assert parse_config(value).tables["main"].reported == "table1"
    value["tables"]["main"]["reported"] = "table4"
    with pytest.raises(ValueError, match=r"main\.reported: unknown name 'table4'; did you mean"):
        parse_config(value)


def test_a_network_has_its_heads_own_output_stride_unless_told_otherwise():
    value = changed("tables/main/networks", ["deeplabv3plus-resnet18", "deeplabv2-resnet18"])
    assert [network.stride for network in parse_config(value).networks.values()] == [16, 8, 8]
    value["networks"]["deeplabv2-resnet18"]["output_stride"] = 16
    assert parse_config(value).networks["deeplabv2-resnet18"].stride == 16


def with_included(**other):
    """The minimal configuration with a table that stands below `main`."""
    result = minimal()
    rows = {"methods": ["labels", "strokes"], "scribbles": ["shrink-1"], "seeds": [3]}
    result["tables"]["other"] = {**result["tables"]["main"], **rows, **other}
    result["tables"]["main"]["includes"] = ["other"]
    return result


def test_the_rows_of_included_tables_stand_below_its_own():
    parsed = parse_config(with_included())
    assert parsed.runs("main") == [*parsed.own_runs("main"), *parsed.own_runs("other")]
    assert [run.seed for run in parsed.runs("main")] == [0, 0, 0, 0, 3, 3]
    alike = parse_config(with_included(scribbles=["full"], seeds=[0]))
    assert alike.runs("main") == alike.own_runs("main")  # each run once
    plan = Plan(parsed)
    assert set(plan.table_quality("other")) < set(plan.table_quality("main"))
    assert len(plan.table_quality("main")) == 2
    assert plan.table_metrics("main")[-1] == plan.table_metrics("other")[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "paper"}, "other has the protocol 'paper', main has 'whole'"),
        ({"includes": ["main"]}, "other includes tables itself; name those here"),
    ],
)
def test_tables_that_cannot_be_included_are_refused(changes, message):
    values = with_included(**changes)
    values["evaluation"]["paper"] = {}
    with pytest.raises(ValueError, match=message):
        parse_config(values)
    values["tables"]["main"]["includes"] = ["othr"]
    with pytest.raises(ValueError, match="unknown name 'othr'; did you mean 'other'"):
        parse_config(values)
