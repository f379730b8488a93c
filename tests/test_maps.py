import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cdsp import cli
from cdsp.io.files import IGNORE
from cdsp.losses import LOSS_TERMS
from cdsp.maps import MAPS, STORED, UNKNOWN, with_origins
from cdsp.options import with_map_stores


def test_the_table_agrees_with_itself():
    assert UNKNOWN == IGNORE
    for name, entry in MAPS.items():
        assert entry.name == name
        assert (entry.store is None) == (entry.option is None)
        assert entry.store is None or entry.help
        if entry.made_from is not None:
            assert list(MAPS).index(entry.made_from) < list(MAPS).index(name)
    for what in ("store", "option"):
        assert len({getattr(entry, what) for entry in STORED.values()}) == len(STORED) == 4


def test_a_term_that_reads_a_map_of_an_exponent_has_the_option():
    for name, term in LOSS_TERMS.items():
        if any(MAPS[read].has_exponent for read in term.reads):
            assert "exponent" in term.Options.__dataclass_fields__, name


def test_maps_bring_what_they_are_made_from():
    assert with_origins({"valid", "scribble_distance"}) == {
        "valid",
        "scribble_distance",
        "scribble",
    }
    assert with_origins({"pseudo_label"}) == {"pseudo_label"}
    assert with_origins(()) == frozenset()


def test_it_is_read_without_any_library():
    code = "import sys, cdsp.maps; sys.exit(bool({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_command_gets_the_stores_that_its_options_name():
    app, seen = typer.Typer(), []

    @app.command()
    @with_map_stores
    def command(stores: dict[str, Path | None], number: int = 3) -> None:
        seen.append((stores, number))

    words = ["--pseudo-labels", "a.h5", "--scribble-distances", "b.h5", "--number", "4"]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    nothing = dict.fromkeys(STORED)
    given = {"pseudo_label": Path("a.h5"), "scribble_distance": Path("b.h5")}
    assert seen == [({**nothing, **given}, 4)]


@pytest.mark.parametrize("words", [("segmentation",), ("reporting", "panel")])
def test_the_commands_have_the_options(words):
    command: Any = typer.main.get_command(cli.build_app(words[0]))
    for word in words:
        command = command.commands[word]
    helps = {option: parameter.help for parameter in command.params for option in parameter.opts}
    for entry in STORED.values():
        assert helps[f"--{entry.option}"] == entry.help
