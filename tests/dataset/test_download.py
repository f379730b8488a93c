import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web_site import answer, redirect, refuse

from cdsp.dataset.download import Archive, check_file, fetch

CONTENT = np.random.default_rng(0).bytes(50_000)
OTHER = np.random.default_rng(1).bytes(50_000)
PAGE = b"\n<!DOCTYPE html><html>Sign in</html>" + bytes(5000)
MD5 = hashlib.md5(CONTENT).hexdigest()


def archive(*addresses, md5=MD5, largest=60_000):
    return Archive("voc.tar", addresses, md5, largest)


def names(folder):
    return sorted(path.name for path in folder.glob("[!.]*"))


def test_a_file_is_downloaded_once(site, tmp_path):
    wanted = archive(site.serve("/a", CONTENT))
    path = fetch(wanted, tmp_path / "new" / "downloads")
    assert path == tmp_path / "new" / "downloads" / "voc.tar"
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["voc.tar"]
    assert fetch(wanted, path.parent) == path
    assert site.ranges("/a") == [None]


def test_a_file_of_another_content_is_told_of_and_left_alone(site, tmp_path):
    (tmp_path / "voc.tar").write_bytes(OTHER)
    with pytest.raises(ValueError, match=rf"voc\.tar: its MD5 is \w+, expected {MD5}.*delete it"):
        fetch(archive(site.serve("/a", CONTENT)), tmp_path)
    assert (tmp_path / "voc.tar").read_bytes() == OTHER
    assert site.requests == []
    with pytest.raises(ValueError, match=r"voc\.tar: 50000 bytes; expected at most 40000"):
        check_file(tmp_path / "voc.tar", archive(md5=None, largest=40_000))
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="folder: expected a file"):
        check_file(tmp_path / "folder", archive())


def test_a_download_that_is_cut_off_goes_on_where_it_was(site, tmp_path):
    address = site.serve("/a", CONTENT, only=20_000)
    assert fetch(archive(address), tmp_path).read_bytes() == CONTENT
    assert site.ranges("/a") == [None, "bytes=20000-", "bytes=40000-"]
    assert [headers.get("If-Range") for _, headers in site.requests] == [None, '"one"', '"one"']
    assert names(tmp_path) == ["voc.tar"]


def test_the_next_call_goes_on_with_what_the_last_one_left(site, tmp_path):
    with pytest.raises(ValueError, match="cut off after 3000 of 50000 bytes"):
        fetch(archive(site.serve("/a", CONTENT, only=1000)), tmp_path)
    assert (tmp_path / "voc.tar.part").read_bytes() == CONTENT[:3000]
    assert fetch(archive(site.serve("/b", CONTENT)), tmp_path).read_bytes() == CONTENT
    assert site.ranges("/b") == ["bytes=3000-"]
    assert names(tmp_path) == ["voc.tar"]


