"""Small images inside the page: formats, sizes, hard edges."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image
from tests.data.shards import shard

from holdfast.report.thumbnails import thumbnail


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_thumbnails(tmp_path: Path) -> None:
    for mode, size, color in (
        ("RGB", (32, 32), "red"),
        ("RGBA", (500, 250), (0, 0, 0, 0)),
        ("CMYK", (300, 300), 0),
        ("P", (40, 40), 0),
        ("I;16", (50, 50), 40000),
    ):
        suffix = "tif" if mode in ("CMYK", "I;16") else "png"
        path = tmp_path / f"{mode.replace(';', '')}.{suffix}"
        Image.new(mode, size, color).save(path)
        made = thumbnail(path)
        assert made is not None
        image = decoded(made.uri)
        assert image.mode == "RGB"
        assert max(image.size) <= 192
        assert made.crisp == (max(size) <= 64)
        assert made.uri.startswith("data:image/png" if made.crisp else "data:image/jpeg")
        pixel = image.getpixel((1, 1))
        if mode == "RGBA":
            assert pixel == (255, 255, 255)
        if mode == "I;16":
            assert pixel == (156, 156, 156)


def test_thumbnail_follows_the_camera(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (200, 100)).save(tmp_path / "turned.jpg", exif=exif)
    made = thumbnail(tmp_path / "turned.jpg")
    assert made is not None
    assert decoded(made.uri).size == (96, 192)


def test_tiny_images_are_enlarged_by_a_whole_number(tmp_path: Path) -> None:
    for size, shown in (((28, 28), (84, 84)), ((32, 16), (96, 48)), ((64, 64), (128, 128))):
        Image.new("RGB", size).save(tmp_path / "tiny.png")
        made = thumbnail(tmp_path / "tiny.png")
        assert made is not None and made.crisp
        assert (made.width, made.height) == shown
    Image.new("RGB", (200, 100)).save(tmp_path / "photo.png")
    made = thumbnail(tmp_path / "photo.png")
    assert made is not None and not made.crisp
    assert (made.width, made.height) == (96, 96)


def test_a_picture_in_an_archive(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    archive = shard(tmp_path / "b.tar", [{"png": (tmp_path / "a.png").read_bytes()}])
    found, plain = thumbnail(archive / "b-00000.png"), thumbnail(tmp_path / "a.png")
    assert found == plain and found is not None
    assert thumbnail(archive / "none.png") is None
    archive.write_bytes(b"no archive" * 100)
    assert thumbnail(archive / "b-00000.png") is None
