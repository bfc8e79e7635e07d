"""Tables of images, and samples in archives."""

import json

import numpy as np
import pytest
from PIL import Image
from tests.data.shards import shard

from holdfast.data.tables import find_rows, names_of_numbers, read_table
from holdfast.errors import HoldfastError, UsageError


def paint(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder with three images, and one beside it."""
    for name in ("a.png", "b.png", "more/c.png"):
        paint(tmp_path / "data" / name)
    paint(tmp_path / "outside.png")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "file_name,label\na.png,cat\nmore/c.png,dog\n"),
        ("metadata.csv", "\ufeffImage;Class\r\na.png;cat\r\nmore\\c.png;dog\r\n"),
        ("labels.csv", 'path\tcategory\n"a.png"\tcat\nmore/c.png\tdog'),
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "label": "cat"}\n\n{"file_name": "more/c.png", '
            '"label": " dog "}',
        ),
    ],
)
def test_tables_of_labels(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8", newline="")
    rows = find_rows(folder)
    assert [(str(row.path.relative_to(folder)), row.label) for row in rows] == [
        ("a.png", "cat"),
        ("more/c.png", "dog"),
    ]
    assert rows == find_rows(folder / name)


@pytest.mark.parametrize(
    "place",
    [
        "/etc/hostname",
        "../outside.png",
        "more/../../outside.png",
        "C:\\secret.png",
        "..\\outside.png",
    ],
)
def test_a_table_names_nothing_outside_of_its_folder(folder, place):
    """A stranger's table could name any picture of the disk, which a remote teacher would see."""
    rows = [{"file_name": "a.png", "label": "x"}, {"file_name": place, "label": "x"}]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UsageError, match=r"Row 2 of .*, which lies outside of .*/data; move"):
        find_rows(folder)


def test_a_table_names_no_link_that_leads_outside(folder):
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    (folder / "inner.png").symlink_to(folder / "a.png")
    (folder / "metadata.csv").write_text("file_name,label\ninner.png,x\nlink.png,x\n")
    with pytest.raises(UsageError, match=r"Row 2 .* link\.png, a link that leads out"):
        find_rows(folder)
    assert len(find_rows(folder, follow=True)) == 2


def test_captions_beside_images_are_those_of_the_folder(folder):
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    for name in ("a", "link"):
        (folder / f"{name}.txt").write_text(f"the {name}\n")
    rows = [(row.path.name, row.caption) for row in find_rows(folder)]
    assert rows == [("a.png", "the a"), ("b.png", "")]
    assert [row.path.name for row in find_rows(folder, follow=True)][2:] == ["link.png"]


def test_images_that_do_not_exist_cost_a_line_each(folder, caplog):
    gone = "".join(f"{n}.png,x\n" for n in range(5))
    (folder / "metadata.csv").write_text(f"file_name,label\n{gone}a.png,cat\n")
    assert [row.label for row in find_rows(folder)] == ["cat"]
    assert caplog.text.count("which does not exist; it is skipped") == 3
    assert "5 files do not exist in all" in caplog.text
    (folder / "metadata.csv").write_text(f"file_name,label\n{gone}")
    with pytest.raises(UsageError, match=r"Row 1 of .* names .*0\.png, which does not exist"):
        find_rows(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_name,label\n", "names no images"),
        ("", "names no images"),
        ("a.png,cat\nb.png,dog\n", "Row 1 of .* must have file_name, and label or text"),
        ("file_name\na.png\n", "Row 1 of .* must have file_name, and label or text"),
        ("file_name,label\na.png,cat\nb.png\n", "Row 2 of .* must have"),
        ("file_name,label\n,cat\n", "Row 1 of .* must have"),
        ('file_name,label\na.png,"' + "x" * 200_000 + '"\n', "cannot be read as a table"),
        ("file_name,label\na.png,caf\udce9\n", "not UTF-8 text"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_sentence(folder, text, message):
    (folder / "t.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(HoldfastError, match=message):
        read_table(folder / "t.csv")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "Row 1 of .* must have"),
        ("{", "cannot be read as a table"),
        ("[" * 100_000, "cannot be read as a table"),
        ('{"file_name": "a.png", "label": ["x"]}', r"\['x'\] stands for a text or a number"),
        ('{"file_name": "a.png", "label": true}', "True stands for a text"),
    ],
)
def test_what_is_wrong_with_a_line_is_one_sentence(folder, line, message):
    (folder / "metadata.jsonl").write_text(line)
    with pytest.raises(UsageError, match=message):
        find_rows(folder)


def test_numbers_stand_for_names(folder):
    (folder / "metadata.jsonl").write_text('{"file_name": "a.png", "label": 1}')
    assert find_rows(folder)[0].label == "1"
    assert names_of_numbers(["0", "1"], folder) == ["0", "1"]
    (folder.parent / "classnames.txt").write_text("cat\n\ndog\n")
    assert names_of_numbers(["0", "1"], folder) == ["cat", "dog"]
    assert names_of_numbers(["0", "x"], folder) == ["0", "x"]
    (folder / "classes.json").write_text('["red", "blue"]')
    assert names_of_numbers(["1"], folder) == ["blue"]  # the nearer one
    (folder / "classes.json").write_text('{"a": "red", "b": "blue"}')
    assert names_of_numbers(["1"], folder) == ["blue"]
    with pytest.raises(UsageError, match="has 2 names, and there is a class 7"):
        names_of_numbers(["7"], folder)
    (folder / "classes.json").write_text("[1]")
    with pytest.raises(UsageError, match="must be a list of class names"):
        names_of_numbers(["0"], folder)


def test_samples_of_archives(tmp_path):
    png = paint(tmp_path / "x.png").read_bytes()
    shard(
        tmp_path / "a.tar",
        [
            {"png": png, "cls": "cat\n"},
            {"jpg": png, "json": '{"label": 3, "caption": "a dog"}', "other": "x"},
            {"webp": png, "txt": "two\ncats"},
            {"cls": "alone"},
        ],
    )
    rows = find_rows(tmp_path)
    assert [(row.path.name, row.label, row.caption) for row in rows] == [
        ("a-00000.png", "cat", None),
        ("a-00001.jpg", "3", "a dog"),
        ("a-00002.webp", None, "two cats"),
    ]
    for sample, message in (
        ({"png": png, "json": "{"}, r"a-00000\.json is no JSON"),
        ({"png": png, "cls": b"\xff"}, r"a-00000\.cls cannot be read: it is not UTF-8"),
        ({"cls": "x"}, "holds no pictures"),
    ):
        shard(tmp_path / "a.tar", [sample])
        with pytest.raises(HoldfastError, match=message):
            find_rows(tmp_path)


def test_a_compressed_archive_is_refused(tmp_path):
    for name in ("a.tar.gz", "b.zip"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UsageError, match="is compressed; unpack it"):
            find_rows(tmp_path)
        (tmp_path / name).unlink()
    assert find_rows(tmp_path) is None
