"""What a name-only transfer learns from."""

from dataclasses import replace

import pytest
import torch

from holdfast.commands.settings import TransferSettings
from holdfast.commands.transfer_images import (
    SECOND_STYLE,
    generation,
    hold_out,
    keep_agreeing,
    training_images,
)
from holdfast.commands.transfer_prepare import plan_transfer
from holdfast.data.folders import scan
from holdfast.errors import UsageError
from holdfast.generation import Estimate, read_manifest
from holdfast.names import from_names

WORDS = ["red thing", "green thing", "blue thing"]


@pytest.fixture
def data(pictures):
    return scan(pictures, from_names(WORDS))


def plan(**values):
    return plan_transfer(TransferSettings(WORDS, **values))


def test_a_fifth_is_held_out_of_each_class(data):
    train, held = hold_out(data)
    assert len(train) == 24 and len(held) == 6
    assert not set(train.paths) & set(held.paths)
    assert sorted(held.labels) == [0, 0, 1, 1, 2, 2]
    with pytest.raises(UsageError, match="fewer than 50"):
        hold_out(data, every=50)


def test_the_filter_drops_what_looks_least_like_its_class():
    logits = torch.tensor([[5.0, 0], [0, 5], [4, 0], [3, 0], [0, 9], [0, 1]])
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    assert keep_agreeing(logits, labels, 0.25) == [0, 2, 3, 4, 5]
    assert keep_agreeing(logits, labels, 0.5) == [0, 2, 4]
    assert keep_agreeing(logits, labels, 0.99) == [0, 4]  # one image of each class stays


def test_held_out_images_are_asked_for_in_other_words_and_from_other_seeds(
    diffusion_folder, tmp_path
):
    settings = {
        "generator": str(diffusion_folder),
        "images": {"per_class": 2, "steps": 2},
        "device": "cpu",
        "prompts": {"templates": SECOND_STYLE[0]},
    }
    images, held = training_images(plan(**settings, method={"ensemble": "auto"}), tmp_path)
    assert (len(images), len(held)) == (6, 24)
    asked = {record.prompt for record in read_manifest(held.root).records}
    assert {prompt.replace("red thing", "{}") for prompt in asked if "red" in prompt} == {
        *SECOND_STYLE[1:]
    }
    seeds = [{r.seed for r in read_manifest(data.root).records} for data in (images, held)]
    assert not seeds[0] & seeds[1]
    again, none = training_images(plan(**settings), tmp_path / "b")
    assert none is None and len(again) == 6


def test_own_images_are_held_out_of_themselves(pictures, tmp_path):
    images, held = training_images(plan(folder=pictures, method={"ensemble": "auto"}), tmp_path)
    assert (len(images), len(held)) == (24, 6) and not list(tmp_path.iterdir())


def test_the_settings_of_generation_are_those_of_the_run(tmp_path):
    settings = TransferSettings(
        WORDS, generator="pocket", seed=3, images={"steps": 7}, prompts={"templates": "a {}"}
    )
    found = generation(settings, tmp_path)
    for name in ("names", "generator", "seed", "images", "prompts", "device", "dry_run"):
        assert getattr(found, name) == getattr(settings, name)
    assert found.out == tmp_path


def test_costs_add_up():
    both = Estimate(2, 3.0, 100.0) + Estimate(6, 1.0, 20.0)
    assert (both.images, both.seconds, both.bytes) == (8, 12.0, 320.0)
    assert replace(both, images=0) + Estimate(0, 0.0, 0.0) == Estimate(0, 0.0, 0.0)
