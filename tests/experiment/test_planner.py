import itertools
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_config import minimal

from cdsp.experiment.figure_plan import FigurePlan
from cdsp.experiment.paths import Paths
from cdsp.experiment.plan import Plan
from cdsp.experiment.read import parse_config
from cdsp.experiment.replaced_tables import replaced_tables
from cdsp.experiment.stopped_trainings import stopped_trainings
from cdsp.experiment.user_files import UserFiles
from cdsp.experiment.variants import change_text, method_changes, value_text
from cdsp.io.files import TABLE_FORMAT, TABLE_VERSION, write_text
from cdsp.io.json_files import write_json

FLOATS = st.floats(min_value=0, max_value=20, allow_nan=False)


def plan(**changes):
    value = minimal()
    value["tables"]["main"] |= {"methods": ["labels"]}
    for section, content in changes.items():
        value[section] = {**value.get(section, {}), **content}
    return Plan(parse_config(value))


@given(FLOATS, FLOATS)
def test_different_exponents_have_different_paths(one, other):
    """A λ is never rounded in a path, so that two that differ in the last digit do not collide."""
    paths = [
        Paths("results/x").scribble_distances("full", value_text(each)) for each in (one, other)
    ]
    assert (paths[0] == paths[1]) == (one == other)
    assert float(value_text(one)) == one


@given(FLOATS)
def test_what_a_variant_changes_stands_in_its_name(value):
    name = "cdsp" + change_text("lorm.weight", value) + change_text("lorm.mask", "literal")
    assert method_changes(name) == {"lorm.weight": value, "lorm.mask": "literal"}


def test_recipes_share_what_depends_on_the_same_settings():
    recipes = {
        "cam": {},
        "walk_on_cam": {"labels": {"refinement": "random_walk"}},
        "scales": {"cams": {"scales": [1]}},
        "longer": {"classifier": {"epochs": 7}},
        "all_classes": {"classes_from": "full"},
    }
    made = plan(pseudo_labels=recipes)
    of = {name: made.recipe_cams(name, "drop-0.5") for name in recipes}
    assert of["cam"] == of["walk_on_cam"]
    assert of["scales"][1].classifier == of["cam"][1].classifier
    assert len(set(of.values())) == 4
    assert of["all_classes"][0] == "full"
    # Where no class is lost, all classes are the classes.
    assert made.recipe_cams("all_classes", "shrink-0.5") == made.recipe_cams("cam", "shrink-0.5")
    for scribbles, recipe in itertools.product(("full", "shrink-1", "drop-0.5"), recipes):
        _, cams = made.recipe_cams(recipe, scribbles)
        assert made.cams[cams.name] == cams
        assert made.classifiers[cams.classifier.name] == cams.classifier


def test_recipes_share_a_pixel_classifier():
    pixels = {"evidence": "pixels"}
    recipes = {
        "pixels": pixels,
        "pixels_walk": pixels | {"labels": {"refinement": "random_walk"}},
        "fewer_trees": pixels | {"pixels": {"trees": 7}},
        "all_classes": pixels | {"classes_from": "full"},
    }
    made = plan(pseudo_labels=recipes)
    of = {name: made.recipe_evidence(name, "drop-0.5")[0] for name in recipes}
    assert of["pixels"] == of["pixels_walk"]
    assert len(set(of.values())) == 3
    assert made.recipe_evidence("all_classes", "full") == made.recipe_evidence("pixels", "full")
    for evidence in of.values():
        name = evidence.split("pixels-")[1].split("/")[0]
        assert evidence == made.paths.pixel_probabilities("drop-0.5", name)
        assert name in made.pixel_classifiers


def test_a_recipe_that_no_table_uses_changes_nothing():
    before = plan()
    recipe = before.config.tables["main"].pseudo_labels[0]
    same = minimal()["pseudo_labels"][recipe]
    after = plan(pseudo_labels={"first": same, **minimal()["pseudo_labels"]})
    assert after.recipe_evidence(recipe, "full") == before.recipe_evidence(recipe, "full")
    assert after.table_metrics("main") == before.table_metrics("main")
    assert after.table_quality("main") == before.table_quality("main")


def test_only_dropping_depends_on_the_settings_of_a_degradation():
    one, other = plan(degradation={"seed": 1}), plan(degradation={"seed": 2})
    for scribbles in ("full", "shrink-0.5"):
        assert one.degradation_settings(scribbles) == other.degradation_settings(scribbles) == "{}"
    assert one.degradation_settings("drop-0.5") != other.degradation_settings("drop-0.5")


