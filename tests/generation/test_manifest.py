from dataclasses import asdict, replace

import pytest

from holdfast.errors import HoldfastError
from holdfast.files import write_sealed
from holdfast.generation.manifest import (
    GeneratedImage,
    is_generated,
    read_manifest,
    read_records,
)
from holdfast.json_lines import json_line
from holdfast.names import from_names

CLASSES = from_names(["cat", "F-16A/B"])
IMAGE = GeneratedImage(
    class_id="cat",
    name="cat",
    index=0,
    prompt="a cat.",
    seed=7,
    attempt=0,
    generator="tiny",
    revision="1",
    scheduler="DDIM",
    guidance=5.0,
    steps=2,
    width=32,
    height=32,
    precision="fp32",
    sha256="0",
)


def image(label, index, attempt=0):
    return replace(
        IMAGE,
        class_id=CLASSES.ids[label],
        name=CLASSES.names[label],
        index=index,
        attempt=attempt,
    )


def write(folder, images, counts):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    CLASSES.write(folder / "images")
    write_sealed(folder / "generation.json", {"counts": counts, "classes": CLASSES.to_json()})
    lines = (json_line(each.to_json()) for each in images)
    (folder / "manifest.jsonl").write_bytes(b"".join(lines))
    return folder


def test_a_line_holds_every_field_and_comes_back(tmp_path):
    write(tmp_path, [image(0, 0), image(1, 0, attempt=2)], [1, 1])
    assert image(0, 0).to_json() == asdict(image(0, 0))
    assert read_records(tmp_path) == [image(0, 0), image(1, 0, attempt=2)]
    assert is_generated(tmp_path) and not is_generated(tmp_path / "images")


def test_images_are_in_the_order_of_labels_and_then_of_their_index(tmp_path):
    drawn = [image(1, 0), image(0, 1, attempt=3), image(1, 1, attempt=1), image(0, 0)]
    found = read_manifest(write(tmp_path, drawn, [2, 2]))
    assert list(found.records) == [drawn[3], drawn[1], drawn[0], drawn[2]]
    assert found.labels == [0, 0, 1, 1] and found.redraws == 4
    assert found.paths[1] == tmp_path / "images" / "cat" / "00001.png"
    assert found.paths[2] == tmp_path / "images" / CLASSES.ids[1] / "00000.png"


def test_of_more_images_than_asked_for_the_first_count_and_of_a_line_that_comes_twice_the_last(
    tmp_path,
):
    again = replace(image(0, 0), sha256="1")
    drawn = [image(0, 0), image(0, 1), image(1, 0), again]
    assert read_manifest(write(tmp_path, drawn, [1, 1])).records == (again, image(1, 0))


def test_missing_images_are_counted(tmp_path):
    write(tmp_path, [image(0, 0)], [2, 2])
    with pytest.raises(HoldfastError, match="still lacks 3 of 4 images"):
        read_manifest(tmp_path)


def test_half_a_line_is_left_out(tmp_path):
    write(tmp_path, [image(0, 0), image(1, 0)], [1, 1])
    path = tmp_path / "manifest.jsonl"
    path.write_text(path.read_text()[:-5])
    assert read_records(tmp_path) == [image(0, 0)]


def test_a_manifest_of_another_version_is_one_sentence(tmp_path):
    write(tmp_path, [], [1, 1])
    (tmp_path / "manifest.jsonl").write_bytes(json_line({"file": "a.png"}))
    with pytest.raises(HoldfastError, match=r"manifest\.jsonl was written by another version"):
        read_manifest(tmp_path)
    write_sealed(tmp_path / "generation.json", {"counts": [1]})
    with pytest.raises(HoldfastError, match=r"generation\.json was written by another version"):
        read_manifest(tmp_path)
    for value in ({"per_class": 1}, {"counts": {}}, {"counts": ["1", 1]}, {"counts": 2}):
        write_sealed(tmp_path / "generation.json", value)
        with pytest.raises(HoldfastError, match=r"generation\.json is not as it should be"):
            read_manifest(tmp_path)


@pytest.mark.parametrize("change", [{"index": "0"}, {"seed": 1.5}, {"prompt": None}, {"steps": []}])
def test_a_line_with_other_types_is_one_sentence(tmp_path, change):
    write(tmp_path, [], [1, 1])
    (tmp_path / "manifest.jsonl").write_bytes(json_line(image(0, 0).to_json() | change))
    with pytest.raises(HoldfastError, match=r"manifest\.jsonl is not as it should be at \[0\]"):
        read_manifest(tmp_path)


def test_other_class_names_than_were_drawn_are_named(tmp_path):
    write(tmp_path, [image(0, 0), image(1, 0)], [1, 1])
    path = tmp_path / "images" / "classes.json"
    path.write_text(path.read_text().replace('"cat": "cat"', '"cat": "car"'))
    with pytest.raises(HoldfastError, match=r"classes\.json names other classes than were drawn"):
        read_manifest(tmp_path)
