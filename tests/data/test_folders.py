import json

import numpy as np
import pytest
from PIL import Image

from holdfast.data.folders import scan
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
