import gzip
import io
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdsp.dataset.archives import read_members

FILES = {"a/1.jpg": b"one" * 500, "a/b/2.xml": b"<x/>", "list.txt": b"1\n2\n", "empty": b""}
FORMATS = ("tar", "tgz", "zip")


def tar_header(name, content=b"", kind=tarfile.REGTYPE, link=""):
    header = tarfile.TarInfo(name)
    header.size, header.type, header.linkname = len(content), kind, link
    return header


def pack(kind, files, *, extra=()):
    """Bytes of an archive; `extra` are headers of a tar or of a zip with their content."""
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
            for header, content in extra:
                archive.writestr(header, content)
        return buffer.getvalue()
    mode = {"tar": "w", "tgz": "w:gz"}[kind]
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            archive.addfile(tar_header(name, content), io.BytesIO(content))
        for header, content in extra:
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def read_all(path, **limits):
    return dict(read_members(path, lambda name: True, **limits))


def named(kind, name, content=b"x"):
    """An extra member, for `pack`."""
    return (zipfile.ZipInfo(name) if kind == "zip" else tar_header(name, content)), content


@pytest.mark.parametrize("kind", FORMATS)
def test_wanted_members_come_in_their_order(tmp_path, kind):
    path = tmp_path / "data.bin"  # the name does not tell the format
    path.write_bytes(pack(kind, {"./x//y": b"1", "folder/": b"", **FILES}))
    if kind == "zip":
        assert read_all(path) == {"x/y": b"1", **FILES}
    seen = []
    wanted = list(read_members(path, lambda name: seen.append(name) or name.startswith("a/")))
    assert wanted == [("a/1.jpg", FILES["a/1.jpg"]), ("a/b/2.xml", FILES["a/b/2.xml"])]
    assert seen[0] == "x/y"
    assert list(read_members(path, lambda name: False)) == []


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\:", exclude_categories=["C", "Z"]),
    min_size=1,
    max_size=8,
).filter(lambda part: part not in (".", ".."))


@settings(max_examples=30)
@given(
    files=st.dictionaries(
        st.lists(NAMES, min_size=1, max_size=30).map("/".join), st.binary(max_size=2000), max_size=6
    ),
    tar_format=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_what_was_packed_is_read(tmp_path_factory, files, tar_format):
    path = tmp_path_factory.mktemp("archive") / "archive"
    for kind in FORMATS:
        if not files and kind == "zip":
            continue
        path.write_bytes(pack(kind, files))
        assert list(read_members(path, lambda name: True)) == list(files.items())
    with tarfile.open(path, "w", format=tar_format) as archive:
        for name, content in files.items():
            archive.addfile(tar_header(name, content), io.BytesIO(content))
    assert read_all(path) == files


BAD_NAMES = {
    "../up": "leads out of its folder",
    "a/../../up": "leads out of its folder",
    "a/..": "leads out of its folder",
    "/etc/passwd": "has an absolute path",
    "C:/windows": "has an absolute path",
    "c:x": "has an absolute path",
    "a\\..\\b": "unsafe characters",
    "a\nb": "unsafe characters",
    "a\x1b[2Jb": "unsafe characters",
    "x" * 1025: "more than 1024 characters",
    "a/1.jpg": "occurs twice",
    "./a//1.jpg": "occurs twice",
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_are_refused(tmp_path, kind, name):
    path = tmp_path / "bad.archive"
    path.write_bytes(pack(kind, FILES, extra=[named(kind, name)]))
    with pytest.raises(ValueError, match=BAD_NAMES[name]) as caught:
        read_all(path)
    assert str(caught.value).startswith(f"{path}: refused, because its member ")
    assert repr(name[:100]) in str(caught.value)
    with pytest.raises(ValueError, match=BAD_NAMES[name]):
        list(read_members(path, lambda name: False))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["tar", "tgz"])
@pytest.mark.parametrize(
    "member",
    [
        tar_header("bad", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        tar_header("bad", kind=tarfile.LNKTYPE, link="a/1.jpg"),
        tar_header("bad", kind=tarfile.CHRTYPE),
        tar_header("bad", kind=tarfile.BLKTYPE),
        tar_header("bad", kind=tarfile.FIFOTYPE),
        tar_header("bad", kind=tarfile.GNUTYPE_SPARSE),
        tar_header("bad", kind=b"V"),
    ],
    ids=lambda member: member.type.decode(),
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind, member):
    path = tmp_path / "bad.tar"
    path.write_bytes(pack(kind, FILES, extra=[(member, b"")]))
    with pytest.raises(ValueError, match=r"bad\.tar: .*('bad' is a link, a device|damaged)"):
        read_all(path)


def zip_member(name="bad", mode=0, flags=0, method=zipfile.ZIP_DEFLATED):
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    member.compress_type = method
    member.flag_bits = flags
    return member


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (zip_member(mode=stat.S_IFLNK | 0o777), "is a link"),
        (zip_member(mode=stat.S_IFCHR), "is a link, a device"),
        (zip_member(mode=stat.S_IFIFO), "is a link, a device"),
        (zip_member(method=zipfile.ZIP_BZIP2), "is packed in a way"),
        (zip_member(method=zipfile.ZIP_LZMA), "is packed in a way"),
    ],
)
def test_links_and_other_packing_in_a_zip_are_refused(tmp_path, member, reason):
    path = tmp_path / "bad.zip"
    path.write_bytes(pack("zip", FILES, extra=[(member, b"target")]))
    with pytest.raises(ValueError, match=rf"bad\.zip: .*'bad' {reason}"):
        read_all(path)


