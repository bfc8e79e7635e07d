"""What a name-only transfer would take."""

from dataclasses import replace

import pytest

from holdfast.commands.settings import TransferSettings
from holdfast.commands.transfer_cost import transfer_cost, transfer_drawing
from holdfast.commands.transfer_prepare import plan_transfer
from holdfast.data.folders import scan
from holdfast.models.clip import load_clip

WORDS = ["red thing", "green thing", "blue thing"]


@pytest.fixture
def common(clip_folder, diffusion_folder):
    return {
        "model": f"local-dir:{clip_folder}",
        "generator": str(diffusion_folder),
        "images": {"per_class": 4, "steps": 2},
        "device": "cpu",
        "replay": {"images": 50, "base": "pocket", "steps": 2},
        "train": {"batch_size": 5, "epochs": 7, "workers": 0, "replay_batch_size": 4},
    }


def cost_of(values, real=None):
    """{part: its number of units} of a run, and the cost."""
    settings = TransferSettings(WORDS, **values)
    plan = plan_transfer(settings)
    found = transfer_cost(plan, load_clip(settings.model, "", "cpu"), real)
    assert all(each.seconds_each > 0 for each in found.work)
    return {each.what: each.count for each in found.work}, found


def test_all_parts_are_counted(common, pictures):
    real = scan(pictures)
    parts, found = cost_of(common, real)
    # 12 images in batches of 5, seven times; 30 real ones under eleven alphas and the original.
    assert parts == {"training": 21, "evaluation": 30 * 12}
    assert found.drawing.images == 12
    parts, found = cost_of(common | {"method": {"ensemble": "auto"}})
    assert parts == {"training": 21, "choosing alpha": 24 * 6} and found.drawing.images == 36
    parts, found = cost_of(common | {"anchors": "alignment", "method": "finetune"}, real)
    assert parts == {"training": 21, "asking the original model": 50, "evaluation": 60}
    assert found.drawing.images == 12 + 50


def test_own_images_are_not_drawn(common, pictures):
    parts, found = cost_of(common | {"folder": pictures})
    assert parts == {"training": 6 * 7} and found.drawing is None
    parts, found = cost_of(common | {"folder": pictures, "anchors": "alignment"})
    assert parts["training"] == 42 and found.drawing.images == 50
    parts, _ = cost_of(common | {"folder": pictures, "method": {"ensemble": "auto"}})
    assert parts == {"training": 5 * 7, "choosing alpha": 6 * 6}
    filtered = common | {"folder": pictures, "images": {"clip_filter": 0.5, "steps": 2}}
    assert cost_of(filtered)[0] == {"training": 3 * 7}


def test_a_picture_of_each_drawing_can_be_kept(common, tmp_path):
    plan = plan_transfer(TransferSettings(WORDS, **common))
    example = tmp_path / "example.png"
    assert transfer_drawing(plan, example).images == 12
    assert example.stat().st_size > 0
    own = replace(plan, own=scan)
    assert transfer_drawing(own).images == 0
