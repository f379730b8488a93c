from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cdsp import cli
from cdsp.experiment.read import read_config
from cdsp.io.json_files import write_json, write_json_lines
from cdsp.settings import settings_dict
from cdsp.tools.plan import default_jobs, describe_cost, hours_at_a_time

HARDWARE = {"platform": "Abacus-1", "device": "cpu", "cpu": "beads", "torch": "9.8.7"}
NETWORK = "deeplabv3plus-resnet18"
WALK = {"evidence": "strokes", "labels": {"refinement": "random_walk"}}


def configuration(**tables):
    """A configuration of 10 epochs with these tables."""
    usual = {
        "methods": ["strokes", "truth"],
        "networks": [NETWORK],
        "pseudo_labels": ["walk"],
        "protocol": "whole",
        "seeds": [0, 1],
    }
    return {
        "dataset": "drawn",
        "datasets": {"drawn": {"source": "shapes"}},
        "pseudo_labels": {
            "walk": WALK,
            "second": {
                "evidence": "network",
                "network": {
                    "method": "labels",
                    "network": NETWORK,
                    "pseudo_labels": "walk",
                    "seed": 7,
                    "protocol": "whole",
                },
            },
        },
        "methods": {
            "strokes": {"scribble": 1},
            "labels": {"pseudo_label": 1},
            "truth": {"mask": 1},
        },
        "networks": {
            "deeplabv3plus-resnet18": {"backbone": "resnet18"},
            "deeplabv3plus-mobilenet_v2": {"backbone": "mobilenet_v2"},
            "deeplabv2-resnet50": {"head": "deeplabv2", "backbone": "resnet50"},
        },
        "segmentation": {"epochs": 10, "warmup_epochs": 1, "crop_size": 65},
        "evaluation": {"whole": {"window": 0}},
        "tables": {name: {**usual, **table} for name, table in tables.items()},
    }


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_config(**tables):
    Path("config.yaml").write_text(yaml.safe_dump(configuration(**tables)))


def write_run(
    method, seed=0, *, seconds=(), finished=False, network=NETWORK, environment=HARDWARE, **settings
):
    """The folder of a run of the configuration, as far as it is trained."""
    config = read_config(Path("config.yaml"))
    scribbles, labels = {"truth": ("none", "none"), "labels": ("full", "walk")}.get(
        method, ("full", "none")
    )
    folder = Path(f"results/drawn/segmentation/{method}/{network}/{scribbles}/{labels}/seed-{seed}")
    folder = folder if finished else folder / "unfinished-1"
    folder.mkdir(parents=True)
    training = {
        "name": {"method": method},
        "seed": seed,
        "network": settings_dict(config.networks[network]),
        "settings": {**settings_dict(config.segmentation), **settings},
        "terms": {name: settings_dict(term) for name, term in config.method(method).terms.items()},
    }
    write_json(folder / "settings.json", training)
    write_json(folder / "environment.json", environment)
    records = [{"epoch": index + 1, "seconds": s} for index, s in enumerate(seconds)]
    write_json_lines(folder / "log.jsonl", records)
    if finished:
        (folder / "weights.pt").write_text("weights")
    return folder


def describe(*tables, jobs=1, paths=("config.yaml",), hardware=HARDWARE):
    return describe_cost(
        [Path(path) for path in paths],
        tables,
        results=Path("results"),
        hardware=hardware,
        jobs=jobs,
    )


def table(text):
    """Rows of the printed table: name → runs, finished, begun, to do and hours."""
    _, _, head, *rows = text.splitlines()
    assert head.split() == ["table", "runs", "finished", "begun", "to", "do", "hours"]
    rows = rows[: rows.index("")]
    return {line.split()[0]: line.split(maxsplit=5)[1:] for line in rows}


def test_nothing_is_known_before_the_first_run():
    write_config(main={})
    text = describe()
    assert table(text) == {"main": ["4", "0", "0", "4", "?"]}
    assert f"No earlier run of {NETWORK}" in text
    # Masks need no strokes or labels first.
    weights = f"results/drawn/segmentation/truth/{NETWORK}/none/none/seed-0/weights.pt"
    assert f"  snakemake --cores 8 {weights}\n" in text
    assert "Hours" not in text


def test_hours_are_the_remaining_epochs_times_the_median():
    write_config(main={})
    write_run(
        "strokes", 0, seconds=[500, 360, 361, 359, 360, 360, 360, 360, 360, 361], finished=True
    )
    write_run("strokes", 1, seconds=[360, 360, 359, 900])
    write_run("truth", 0, seconds=[720])
    text = describe()
    # 6 epochs of 360 s remain of one, 9 and 10 of 720 s of the others.
    assert table(text) == {"main": ["4", "1", "2", "1", f"{(6 * 360 + 19 * 720) / 3600:.2f}"]}
    assert "No earlier run" not in text
    assert "stand in" not in text


def test_a_run_of_another_method_is_better_than_none():
    write_config(main={})
    write_run("labels", seconds=[36, 36, 3600])
    assert table(describe())["main"] == ["4", "0", "0", "4", "0.40"]
    write_run("truth", seconds=[72])
    # The median of all four epochs, 54 s, for "strokes", and 72 s for "truth": 20 × 54 + 19 × 72.
    assert table(describe())["main"] == ["4", "0", "1", "3", "0.68"]