def test_a_killed_download_goes_on(site, tmp_path):
    address = site.serve("/a", CONTENT, only=30_000, then=site.stall)
    program = (
        "from pathlib import Path; from cdsp.dataset.download import Archive, fetch; "
        f"fetch(Archive('voc.tar', ({address!r},), {MD5!r}, 60_000), Path({str(tmp_path)!r}))"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    part = tmp_path / "voc.tar.part"
    try:
        for _ in range(600):
            if part.exists() and part.stat().st_size == 30_000:
                break
            time.sleep(0.05)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert part.read_bytes() == CONTENT[:30_000]
    assert not (tmp_path / "voc.tar").exists()
    site.serve("/a", CONTENT)
    assert fetch(archive(address), tmp_path).read_bytes() == CONTENT
    assert site.ranges("/a") == [None, "bytes=30000-"]
    assert names(tmp_path) == ["voc.tar"]


def test_a_part_that_was_complete_when_the_process_was_killed(site, tmp_path):
    (tmp_path / "voc.tar.part").write_bytes(CONTENT)
    assert fetch(archive(site.serve("/a", CONTENT)), tmp_path).read_bytes() == CONTENT
    (tmp_path / "voc.tar").rename(tmp_path / "voc.tar.part")
    with (tmp_path / "voc.tar.part").open("ab") as file:
        file.write(b"more than there is")
    assert fetch(archive(site.serve("/b", CONTENT)), tmp_path).read_bytes() == CONTENT
    assert site.ranges("/b") == ["bytes=50018-", None]


def test_a_server_that_ignores_ranges_sends_all_again(site, tmp_path):
    (tmp_path / "voc.tar.part").write_bytes(CONTENT[:100])
    assert fetch(archive(site.serve("/a", CONTENT, ranges=False)), tmp_path).read_bytes() == CONTENT
    assert site.ranges("/a") == ["bytes=100-"]


def test_a_server_that_sends_another_range(site, tmp_path):
    def shifted(handler):
        if "Range" in handler.headers:
            handler.headers.replace_header("Range", "bytes=7-")
        answer(handler, CONTENT)

    # Without a checksum, nothing else would tell.
    wanted = archive(site.serve("/a", CONTENT, only=100), md5=None)
    with pytest.raises(ValueError, match="cut off after 300"):
        fetch(wanted, tmp_path)
    site.ways["/a"] = shifted
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert site.ranges("/a")[3:] == ["bytes=300-", None]


def test_a_part_that_is_longer_than_the_file(site, tmp_path):
    wanted = archive(site.serve("/a", CONTENT, only=1000), md5=None)
    with pytest.raises(ValueError, match="cut off after 3000"):
        fetch(wanted, tmp_path)
    with (tmp_path / "voc.tar.part").open("ab") as file:
        file.write(CONTENT)
    site.serve("/a", CONTENT)
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("heeds_etag", [True, False])
def test_a_changed_file_is_not_glued_to_an_old_half(site, tmp_path, heeds_etag):
    wanted = archive(site.serve("/a", OTHER, etag='"old"', only=100), md5=None)
    with pytest.raises(ValueError, match="cut off after 300 of 50000"):
        fetch(wanted, tmp_path)
    site.serve("/a", CONTENT, etag='"new"', heeds_etag=heeds_etag)
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ['"one"', None, 'W/"weak"'])
def test_without_a_checksum_only_the_same_version_is_continued(site, tmp_path, etag):
    first = site.serve("/a", CONTENT, etag=etag, only=20_000)
    second = site.serve("/b", CONTENT)
    path = fetch(archive(first, second, md5=None), tmp_path)
    assert path.read_bytes() == CONTENT
    if etag == '"one"':
        assert site.ranges("/a") == [None, "bytes=20000-", "bytes=40000-"]
    else:
        assert (site.ranges("/a"), site.ranges("/b")) == ([None] * 3, [None])


def test_another_mirror_continues_and_the_checksum_decides(site, tmp_path):
    first = site.serve("/a", CONTENT, only=5000)
    second = site.serve("/b", CONTENT, etag='"two"')
    assert fetch(archive(first, second), tmp_path).read_bytes() == CONTENT
    assert site.ranges("/b") == ["bytes=15000-"]
    (tmp_path / "voc.tar").unlink()
    first = site.serve("/c", OTHER, only=5000)
    second = site.serve("/d", CONTENT)
    assert fetch(archive(first, second), tmp_path).read_bytes() == CONTENT
    assert site.ranges("/d") == ["bytes=15000-", None]


@pytest.mark.parametrize("damage", ["not JSON", "[]", '{"address": 1}', '"text"', "\xff"])
def test_a_damaged_note_beside_the_part_does_no_harm(site, tmp_path, damage):
    (tmp_path / "voc.tar.part").write_bytes(OTHER[:100])
    (tmp_path / "voc.tar.part.json").write_text(damage, encoding="latin-1")
    wanted = archive(site.serve("/a", CONTENT), md5=None)
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert site.ranges("/a") == [None]


