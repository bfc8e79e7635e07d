import struct
import sys
import types

import numpy as np
import pytest
from PIL import Image

from holdfast.data import pictures
from holdfast.data.pictures import UnreadableImage, read_image, sendable

RNG = np.random.default_rng(0)


def picture(width=8, height=6, bands=3):
    shape = (height, width, bands) if bands > 1 else (height, width)
    return RNG.integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp", "tiff"])
def test_lossless_formats_give_their_pixels(tmp_path, suffix):
    pixels = picture()
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(np.asarray(read_image(path)), pixels)


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode in ("YCbCr", "CMYK") else "a.png")
    Image.fromarray(np.full((8, 8, 3), 204, np.uint8)).convert(mode).save(path)
    image = read_image(path)
    assert image.mode == "RGB"
    if mode != "1":  # one bit is dithered
        assert np.abs(np.asarray(image).astype(int) - 204).max() <= 6


def test_camera_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    image = read_image(tmp_path / "a.jpg")
    assert image.size == (16, 32)
    assert image.getpixel((8, 2)) == (255, 255, 255)
    broken = b"Exif\x00\x00II*\x00" + struct.pack("<I", 99999)
    Image.fromarray(pixels).save(tmp_path / "b.jpg", exif=broken)
    assert read_image(tmp_path / "b.jpg").size == (32, 16)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_scaled(tmp_path, suffix):
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    assert np.asarray(read_image(tmp_path / f"a.{suffix}"))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_pixels_without_a_known_range_are_refused(tmp_path):
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "a.tiff")
    Image.fromarray(np.full((2, 2), 10**6, np.int32)).save(tmp_path / "b.tiff")
    for name in ("a.tiff", "b.tiff"):
        with pytest.raises(UnreadableImage, match="no known range"):
            read_image(tmp_path / name)


def test_transparency_lies_on_white(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = (0, 255, 51)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.asarray(read_image(tmp_path / "a.png"))[0, :, 0].tolist() == [255, 0, 204]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.save(tmp_path / "b.gif", transparency=0)
    assert np.asarray(read_image(tmp_path / "b.gif"))[0, :, 0].tolist() == [255, 9]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff"])
def test_files_cut_short_are_found(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture(64, 64)).save(path)
    data = path.read_bytes()
    for share in (0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(UnreadableImage, match=f"Cannot read the image .*a.{suffix}: "):
            read_image(path)


def test_what_is_no_image_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    with pytest.raises(UnreadableImage, match="it is none of JPEG"):
        read_image(path)
    path.write_bytes(b"")
    with pytest.raises(UnreadableImage):
        read_image(path)
    with pytest.raises(UnreadableImage, match="No such file"):
        read_image(tmp_path / "none.png")
    Image.new("1", (10000, 9000)).save(tmp_path / "bomb.png")
    with pytest.raises(UnreadableImage, match="10000 x 9000 pixels are more than 67,108,864"):
        read_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_plain_picture_can_be_sent_as_it_is(kind, tmp_path):
    path = tmp_path / f"a.{kind.lower()}"
    Image.new("RGB", (9, 7), "red").save(path)
    assert sendable(path) == (f"image/{kind.lower()}", path.read_bytes())


def test_what_readers_see_differently_is_not_sent_as_it_is(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (9, 7)).save(tmp_path / "turned.jpg", exif=turned)
    Image.new("RGBA", (9, 7)).save(tmp_path / "clear.png")
    Image.new("CMYK", (9, 7)).save(tmp_path / "print.jpg")
    Image.new("RGB", (9, 7)).save(tmp_path / "a.bmp")
    assert [sendable(path) for path in sorted(tmp_path.iterdir())] == [None] * 4


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_file_and_what_pillow_opened_from_it_are_the_same_picture(tmp_path, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    pixels = picture(16, 8)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    upright = {1: pixels, 3: pixels[::-1, ::-1], 6: np.rot90(pixels, -1), 8: np.rot90(pixels)}
    opened = Image.open(tmp_path / "a.png")
    found = np.asarray(read_image(tmp_path / "a.png"))
    assert np.array_equal(np.asarray(read_image(opened)), found)
    assert np.array_equal(found, upright.get(turn, found))
    assert opened.getexif()[0x0112] == turn and opened.size == (16, 8)  # the user's stays
    assert np.array_equal(np.asarray(read_image(str(tmp_path / "a.png"))), found)


def test_pictures_of_pillow_are_read_as_files_are(tmp_path):
    for values in (picture(bands=1).astype(np.uint16) * 257, picture(bands=4)):
        Image.fromarray(values).save(tmp_path / "a.png")
        found = np.asarray(read_image(tmp_path / "a.png"))
        assert np.array_equal(np.asarray(read_image(Image.fromarray(values))), found)
    Image.fromarray(picture(64, 64)).save(tmp_path / "b.png")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableImage, match=r"b\.png"):
        read_image(Image.open(tmp_path / "b.png"))
    with pytest.raises(UnreadableImage, match=r"in memory.*no known range"):
        read_image(Image.fromarray(np.ones((2, 2), np.float32)))


@pytest.mark.parametrize("suffix", ["ppm", "pgm", "avif"])
def test_formats_of_data_sets_and_phones(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("L" if suffix == "pgm" else "RGB", (8, 8), 204 if suffix == "pgm" else "red").save(
        path
    )
    assert read_image(path).size == (8, 8) and path.suffix in pictures.suffixes()


def test_heic_is_read_where_there_is_a_reader(monkeypatch):
    def clear():
        pictures.formats.cache_clear()
        pictures.suffixes.cache_clear()

    assert ".heic" not in pictures.suffixes()
    module = types.ModuleType("pillow_heif")
    module.__spec__ = types.SimpleNamespace()
    module.register_heif_opener = lambda: monkeypatch.setitem(Image.OPEN, "HEIF", (None, None))
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    clear()
    assert ".heic" in pictures.suffixes() and "HEIF" in pictures.formats()
    monkeypatch.undo()
    clear()
    assert ".heic" not in pictures.suffixes()