def test_an_encrypted_zip_is_refused(tmp_path):
    content = bytearray(pack("zip", FILES))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path = tmp_path / "bad.zip"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.zip: .*'a/1\.jpg' is encrypted"):
        read_all(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_sizes_and_numbers_are_bounded(tmp_path, kind):
    path = tmp_path / "large.archive"
    path.write_bytes(pack(kind, FILES))
    total = sum(map(len, FILES.values()))
    assert read_all(path, member_bytes=1500, total_bytes=total, members=4) == FILES
    for limits, reason in (
        ({"member_bytes": 1499}, r"'a/1\.jpg' is larger than 1499 bytes"),
        ({"total_bytes": total - 1}, r"'list\.txt' makes the whole too large"),
        ({"members": 3}, "'empty' is one too many"),
    ):
        with pytest.raises(ValueError, match=rf"large\.archive: .*{reason}"):
            read_all(path, **limits)


ZEROS = bytes(1 << 24)
GIGABYTE = 1 << 30


def zeros_in_tgz(size):
    """One member of `size` zeros; gzip streams may stand one after the other."""
    header = tarfile.TarInfo("zeros")
    header.size = size
    packed_zeros = gzip.compress(ZEROS)
    return gzip.compress(header.tobuf()) + packed_zeros * (size // len(ZEROS))


def zeros_in_zip(size, announced):
    """One member that unpacks to `size` zeros and is announced to have fewer."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = block * (size // len(ZEROS)) + packer.flush()
    content = pack("zip", {"zeros": b""})
    sizes = struct.pack("<III", zlib.crc32(ZEROS), len(packed), announced)
    local = content[:8] + struct.pack("<H", 8) + content[10:14] + sizes + content[26:35]
    start = content.index(b"PK\x01\x02")
    central = content[start : start + 10] + struct.pack("<H", 8) + content[start + 12 : start + 16]
    central += sizes + content[start + 28 : start + 51]
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, 51, len(local) + len(packed), 0)
    return local + packed + central + end


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zeros_in_tgz(GIGABYTE), "'zeros' is larger than 67108864 bytes"),
        (zeros_in_zip(GIGABYTE, GIGABYTE), "'zeros' is larger than 67108864 bytes"),
        (zeros_in_zip(GIGABYTE, 1000), "damaged"),
        (zeros_in_zip(1 << 24, 1 << 25), "cut short"),
    ],
)
def test_a_gigabyte_of_zeros_is_not_unpacked(tmp_path, content, reason):
    assert len(content) < 2_000_000
    path = tmp_path / "bomb"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"bomb: .*{reason}"):
        read_all(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 << 20


def test_many_small_bombs_are_stopped(tmp_path):
    path = tmp_path / "bombs.tgz"
    header = tarfile.TarInfo("zeros")
    header.size = len(ZEROS)
    members = []
    for index in range(20):
        header.name = f"zeros{index}"
        members.append(gzip.compress(header.tobuf()))
    path.write_bytes(gzip.compress(ZEROS).join(members))
    with pytest.raises(ValueError, match=r"bombs\.tgz: .*'zeros10' makes the whole too large"):
        read_all(path, total_bytes=10 * len(ZEROS))


def raw_header(name, kind, size):
    header = tarfile.TarInfo(name)
    header.type, header.size = kind, size
    return header.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_long_names_are_not_bombs_either(tmp_path, kind):
    path = tmp_path / "bad.tgz"
    path.write_bytes(
        gzip.compress(raw_header("long", kind, GIGABYTE)) + gzip.compress(ZEROS) * (GIGABYTE >> 24)
    )
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"bad\.tgz: damaged.*a header of 1073741824 bytes"):
        read_all(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 << 20
    # A name of a name of a name…
    path.write_bytes((raw_header("long", kind, 3) + b"abc".ljust(512, b"\0")) * 5000)
    with pytest.raises(ValueError, match=r"bad\.tgz: damaged"):
        read_all(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"size": "-512"},
        {"size": "99999999999999999999"},
        {"size": "9" * 5000},
        {"path": "../up"},
        {"path": "/up"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)},
        {"GNU.sparse.map": "0,1,x"},
    ],
)
def test_extended_headers_of_a_tar_are_not_trusted(tmp_path, fields):
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        header = tar_header("file", b"x" * 600)
        header.pax_headers = fields
        archive.addfile(header, io.BytesIO(b"x" * 600))
    with pytest.raises(ValueError, match=r"bad\.tar: (refused|damaged)"):
        read_all(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_an_archive_that_is_cut_short_anywhere_is_refused(tmp_path, kind):
    content = pack(kind, FILES)
    # A tar ends with blocks of zeros, of which all but the first one may be missing.
    needed = len(content.rstrip(b"\0")) if kind != "tar" else 8 * 512
    path = tmp_path / "short"
    lengths = [*range(0, needed, 37), *range(0, needed, 512), needed - 1]
    for length in lengths:
        path.write_bytes(content[:length])
        if kind == "tgz" and length > needed - 60:
            continue  # the end of the tar may be there already
        with pytest.raises(ValueError, match="short: damaged, cut short or not"):
            read_all(path)


def test_a_broken_header_is_not_the_end_of_a_tar(tmp_path):
    content = bytearray(pack("tar", FILES))
    start = content.index(b"list.txt")
    content[start : start + 4] = b"LIST"
    path = tmp_path / "bad.tar"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.tar: damaged.*broken header: bad checksum"):
        read_all(path)


def test_what_is_no_archive(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.zip: no such archive"):
        read_all(tmp_path / "absent.zip")
    with pytest.raises(ValueError, match="no such archive"):
        read_all(tmp_path)
    for content in (b"", b"<html>", b"PK\x03\x04" + bytes(100), b"\x1f\x8b" + bytes(100)):
        (tmp_path / "page").write_bytes(content)
        with pytest.raises(ValueError, match=r"page: damaged, cut short or not a \.tar"):
            read_all(tmp_path / "page")


@settings(max_examples=300)
@given(
    kind=st.sampled_from(FORMATS),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)),
        min_size=1,
        max_size=4,
    ),
)
def test_damage_ends_in_a_message_or_in_safe_names(tmp_path_factory, kind, changes):
    content = bytearray(pack(kind, FILES))
    for position, new in changes:
        start = int(position * len(content))
        content[start : start + len(new)] = new
    path = tmp_path_factory.mktemp("archive") / "archive"
    path.write_bytes(content)
    message, found = f"{path}: ", {}
    try:
        found = read_all(path)
    except ValueError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    for name in found:
        assert name
        assert not name.startswith("/")
        assert not {"", ".", ".."} & set(name.split("/"))
