"""Images with captions."""

import json

import numpy as np
import pytest
from PIL import Image

from holdfast.data.captions import read_pairs, scan_captions
from holdfast.data.folders import fingerprint
from holdfast.data.layouts import has_labels, look
from holdfast.data.streams import open_task
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import write_sealed
from holdfast.json_lines import append_lines


def paint(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def captioned(tmp_path):
    """Three images with captions, two of them alike but for the case."""
    root = tmp_path / "captions"
    rows = [("a.png", "A red barn."), ("b.png", "two  cats"), ("c.png", "a red barn.")]
    for name, _ in rows:
        paint(root / name)
    lines = (json.dumps({"file_name": name, "text": text}) for name, text in rows)
    (root / "metadata.jsonl").write_text("\n".join(lines))
    return root


def test_captions_are_classes_of_their_own(captioned):
    found = scan_captions(look(captioned).parts[""])
    assert found.classes.names == ("A red barn.", "two cats")
    assert found.labels == [0, 1, 0]
    task = open_task("stories", captioned)
    assert task.captions and task.training_prompts() == ["A red barn.", "two cats"]
    with pytest.raises(UsageError, match="captions, which are prompts themselves"):
        open_task("stories", captioned, "art of {}")


def test_captions_in_a_csv_or_beside_the_images(captioned):
    expected = read_pairs(captioned)
    (captioned / "metadata.jsonl").unlink()
    rows = "".join(f'{path.name},"{text}"\n' for path, text in expected)
    (captioned / "metadata.csv").write_text("file_name,caption\n" + rows)
    assert read_pairs(captioned) == expected
    (captioned / "metadata.csv").unlink()
    for path, text in expected:
        path.with_suffix(".txt").write_text(f"{text}\n")
    assert read_pairs(captioned) == expected


def test_captions_of_several_lines(captioned):
    elsewhere = paint(captioned / "more" / "elsewhere.png")
    (captioned / "metadata.jsonl").unlink()
    rows = 'file_name,text\na.png,"a red\nbarn"\nmore/elsewhere.png,two cats\n'
    (captioned / "metadata.csv").write_text(rows)
    assert [caption for _, caption in read_pairs(captioned)] == ["a red barn", "two cats"]
    found = scan_captions(look(captioned).parts[""])
    before = fingerprint(found)
    elsewhere.write_bytes(elsewhere.read_bytes() + b"more")
    assert fingerprint(found) != before
    line = json.dumps({"file_name": "a.png", "text": "red\u2028barn"}, ensure_ascii=False)
    (captioned / "metadata.jsonl").write_text(line, encoding="utf-8")
    assert read_pairs(captioned) == [(captioned / "a.png", "red barn")]


def test_what_is_wrong_with_captions_is_one_sentence(captioned):
    def problem(text, kind=UsageError):
        (captioned / "metadata.jsonl").write_text(text)
        with pytest.raises(kind) as caught:
            read_pairs(captioned)
        return str(caught.value)

    assert "Row 1 of" in problem('{"file_name": "a.png"}')
    assert "names" in problem('{"file_name": "z.png", "text": "z"}')
    assert "has no caption" in problem('{"file_name": "a.png", "text": " "}')
    assert "cannot be read as a table" in problem("no json")
    assert "names no images" in problem("", HoldfastError)
    (captioned / "metadata.jsonl").unlink()
    with pytest.raises(UsageError, match="has no captions"):
        read_pairs(captioned)
    with pytest.raises(UsageError, match="does not exist"):
        read_pairs(captioned / "nowhere")
    (captioned / "a.txt").write_text("one")
    with pytest.raises(UsageError, match=r"b\.png has no caption"):
        read_pairs(captioned)
    (captioned / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(HoldfastError, match=r"a\.txt cannot be read: it is not UTF-8 text"):
        read_pairs(captioned)


def captions_alone(folder):
    return not has_labels(look(folder).parts[""])


def test_a_folder_of_class_folders_has_no_captions(captioned, pictures):
    assert captions_alone(captioned) and not captions_alone(pictures)
    (captioned / "metadata.jsonl").unlink()
    assert not captions_alone(captioned)
    (captioned / "c.txt").write_text("a barn")
    assert captions_alone(captioned)  # some; reading them says which image lacks one
    (captioned / "c.txt").rename(captioned / "notes.txt")
    assert not captions_alone(captioned)


def test_the_prompts_of_generated_images_are_their_captions(tmp_path):
    """A folder that `holdfast generate` wrote, by hand."""
    folder = tmp_path / "images"
    (folder / "cat").mkdir(parents=True)
    (folder / "dog").mkdir()
    (folder / "classes.json").write_text('{"cat": "cat", "dog": "dog"}')
    write_sealed(
        tmp_path / "generation.json", {"counts": [1, 1], "classes": {"cat": "cat", "dog": "dog"}}
    )
    record = dict.fromkeys(("scheduler", "generator", "revision", "precision", "sha256"), "x")
    record |= dict.fromkeys(("index", "seed", "attempt", "steps", "width", "height"), 0)
    lines = []
    for name in ("dog", "cat"):
        path = paint(folder / name / "00000.png")
        mine = {"class_id": name, "name": name, "prompt": f"a {name}.", "guidance": 1.0}
        lines.append(record | mine)
        assert path.is_file()
    append_lines(tmp_path / "manifest.jsonl", lines)
    pairs = [(folder / name / "00000.png", f"a {name}.") for name in ("cat", "dog")]
    assert read_pairs(tmp_path) == pairs
