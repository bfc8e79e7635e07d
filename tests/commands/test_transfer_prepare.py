"""What a name-only transfer learns from, and what is refused before anything is spent."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from holdfast.anchors.weight_ensemble import WeightEnsemble
from holdfast.commands.settings import TransferSettings
from holdfast.commands.transfer_prepare import (
    SECOND_STYLE,
    cost,
    evenly_spaced,
    generation,
    hold_out,
    keep_agreeing,
    plan_transfer,
    training_images,
    with_lasting_paths,
)
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


def test_few_images_are_taken_from_all_classes(data):
    assert sorted(set(evenly_spaced(data, 6).labels)) == [0, 1, 2]
    assert len(evenly_spaced(data, 7)) == 7
    assert evenly_spaced(data, 30) is data and evenly_spaced(data, 99) is data


def test_the_filter_drops_what_looks_least_like_its_class():
    logits = torch.tensor([[5.0, 0], [0, 5], [4, 0], [3, 0], [0, 9], [0, 1]])
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    assert keep_agreeing(logits, labels, 0.25) == [0, 2, 3, 4, 5]
    assert keep_agreeing(logits, labels, 0.5) == [0, 2, 4]
    assert keep_agreeing(logits, labels, 0.99) == [0, 4]  # one image of each class stays


def test_only_what_is_asked_for_is_drawn(pictures):
    assert plan().draws and not plan().replays and not plan().holds_out
    assert not plan(folder=pictures).draws
    with_replay = plan(folder=pictures, anchors="alignment", replay={"base": "pocket"})
    assert with_replay.draws and with_replay.replays
    own = {"images": "task"}
    lwf_like = plan(
        folder=pictures,
        anchors=[{"name": "replay-distillation", **own}],
        replay={"base": "pocket"},
    )
    assert not lwf_like.draws and not lwf_like.replays
    assert not plan(folder=pictures, anchors="alignment", replay={"images": 0}).draws


def test_the_ensemble_says_whether_images_are_held_out_and_what_is_measured():
    assert plan().ensemble == WeightEnsemble()
    assert plan(method={"ensemble": "auto"}).holds_out
    assert plan(method="finetune").ensemble is None
    both = plan(method="finetune", anchors="weight-ensemble:alpha=0.3")
    assert both.ensemble == WeightEnsemble(0.3)
    assert both.models(0.3) == {"zero-shot": 0.0, "fine-tuned": 1.0, "ensemble": 0.3}
    assert plan(method="finetune").models(1.0) == {"zero-shot": 0.0, "fine-tuned": 1.0}
    assert plan(method="wise-ft").ensemble == WeightEnsemble(0.5)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"anchors": "teacher-embeddings"}, "'teacher-embeddings' needs a teacher's embeddings"),
        ({"anchors": "alignment,alignment"}, "An anchor is given twice"),
        ({"anchors": "consolidation"}, "The adaptive importance of the consolidation comes from"),
        (
            {"anchors": "alignment", "train": {"trainable": "head"}, "replay": {"base": "pocket"}},
            "'alignment' teaches the image tower, and --train.trainable head leaves it",
        ),
        (
            {"anchors": "alignment:train_towers=text", "replay": {"base": "pocket"}},
            "'alignment' has train_towers=text, and in name-only transfer only the image tower",
        ),
        ({"anchors": "alignment", "replay": {"base": "no.txt"}}, "no.txt"),
        ({"prompts": {"templates": "no place"}}, "no place"),
        ({"head_prompts": {"templates": "no place"}}, "no place"),
        ({"dry_run": True, "folder": "here"}, "a dry run has nothing to measure"),
        ({"folder": "nowhere"}, "'nowhere' does not exist"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_spent(values, sentence):
    with pytest.raises(UsageError, match=sentence):
        plan(**values)


def test_settings_hold_from_anywhere(pictures, tmp_path, monkeypatch):
    (tmp_path / "names.txt").write_text("\n".join(WORDS))
    (tmp_path / "base.txt").write_text("cat\ndog")
    (tmp_path / "data").symlink_to(pictures)
    monkeypatch.chdir(tmp_path)
    settings = TransferSettings(
        "names.txt",
        folder="data",
        evaluate="data",
        replay={"base": "base.txt", "cache": "cache"},
        anchors="alignment",
    )
    found = with_lasting_paths(plan_transfer(settings)).settings
    assert found.names == WORDS
    assert found.folder == found.evaluate == tmp_path / "data"
    assert found.replay.base == str(tmp_path / "base.txt")
    assert found.replay.cache == tmp_path / "cache"
    monkeypatch.chdir("/")
    assert with_lasting_paths(plan_transfer(found)).settings == found


def test_ids_that_cannot_be_spelt_out_are_left_to_their_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("names.json").write_text('{"n01": "cat", "n02": "dog"}')
    found = with_lasting_paths(plan_transfer(TransferSettings("names.json"))).settings
    assert found.names == [str(tmp_path / "names.json")]


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


def test_a_dry_run_counts_all_images(diffusion_folder, pictures):
    common = {
        "generator": str(diffusion_folder),
        "images": {"per_class": 4, "steps": 2},
        "device": "cpu",
        "dry_run": True,
        "replay": {"images": 50, "base": "pocket", "steps": 2},
    }
    counts = {
        "plain": (common, 12),
        "held out": (common | {"method": {"ensemble": "auto"}}, 12 + 24),
        "replayed": (common | {"anchors": "alignment"}, 12 + 50),
        "own and replayed": (common | {"anchors": "alignment", "folder": pictures}, 50),
    }
    for values, expected in counts.values():
        assert cost(plan(**values)).images == expected


def test_costs_add_up():
    both = Estimate(2, 3.0, 100.0) + Estimate(6, 1.0, 20.0)
    assert (both.images, both.seconds, both.bytes) == (8, 12.0, 320.0)
    assert replace(both, images=0) + Estimate(0, 0.0, 0.0) == Estimate(0, 0.0, 0.0)
