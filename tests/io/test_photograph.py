import numpy as np
import pytest
import tifffile
from PIL import Image

from cdsp.io.files import read_image
from cdsp.io.photograph import open_any_photograph, open_photograph
from cdsp.io.pixels import PixelFormat

RNG = np.random.default_rng(0)
SIXTEEN = RNG.integers(0, 65536, (20, 30), dtype=np.uint16)
DEEP = PixelFormat(1, "uint16", 0, (0.0,), (65535.0,), (0.5,), (0.3,))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1"])
@pytest.mark.parametrize("ending", ["tif", "png", "lzw.tif"])
def test_eight_bit_photographs_of_any_kind_are_rgb(tmp_path, mode, ending):
    path = tmp_path / f"photo.{ending}"
    noise = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)).convert(mode)
    if mode == "CMYK" and ending == "png":
        pytest.skip("PNG has no CMYK")
    noise.save(path, **({"compression": "tiff_lzw"} if ending == "lzw.tif" else {}))
    photograph = open_photograph(path)
    assert (photograph.size, photograph.channels, photograph.depth) == ((20, 30), 3, "uint8")
    np.testing.assert_array_equal(photograph.whole, read_image(path))
    np.testing.assert_array_equal(photograph.rows(3, 11), read_image(path)[3:11])


def test_a_photograph_that_lies_on_its_side_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for ending in ("tif", "jpg"):
        Image.new("RGB", (30, 20)).save(tmp_path / f"photo.{ending}", exif=exif)
        assert open_photograph(tmp_path / f"photo.{ending}").size == (30, 20)


def test_deep_photographs_keep_their_values(tmp_path):
    Image.fromarray(SIXTEEN).save(tmp_path / "deep.png")
    tifffile.imwrite(tmp_path / "deep.tif", SIXTEEN)
    for name in ("deep.png", "deep.tif"):
        found = open_any_photograph(tmp_path / name)
        assert (found.channels, found.depth) == (1, "uint16")
        np.testing.assert_array_equal(found.whole[..., 0], SIXTEEN)
        stretched = open_photograph(tmp_path / name, DEEP).rows(2, 5)
        np.testing.assert_allclose(stretched[..., 0], SIXTEEN[2:5] / 257, rtol=1e-5)
    for dtype in ("int16", "float16", "float64"):
        tifffile.imwrite(tmp_path / "other.tif", (SIXTEEN // 4).astype(dtype))
        found = open_any_photograph(tmp_path / "other.tif")
        assert (found.depth, found.whole.dtype) == ("float32", np.float32)


def test_a_fourth_channel_that_is_no_transparency_is_kept(tmp_path):
    values = RNG.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    for extra, channels in (("unspecified", 4), ("unassalpha", 3)):
        tifffile.imwrite(tmp_path / "four.tif", values, photometric="rgb", extrasamples=[extra])
        assert open_any_photograph(tmp_path / "four.tif").channels == channels


def test_a_page_is_chosen(tmp_path):
    stack = RNG.integers(0, 256, (3, 20, 30), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    found = open_any_photograph(tmp_path / "stack.tif", 2)
    assert (found.channels, found.depth) == (1, "uint8")
    np.testing.assert_array_equal(found.whole[..., 0], stack[2])
    with pytest.raises(ValueError, match=r"stack\.tif: has no page 3; its 3 pages are 0 to 2"):
        open_any_photograph(tmp_path / "stack.tif", 3)
    Image.new("RGB", (5, 5)).save(tmp_path / "photo.jpg")
    with pytest.raises(ValueError, match=r"photo\.jpg: has no page 1; a single page is in it"):
        open_any_photograph(tmp_path / "photo.jpg", 1)


def test_a_photograph_of_other_pixels_is_refused(tmp_path):
    Image.new("RGB", (5, 5)).save(tmp_path / "photo.jpg")
    tifffile.imwrite(tmp_path / "five.tif", np.zeros((8, 9, 5), np.uint16), planarconfig="contig")
    with pytest.raises(ValueError, match=r"photo\.jpg: 3 channels of uint8, expected 1 channel of"):
        open_photograph(tmp_path / "photo.jpg", DEEP)
    with pytest.raises(ValueError, match=r"five\.tif: 5 channels of uint16, expected 8-bit RGB"):
        open_photograph(tmp_path / "five.tif")
    with pytest.raises(ValueError, match=r"none\.tif: no such image"):
        open_photograph(tmp_path / "none.tif")
