"""What anchors have in common, and the one forward pass that those on replayed images share."""

import pytest
import torch
from tests.anchors.towers import IMAGES, LABELS, PLACES, REPLAY, Towers, seen, similarities

from holdfast.anchors.alignment import Alignment
from holdfast.anchors.base import Anchor, FeatureLoss, Need, ReplayLoss, WeightAverage, WeightPull
from holdfast.anchors.replay_distillation import ReplayDistillation
from holdfast.anchors.weight_ensemble import WeightEnsemble
from holdfast.errors import UsageError


@pytest.mark.parametrize("over", ["batch", "all"])
def test_similarities_are_those_of_a_plain_loop(over):
    learner = Towers()
    forward = seen(learner, over)
    for towers, new_images, new_text in (
        ("both", True, True),
        ("image", True, False),
        ("text", False, True),
    ):
        new, _ = similarities(learner, new_images, new_text, over)
        found = forward.logits(towers, paired=over == "batch")
        torch.testing.assert_close(found, new)
    _, old = similarities(learner, over=over)
    found = forward.teacher_logits
    torch.testing.assert_close(found[:, forward.pairs] if over == "batch" else found, old)


def test_prompts_of_the_batch_stand_there_once():
    forward = seen(Towers())
    assert forward.rows.tolist() == [0, 1, 2] and forward.pairs.tolist() == LABELS.tolist()
    assert forward.text.shape == (3, 3) and forward.logits("both").shape == (4, 3)
    every = seen(Towers(), "all")
    assert every.rows is None and every.text.shape == (4, 3)
    torch.testing.assert_close(every.teacher_text, REPLAY.teacher_text)
    torch.testing.assert_close(every.teacher_images, REPLAY.teacher_images[PLACES])


def test_each_tower_looks_at_the_batch_once(monkeypatch):
    learner, calls = Towers(), []
    for name in ("image_features", "text_features"):
        original = getattr(learner, name)

        def counted(values, name=name, original=original):
            calls.append(name)
            return original(values)

        monkeypatch.setattr(learner, name, counted)
    forward = seen(learner)
    ReplayDistillation().replay_losses(forward)
    Alignment().replay_losses(forward)
    assert sorted(calls) == ["image_features", "text_features"]
    calls.clear()
    Alignment(train_towers="image").replay_losses(seen(learner))
    assert calls == ["image_features"]


def test_a_text_tower_that_does_not_learn_is_never_asked():
    learner = Towers(trains_text=False)
    learner.text_features = None
    images, text = seen(learner).embeddings("both")
    torch.testing.assert_close(images, learner.image_features(IMAGES))
    torch.testing.assert_close(text, REPLAY.teacher_text[[0, 1, 2]])


def test_anchors_are_found_by_name_and_say_what_they_are():
    known = Anchor.known()
    assert list(known) == sorted(known) and known["weight-ensemble"] is WeightEnsemble
    kinds = (FeatureLoss, ReplayLoss, WeightPull, WeightAverage, WeightEnsemble)
    for name, kind in known.items():
        assert kind.name == name and kind.__doc__ and kind.paper
        assert sum(issubclass(kind, each) for each in kinds) == 1
        assert (Need.REPLAY in kind.needs) == issubclass(kind, ReplayLoss)
        assert kind().active


def test_an_anchor_is_written_as_its_name_and_settings():
    for value in (
        "alignment:weight=0.5: label_smoothing = 0",
        {"name": "alignment", "weight": 0.5, "label_smoothing": 0},
        Alignment(0.5, 0.0),
    ):
        assert Anchor.from_value(value, "anchors") == Alignment(0.5, 0.0)
    assert Anchor.from_value("alignment", "x") == Anchor.from_value(Alignment, "x") == Alignment()
    for value, sentence in (
        ("alignment:weight", "anchors has 'weight'; write name:setting=value"),
        ("alignment:wait=1", "no setting anchors.wait"),
        ("alignment:weight=-1", r"anchors.weight is -1.0; it must be at least 0"),
        ("align", r"no anchor 'align' \(did you mean alignment\?\)"),
    ):
        with pytest.raises(UsageError, match=sentence):
            Anchor.from_value(value, "anchors")