@pytest.mark.parametrize("key", ["platform", "device", "cpu"])
def test_runs_on_other_hardware_do_not_tell_the_time(key):
    write_config(main={})
    write_run("truth", seconds=[36], environment={**HARDWARE, key: "other"})
    text = describe()
    assert table(text)["main"] == ["4", "0", "1", "3", "?"]
    assert f"No earlier run of {NETWORK}" in text
    write_run("labels", seconds=[3600], environment={**HARDWARE, "torch": "10"})
    assert table(describe())["main"][-1] == "39.00"


@pytest.mark.parametrize(
    "other",
    [{"crop_size": 129}, {"network": "deeplabv2-resnet50"}, {"precision": "bfloat16"}],
)
def test_runs_of_another_kind_do_not_tell_the_time(other):
    write_config(main={})
    write_run("labels", seconds=[36], **other)
    assert table(describe())["main"][-1] == "?"


def test_runs_of_other_length_and_rate_tell_the_time():
    write_config(main={})
    write_run("labels", seconds=[36], epochs=99, learning_rate=0.5)
    assert table(describe())["main"] == ["4", "0", "0", "4", "0.40"]


def test_a_run_with_other_settings_is_made_again():
    write_config(main={})
    write_run("truth", 0, seconds=[36] * 10, finished=True, learning_rate=0.5)
    write_run("truth", 1, seconds=[36] * 4, batch_size=3)
    text = describe()
    assert table(text)["main"] == ["4", "0", "0", "4", "0.40"]
    assert "with other settings, to be made again: 2." in text
    changed = configuration(main={})
    changed["methods"]["strokes"] = {"scribble": 2}
    write_run("strokes", 0, seconds=[36] * 10, finished=True)
    assert table(describe())["main"][1] == "1"
    Path("config.yaml").write_text(yaml.safe_dump(changed))
    assert table(describe())["main"][1] == "0"


def test_a_run_that_is_being_made_again_is_begun():
    """Its files are apart until it is finished, beside those of the one that it replaces."""
    write_config(main={})
    place = write_run("truth", 0, seconds=[36] * 10, finished=True, learning_rate=0.5)
    other = write_run("truth", 1, seconds=[36] * 4, batch_size=3)
    current = write_run("truth", 2, seconds=[36] * 3)
    other.rename(place / "unfinished-0")
    current.rename(place / "unfinished-1")
    text = describe()
    # Seven of ten epochs remain of it.
    assert table(text)["main"] == ["4", "0", "1", "3", f"{37 * 36 / 3600:.2f}"]


def test_networks_that_nobody_ran_leave_the_hours_open():
    write_config(main={"networks": [NETWORK, "deeplabv2-resnet50"]})
    write_run("truth", seconds=[36])
    text = describe()
    assert table(text)["main"] == ["8", "0", "1", "7", "0.39 + ?"]
    assert "No earlier run of deeplabv2-resnet50" in text
    assert f"No earlier run of {NETWORK}" not in text


def test_a_trained_run_without_its_network_is_not_finished():
    write_config(main={})
    folder = write_run("truth", seconds=[36] * 10, finished=True)
    assert table(describe())["main"] == ["4", "1", "0", "3", "0.30"]
    (folder / "weights.pt").unlink()  # damaged, say; there is no state to go on from
    assert table(describe())["main"] == ["4", "0", "0", "4", "0.40"]
    again = write_run("truth", 1, seconds=[36] * 4)
    again.rename(folder / "unfinished-1")
    assert table(describe())["main"] == ["4", "0", "1", "3", "0.36"]


def test_runs_that_tables_share_count_once_in_all():
    write_config(one={}, two={"methods": ["strokes", "labels"]}, three={"methods": ["strokes"]})
    write_run("strokes", 0, seconds=[36] * 10, finished=True)
    text = describe()
    assert table(text) == {
        "one": ["4", "1", "0", "3", "0.30"],
        "two": ["4", "1", "0", "3", "0.30"],
        "three": ["2", "1", "0", "1", "0.10"],
        "together": ["6", "1", "0", "5", "0.50"],
    }
    assert "several tables, and are made once: 2." in text
    assert list(table(describe("two", "results/three.csv"))) == ["two", "three", "together"]
    assert list(table(describe("results/drawn/three.csv"))) == ["three"]
    assert describe("all") == text


@pytest.mark.parametrize(
    "settings",
    [
        {"methods": ["labels"], "pseudo_labels": ["second"]},
        {"methods": ["labels"], "measured_labels": ["second"]},
    ],
)
def test_networks_that_labels_are_made_by_are_needed_as_well(settings):
    write_config(main={**settings, "seeds": [0]})
    text = describe()
    assert table(text)["main"][0] == "2"
    assert "Runs in no table, whose networks make pseudo-labels: 1." in text
    write_run("labels", 7, seconds=[36] * 10, finished=True)
    assert table(describe())["main"] == ["2", "1", "0", "1", "0.10"]


