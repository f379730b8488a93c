import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdsp.io.json_files import canonical_json
from cdsp.settings import (
    describe_settings,
    nearest,
    parse_settings,
    read_yaml,
    setting,
    settings_dict,
)


@dataclass(frozen=True)
class Optimiser:
    learning_rate: float = setting(0.001, "step size", minimum=0, maximum=1)
    momentum: float = setting(0.9, "of SGD", minimum=0)


@dataclass(frozen=True)
class Training:
    path: str = setting(..., "folder of the images")
    epochs: int = setting(50, "passes over the images", minimum=1)
    shuffle: bool = setting(True, "order at random")
    network: Literal["small", "large"] = setting("small", "network to train")
    stride: Literal[8, 16] = setting(16, "output stride")
    scales: tuple[float, ...] = setting((0.5, 1.0), "test scales", minimum=0.1, maximum=4)
    range: tuple[int, int] = setting((320, 640), "sizes", minimum=16)
    seed: int | None = setting(None, "seed, none for 0", minimum=0)
    weights: dict[str, float] = setting({"a": 1.0}, "factor of each", minimum=0)
    bias: float = setting(0.0, "any finite number")
    most: int = setting(3, "upper end only", maximum=9)
    optimiser: Optimiser = setting(Optimiser(), "how to step")
    note: Any = setting(None, "anything")

    def __post_init__(self) -> None:
        if self.range[0] > self.range[1]:
            raise ValueError(f"range {self.range}: expected the smaller first")


def parse(**value: Any) -> Training:
    return parse_settings(Training, {"path": "images", **value}, "my.yaml")


def refusal(**value: Any) -> str:
    with pytest.raises(ValueError, match=r"^my\.yaml") as caught:
        parse(**value)
    return str(caught.value)


def test_defaults_and_every_kind_of_value():
    assert parse() == Training("images")
    found = parse(
        epochs=3,
        shuffle=False,
        network="large",
        stride=8,
        scales=[1, 2.5, 3],
        range=[17, 17],
        seed=5,
        weights={"b": 2, 1: 0},
        bias=-1e300,
        most=-4,
        optimiser={"momentum": 0},
        note={"x": [1]},
    )
    assert found == Training(
        path="images",
        epochs=3,
        shuffle=False,
        network="large",
        stride=8,
        scales=(1.0, 2.5, 3.0),
        range=(17, 17),
        seed=5,
        weights={"b": 2.0, "1": 0.0},
        bias=-1e300,
        most=-4,
        optimiser=Optimiser(0.001, 0.0),
        note={"x": [1]},
    )
    assert [type(scale) for scale in found.scales] == [float] * 3
    assert type(found.optimiser.momentum) is float
    assert parse(seed=None).seed is None


def test_settings_come_back_from_their_own_description_as_values():
    found = parse(scales=[1, 2], seed=4, optimiser={"learning_rate": 0.5})
    assert parse_settings(Training, settings_dict(found), "again") == found


def test_nothing_means_all_defaults():
    assert parse_settings(Optimiser, None, "my.yaml") == Optimiser()
    assert parse_settings(Optimiser, {}, "my.yaml") == Optimiser()


@pytest.mark.parametrize("value", [[], "epochs", 3, [("epochs", 3)]])
def test_settings_must_be_a_mapping(value):
    with pytest.raises(ValueError, match=r"my\.yaml: expected settings \(key: value\)"):
        parse_settings(Training, value, "my.yaml")


def test_unknown_keys_name_the_nearest_and_all():
    message = refusal(epoch=3)
    assert "my.yaml: unknown key 'epoch'" in message
    assert "did you mean 'epochs'?" in message
    for field in dataclasses.fields(Training):
        assert field.name in message
    assert "did you mean" not in refusal(zzzz=3)
    assert "unknown key 3" in refusal(**{"optimiser": {3: 4}})
    assert "my.yaml.optimiser: unknown key 'momentun'; did you mean 'momentum'?" in refusal(
        optimiser={"momentun": 0}
    )


