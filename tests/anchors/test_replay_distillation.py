"""Distillation on replayed images against the sums written out."""

import pytest
import torch
from tests.anchors.towers import (
    IMAGES,
    LABELS,
    PLACES,
    REPLAY,
    TOKENS,
    Towers,
    seen,
    similarities,
)

from holdfast.anchors.replay_distillation import ReplayDistillation
from holdfast.errors import UsageError


def by_hand(new, old, loss, temperature):
    """One direction, a row and a column at a time."""
    total = 0.0
    for row in range(len(new)):
        log_new, log_old = ((z[row] / temperature).log_softmax(dim=0) for z in (new, old))
        for column in range(new.shape[1]):
            q, p = log_new[column].exp(), log_old[column].exp()
            total += {
                "contrastive": -p * log_new[column],
                "kl": p * (log_old[column] - log_new[column]),
                "reverse_kl": q * (log_new[column] - log_old[column]),
            }[loss]
    return temperature**2 * total / len(new)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("over", ["batch", "all"])
@pytest.mark.parametrize("loss", ["contrastive", "kl", "reverse_kl"])
def test_the_loss_by_hand(loss, over, temperature):
    learner = Towers()
    new, old = similarities(learner, over=over)
    anchor = ReplayDistillation(0.7, loss, over, temperature=temperature)
    terms = anchor.replay_losses(seen(learner, over))
    assert list(terms) == ["distillation_image", "distillation_text"]
    expected = 0.7 * by_hand(new, old, loss, temperature)
    torch.testing.assert_close(terms["distillation_image"], expected)
    expected = 0.7 * by_hand(new.T, old.T, loss, temperature)
    torch.testing.assert_close(terms["distillation_text"], expected)


@pytest.mark.parametrize("over", ["batch", "all"])
def test_the_distance_of_embeddings_by_hand(over):
    learner = Towers()
    terms = ReplayDistillation(0.7, "features", over).replay_losses(seen(learner, over))
    image = learner.image_features(IMAGES) - REPLAY.teacher_images[PLACES]
    prompts = LABELS if over == "batch" else torch.arange(4)
    text = (learner.text_features(TOKENS) - REPLAY.teacher_text)[prompts]
    torch.testing.assert_close(terms["distillation_image"], 0.7 * image.square().mean())
    torch.testing.assert_close(terms["distillation_text"], 0.7 * text.square().mean())


def test_a_model_that_has_not_changed_loses_nothing():
    learner = Towers()
    same = seen(learner)
    same.teacher_images, same.teacher_text = same.images.detach(), same.text.detach()
    for loss in ("kl", "reverse_kl", "features"):
        terms = ReplayDistillation(loss=loss).replay_losses(same)
        for term in terms.values():
            torch.testing.assert_close(term, torch.tensor(0.0), atol=1e-6, rtol=0)


def test_the_cross_entropy_has_the_gradient_of_the_divergence():
    gradients = []
    for loss in ("contrastive", "kl"):
        learner = Towers()
        sum(ReplayDistillation(loss=loss).replay_losses(seen(learner)).values()).backward()
        gradients.append([p.grad for p in learner.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_the_order_of_the_images_does_not_matter():
    learner = Towers()
    first = ReplayDistillation().replay_losses(seen(learner))
    second = ReplayDistillation().replay_losses(seen(learner, order=(2, 0, 3, 1)))
    for name, term in first.items():
        torch.testing.assert_close(second[name], term)


def test_one_direction_alone():
    terms = ReplayDistillation(directions="image").replay_losses(seen(Towers()))
    assert list(terms) == ["distillation_image"]


@pytest.mark.parametrize("loss", ["contrastive", "features"])
@pytest.mark.parametrize(
    ("towers", "learns"), [("both", {"image", "text"}), ("image", {"image"}), ("text", {"text"})]
)
def test_only_the_towers_that_are_named_learn(towers, learns, loss):
    learner = Towers()
    anchor = ReplayDistillation(loss=loss, train_towers=towers)
    assert learner.learns(sum(anchor.replay_losses(seen(learner)).values())) == learns


def test_the_papers_values_and_what_would_teach_nothing():
    assert (ReplayDistillation().weight, ReplayDistillation().temperature) == (1.0, 2.0)
    assert not ReplayDistillation(0).active
    nothing = {"loss": "features", "directions": "image", "train_towers": "text"}
    with pytest.raises(UsageError) as error:
        ReplayDistillation(**nothing)
    assert str(error.value) == (
        "Distilling the features of images teaches the text tower nothing; take another loss, "
        "directions or train_towers."
    )
    assert ReplayDistillation(0, **nothing).weight == 0


@pytest.mark.parametrize("over", ["batch", "all"])
@pytest.mark.parametrize("directions", ["both", "image"])
def test_the_drift_is_the_loss_beyond_the_old_models_own_entropy(over, directions):
    learner, temperature = Towers(), 3.0
    new, old = similarities(learner, over=over)
    anchor = ReplayDistillation(0.7, over=over, directions=directions, temperature=temperature)
    drift = anchor.measures(seen(learner, over))
    sides = {"drift_image": (new, old), "drift_text": (new.T, old.T)}
    if directions == "image":
        del sides["drift_text"]
    assert list(drift) == list(sides)
    for name, (ours, theirs) in sides.items():
        p = (theirs / temperature).softmax(dim=1)
        entropy = -(p * p.log()).sum(dim=1).mean()
        loss = by_hand(ours, theirs, "contrastive", temperature) / temperature**2
        torch.testing.assert_close(drift[name], (loss - entropy).detach())
        assert not drift[name].requires_grad and drift[name] > 0


def test_a_model_that_answers_as_the_old_one_has_not_drifted():
    class Same(Towers):
        def image_features(self, images):
            return REPLAY.teacher_images[PLACES]

        def text_features(self, tokens):
            return REPLAY.teacher_text[LABELS.unique()]

    forward = seen(Same(), "batch")
    anchor = ReplayDistillation()
    assert all(abs(d) < 1e-6 for d in anchor.measures(forward).values())
    assert all(loss > 0.1 for loss in anchor.replay_losses(forward).values())
    assert ReplayDistillation(loss="features").measures(forward) == {}
