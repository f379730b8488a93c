from typing import get_args

import pytest
from typer.testing import CliRunner

from cdsp import cli
from cdsp.reporting.settings import FIGURES, FigureName, figures_of


def test_every_figure_of_a_table_has_a_function():
    assert list(FIGURES) == list(get_args(FigureName))
    for kind in FIGURES.values():
        assert callable(kind.load())
        assert kind.endings[0] == "png"


def test_every_figure_is_drawn_by_a_command():
    for kind in FIGURES.values():
        result = CliRunner().invoke(cli.build_app("reporting"), ["reporting", kind.command, "-h"])
        assert "No such command" not in result.output


@pytest.mark.parametrize("command", ["plot", "runs"])
def test_a_figure_of_another_command_is_refused_with_those_that_it_draws(command, tmp_path):
    words = ["reporting", command, "panel", "file", "--output", str(tmp_path / "a.png")]
    with pytest.raises(ValueError, match=f"'panel'.*{next(iter(sorted(figures_of(command))))}"):
        CliRunner().invoke(cli.build_app("reporting"), words, catch_exceptions=False)