def test_a_note_cannot_smuggle_a_header(site, tmp_path):
    address = site.serve("/a", CONTENT)
    (tmp_path / "voc.tar.part").write_bytes(CONTENT[:100])
    note = {"address": address, "validator": '"one"\r\nX-Evil: 1'}
    (tmp_path / "voc.tar.part.json").write_text(json.dumps(note))
    assert fetch(archive(address), tmp_path).read_bytes() == CONTENT
    assert "X-Evil" not in site.requests[0][1]


BAD_SERVERS = {
    "missing": (r"404 Not Found", lambda site: site.address("/absent")),
    "broken": (r"503 ", lambda site: site.serve("/bad", b"", refuse, status=503)),
    "forbidden": (r"403 ", lambda site: site.serve("/bad", b"", refuse, status=403)),
    "wrong bytes": (
        rf"wrong content: its MD5 is \w+, expected {MD5}",
        lambda site: site.serve("/bad", OTHER),
    ),
    "too short": (
        r"wrong content: its MD5",
        lambda site: site.serve("/bad", CONTENT[:-1], tells_size=False),
    ),
    "nothing": (r"sent nothing", lambda site: site.serve("/bad", b"")),
    "page": (
        r"a web page instead",
        lambda site: site.serve("/bad", CONTENT, content_type="text/html; charset=utf-8"),
    ),
    "hidden page": (r"a web page instead", lambda site: site.serve("/bad", PAGE)),
    "too large": (
        r"has 50000000 bytes, expected at most 60000",
        lambda site: site.serve("/bad", bytes(50_000_000), only=1),
    ),
    "endless": (
        r"sent more than 60000 bytes",
        lambda site: site.serve("/bad", bytes(9_000_000), tells_size=False),
    ),
    "redirect to file": (
        r"not allowed|unknown url type",
        lambda site: site.serve("/bad", b"", redirect, to="file:///etc/passwd"),
    ),
    "redirect to ftp": (
        r"unknown url type: ftp",
        lambda site: site.serve("/bad", b"", redirect, to="ftp://127.0.0.1/voc.tar"),
    ),
    "redirect to itself": (
        r"infinite loop",
        lambda site: site.serve("/bad", b"", redirect, to="/bad"),
    ),
    "redirect to nothing": (
        r"\n  http\S+: \S",
        lambda site: site.serve("/bad", b"", redirect, to="http://[broken"),
    ),
    "file": (r"unknown url type: file", lambda site: "file:///etc/passwd"),
    "no address": (r"unknown url type", lambda site: "voc.tar"),
    "bad port": (r"\n  http\S+: \S", lambda site: "http://127.0.0.1:port/voc.tar"),
    "no content": (r"204", lambda site: site.serve("/bad", b"", no_content)),
    "no HTTP": (r"\n  http\S+: \S", lambda site: site.serve("/bad", b"", babble)),
    "bad length": (r"\n  http\S+: \S", lambda site: site.serve("/bad", b"", bad_chunks)),
}


def no_content(handler, content):
    handler.send_response(204)
    handler.end_headers()


def babble(handler, content):
    handler.wfile.write(b"\xff\xfe what?\r\n" * 10)


def bad_chunks(handler, content):
    handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nxyz\r\n"
    )


@pytest.mark.parametrize("fault", BAD_SERVERS)
def test_a_bad_server_ends_in_one_message_or_at_the_next_address(site, tmp_path, fault):
    reason, make = BAD_SERVERS[fault]
    address = make(site)
    (tmp_path / "other.txt").write_text("kept")
    with pytest.raises(ValueError, match=reason) as caught:
        fetch(archive(address), tmp_path)
    message = str(caught.value)
    assert message.startswith("voc.tar: could not be downloaded:\n")
    assert f"\n  {address}: " in message
    assert "--from DIR" in message
    assert len(message.splitlines()) == 3
    assert "voc.tar" not in names(tmp_path)
    good = site.serve("/good", CONTENT)
    assert fetch(archive(address, good), tmp_path).read_bytes() == CONTENT
    assert names(tmp_path) == ["other.txt", "voc.tar"]


