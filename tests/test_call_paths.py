"""From a command to its loss in few steps, and as CONTRIBUTING says."""

import re
import shutil
import traceback
from pathlib import Path

import pytest
from tests.worlds import domain_tree, small_settings

import holdfast
from holdfast import losses
from holdfast.commands.distill import distill

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "holdfast"


def frames():
    """(file, function) of our frames above the caller, outermost first."""
    return [
        (str(Path(f.filename).relative_to(SOURCE).with_suffix("")), f.name)
        for f in traceback.extract_stack()
        if f.filename.startswith(str(SOURCE))
    ]


def documented(command):
    """The path that CONTRIBUTING has for a command, as (file, function)."""
    [row] = re.findall(
        rf"^\| `{command}` \| (.*) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.M
    )
    return [tuple(step.strip(" `").rsplit(".", 1)) for step in row.split("->")]


@pytest.fixture
def watched(monkeypatch):
    """The frames at the first call of a loss, by its name."""
    seen = {}

    def watch(name):
        loss = getattr(losses, name)

        def noted(*given, **options):
            seen.setdefault(name, frames())
            return loss(*given, **options)

        monkeypatch.setattr(losses, name, noted)

    for name in ("cross_entropy", "cosine_loss", "distillation_loss"):
        watch(name)
    return seen


def shown(path):
    """Without the public function, comprehensions and the check of a signature."""
    hidden = ("__init__", "settings/signatures")
    return [step for step in path if step[0] not in hidden and "<" not in step[1]]


def test_continual_add(watched, tmp_path, pictures, clip_folder, diffusion_folder):
    (tmp_path / "task").mkdir()
    shutil.copytree(pictures, tmp_path / "task" / "train")
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    holdfast.continual_add(
        f"local-dir:{clip_folder}",
        tmp_path / "task",
        tmp_path / "out",
        generator=str(diffusion_folder),
        replay={"images": 4, "steps": 1, "base": str(tmp_path / "names.txt")},
        train={"steps": 1, "batch_size": 2, "replay_batch_size": 2, "workers": 0},
        device="cpu",
    )
    path = shown(watched["distillation_loss"])
    assert [*path, ("losses", "distillation_loss")] == documented("continual add")
    assert len(path) + 1 <= 8 and len({file for file, _ in path} | {"losses"}) <= 4


def test_transfer(watched, tmp_path, pictures, clip_folder):
    holdfast.transfer(
        ["red thing", "green thing", "blue thing"],
        tmp_path / "out",
        model=f"local-dir:{clip_folder}",
        folder=pictures,
        train={"epochs": 1, "workers": 0},
        device="cpu",
    )
    path = shown(watched["cross_entropy"])
    assert [*path, ("losses", "cross_entropy")] == documented("transfer")


def test_distill(watched, tmp_path):
    tree = domain_tree(tmp_path / "data")
    distill(small_settings(tree, out=tmp_path / "run", store=tmp_path / "answers"))
    path = shown(watched["cosine_loss"])
    assert [*path, ("losses", "cosine_loss")] == documented("distill")
