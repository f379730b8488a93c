import errno
import os
import signal
import subprocess
import sys

import pytest

from cdsp.io.files import write_text
from cdsp.io.outputs import LEDGER, atomic_path, check_outputs, outputs_of


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != LEDGER)


def test_a_command_replaces_what_it_wrote_itself(tmp_path):
    path = tmp_path / "a.txt"
    for text in ("one", "two", "two", "one"):
        with outputs_of("predict"):
            check_outputs([path])
            write_text(path, text)
        assert path.read_text() == text


def test_files_of_others_are_never_replaced(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a photograph")
    with outputs_of("predict"):
        for refused in (lambda: check_outputs([path]), lambda: write_text(path, "new")):
            with pytest.raises(ValueError, match=r"a\.txt: is there already.*`cdsp predict`"):
                refused()
    assert path.read_text() == "a photograph"
    assert names(tmp_path) == ["a.txt"]


def test_what_another_command_wrote_is_not_replaced(tmp_path):
    path = tmp_path / "a.txt"
    with outputs_of("dataset shapes"):
        write_text(path, "a mask")
    with outputs_of("evaluation"), pytest.raises(ValueError, match="not written by `cdsp eval"):
        write_text(path, "a prediction")
    assert path.read_text() == "a mask"


def test_what_was_changed_by_hand_is_not_replaced(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "one")
    path.write_text("corrected by hand")
    with pytest.raises(ValueError, match="changed since"):
        write_text(path, "two")
    path.unlink()
    write_text(path, "two")


def test_an_input_is_never_an_output_not_even_behind_a_link(tmp_path):
    source, other = tmp_path / "source.txt", tmp_path / "other"
    write_text(source, "one")
    other.mkdir()
    (other / "link.txt").symlink_to(source)
    (other / "folder").symlink_to(tmp_path, target_is_directory=True)
    for output in (source, other / "link.txt", other / "folder" / "source.txt"):
        with pytest.raises(ValueError, match=r"would replace .*source\.txt, which is read"):
            check_outputs([output], inputs=[None, source])
    with pytest.raises(ValueError, match="would replace"):
        check_outputs([source], inputs=[other / "link.txt"])
    check_outputs([tmp_path / "new.txt"], inputs=[source])


def test_a_folder_and_a_link_to_nowhere_are_not_replaced(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path, tmp_path / "link"):
        with pytest.raises(ValueError, match="is there and is no file"):
            write_text(path, "text")


def test_the_ledger_grows_with_contents_not_with_calls_and_survives_damage(tmp_path):
    path = tmp_path / "a.txt"
    for _ in range(3):
        write_text(path, "one")
    assert len((tmp_path / LEDGER).read_text().splitlines()) == 1
    with (tmp_path / LEDGER).open("ab") as file:
        file.write(b'\xff{"command": 3\n[]\n7\n')
    write_text(path, "two")
    write_text(path, "three")
    (tmp_path / LEDGER).write_bytes(b"")
    with pytest.raises(ValueError, match="is there already"):
        write_text(path, "four")


WAITS = """
import sys, time
from pathlib import Path
from cdsp.io.outputs import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path):
    path = tmp_path / "a[1].h5"
    living, killed = (
        subprocess.Popen([sys.executable, "-c", WAITS, path], stdout=subprocess.PIPE)
        for _ in range(2)
    )
    try:
        for process in (living, killed):
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        assert len(names(tmp_path)) == 2
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        write_text(path, "whole")
        assert len(names(tmp_path)) == 2  # the file, and what the living process writes
        assert path.read_text() == "whole"
    finally:
        living.kill()
        living.wait()
    write_text(path, "again")
    assert names(tmp_path) == [path.name]


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path):
    with (
        pytest.raises(OSError, match=r"a\.txt: cannot be written: No space left"),
        atomic_path(tmp_path / "a.txt"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not names(tmp_path)


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}"))
    )
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("the system does not tell the names of open files")
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert synced == [str(temporary), str(tmp_path)]


def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file: is no folder"):
        check_outputs([tmp_path / "file/new/out.txt"])
    check_outputs([tmp_path / "new/out.txt"])
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(ValueError, match=f"{tmp_path}: you may not write in this folder"):
        check_outputs([tmp_path / "new/out.txt"])
