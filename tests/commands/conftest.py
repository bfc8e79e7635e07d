"""Tasks and models that the tests of commands share."""

import pytest
from tests.commands.streams import (
    COLOURS,
    SHADES,
    THINGS,
    paint,
    quick,
    run,
)


@pytest.fixture(scope="session")
def tasks(tmp_path_factory):
    """Two tasks of three classes with all splits, a stream of them, names for pre-training."""
    root = tmp_path_factory.mktemp("tasks")
    for name, classes in (("colours", COLOURS), ("shades", SHADES)):
        for seed, split in enumerate(("train", "val", "test")):
            paint(root / name / split, classes, 6, seed)
    (root / "names.txt").write_text("ant\nbee\ncow\n")
    (root / "stream.yaml").write_text("- colours\n- {folder: shades, learning_rate: 2e-3}\n")
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Replay images that the tests share, which saves most of their time."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def options(tasks, diffusion_folder, cache):
    return [*quick(tasks, diffusion_folder), "--replay.cache", cache]


@pytest.fixture
def model(clip_folder):
    return f"local-dir:{clip_folder}"


@pytest.fixture(scope="session")
def streamed(tasks, clip_folder, diffusion_folder, tmp_path_factory):
    """A run of the stream, for tests that only look at it."""
    out = tmp_path_factory.mktemp("streamed") / "run"
    model = ("--model", f"local-dir:{clip_folder}")
    assert run(tasks / "stream.yaml", *model, *quick(tasks, diffusion_folder), "--out", out) == 0
    return out


@pytest.fixture(scope="session")
def saved(clip_folder, tmp_path_factory):
    """The folder of a zero-shot classifier of the classes of `pictures`."""
    from holdfast.models.classifier import Classifier, text_head
    from holdfast.models.clip import load_clip

    clip = load_clip(f"local-dir:{clip_folder}", device="cpu")
    prompts = [[f"a photo of a {name}."] for name in THINGS.names]
    folder = tmp_path_factory.mktemp("classifier")
    Classifier(clip, text_head(clip, prompts), THINGS).save(folder)
    return folder