def test_a_table_varies_settings_of_the_training():
    value = minimal()
    value["tables"]["main"] |= {
        "methods": ["labels"],
        "vary": {"segmentation.learning_rate": [0.25, 0.5]},
    }
    made = Plan(parse_config(value))
    rates = {
        run.method: made.config.run_settings(run).segmentation.learning_rate
        for run in made.config.runs("main")
    }
    assert rates == {
        "labels@segmentation.learning_rate=0.25": 0.25,
        "labels@segmentation.learning_rate=0.5": 0.5,
    }


def test_a_table_varies_settings_of_its_networks():
    value = minimal()
    value["tables"]["main"] |= {"methods": ["labels"], "vary": {"networks.output_stride": [8, 16]}}
    made = Plan(parse_config(value))
    strides = [made.config.run_settings(run).network.stride for run in made.config.runs("main")]
    assert strides == [8, 16]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("segmentation.lerning_rate", 1, "did you mean 'learning_rate'?"),
        ("segmentation.learning_rate", "fast", "expected a number, found 'fast'"),
        ("segmentation.warmup_epochs", 50, "warmup_epochs 50.0 must be below epochs"),
    ],
)
def test_a_setting_that_the_training_does_not_know_is_refused(option, value, message):
    configuration = minimal()
    configuration["tables"]["main"] |= {"methods": ["labels"], "vary": {option: [value]}}
    with pytest.raises(ValueError, match=r"tables\.main\.vary") as caught:
        parse_config(configuration)
    assert message in str(caught.value)


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_table_of_another_data_set_is_not_replaced_without_a_word(in_folder):
    made = plan()
    (in_folder / "results").mkdir()
    assert replaced_tables(made) == []
    table = in_folder / "results/main.csv"
    table.write_text(f"method,dataset\nlabels,{made.config.dataset}\n")
    assert replaced_tables(made) == []
    table.write_text("method,dataset\nlabels,another\n")
    (notice,) = replaced_tables(made)
    assert "results/main.csv is the table of another until" in notice
    assert "results/another/main.csv keeps it" in notice


def test_a_table_with_other_runs_of_the_same_data_set_is_not_replaced_without_a_word(in_folder):
    made = plan()
    metrics = made.table_metrics("main")
    path = in_folder / made.paths.table("main", ".json")

    def write(runs):
        rows = [{"row": {"method": "labels"}, "metrics": runs}]
        write_json(path, {"format": TABLE_FORMAT, "version": TABLE_VERSION, "rows": rows})

    write(metrics)
    assert replaced_tables(made) == []
    write([*metrics, "results/other/metrics.json"])
    (notice,) = replaced_tables(made)
    assert "main.csv has 1 runs that this configuration has not" in notice
    assert "results/other/metrics.json" in notice
    path.write_text("damaged")
    assert replaced_tables(made) == []


def test_a_stopped_training_with_other_settings_is_told_of(in_folder):
    made = plan()
    run = made.config.runs("main")[0]
    trained = made.config.run_settings(run).as_trained
    folder = in_folder / Path(made.paths.run(run.folder)).parent
    settings = {**trained, "settings": {**trained["settings"], "epochs": 7}, "seed": 0}
    write_json(folder / "unfinished-1" / "settings.json", settings)
    (notice,) = stopped_trainings(made)
    assert "unfinished-1: stopped after epoch 0 with other settings (settings.epochs 7," in notice
    assert notice.endswith("so that the training starts from 0")
    write_json(folder / "unfinished-2" / "settings.json", {**trained, "seed": 0})
    assert stopped_trainings(made) == []  # this one goes on
    write_text(folder / "unfinished-1" / "settings.json", "{}")
    (notice,) = stopped_trainings(made)
    assert "settings.json: damaged" in notice


@pytest.mark.parametrize(
    ("section", "content", "where"),
    [
        (
            "networks",
            {"deeplabv3plus-resnet18": {"backbone_weights": "data/typo.pth"}},
            "networks.deeplabv3plus-resnet18.backbone_weights",
        ),
        (
            "pseudo_labels",
            {"cam": {"classifier": {"backbone_weights": "data/typo.pth"}}},
            "pseudo_labels.cam.classifier.backbone_weights",
        ),
        ("pseudo_labels", {"cam": {"folder": "data/typo.pth"}}, "pseudo_labels.cam.folder"),
        ("scribbles", {"source": "annotations", "path": "data/typo.pth"}, "scribbles.path"),
    ],
)
def test_a_named_file_that_is_not_there_is_refused(in_folder, section, content, where):
    with pytest.raises(ValueError, match=rf"^{where}: data/typo.pth: no such file or folder"):
        UserFiles(plan(**{section: content}))
    (in_folder / "data").mkdir()
    (in_folder / "data/typo.pth").touch()
    UserFiles(plan(**{section: content}))


