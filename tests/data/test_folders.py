import json
import os

import numpy as np
import pytest
from PIL import Image

from holdfast.data.folders import fingerprint, scan
from holdfast.data.layouts import Choice
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


def test_links_lead_out_of_a_folder_only_if_asked(tmp_path):
    """Else a picture of somebody's disk could be trained on, and sent to a remote teacher."""
    outside = save(tmp_path / "store" / "x.png")
    root = tmp_path / "root"
    save(root / "a" / "y.png")
    save(root / "b" / "z.png")
    (root / "a" / "more").symlink_to(tmp_path / "store")
    (root / "a" / "one.png").symlink_to(outside)
    (root / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "b" / "inside.png").symlink_to(root / "a" / "y.png")
    (root / "c").symlink_to(tmp_path / "store")
    found = scan(root)
    assert found.classes.names == ("a", "b") and len(found) == 3
    assert [n for n in found.notes if "outside" in n] == [
        f"{root}: links that lead outside of it (--links follow takes them) left out: 4."
    ]
    followed = scan(root, choice=Choice(links="follow"))
    assert followed.classes.names == ("a", "b", "c") and followed.labels == [0] * 4 + [1] * 2 + [2]
    assert not followed.notes
    (tmp_path / "link").symlink_to(root)  # the folder itself may be one
    assert len(scan(tmp_path / "link")) == 3


def test_links_upward_are_never_followed(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name / "x.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "all").symlink_to(tmp_path.parent)
    for links in ("inside", "follow"):
        found = scan(tmp_path, choice=Choice(links=links))
        assert found.labels == [0, 1] and found.classes.names == ("a", "b")
        assert f"{tmp_path}: links that lead upward left out: 3." in found.notes


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


def test_what_is_left_out_is_counted_by_kind(tmp_path):
    for name in ("cat", "dog"):
        save(tmp_path / name / "x.png")
        for junk in ("1.heic", "2.HEIC", "notes.txt", "Thumbs.db", ".DS_Store", "._x.png"):
            (tmp_path / name / junk).write_bytes(b"x")
        save(tmp_path / name / "@eaDir" / "SYNOPHOTO_THUMB_M.png")
        save(tmp_path / name / "SYNOFILE_THUMB_XL.png")
    for folder in ("__MACOSX", "@eaDir", "thumbnails", "#recycle"):
        save(tmp_path / folder / "x.png")
    save(tmp_path / "loose.png")
    found = scan(tmp_path)
    assert found.classes.names == ("cat", "dog") and len(found) == 2
    assert sorted(note.removeprefix(f"{tmp_path}: ") for note in found.notes) == [
        "files .heic (read where pillow-heif is installed) left out: 4.",
        "files .txt (no format that is read here) left out: 2.",
        "folders #recycle (another program's) left out: 1.",
        "folders @eaDir (another program's) left out: 3.",
        "folders __MACOSX (another program's) left out: 1.",
        "folders thumbnails (another program's) left out: 1.",
        "hidden images and thumbnails left out: 4.",
        "images beside the class folders left out: 1.",
    ]


def test_names_of_folders_become_words_and_that_is_said(tmp_path, caplog):
    for name in ("001.Black_footed_Albatross", "002.Crow"):
        save(tmp_path / name / "x.png")
    found = scan(tmp_path)
    assert found.classes.names == ("Black footed Albatross", "Crow")
    assert found.classes.ids == ("001.Black_footed_Albatross", "002.Crow")
    assert (
        "as 'Black footed Albatross' of '001.Black_footed_Albatross'; --class_names" in caplog.text
    )
    exact = scan(tmp_path, choice=Choice(class_names="exact"))
    assert exact.classes.names == ("001.Black_footed_Albatross", "002.Crow") and not exact.notes
    given = scan(tmp_path, from_names(["crow", "black-footed albatross", "owl"]))
    assert given.labels == [1, 0] and not given.notes


def test_classes_are_picked(tmp_path):
    for name in ("cat", "dog", "cow"):
        save(tmp_path / name / "x.png")
    (tmp_path / "empty").mkdir()
    found = scan(tmp_path, choice=Choice(classes=["cow,dog"]))
    assert found.classes.names == ("cow", "dog") and found.labels == [0, 1]
    given = scan(tmp_path, from_names(["dog", "cat"]), Choice(classes=["-cow", "-empty"]))
    assert given.labels == [1, 0] and len(given.classes) == 2


def test_a_folder_around_the_class_folders_is_named(tmp_path):
    for name in ("cat", "dog"):
        save(tmp_path / "PetImages" / name / "x.png")
    with pytest.raises(UsageError, match=r"holds one folder only, .* give .*/PetImages\.$"):
        scan(tmp_path)


def test_every_byte_and_label_counts(tmp_path):
    for name in ("cat", "dog"):
        save(tmp_path / name / "x.bmp", colour=1)
    before = fingerprint(scan(tmp_path))
    assert fingerprint(scan(tmp_path)) == before
    save(tmp_path / "cat" / "x.bmp", colour=2)  # of the same size
    after = fingerprint(scan(tmp_path))
    assert after != before
    (tmp_path / "cat").rename(tmp_path / "eel")
    assert fingerprint(scan(tmp_path)) != after
    (tmp_path / "dog" / "x.bmp").rename(tmp_path / "dog" / os.fsdecode(b"caf\xe9.bmp"))
    assert len(fingerprint(scan(tmp_path))) == 64