def test_missing_keys_are_named_with_their_meaning():
    with pytest.raises(ValueError, match=r"my\.yaml: the key 'path' is missing \(folder of the"):
        parse_settings(Training, {"epochs": 3}, "my.yaml")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("epochs", True, "expected a whole number, found True"),
        ("epochs", 3.0, "expected a whole number, found 3.0"),
        ("epochs", None, "expected a whole number, found None"),
        ("epochs", "3", "expected a whole number, found '3'"),
        ("bias", False, "expected a number, found False"),
        ("bias", "1e-3", "YAML reads 1e-3 as text: write 0.001 or 1.0e-3"),
        ("bias", [1], "expected a number, found [1]"),
        ("shuffle", 1, "expected true or false, found 1"),
        ("shuffle", "yes", "expected true or false, found 'yes'"),
        ("path", 3, "expected text, found 3"),
        ("path", None, "expected text, found None"),
        ("scales", 1.0, "expected a list, found 1.0"),
        ("scales", "1", "expected a list, found '1'"),
        ("weights", [1], "expected a mapping (name: value), found [1]"),
        ("optimiser", 3, "expected settings (key: value), found 3"),
        ("seed", "none", "expected a whole number, found 'none'"),
        ("range", [320], "expected 2 values, found [320]"),
        ("range", [16, 17, 18], "expected 2 values"),
    ],
)
def test_values_of_another_type_are_refused(key, value, words):
    message = refusal(**{key: value})
    assert message.startswith(f"my.yaml.{key}: ")
    assert words in message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"epochs": 0}, "my.yaml.epochs: 0 is out of range; expected at least 1"),
        ({"most": 10}, "my.yaml.most: 10 is out of range; expected at most 9"),
        ({"seed": -1}, "my.yaml.seed: -1 is out of range; expected at least 0"),
        ({"scales": [1, 0.05]}, "my.yaml.scales[1]: 0.05 is out of range; expected at least 0.1"),
        ({"scales": [5, 1]}, "my.yaml.scales[0]: 5 is out of range; expected at most 4"),
        ({"weights": {"x": -1}}, "my.yaml.weights.x: -1 is out of range; expected at least 0"),
        (
            {"optimiser": {"learning_rate": 1.5}},
            "my.yaml.optimiser.learning_rate: 1.5 is out of range; expected at most 1",
        ),
        ({"range": [20, 17]}, "my.yaml: range (20, 17): expected the smaller first"),
    ],
)
def test_values_out_of_range_are_refused(value, words):
    assert refusal(**value) == words


def test_both_ends_of_a_range_are_in_it():
    assert parse(scales=[0.1, 4], epochs=1, most=9).scales == (0.1, 4)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", ["bias", "scales[0]", "weights.x", "optimiser.learning_rate"])
def test_numbers_must_be_finite(key, number):
    nested = {
        "bias": {"bias": number},
        "scales[0]": {"scales": [number]},
        "weights.x": {"weights": {"x": number}},
        "optimiser.learning_rate": {"optimiser": {"learning_rate": number}},
    }
    assert refusal(**nested[key]) == f"my.yaml.{key}: expected a finite number, found {number}"


def test_choices_name_the_nearest():
    message = refusal(network="smal")
    assert "my.yaml.network: unknown value 'smal'; did you mean 'small'?" in message
    assert "(known: large, small)" in message
    assert "unknown value ['small']" in refusal(network=["small"])
    assert refusal(stride=4).endswith("unknown value 4 (known: 8, 16)")
    assert type(parse(stride=8.0).stride) is int


def test_instances_do_not_share_what_can_change():
    parse().weights["b"] = 2.0
    assert parse().weights == {"a": 1.0}


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.sampled_from([field.name for field in dataclasses.fields(Training)]), plain_values)
def test_whatever_is_not_refused_comes_back_equal(name, value):
    found, refused = Training("images"), "my.yaml"
    try:
        found = parse(**{name: value})
    except ValueError as error:
        refused = str(error)
    assert refused.startswith("my.yaml")
    if name != "note":
        assert parse_settings(Training, settings_dict(found), "again") == found


def test_nearest_takes_any_known_words():
    assert nearest("resnet19", ["resnet18", "mobilenet_v2"]) == (
        "; did you mean 'resnet18'? (known: mobilenet_v2, resnet18)"
    )
    assert nearest("qq", ["resnet18"]) == " (known: resnet18)"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_pass_through_the_text_that_the_workflow_hands_on(number):
    assert read_yaml(canonical_json({"rate": number})) == {"rate": number}