def test_weights_are_known_by_their_content(in_folder):
    weights = in_folder / "weights.pth"
    weights.write_bytes(b"one")

    def content():
        made = plan(networks={"deeplabv3plus-resnet18": {"backbone_weights": "weights.pth"}})
        return UserFiles(made).run_backbone(made.config.runs("main")[0])

    first = content()
    weights.touch()
    assert content() == first
    weights.write_bytes(b"two")
    assert content() != first
    weights.write_bytes(b"one")
    assert content() == first


def test_what_a_system_leaves_in_a_folder_is_not_its_content(in_folder):
    for name in ("JPEGImages/a.jpg", "Scribbles/a.png", "SegmentationClassAug/a.png"):
        (in_folder / "mine" / name).parent.mkdir(parents=True)
        (in_folder / "mine" / name).write_bytes(b"content")
    own = yaml.safe_load("{own: {source: folder, path: mine, classes: [background, cat]}}")

    def contents():
        value = minimal() | {
            "dataset": "own",
            "datasets": own,
            "scribbles": {"source": "annotations"},
        }
        files = UserFiles(Plan(parse_config(value)))
        return files.dataset(), files.annotations()

    before = contents()
    for folder in ("JPEGImages", "Scribbles", "SegmentationClassAug"):
        (in_folder / "mine" / folder / "Thumbs.db").touch()
        (in_folder / "mine" / folder / ".DS_Store").touch()
        for path in (in_folder / "mine" / folder).iterdir():
            path.touch()
    assert contents() == before
    (in_folder / "mine/Scribbles/a.png").write_bytes(b"another")
    assert contents()[0] == before[0]
    assert contents()[1] != before[1]
    (in_folder / "mine/SegmentationClassAug/a.png").write_bytes(b"another")
    assert contents()[0] != before[0]


def test_a_table_on_held_out_strokes_depends_on_them_and_has_a_classifier_to_beat():
    held_out = {"truth": "held_out_strokes", "scales": [1], "long_side": 0, "window": 0}
    made = minimal()
    made["evaluation"] = {**made["evaluation"], "strokes": held_out}
    made["pseudo_labels"] = {**made["pseudo_labels"], "forest": {"evidence": "pixels"}}
    made["tables"]["main"] |= {
        "methods": ["labels"],
        "scribbles": ["hold_out-0.25"],
        "protocol": "strokes",
        "pixel_classifiers": ["forest"],
    }
    planned = Plan(parse_config(made))
    stores = planned.truth_stores("hold_out-0.25", "strokes")
    assert stores == {
        "scribbles": planned.paths.scribble_labels("hold_out-0.25"),
        "full-scribbles": planned.paths.scribble_labels("full"),
    }
    *runs, forest = planned.table_metrics("main")
    assert len(runs) == len(planned.config.runs("main"))
    assert forest == planned.paths.pixel_metrics("hold_out-0.25", "forest", "strokes")
    (run, *_) = planned.config.runs("main")
    assert planned.own_labels(run) == [
        planned.paths.pseudo_labels("hold_out-0.25", run.pseudo_labels)
    ]
    for change, message in (
        ({"scribbles": ["full"]}, "nothing is held out of 'full'"),
        ({"methods": ["full_supervision"]}, "'full_supervision' is not trained on strokes"),
        ({"pixel_classifiers": [next(iter(minimal()["pseudo_labels"]))]}, "evidence: pixels"),
    ):
        wrong = {**made, "tables": {"main": {**made["tables"]["main"], **change}}}
        with pytest.raises(ValueError, match=message):
            parse_config(wrong)


def test_a_table_has_the_best_network_beside_the_last_where_it_is_asked_for():
    (protocol,) = minimal()["evaluation"]
    last, both = (Plan(parse_config(minimal() | more)) for more in ({}, {"best_on_val": protocol}))
    assert both.table_metrics("main")[::2] == last.table_metrics("main")
    assert FigurePlan(both).first_metrics("main") == FigurePlan(last).first_metrics("main")
    for run, path in zip(last.config.runs("main"), both.table_metrics("main")[1::2], strict=True):
        assert path == last.paths.best_metrics(run.folder, protocol)
        assert last.run_extras(run) == {}
        assert both.run_extras(run) == {"best-on-val": both.protocol("main")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"best_on_val": "quik"}, "best_on_val: unknown name 'quik'"),
        (
            {
                "best_on_val": "strokes",
                "evaluation": {**minimal()["evaluation"], "strokes": {"truth": "held_out_strokes"}},
            },
            "'strokes' measures on strokes; name one that measures on masks",
        ),
    ],
)
def test_the_best_network_is_chosen_by_a_protocol_on_masks(changes, message):
    with pytest.raises(ValueError, match=message):
        parse_config(minimal() | changes)
