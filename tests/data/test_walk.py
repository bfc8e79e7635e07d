"""What a walk through folders finds, and what it leaves out."""

import pytest

from holdfast.data.walk import Walk, is_leftover


@pytest.mark.parametrize(
    ("name", "left"),
    [
        *((name, True) for name in ("@eaDir", "__MACOSX", ".git", "Thumbnails", "#recycle")),
        *(
            (name, True)
            for name in ("Thumbs.db", "SYNOPHOTO_THUMB_M.jpg", "._cat.jpg", "lost+found")
        ),
        *((name, False) for name in ("thumb", "cat", "macosx", "@home", "lost", "recycle")),
    ],
)
def test_what_other_programs_leave_behind(name, left):
    assert is_leftover(name) is left


def test_images_come_folder_by_folder_then_by_name(tmp_path):
    for name in ("b.PNG", "a/z.jpg", "a.png", "a/b/y.webp", "c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    walk = Walk(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in walk.images(tmp_path)]
    assert found == ["a.png", "b.PNG", "a/z.jpg", "a/b/y.webp"]
    assert walk.folders(tmp_path) == ["a"]
    assert walk.notes() == [f"{tmp_path}: files .txt (no format that is read here) left out: 1."]


def test_a_link_to_what_was_seen_is_read_once(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.png").write_bytes(b"x")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a" / "b")
    assert len(Walk(tmp_path).images(tmp_path / "a")) == 1


def test_names_that_are_no_text_are_found(tmp_path):
    (tmp_path / "a\udce9.png").write_bytes(b"x")
    assert Walk(tmp_path).images(tmp_path) == [tmp_path / "a\udce9.png"]
