import numpy as np
import pytest
import tifffile
from PIL import Image

from cdsp.io.tiff import TiffImage, write_map_tiff

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (100, 70, 3), dtype=np.uint8)
FIVE = RNG.integers(0, 60000, (100, 70, 5), dtype=np.uint16)
FLOATS = RNG.random((100, 70, 2)).astype(np.float32)
STACK = RNG.integers(0, 60000, (4, 3, 40, 50), dtype=np.uint16)

KEPT = {
    "one strip": (COLOURS, {"photometric": "rgb"}),
    "strips": (COLOURS, {"photometric": "rgb", "rowsperstrip": 17}),
    "compressed strips": (
        COLOURS,
        {"photometric": "rgb", "rowsperstrip": 32, "compression": "zlib", "predictor": True},
    ),
    "tiles": (COLOURS, {"photometric": "rgb", "tile": (48, 32)}),
    "compressed tiles": (FIVE, {"tile": (32, 48), "compression": "zlib"}),
    "planes": (FIVE, {"planarconfig": "separate"}),
    "planes in tiles": (FIVE, {"planarconfig": "separate", "tile": (48, 32)}),
    "floats": (FLOATS, {}),
    "big-endian": (FIVE, {"byteorder": ">"}),
    "big-endian tiles": (FLOATS, {"byteorder": ">", "tile": (16, 16)}),
    "one channel": (FIVE[..., :1], {}),
}


@pytest.mark.parametrize("kept", KEPT)
def test_rows_are_those_of_the_image(tmp_path, kept):
    values, options = KEPT[kept]
    options = {"photometric": "minisblack", **options}
    written = np.moveaxis(values, -1, 0) if "planarconfig" in options else values
    if "planarconfig" not in options:
        options["planarconfig"] = "contig"
    tifffile.imwrite(tmp_path / "image.tif", written.squeeze(), **options)
    image = TiffImage(tmp_path / "image.tif")
    assert (image.shape, image.dtype) == (values.shape, values.dtype)
    for start, stop in ((0, 100), (0, 1), (13, 50), (47, 49), (99, 100)):
        np.testing.assert_array_equal(image.rows(start, stop), values[start:stop])


@pytest.mark.parametrize("ending", ["imagej.tif", "stack.ome.tif"])
def test_pages_that_are_channels_belong_to_one_image(tmp_path, ending):
    imagej = {"imagej": True} if ending == "imagej.tif" else {"photometric": "minisblack"}
    tifffile.imwrite(tmp_path / ending, STACK, metadata={"axes": "ZCYX"}, **imagej)
    for page in range(4):
        image = TiffImage(tmp_path / ending, page)
        assert (image.shape, image.num_pages) == ((40, 50, 3), 4)
        np.testing.assert_array_equal(image.rows(5, 40), np.moveaxis(STACK[page], 0, -1)[5:])


def test_other_pages_are_images_of_their_own(tmp_path):
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        for page in range(3):
            file.write(STACK[page, 0, : 20 + page], photometric="minisblack", metadata=None)
    for page in range(3):
        image = TiffImage(tmp_path / "pages.tif", page)
        np.testing.assert_array_equal(image.rows(3, 20)[..., 0], STACK[page, 0, 3:20])
    with pytest.raises(ValueError, match=r"pages\.tif: has no page 3; its 3 pages are 0 to 2"):
        TiffImage(tmp_path / "pages.tif", 3)


def test_a_file_that_is_no_whole_tiff_is_told(tmp_path):
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.tif: not a readable TIFF"):
        TiffImage(tmp_path / "text.tif")
    for name, options in {"plain": {}, "tiles": {"tile": (16, 16), "compression": "zlib"}}.items():
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, COLOURS, photometric="rgb", **options)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=rf"{name}\.tif: (cut short|not a readable TIFF)"):
            TiffImage(path).rows(0, 100)
    Image.fromarray(COLOURS).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    with pytest.raises(ValueError, match=r"LZW.*save it without compression, or with deflate"):
        TiffImage(tmp_path / "lzw.tif").rows(0, 1)


def test_large_maps_are_written_tile_by_tile(tmp_path):
    values = RNG.integers(0, 5, (600, 300), dtype=np.uint8)
    palette = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
    write_map_tiff(tmp_path / "label.tif", values, palette)
    with Image.open(tmp_path / "label.tif") as file:
        np.testing.assert_array_equal(np.array(file), values)
        assert file.getpalette() == palette.ravel().tolist()
    write_map_tiff(tmp_path / "grey.tif", values)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "grey.tif"), values)
