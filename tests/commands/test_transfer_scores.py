"""What a name-only transfer is worth, on a tiny model and by hand."""

from dataclasses import replace

import pytest
import torch
from tests.tiny import embed

from holdfast.anchors.weight_ensemble import AlphaChoice
from holdfast.commands.settings import TransferSettings
from holdfast.commands.transfer_prepare import plan_transfer
from holdfast.commands.transfer_scores import alpha_result, diagnose, measure, sample_paths
from holdfast.data.folders import scan, subset
from holdfast.feature_metrics import domain_gap, feature_diversity
from holdfast.metrics import score
from holdfast.models.classifier import Classifier, text_head
from holdfast.models.clip import load_clip
from holdfast.weights import interpolate

WORDS = ["red thing", "green thing", "blue thing"]


@pytest.fixture
def setting(clip_folder, pictures):
    """(plan, classifier, merge, all images, a function that scores an alpha)."""
    plan = plan_transfer(TransferSettings(WORDS, train={"batch_size": 8, "workers": 0}))
    clip = load_clip(f"local-dir:{clip_folder}", device="cpu")
    head = text_head(clip, [[f"a {name}"] for name in WORDS])
    classifier = Classifier(clip, head, plan.classes).eval()
    original = classifier.weights()
    torch.manual_seed(0)
    tuned = {name: t + 0.2 * torch.randn_like(t) for name, t in original.items()}

    def merge(alpha):
        return interpolate(original, tuned, alpha)

    return plan, classifier, merge, scan(pictures, plan.classes)


def embedded(classifier, merge, alpha, data, plan):
    classifier.load_state_dict(merge(alpha))
    return embed(classifier, plan.in_order(data, classifier.tower))


def test_each_alpha_is_scored_as_a_model_of_its_own(setting):
    plan, classifier, merge, data = setting
    real, generated = subset(data, range(0, 30, 2)), subset(data, range(1, 30, 2))
    found = measure(classifier, merge, 0.35, real, generated, plan)
    assert list(found.by_alpha) == sorted([*(i / 10 for i in range(11)), 0.35])
    for alpha in (0.0, 0.35, 1.0):
        _, logits, labels, _ = embedded(classifier, merge, alpha, real, plan)
        assert found.by_alpha[alpha] == score(logits, labels, WORDS)
    both = found.by_alpha
    assert found.verdict.difference == pytest.approx(both[0.35].top1 - both[0.0].top1)
    assert found.notes == []


def test_a_method_without_ensemble_is_measured_at_both_ends(setting):
    plan, classifier, merge, data = setting
    plan = plan_transfer(replace(plan.settings, method="finetune"))
    found = measure(classifier, merge, 1.0, data, data, plan)
    assert list(found.by_alpha) == [0.0, 1.0]
    assert found.notes == ["Some images were trained on and measured on: the scores are too high."]
    assert set(found.diagnostics.diversity) == {
        *("real, zero-shot", "real, fine-tuned", "generated, zero-shot", "generated, fine-tuned"),
    }


def test_diagnostics_look_at_features_before_they_are_normalised(setting):
    plan, classifier, merge, data = setting
    real, generated = subset(data, range(0, 30, 2)), subset(data, range(1, 30, 2))
    found = diagnose(classifier, merge, plan.models(0.5), real, generated, plan)
    assert len(found.diversity) == 6
    z, _, labels, _ = embedded(classifier, merge, 0.5, generated, plan)
    assert found.diversity["generated, ensemble"] == feature_diversity(z, labels)
    ends = [embedded(classifier, merge, 0.0, each, plan)[0] for each in (real, generated)]
    assert found.gap == domain_gap(*ends, seed=0)
    few = diagnose(classifier, merge, plan.models(0.5), subset(data, [0]), generated, plan)
    assert few.gap is None and "real, zero-shot" not in few.diversity


def test_the_curve_of_alpha_has_what_is_known(setting):
    plan, classifier, merge, data = setting
    chosen = AlphaChoice(0.2, "auto", "the best fit", {0.0: 1.5, 0.2: 1.0})
    by_proxy = alpha_result(chosen, {})
    assert [(p.alpha, p.proxy, p.real_top1) for p in by_proxy.sweep] == [
        *((0.0, 1.5, None), (0.2, 1.0, None)),
    ]
    measured = measure(classifier, merge, 0.2, data, data, plan)
    found = alpha_result(chosen, measured.by_alpha)
    assert (found.chosen, found.how, found.why) == (0.2, "auto", "the best fit")
    assert [point.proxy for point in found.sweep] == [1.5, None, 1.0, *[None] * 8]
    for point in found.sweep:
        scores = measured.by_alpha[point.alpha]
        assert (point.real_top1, point.ece) == (scores.top1, scores.ece)
        assert point.real_mean_per_class == scores.mean_per_class
    assert alpha_result(AlphaChoice(1.0, "fixed", ""), {}).sweep == []


def test_a_few_images_of_each_class_are_shown(setting):
    *_, data = setting
    found = sample_paths(data)
    assert list(found) == WORDS and all(len(paths) == 4 for paths in found.values())
    assert all(name in path for name, paths in found.items() for path in paths)
    assert sample_paths(subset(data, [0]))["blue thing"] == [
        *(str(p) for p in data.paths[:1] if "blue" in str(p)),
    ]
