import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from typer.testing import CliRunner

from cdsp.cli import build_app
from cdsp.dataset import scribblesup
from cdsp.dataset.download import Archive
from cdsp.dataset.scribblesup import ARCHIVES, VOC_CLASSES, make_scribblesup
from cdsp.dataset.voc_layout import read_dataset
from cdsp.io.files import read_label, write_label
from cdsp.io.outputs import LEDGER

VOC, SBD = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"
VOC_TRAIN, VOC_VAL = ["2007_1", "2007_3"], ["2007_2", "2007_4"]
SBD_TRAIN, SBD_VAL = ["2008_5", "2007_1", "2007_2"], ["2008_6", "2007_3", "2008_7"]
TRAIN = ["2007_1", "2007_3", "2008_5", "2008_6", "2008_7"]
WITHOUT_MASK_IN_VOC = ["2008_5", "2008_6", "2008_7"]
WIDTH, HEIGHT = 14, 10
COUNTS = {"num_train": 5, "num_val": 2}
NAMES = {"voc": "VOCtrainval_11-May-2012.tar", "sbd": "benchmark.tgz", "xml": "voc_scribbles.zip"}
PNG = "pascal_2012_scribble.zip"


def encoded(array, suffix):
    file = io.BytesIO()
    Image.fromarray(array).save(file, format=suffix)
    return file.getvalue()


