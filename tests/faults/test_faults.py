"""One damaged byte in any file that a stage reads is told with the file's name, or changes nothing.

`benchmarks/faults.py` tries many more; `docs/reliability.md` has its figures.
"""

import pytest
from damaged_files import FILES, NETWORKS, Outcome, Readable, damage, make_files, try_damage
from hypothesis import given, settings
from hypothesis import strategies as st

PLACE = st.floats(0, 1, exclude_max=True)
FINE = (Outcome.CLEAR, Outcome.HARMLESS)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("kind", FILES)
@settings(max_examples=30)
@given(place=PLACE, bit=st.integers(0, 7), cut=PLACE)
def test_damage_is_told_or_changes_nothing(files, kind, place, bit, cut):
    for change in (
        lambda data: damage(data, place, bit),
        lambda data: data[: int(cut * len(data))],
    ):
        outcome, message = try_damage(files, kind, change)
        assert outcome in FINE, message


@pytest.mark.parametrize("kind", NETWORKS)
@settings(max_examples=6)
@given(place=PLACE, bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_network_is_told_or_changes_nothing(files, kind, place, bit):
    outcome, message = try_damage(files, kind, lambda data: damage(data, place, bit))
    assert outcome in FINE, message


def test_a_reader_that_compares_nothing_is_found_out(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(100))
    blind = {"blind": Readable(path, path.read_bytes)}
    assert try_damage(blind, "blind", lambda data: damage(data, 0.5, 0))[0] == Outcome.SILENT
    assert path.read_bytes() == bytes(100)
