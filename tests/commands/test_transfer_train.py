"""The training of a name-only transfer: what it looks back to, and how alpha is chosen."""

import pytest
import torch
from tests.tiny import embed

from holdfast.anchors.weight_ensemble import CANDIDATES, AlphaChoice, choose_alpha
from holdfast.commands.settings import TransferSettings
from holdfast.commands.transfer_prepare import plan_transfer
from holdfast.commands.transfer_train import choose, merging, train, transfer_memory
from holdfast.data.folders import scan
from holdfast.learners import HeadLearner
from holdfast.models.classifier import Classifier, text_head
from holdfast.models.clip import load_clip
from holdfast.models.text import encode_text
from holdfast.runs import Run
from holdfast.weights import interpolate

WORDS = ["red thing", "green thing", "blue thing"]


@pytest.fixture
def clip(clip_folder):
    return load_clip(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture
def setting(clip, pictures, tmp_path):
    """A function: settings -> (plan, classifier, images)."""
    (tmp_path / "base.txt").write_text("cat\ndog")

    def make(**values):
        common = {
            "train": {"epochs": 1, "batch_size": 10, "workers": 0, "learning_rate": 1e-3},
            "replay": {"images": 8, "base": str(tmp_path / "base.txt"), "steps": 2},
            "device": "cpu",
            "out": tmp_path / "run",
        }
        plan = plan_transfer(TransferSettings(WORDS, **common | values))
        head = text_head(clip, [[f"a {name}"] for name in WORDS])
        return plan, Classifier(clip, head, plan.classes).eval(), scan(pictures, plan.classes)

    return make


def memory_of(setting, clip, **values):
    plan, classifier, images = setting(**values)
    learner = HeadLearner(classifier.visual, classifier.head, clip.logit_scale)
    original = classifier.weights()
    with Run.open(plan.settings.out, plan.settings, "transfer") as run:
        memory = transfer_memory(run, learner, clip, images, original, plan)
    return memory, original, images, learner


def test_without_replay_there_is_only_the_original(setting, clip):
    memory, original, _, _ = memory_of(setting, clip, method="l2")
    assert memory.replay is None and memory.fisher is None
    assert memory.initial() is original


def test_replayed_images_are_drawn_and_the_original_model_answers(
    setting, clip, diffusion_folder, tmp_path
):
    memory, *_ = memory_of(setting, clip, anchors="alignment", generator=str(diffusion_folder))
    assert len(memory.replay) == 8 == len(list((tmp_path / "run" / "replay").rglob("*.png")))
    assert set(memory.replay.prompts) == {"a photo of a cat.", "a photo of a dog."}
    expected = encode_text(clip, memory.replay.prompts).cpu()
    torch.testing.assert_close(memory.replay.teacher_text, expected)


def test_the_training_images_themselves_are_compared_with_the_base_names(setting, clip):
    anchor = {"name": "replay-distillation", "images": "task", "over": "all"}
    memory, _, images, _ = memory_of(setting, clip, anchors=[anchor])
    assert memory.replay.paths == images.paths and set(memory.replay.labels) == {0}
    assert memory.replay.prompts == ["a photo of a cat.", "a photo of a dog."]


def test_the_fisher_information_has_all_that_learns_and_leaves_it_as_it_was(
    setting, clip, diffusion_folder
):
    memory, _, _, learner = memory_of(
        setting,
        clip,
        anchors="consolidation:importance=static",
        generator=str(diffusion_folder),
    )
    for number, parameter in enumerate(clip.model.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    before = {name: p.requires_grad for name, p in clip.model.named_parameters()}
    found = memory.fisher()
    assert {name: p.requires_grad for name, p in clip.model.named_parameters()} == before
    assert set(learner.learning()) <= set(found)
    assert (found["head.weight"] == 1).all() and (found["head.bias"] == 1).all()
    assert found["visual.proj"].mean().item() == pytest.approx(1, rel=1e-4)


def test_what_was_trained_is_loaded_and_not_trained_again(setting, clip, monkeypatch):
    plan, classifier, images = setting(method="finetune")
    original = classifier.weights()
    with Run.open(plan.settings.out, plan.settings, "transfer") as run:
        train(run, classifier, clip, images, original, plan)
        trained = classifier.weights()
        classifier.load_state_dict(original)
        monkeypatch.setattr("holdfast.commands.transfer_train.fit", None)
        stage = train(run, classifier, clip, images, original, plan)
    assert all(torch.equal(trained[name], t) for name, t in classifier.weights().items())
    assert not torch.equal(trained["head.weight"], original["head.weight"])
    assert len(stage.curve()) == 3


def test_the_head_alone_can_learn(setting, clip):
    train_settings = {"epochs": 1, "batch_size": 10, "workers": 0, "trainable": "head"}
    plan, classifier, images = setting(method="finetune", train=train_settings)
    original = classifier.weights()
    with Run.open(plan.settings.out, plan.settings, "transfer") as run:
        train(run, classifier, clip, images, original, plan)
    moved = {n for n, t in classifier.weights().items() if not torch.equal(t, original[n])}
    assert moved == {"head.weight", "head.bias"}


def moved_from(original):
    torch.manual_seed(0)
    return {name: t + 0.1 * torch.randn_like(t) for name, t in original.items()}


def test_the_merge_is_between_the_original_and_the_classifier_as_it_is(setting):
    plan, classifier, images = setting(method="finetune")
    original = classifier.weights()
    classifier.load_state_dict(moved_from(original))
    tuned = classifier.weights()
    merge = merging(classifier, original, images, plan)
    for name, value in merge(0.3).items():
        torch.testing.assert_close(value, interpolate(original, tuned, 0.3)[name])
    fisher, *_ = setting(method={"ensemble": {"merge": "fisher"}})
    merge = merging(classifier, original, images, fisher)
    assert all(torch.equal(merge(1.0)[name], tensor) for name, tensor in tuned.items())
    assert not torch.equal(
        merge(0.5)["head.weight"], interpolate(original, tuned, 0.5)["head.weight"]
    )


def test_alpha_is_what_the_settings_say_or_what_held_out_images_fit_best(setting):
    plan, classifier, images = setting(method="finetune")
    none = AlphaChoice(1.0, "none", "the method has no weight ensemble")
    assert choose(classifier, None, None, plan) == none
    plan, *_ = setting(method={"ensemble": 0.3})
    found = choose(classifier, None, None, plan)
    assert (found.alpha, found.how, found.why) == (0.3, "user", "set by the user")
    for usual in ("regft", "wise-ft"):
        plan, *_ = setting(method=usual)
        found = choose(classifier, None, None, plan)
        assert (found.alpha, found.how, found.why) == (0.5, "default", "the default")
    plan, *_ = setting(method="finetune", anchors="weight-ensemble:alpha=0.7")
    assert choose(classifier, None, None, plan).how == "user"
    plan, *_ = setting(method="finetune", anchors="weight-ensemble")
    assert choose(classifier, None, None, plan).how == "default"
    plan, *_ = setting(method={"ensemble": "auto"})
    original = classifier.weights()
    tuned = moved_from(original)

    def merge(alpha):
        return interpolate(original, tuned, alpha)

    found = choose(classifier, merge, images, plan)
    logits = {}
    for alpha in CANDIDATES:
        classifier.load_state_dict(merge(alpha))
        _, logits[alpha], labels, _ = embed(classifier, plan.in_order(images, classifier.tower))
    assert found == choose_alpha(logits, labels) and found.how == "auto"