@pytest.mark.parametrize(
    "options",
    [
        {"content": PAGE},
        {"content": CONTENT, "content_type": "text/html"},
        {"content": bytes(9_000_000)},
        {"content": CONTENT, "only": 0},
    ],
)
def test_what_is_not_the_file_does_not_replace_a_half_of_it(site, tmp_path, options):
    (tmp_path / "voc.tar.part").write_bytes(CONTENT[:40_000])
    address = site.serve("/a", ranges=False, **options)
    with pytest.raises(ValueError, match="could not be downloaded"):
        fetch(archive(address), tmp_path)
    assert (tmp_path / "voc.tar.part").read_bytes() == CONTENT[:40_000]


def test_all_addresses_are_told_in_their_order(site, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/voc.tar"
        addresses = (site.address("/absent"), closed, site.serve("/wrong", OTHER))
        with pytest.raises(ValueError, match=r"(?s)404.*refused.*MD5") as caught:
            fetch(archive(*addresses), tmp_path)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0].strip() for line in lines[1:4]] == list(addresses)


def test_a_stalled_server_is_given_up_and_asked_for_the_rest(site, tmp_path):
    sizes = iter([1000, 2000, 4000])

    def slow(handler):
        answer(handler, CONTENT, only=next(sizes), then=site.stall)

    site.ways["/slow"] = slow
    with pytest.raises(ValueError, match=r"stopped sending in the middle \(timed out\)"):
        fetch(archive(site.address("/slow")), tmp_path, timeout=0.2)
    assert site.ranges("/slow") == [None, "bytes=1000-", "bytes=3000-"]
    assert (tmp_path / "voc.tar.part").read_bytes() == CONTENT[:7000]
    site.ways["/silent"] = lambda handler: site.stall()
    with pytest.raises(ValueError, match="timed out"):
        fetch(archive(site.address("/silent")), tmp_path, timeout=0.2)
    assert fetch(archive(site.serve("/a", CONTENT)), tmp_path).read_bytes() == CONTENT


def test_a_redirection_is_followed_with_the_range(site, tmp_path):
    site.serve("/far/away", CONTENT)
    (tmp_path / "voc.tar.part").write_bytes(CONTENT[:123])
    address = site.serve("/a", b"", redirect, to="/far/away")
    assert fetch(archive(address), tmp_path).read_bytes() == CONTENT
    assert site.ranges("/far/away") == ["bytes=123-"]


NUMBERS = count()
SERVERS = st.fixed_dictionaries(
    {
        "content": st.sampled_from([CONTENT, OTHER, CONTENT[:30_000], PAGE]),
        "ranges": st.booleans(),
        "etag": st.sampled_from(['"one"', '"two"', 'W/"one"', None]),
        "heeds_etag": st.booleans(),
        "tells_size": st.booleans(),
        "only": st.sampled_from([None, 0, 1, 17_000, 49_999]),
    }
)


@settings(max_examples=60)
@given(servers=st.lists(SERVERS, min_size=1, max_size=3), part=st.binary(max_size=20))
def test_whatever_servers_do_the_file_is_right_or_absent(
    lasting_site, tmp_path_factory, servers, part
):
    folder = tmp_path_factory.mktemp("downloads")
    if part:
        (folder / "voc.tar.part").write_bytes(part)
    addresses = [lasting_site.serve(f"/{next(NUMBERS)}", **server) for server in servers]
    try:
        path = fetch(archive(*addresses), folder)
    except ValueError:
        assert "voc.tar" not in names(folder)
    else:
        assert path.read_bytes() == CONTENT
        assert names(folder) == ["voc.tar"]
    good = lasting_site.serve(f"/{next(NUMBERS)}", CONTENT)
    assert fetch(archive(*addresses, good), folder).read_bytes() == CONTENT
