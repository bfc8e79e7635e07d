from pathlib import Path

import pytest

from holdfast.places import (
    absolute_file,
    absolute_generators,
    absolute_model,
    absolute_path,
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to be in, with a file, two folders, and a home of its own."""
    (tmp_path / "weights.pt").write_text("")
    for name in ("one", "two, three", "pocket"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "one"))
    return tmp_path


def test_a_path_from_the_root(here):
    assert absolute_path("a/b") == here / "a" / "b"
    assert absolute_path(Path("~/b")) == here / "one" / "b"


def test_only_what_is_a_file_is_taken_for_one(here):
    assert absolute_file("weights.pt") == str(here / "weights.pt")
    assert [absolute_file(name) for name in ("", "openai", "one")] == ["", "openai", "one"]


def test_folders_and_files_of_models(here):
    assert absolute_model("local-dir:one") == f"local-dir:{here}/one"
    assert absolute_model("local-dir:~/x") == f"local-dir:{here}/one/x"
    assert absolute_model("file:answers") == f"file:{here}/answers"
    assert absolute_model("timm/some.tag") == "hf-hub:timm/some.tag"
    for name in ("ViT-B-16", "hf-hub:owner/name", "pocket", "one", "local-dir:", "http://host/v1"):
        assert absolute_model(name) == name


def test_folders_of_pipelines_in_a_list(here):
    assert absolute_generators("owner/name@v1, one") == f"owner/name@v1,{here}/one"
    assert absolute_generators("two, three") == f"{here}/two, three"
    assert absolute_generators("~") == f"{here}/one"
    for name in ("", "pocket", "pocket,owner/name"):  # the built-in one comes before a folder
        assert absolute_generators(name) == name