def image_of(image_id):
    seed = int(image_id[-1])
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def mask_of(image_id, source):
    """VOC has the void class around objects; SBD has not."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:8, 3:9] = int(image_id[-1]) + (10 if source == "sbd" else 0)
    if source == "voc":
        mask[2, 3:9] = 255
    return mask


def listed(ids):
    return "".join(f"{image_id}\n" for image_id in ids).encode()


def voc_files(tmp_path):
    files = {
        f"{VOC}/ImageSets/Segmentation/train.txt": listed(VOC_TRAIN),
        f"{VOC}/ImageSets/Segmentation/val.txt": listed(VOC_VAL),
        f"{VOC}/ImageSets/Segmentation/trainval.txt": listed(VOC_TRAIN + VOC_VAL),
        f"{VOC}/JPEGImages/2009_9.jpg": b"an image that nobody lists",
        f"{VOC}/Annotations/2007_1.xml": b"<annotation/>",
    }
    for image_id in {*TRAIN, *VOC_VAL}:
        files[f"{VOC}/JPEGImages/{image_id}.jpg"] = encoded(image_of(image_id), "jpeg")
    for image_id in VOC_TRAIN + VOC_VAL:
        path = tmp_path / "mask.png"
        write_label(path, mask_of(image_id, "voc"))
        files[f"{VOC}/SegmentationClass/{image_id}.png"] = path.read_bytes()
    return files


def sbd_files():
    files = {f"{SBD}/train.txt": listed(SBD_TRAIN), f"{SBD}/val.txt": listed(SBD_VAL)}
    for image_id in {*SBD_TRAIN, *SBD_VAL}:
        file = io.BytesIO()
        truth = {"Boundaries": [[1]], "Segmentation": mask_of(image_id, "sbd")}
        savemat(file, {"GTcls": truth}, do_compression=True)
        files[f"{SBD}/cls/{image_id}.mat"] = file.getvalue()
        files[f"{SBD}/img/{image_id}.jpg"] = b"not used"
    return files


def annotation(image_id):
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
    stroke = "<polygon><tag>cat</tag><point><X>3</X><Y>4</Y></point></polygon>"
    return f"<annotation>{size}{stroke}<!--{image_id}--></annotation>".encode()


def xml_files():
    return {f"{image_id}.xml": annotation(image_id) for image_id in [*TRAIN, *VOC_VAL, "2010_8"]}


def png_files():
    label = encoded(np.full((HEIGHT, WIDTH), 255, np.uint8), "png")
    return {f"pascal_2012_scribble/{image_id}.png": label for image_id in TRAIN}


def pack(path, files):
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        folder = tarfile.TarInfo(next(iter(files)).split("/")[0])
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))


@pytest.fixture
def contents(tmp_path):
    """What the archives hold, for tests to change."""
    return {"voc": voc_files(tmp_path), "sbd": sbd_files(), "xml": xml_files()}


def describe_archives(local, addresses=lambda name: ()):
    """Archives as the project knows them, with the checksums of small ones."""

    def small(archive):
        path = local / archive.file_name
        md5 = hashlib.md5(path.read_bytes()).hexdigest() if archive.md5 else None
        return replace(archive, addresses=addresses(archive.file_name), md5=md5)

    return {what: tuple(map(small, found)) for what, found in ARCHIVES.items()}


def pack_all(local, contents):
    for what, files in contents.items():
        pack(local / NAMES[what], files)
    return {"local": local, "archives": describe_archives(local), **COUNTS}


def file_hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LEDGER
    }


def check_built(folder, suffix="xml"):
    built = {name for name in file_hashes(folder) if not name.startswith("downloads/")}
    assert built == {
        *(f"JPEGImages/{image_id}.jpg" for image_id in [*TRAIN, *VOC_VAL]),
        *(f"SegmentationClassAug/{image_id}.png" for image_id in [*TRAIN, *VOC_VAL]),
        *(f"Scribbles/{image_id}.{suffix}" for image_id in TRAIN),
        "ImageSets/SegmentationAug/train.txt",
        "ImageSets/SegmentationAug/val.txt",
    }


def test_the_data_set_is_built_from_archives_of_a_folder(tmp_path, contents):
    folder, output = tmp_path / "data", tmp_path / "results" / "dataset.json"
    sources = pack_all(tmp_path / "archives", contents)
    before = file_hashes(tmp_path / "archives")
    dataset = make_scribblesup(folder, "scribblesup", output, **sources)
    assert read_dataset(output) == dataset
    assert (dataset.name, dataset.classes) == ("scribblesup", VOC_CLASSES)
    assert dataset.splits == {"train": tuple(TRAIN), "val": tuple(VOC_VAL)}
    check_built(folder)
    for image_id in [*TRAIN, *VOC_VAL]:
        jpeg = (folder / "JPEGImages" / f"{image_id}.jpg").read_bytes()
        assert jpeg == contents["voc"][f"{VOC}/JPEGImages/{image_id}.jpg"]
        source = "sbd" if image_id in WITHOUT_MASK_IN_VOC else "voc"
        path = folder / "SegmentationClassAug" / f"{image_id}.png"
        np.testing.assert_array_equal(read_label(path), mask_of(image_id, source))
        with Image.open(path) as mask:
            assert mask.mode == "P"
    for image_id in TRAIN:
        found = (folder / "Scribbles" / f"{image_id}.xml").read_bytes()
        assert found == annotation(image_id)
    assert file_hashes(tmp_path / "archives") == before
    # The second time it is only verified.
    again = make_scribblesup(folder, "scribblesup", output, archives={}, **COUNTS)
    assert again == dataset


def test_archives_are_downloaded_where_they_are_missing(site, tmp_path, contents):
    pack_all(tmp_path / "archives", contents)
    pack(tmp_path / "archives" / PNG, png_files())

    def addresses(name):
        content = (tmp_path / "archives" / name).read_bytes()
        return site.address(f"/dead/{name}"), site.serve(f"/{name}", content)

    archives = describe_archives(tmp_path / "archives", addresses)
    local = tmp_path / "some"
    local.mkdir()
    (tmp_path / "archives" / NAMES["voc"]).rename(local / NAMES["voc"])
    folder = tmp_path / "data"
    make_scribblesup(
        folder, "own", tmp_path / "dataset.json", local=local, archives=archives, **COUNTS
    )
    check_built(folder)
    assert sorted(path.name for path in (folder / "downloads").glob("[!.]*")) == sorted(
        [NAMES["sbd"], NAMES["xml"]]
    )
    assert [path for path, _ in site.requests] == [
        f"/{way}{NAMES[what]}" for what in ("sbd", "xml") for way in ("dead/", "")
    ]


def test_drawn_labels_serve_where_there_is_no_xml(site, tmp_path, contents):
    del contents["xml"]
    for what, files in contents.items():
        pack(tmp_path / "archives" / NAMES[what], files)
    pack(tmp_path / "elsewhere" / PNG, png_files())
    served = site.serve("/png", (tmp_path / "elsewhere" / PNG).read_bytes())
    archives = describe_archives(
        tmp_path / "archives",
        lambda name: (served if name == PNG else site.address("/dead"),),
    )
    folder = tmp_path / "data"
    options = {"local": tmp_path / "archives", "archives": archives, **COUNTS}
    make_scribblesup(folder, "own", tmp_path / "dataset.json", **options)
    check_built(folder, "png")
    # A file of one's own comes before any download.
    (tmp_path / "elsewhere" / PNG).rename(tmp_path / "archives" / PNG)
    site.requests.clear()
    make_scribblesup(tmp_path / "other", "own", tmp_path / "other.json", **options)
    check_built(tmp_path / "other", "png")
    assert site.requests == []


def test_all_that_cannot_be_had_is_told_in_one_message(site, tmp_path):
    archives = {
        what: tuple(
            replace(archive, addresses=(site.address(f"/{archive.file_name}"),))
            for archive in found
        )
        for what, found in ARCHIVES.items()
    }
    with pytest.raises(ValueError, match="could not be downloaded") as caught:
        make_scribblesup(tmp_path / "data", "own", tmp_path / "d.json", archives=archives)
    for name in (*NAMES.values(), PNG):
        assert f"{name}: could not be downloaded:\n  {site.address(f'/{name}')}: 404" in str(
            caught.value
        )
    assert file_hashes(tmp_path) == {}
    with pytest.raises(ValueError, match="nowhere: no such folder of archives"):
        make_scribblesup(tmp_path / "data", "own", tmp_path / "d.json", local=tmp_path / "nowhere")


def refused(tmp_path, contents, reason, **changed):
    """Build and be refused; nothing may be written, nothing lost."""
    folder = tmp_path / "data"
    (folder / "JPEGImages").mkdir(parents=True)
    (folder / "JPEGImages" / "own.jpg").write_bytes(b"my own")
    sources = pack_all(tmp_path / "archives", contents)
    before = file_hashes(tmp_path)
    with pytest.raises(ValueError, match=reason):
        make_scribblesup(folder, "own", tmp_path / "dataset.json", **{**sources, **changed})
    assert file_hashes(tmp_path) == before


@pytest.mark.parametrize(
    ("what", "name", "content", "reason"),
    [
        ("voc", "../../up.jpg", b"x", r"May-2012\.tar: refused.*leads out of its folder"),
        ("sbd", "/tmp/up.mat", b"x", r"benchmark\.tgz: refused.*absolute path"),
        ("xml", "a/../../up.xml", b"x", r"voc_scribbles\.zip: refused.*leads out"),
        ("xml", "copy/2007_1.xml", b"x", "voc_scribbles.zip: has two annotations of one image"),
        ("sbd", f"{SBD}/train.txt", b"../up\n", r"benchmark\.tgz: .*train\.txt: '../up' is not an"),
        ("voc", f"{VOC}/ImageSets/Segmentation/val.txt", b"\x80\x81", "these are other archives"),
        ("sbd", f"{SBD}/val.txt", b"2008_6\n", "4 training and 2 validation images, expected 5"),
    ],
)
def test_unsound_archives_change_nothing(tmp_path, contents, what, name, content, reason):
    contents[what][name] = content
    refused(tmp_path, contents, reason)


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("voc", f"{VOC}/ImageSets/Segmentation/train.txt"),
        ("voc", f"{VOC}/JPEGImages/2008_5.jpg"),
        ("sbd", f"{SBD}/val.txt"),
        ("sbd", f"{SBD}/cls/2008_6.mat"),
        ("xml", "2007_3.xml"),
    ],
)
def test_incomplete_archives_change_nothing(tmp_path, contents, what, name):
    del contents[what][name]
    refused(
        tmp_path,
        contents,
        rf"{NAMES[what]}: lacks 1 of the files that are needed, such as \['{name}'\]",
    )


def test_the_numbers_are_those_of_the_paper(tmp_path, contents):
    numbers = {"num_train": 10_582, "num_val": 1_449}
    refused(
        tmp_path,
        contents,
        "give 5 training and 2 validation images, expected 10582 and 1449; these are other",
        **numbers,
    )
    defaults = make_scribblesup.__kwdefaults__
    assert {name: defaults[name] for name in numbers} == numbers


def test_a_file_with_another_checksum_is_refused(tmp_path, contents):
    other = {"voc": (Archive(NAMES["voc"], (), "0" * 32, 10**9),)}
    refused(tmp_path, contents, r"May-2012\.tar: its MD5 is \w+, expected 0{32}.*", archives=other)


def test_a_truncated_archive_is_refused(tmp_path, contents):
    sources = pack_all(tmp_path / "archives", contents)
    path = tmp_path / "archives" / NAMES["xml"]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"voc_scribbles\.zip: damaged, cut short"):
        make_scribblesup(tmp_path / "data", "own", tmp_path / "dataset.json", **sources)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("number", [0, 3, 11, 15])
def test_a_stopped_build_starts_again(tmp_path, contents, monkeypatch, number):
    sources = pack_all(tmp_path / "archives", contents)
    folder, output = tmp_path / "data", tmp_path / "dataset.json"
    write = scribblesup._write
    left = iter(range(number))

    def stopping(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(scribblesup, "_write", stopping)
    with pytest.raises(KeyboardInterrupt):
        make_scribblesup(folder, "own", output, **sources)
    assert not (folder / "ImageSets").exists()
    assert not output.exists()
    monkeypatch.undo()
    make_scribblesup(folder, "own", output, **sources)
    check_built(folder)


def test_a_build_that_is_stopped_between_its_lists(tmp_path, contents, monkeypatch):
    sources = pack_all(tmp_path / "archives", contents)
    folder, output = tmp_path / "data", tmp_path / "dataset.json"
    write_text = scribblesup.write_text
    left = iter(range(1))

    def stopping(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        write_text(*arguments)

    monkeypatch.setattr(scribblesup, "write_text", stopping)
    with pytest.raises(KeyboardInterrupt):
        make_scribblesup(folder, "own", output, **sources)
    monkeypatch.undo()
    (folder / "JPEGImages" / "2007_1.jpg").unlink()  # to see that it is built again
    make_scribblesup(folder, "own", output, **sources)
    check_built(folder)


def test_a_broken_matlab_file_ends_in_a_message(tmp_path, contents):
    contents["sbd"][f"{SBD}/cls/2008_6.mat"] = b"MATLAB 5.0 MAT-file".ljust(300)
    sources = pack_all(tmp_path / "archives", contents)
    with pytest.raises(
        ValueError, match=r"benchmark\.tgz: .*2008_6\.mat: damaged, or not a MATLAB"
    ):
        make_scribblesup(tmp_path / "data", "own", tmp_path / "dataset.json", **sources)
    assert not (tmp_path / "data" / "ImageSets").exists()


@pytest.fixture
def built(tmp_path, contents):
    sources = pack_all(tmp_path / "archives", contents)
    make_scribblesup(tmp_path / "data", "own", tmp_path / "dataset.json", **sources)
    return tmp_path / "data"


def test_every_problem_of_a_copy_is_listed_in_one_message(built, tmp_path):
    lists = built / "ImageSets" / "SegmentationAug"
    (lists / "train.txt").write_text("\n".join([*TRAIN[:4], "../up"]))
    (lists / "val.txt").write_text("2007_2\n2007_4\n2008_7\n")
    (built / "JPEGImages" / "2007_1.jpg").unlink()
    write_label(built / "SegmentationClassAug" / "2007_3.png", np.zeros((3, 4), np.uint8))
    write_label(built / "SegmentationClassAug" / "2007_2.png", np.full((HEIGHT, WIDTH), 21, "u1"))
    (built / "Scribbles" / "2008_5.xml").unlink()
    (built / "Scribbles" / "2008_6.png").write_bytes(b"")
    before = file_hashes(tmp_path)
    with pytest.raises(ValueError, match="problems") as caught:
        make_scribblesup(built, "own", tmp_path / "dataset.json", archives={}, **COUNTS)
    message = str(caught.value)
    for problem in (
        "train.txt: 4 images, expected 5",
        "val.txt: 3 images, expected 2",
        "1 training images have no annotation (<id>.xml or <id>.png): 2008_5",
        "1 training images have two annotations (<id>.xml or <id>.png): 2008_6",
        "'../up' is not an image id",
        "in train.txt are of no image in JPEGImages: '2007_1'",
        "the mask is 4×3, its image 14×10 pixels",
        "unexpected label values [21]",
        f"delete {lists / 'train.txt'} to have it built again",
    ):
        assert message.count(problem) == 1, problem
    assert file_hashes(tmp_path) == before


def test_a_copy_without_strokes_is_no_data_set_of_scribbles(built, tmp_path):
    for path in (built / "Scribbles").glob("[!.]*"):
        path.unlink()
    before = file_hashes(tmp_path)
    with pytest.raises(ValueError, match="Scribbles: 5 training images have no annotation"):
        make_scribblesup(built, "own", tmp_path / "other.json", archives={}, **COUNTS)
    assert file_hashes(tmp_path) == before


def test_the_archives_are_known_by_several_addresses():
    for found in ARCHIVES.values():
        assert sum(len(archive.addresses) for archive in found) >= 2
        for archive in found:
            assert all(address.startswith(("http://", "https://")) for address in archive.addresses)
    assert len(VOC_CLASSES) == len(set(VOC_CLASSES)) == 21


@pytest.mark.parametrize("option", ["--from", "settings"])
def test_the_command(tmp_path, monkeypatch, option):
    calls = []
    monkeypatch.setattr(scribblesup, "make_scribblesup", lambda *a, **k: calls.append((a, k)))
    settings = {"path": str(tmp_path / "data")}
    arguments = ["dataset", "scribblesup", "--output", "out.json", "--name", "own"]
    if option == "settings":
        settings["archives"] = "old"
    else:
        arguments += ["--from", "old"]
    result = CliRunner().invoke(
        build_app("dataset"), [*arguments, "--settings", json.dumps(settings)]
    )
    assert result.exit_code == 0, result.output
    ((positional, keywords),) = calls
    assert [str(value) for value in positional] == [str(tmp_path / "data"), "own", "out.json"]
    assert str(keywords["local"]) == "old"
