import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from test_config import SHIPPED, minimal
from test_config import changed as changed_config

from cdsp.experiment.read import parse_config
from cdsp.experiment.schema import config_schema

SCHEMA = Path(__file__).parents[2] / "workflow/schemas/config.schema.json"


def accepts(value):
    return jsonschema.Draft202012Validator(config_schema()).is_valid(value)


def test_the_file_is_what_the_dataclasses_say():
    """Make it again with `cdsp settings --schema > workflow/schemas/config.schema.json`."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == json.loads(json.dumps(config_schema()))


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(config_schema())


@pytest.mark.parametrize("path", sorted({path for paths in SHIPPED for path in paths}))
def test_shipped_configurations_pass(path):
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), config_schema())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("segmentation/epochs", 0),
        ("segmentation/epochs", 2.5),
        ("segmentation/epoch", 2),
        ("segmentation/learning_rate", "fast"),
        ("segmentation/scale", [0.5]),
        ("segmentation/precision", "float8"),
        ("panel_images", 0),
        ("pseudo_labels/cam/labels", {"threshold": 20}),
        ("pseudo_labels/cam/cams/scale", [1]),
        ("methods/both", {"scribbel": 1}),
        ("methods/both", {"lorm": {"wait": 1}}),
        ("methods/both", {"lorm": -1}),
        ("tables/main/seeds", [-1]),
        ("tables/main/figures", ["pie"]),
        ("tables/main/vary", {"lorm.weight": 1}),
        ("evaluation/whole/flip", "yes"),
        ("scribbles", {"source": "drawn"}),
        ("scribbles", {"source": "simulated", "width": 3}),
    ],
)
def test_what_one_refuses_the_other_refuses(path, value):
    assert accepts(minimal())
    wrong = changed_config(path, value)
    assert not accepts(wrong)
    with pytest.raises(ValueError, match=r"."):
        parse_config(wrong)