def test_yaml_is_read_from_files_and_from_text(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("a: [1, 2.5]\nb: é\n", encoding="utf-8")
    assert read_yaml(str(path)) == {"a": [1, 2.5], "b": "é"}
    assert read_yaml("a: 1\nb: x.yaml") == {"a": 1, "b": "x.yaml"}
    assert read_yaml("{a: 1}") == {"a": 1}
    assert read_yaml(f"{{a: {'x' * 1000}}}") == {"a": "x" * 1000}
    assert read_yaml("") is None
    with pytest.raises(ValueError, match=r"missing\.yaml: no such settings file"):
        read_yaml(str(tmp_path / "missing.yaml"))
    path.write_text("a: 1\nb: [1,\n")
    with pytest.raises(ValueError, match=r"(?s)my\.yaml: broken YAML.*line 3"):
        read_yaml(str(path))


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("a: 1\nb: 2\na: 3\n", "a", "line 1 and in line 3"),
        ("x:\n  epochs: 1\n  epochs: 2\n", "epochs", "line 2 and in line 3"),
        ("{a: {b: 1, c: 2, b: 1}}", "b", "line 1 and in line 1"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path, text, key, lines):
    with pytest.raises(ValueError, match=f"the key '{key}' stands twice, in {lines}"):
        read_yaml(text)
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"my\.yaml: .*\n*.*'{key}' stands twice"):
        read_yaml(str(tmp_path / "my.yaml"))


def test_merged_mappings_may_be_overridden():
    text = "base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\n"
    assert read_yaml(text)["other"] == {"a": 1, "b": 3}


def test_words_that_yaml_takes_for_something_else_are_to_be_put_in_quotes():
    @dataclass(frozen=True)
    class Names:
        classes: tuple[str, ...] = setting(..., "names")

    for text, shown in (
        ("off", "no, off and false as False: put the word in quotes"),
        ("yes", "yes, on and true as True: put the word in quotes"),
        ("007", "put it in quotes, '7'"),
        ("2024-05-01", "put it in quotes, '2024-05-01'"),
    ):
        with pytest.raises(ValueError, match=rf"classes\[1\]: expected text, found .*{shown}"):
            parse_settings(Names, read_yaml(f"classes: [cat, {text}]"), "my.yaml")


def test_the_home_folder_may_be_written_short(monkeypatch, tmp_path):
    @dataclass(frozen=True)
    class Places:
        path: str = setting(..., "a folder", is_path=True)
        other: str | None = setting(None, "a file", is_path=True)
        word: str = setting("", "no path")

    monkeypatch.setenv("HOME", str(tmp_path))
    value = {"path": "~/data", "other": "~", "word": "~/data"}
    found = parse_settings(Places, value, "my.yaml")
    assert found == Places(f"{tmp_path}/data", str(tmp_path), "~/data")
    assert parse_settings(Places, {"path": "a/~b"}, "my.yaml") == Places("a/~b")
    (tmp_path / "my.yaml").write_text("a: 1")
    assert read_yaml("~/my.yaml") == {"a": 1}


def test_settings_in_other_encodings(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_bytes("é: 1".encode("utf-16"))
    assert read_yaml(str(path)) == {"é": 1}
    path.write_bytes("é: 1".encode("latin-1"))
    with pytest.raises(ValueError, match=r"my\.yaml: not UTF-8 text; save it as UTF-8"):
        read_yaml(str(path))
    with pytest.raises(ValueError, match=r"^none\.yaml: no such settings file \(looked for in /"):
        read_yaml("none.yaml")


def test_yaml_never_makes_objects():
    with pytest.raises(ValueError, match="broken YAML"):
        read_yaml("a: !!python/object/apply:os.getcwd []")


def test_the_description_covers_every_field():
    lines = describe_settings(Training).splitlines()
    by_name = {line.split(":")[0].strip(): line for line in lines}
    fields = [*dataclasses.fields(Training), *dataclasses.fields(Optimiser)]
    assert set(by_name) == {field.name for field in fields}
    assert len(lines) == len(fields)
    for field in fields:
        assert field.metadata["help"] in by_name[field.name]
    assert by_name["path"].startswith("path: required")
    assert by_name["epochs"] == "epochs: 50  passes over the images [at least 1]"
    assert by_name["most"] == "most: 3  upper end only [at most 9]"
    assert by_name["scales"] == "scales: [0.5, 1.0]  test scales [0.1 to 4]"
    assert by_name["network"] == "network: small  network to train [small, large]"
    assert by_name["weights"].startswith("weights: {'a': 1.0}  factor of each")
    assert by_name["learning_rate"].startswith("  learning_rate: 0.001  step size [0 to 1]")