def test_an_unknown_table_is_named_with_the_nearest():
    write_config(table1={}, labels={})
    for name in ("tabel1", "results/tabel1.csv"):
        with pytest.raises(ValueError, match=r"unknown table .*did you mean 'table1'"):
            describe(name)


def test_a_configuration_among_the_tables_is_told_where_it_belongs():
    write_config(main={})
    with pytest.raises(ValueError, match=r"^quick\.yaml: .*: --configfile quick\.yaml$"):
        describe("elsewhere", "quick.yaml")


def test_a_table_may_be_named_all():
    write_config(all={"methods": ["labels"]}, other={})
    assert list(table(describe("all"))) == ["all"]


def test_jobs_side_by_side_take_the_time_of_the_longest_queue():
    hour = 3600.0
    assert hours_at_a_time([hour] * 5, 1) == 5
    assert hours_at_a_time([hour] * 5, 2) == 3
    assert hours_at_a_time([hour] * 5, 8) == 1
    assert hours_at_a_time([3 * hour, hour, hour, hour], 2) == 3
    assert hours_at_a_time([hour, hour, hour, 3 * hour], 2) == 4
    assert hours_at_a_time([], 3) == 0
    write_config(main={})
    write_run("labels", seconds=[360])
    assert [table(describe(jobs=jobs))["main"][-1] for jobs in (1, 2, 3, 4)] == [
        "4.00",
        "2.00",
        "2.00",
        "1.00",
    ]


def test_jobs_are_by_default_what_the_machine_has_room_for(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [default_jobs(threads) for threads in (1, 3, 99)] == [8, 2, 1]
    write_config(main={})
    assert "8 runs at a time" in describe(jobs=None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert default_jobs(1) == 1
    assert "one run at a time" in describe(jobs=None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert [default_jobs(threads) for threads in (1, 3, 99)] == [4, 2, 1]


def test_stages_before_the_networks_are_told_by_their_benchmarks():
    write_config(main={})
    assert "On top come classifiers" in describe()
    assert "in all" not in describe()
    folder = Path("results/drawn/benchmarks")
    for name, seconds in (
        ("pseudo_labels/full/walk", [6]),
        ("pseudo_labels_classifier/full/cam", [60, 30]),
        ("pseudo_labels_cams/cam", [24]),
        ("segmentation/truth", [999]),
    ):
        path = folder / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("s\th:m:s\n" + "".join(f"{value:.4f}\t0:00:01\n" for value in seconds))
    assert "are made took 2.0 min in all" in describe()
    path.with_name("broken.tsv").write_text("nothing")
    assert "2.0 min" in describe()
    broken = folder / "pseudo_labels/full/broken.tsv"
    for text in ("s\tx\nNA\t1\n", "x\n1\n", "s\tx\n\t\n"):
        broken.write_text(text)
        with pytest.raises(ValueError, match=r"broken\.tsv: not a benchmark of Snakemake"):
            describe()


def test_several_configurations_are_merged():
    write_config(main={})
    change = {"segmentation": {"epochs": 20}, "tables": {"main": {"seeds": [3]}}}
    Path("longer.yaml").write_text(yaml.safe_dump(change))
    write_run("labels", seconds=[180])
    text = describe(paths=("config.yaml", "longer.yaml"))
    assert table(text) == {"main": ["2", "0", "0", "2", "2.00"]}
    text = describe(paths=("config.yaml", "longer.yaml"), hardware={**HARDWARE, "cpu": "other"})
    assert "seed-3/weights.pt --configfile config.yaml longer.yaml\n" in text


def test_a_damaged_run_is_named():
    write_config(main={})
    folder = write_run("truth", seconds=[36])
    (folder / "log.jsonl").write_text("{")
    with pytest.raises(ValueError, match=r"log\.jsonl: damaged"):
        describe()


def test_a_run_of_unknown_make_tells_nothing():
    write_config(main={})
    folder = write_run("labels", seconds=[36])
    write_json(folder / "settings.json", {"settings": [], "name": 5})
    assert table(describe())["main"][-1] == "?"
    (folder / "settings.json").unlink()
    assert table(describe())["main"][-1] == "?"


def test_the_command_reads_the_configuration_of_the_project(monkeypatch):
    monkeypatch.setattr("cdsp.training.runtime.describe", lambda device: HARDWARE)
    write_config(main={}, other={"methods": ["labels"]})
    write_run("truth", seconds=[36])

    def run(*arguments):
        result = CliRunner().invoke(
            cli.build_app("plan"), ["plan", *arguments], catch_exceptions=False
        )
        assert result.exit_code == 0
        return table(result.output)

    assert run("--jobs", "1") == table(describe())
    assert run("other", "--jobs", "2") == table(describe("other", jobs=2))
    Path("config.yaml").rename("elsewhere.yaml")
    assert run("--configfile", "elsewhere.yaml", "main")["main"][0] == "4"
    Path("seeds.yaml").write_text("tables: {main: {seeds: [0]}}")
    files = ("--configfile", "elsewhere.yaml", "--configfile", "seeds.yaml")
    assert run(*files, "main")["main"][0] == "2"
