import json
import struct

import numpy as np
import pytest
from PIL import Image

from holdfast.data.folders import UnreadableImage, read_image, scan, sendable
from holdfast.errors import HoldfastError, UsageError
from holdfast.names import from_names

RNG = np.random.default_rng(0)


def picture(width=8, height=6, bands=3):
    shape = (height, width, bands) if bands > 1 else (height, width)
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def save(path, colour=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = picture() if colour is None else np.full((4, 4, 3), colour, np.uint8)
    Image.fromarray(array).save(path, **options)
    return path


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
    with pytest.raises(UnreadableImage, match="10000 x 9000 pixels are too many"):
        read_image(tmp_path / "bomb.png")


def test_scan_sorts_and_labels_by_name(tmp_path):
    for name in ("b/2.png", "b/10.PNG", "b/a/9.jpg", "a_a/x.png", "b/.hid.png", "b/notes.txt"):
        save(tmp_path / name) if "notes" not in name else (tmp_path / name).write_text("x")
    save(tmp_path / "b" / ".ipynb_checkpoints" / "x.png")
    save(tmp_path / ".ipynb_checkpoints" / "x.png")
    data = scan(tmp_path)
    assert data.classes.names == ("a a", "b")
    found = [path.relative_to(tmp_path).as_posix() for path in data.paths]
    assert found == ["a_a/x.png", "b/10.PNG", "b/2.png", "b/a/9.jpg"]
    assert data.labels == [0, 1, 1, 1]
    swapped = scan(tmp_path, from_names(["c", "B", "A-a"]))
    assert swapped.labels == [2, 1, 1, 1]


def test_scan_uses_a_classes_file(tmp_path):
    save(tmp_path / "n01" / "x.png")
    save(tmp_path / "n02" / "x.png")
    (tmp_path / "classes.json").write_text(json.dumps({"n02": "tench", "n01": "F-16A/B"}))
    assert scan(tmp_path).classes.names == ("tench", "F-16A/B")
    assert scan(tmp_path).labels == [1, 0]
    assert scan(tmp_path, from_names(["F-16A/B", "tench"])).labels == [0, 1]


def test_links_are_followed_once(tmp_path):
    save(tmp_path / "store" / "x.png")
    root = tmp_path / "root"
    save(root / "a" / "y.png")
    save(root / "b" / "z.png")
    (root / "a" / "more").symlink_to(tmp_path / "store")
    (root / "a" / "loop").symlink_to(root / "a")
    assert len(scan(root)) == 3


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        scan(tmp_path / "none")
    with pytest.raises(HoldfastError, match="no class folders"):
        scan(tmp_path)
    save(tmp_path / "a" / "x.png")
    (tmp_path / "b").mkdir()
    with pytest.raises(HoldfastError, match="b has no image files"):
        scan(tmp_path)
    with pytest.raises(UsageError, match="No class is called like the folders 'a'"):
        scan(tmp_path, from_names(["x", "y"]))


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
