"""Images that cannot be read cost a line each."""

import pytest
from PIL import Image

from holdfast.data import readable as module
from holdfast.data.folders import scan
from holdfast.data.readable import find_images, readable, unreadable_places
from holdfast.errors import HoldfastError, UsageError


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        for n in range(3):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (4, 4), (n, 0, 0)).save(tmp_path / name / f"{n}.png")
    return tmp_path


def test_images_that_cannot_be_read_are_left_out_with_the_reason(folder, caplog):
    (folder / "cat" / "1.png").write_bytes(b"no picture")
    (folder / "dog" / "gone.png").symlink_to(folder / "nowhere.png")
    data = readable(scan(folder))
    assert len(data) == 5 and data.labels == [0, 0, 1, 1, 1]
    assert data.unreadable == (
        f"{folder}/cat/1.png: it is none of JPEG, PNG, WEBP, BMP, TIFF, GIF, PPM, AVIF",
        f"{folder}/dog/gone.png: No such file or directory",
    )
    assert caplog.text.count("It is skipped.") == 2
    assert readable(data) is data


def test_an_image_is_decoded_once_until_it_changes(folder, monkeypatch):
    read = []

    def counted(path):
        read.append(path)
        return Image.open(path)

    monkeypatch.setattr(module, "read_image", counted)
    paths = scan(folder).paths
    assert unreadable_places(paths) == unreadable_places(paths) == {}
    assert sorted(read) == paths
    Image.new("RGB", (5, 5)).save(paths[0])
    assert unreadable_places(paths) == {} and read[6:] == [paths[0]]


def test_images_among_files_and_folders(folder, caplog):
    (folder / "cat" / "a.heic").write_bytes(b"x")
    one = folder / "dog" / "0.png"
    assert find_images([one, folder / "cat", one]) == [one, *scan(folder).paths[:3], one]
    assert "files .heic (read where pillow-heif is installed) left out: 1." in caplog.text
    with pytest.raises(UsageError, match="There is no image file or folder"):
        find_images([folder / "none"])
    (folder / "empty").mkdir()
    with pytest.raises(HoldfastError, match="There are no image files"):
        find_images([folder / "empty"])
