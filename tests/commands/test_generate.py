"""`holdfast generate` as users run it; what it draws is tested in tests/generation."""

import json

import pytest
from tests.test_cli import error_of

import holdfast
from holdfast.cli import main


@pytest.fixture
def options(diffusion_folder):
    return [
        *("--generator", diffusion_folder, "--steps", "2", "--per_class", "2"),
        *("--device", "cpu"),
    ]


def generate(options, *more):
    return main([str(word) for word in ("generate", "red thing", "blue thing", *options, *more)])


def test_class_names_become_images_with_a_manifest(options, tmp_path, capsys):
    assert generate(options, "--out", tmp_path / "a") == 0
    assert f"Images: {tmp_path / 'a'}" in capsys.readouterr().out
    lines = (tmp_path / "a" / "manifest.jsonl").read_text().splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    assert sorted(prompts) == 2 * ["a photo of a blue thing."] + 2 * ["a photo of a red thing."]
    assert len(list((tmp_path / "a" / "images").rglob("*.png"))) == 4


def test_python_does_the_same(diffusion_folder, options, tmp_path):
    generate(options, "--out", tmp_path / "a")
    found = holdfast.generate(
        ["red thing", "blue thing"],
        tmp_path / "b",
        generator=str(diffusion_folder),
        images={"steps": 2, "per_class": 2},
        device="cpu",
    )
    assert found == tmp_path / "b"
    for one in (tmp_path / "a" / "images").rglob("*.png"):
        other = found / one.relative_to(tmp_path / "a")
        assert one.read_bytes() == other.read_bytes()


def test_a_dry_run_says_what_it_would_cost_and_leaves_nothing(options, tmp_path, capsys):
    assert generate(options, "--out", tmp_path / "a", "--dry-run") == 0
    assert "4 images would take" in capsys.readouterr().out
    assert not (tmp_path / "a").exists()


def test_what_is_wrong_is_found_before_the_folder_is_made(options, tmp_path, capsys):
    out = ("--out", tmp_path / "a")
    for words, sentence in (
        (["generate", "one", *options], "only 'one'"),
        (["generate", "one", "One", *options], "given again as 'One'"),
        (["generate", "a", "b", *options, "--generator", tmp_path], "holds no diffusers pipeline"),
        (["generate", "a", "b", *options, "--prompts.templates", "a"], "{}"),
    ):
        code, line = error_of(capsys, *words, *out)
        assert code == 2 and sentence in line, line
    assert not (tmp_path / "a").exists()


def test_a_class_of_which_nothing_can_be_drawn_is_named(options, tmp_path, capsys, monkeypatch):
    import numpy as np

    from holdfast.generation import pipeline

    def draw(pipe, prompts, seeds, settings):
        picture = np.random.default_rng(0).random((8, 8, 3))
        return [picture * ("red" in prompt) for prompt in prompts]

    monkeypatch.setattr(pipeline.Pipeline, "draw", draw)
    _, message = error_of(
        capsys, "generate", "red thing", "blue thing", *map(str, options), "--out", str(tmp_path)
    )
    assert "No image of 'blue thing' could be drawn: missing.jsonl in" in message
    assert len(list((tmp_path / "images" / "red_thing").glob("*.png"))) == 2
    lines = [json.loads(line) for line in (tmp_path / "missing.jsonl").read_text().splitlines()]
    assert [(line["class_id"], line["index"], line["tries"]) for line in lines] == [
        ("blue_thing", 0, 6),
        ("blue_thing", 1, 6),
    ]
