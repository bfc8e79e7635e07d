import math
from dataclasses import replace

import pytest
import torch
from torchvision.transforms.functional import to_tensor

from holdfast.data.batches import Batch, sequential_batches
from holdfast.data.folders import scan
from holdfast.errors import UsageError
from holdfast.losses import covariance_loss, cross_entropy, variance_loss
from holdfast.methods.transfer import (
    capped_warmup,
    choose_alpha,
    chunks,
    fine_tune,
    fisher_weighted_merge,
    hold_out,
    keep_agreeing,
    linear_merge,
    objective,
    spread,
    sweep,
)
from holdfast.models.classifier import Classifier, Head, text_head
from holdfast.models.clip import CLIP, load_clip
from holdfast.names import from_names
from holdfast.settings import TrainSettings

NAMES = from_names(["red thing", "green thing", "blue thing"])
SETTINGS = TrainSettings(learning_rate=1e-3, epochs=2, batch_size=8, workers=0)


@pytest.fixture
def classifier(clip_folder):
    clip = load_clip(f"local-dir:{clip_folder}", device="cpu")
    return Classifier(clip, text_head(clip, [[f"a photo of a {n}."] for n in NAMES]), NAMES).eval()


@pytest.fixture
def data(pictures):
    return scan(pictures, NAMES)


def batch(size, generator=0):
    torch.manual_seed(generator)
    return Batch(torch.randn(size, 3, 32, 32), torch.randint(3, (size,)), torch.arange(size))


def test_the_objective_is_the_papers_sum(classifier):
    x = batch(6)
    (terms,) = objective(SETTINGS)(classifier, x)
    z, logits = classifier(x.images)
    torch.testing.assert_close(terms["cross_entropy"], cross_entropy(logits, x.labels))
    torch.testing.assert_close(terms["variance"], 0.16 * variance_loss(z))
    torch.testing.assert_close(terms["covariance"], 0.02 * covariance_loss(z))


def test_variants_are_one_setting_each(classifier):
    plain = replace(SETTINGS, variance=0.0, covariance=0.0)
    (terms,) = objective(plain)(classifier, batch(4))
    assert set(terms) == {"cross_entropy"}
    classifier.visual.requires_grad_(False)
    (terms,) = objective(SETTINGS)(classifier, batch(4))
    assert set(terms) == {"cross_entropy"}  # features that do not learn are not regularised


def test_a_last_batch_of_one_sample_trains(classifier, data):
    # 30 images in batches of 29 leave one.
    records = []
    settings = replace(SETTINGS, batch_size=29, epochs=1)
    fine_tune(classifier, data, settings, seed=0, record=records.append)
    assert len(records) == 2
    assert records[1]["losses"]["variance"] == 0
    assert all(torch.isfinite(p).all() for p in classifier.parameters())


def test_fine_tuning_learns_and_is_a_function_of_the_seed(classifier, data, clip_folder):
    before = classifier.weights()
    records = []
    fine_tune(classifier, data, replace(SETTINGS, epochs=8), seed=3, record=records.append)
    losses = [r["losses"]["cross_entropy"] for r in records]
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    once = classifier.weights()
    classifier.load_state_dict(before)
    fine_tune(classifier, data, replace(SETTINGS, epochs=8), seed=3)
    assert all(torch.equal(once[k], v) for k, v in classifier.weights().items())


def test_head_only_leaves_the_tower(classifier, data):
    before = classifier.weights()
    fine_tune(classifier, data, replace(SETTINGS, trainable="head"), seed=0)
    after = classifier.weights()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"head.weight", "head.bias"}


def test_an_unreadable_image_is_named(classifier, data, tmp_path, caplog):
    broken = tmp_path / "broken.png"
    broken.write_bytes(data.paths[0].read_bytes()[:60])
    with_broken = replace(data, paths=[broken, *data.paths[1:]])
    fine_tune(classifier, with_broken, SETTINGS, seed=0)
    assert caplog.text.count(str(broken)) == 1


def test_warmup_is_at_most_a_fifth_of_the_run():
    assert capped_warmup(SETTINGS, 50).warmup_steps == 10
    assert capped_warmup(SETTINGS, 5000).warmup_steps == 500


def test_sweep_equals_models_evaluated_one_by_one(classifier, data):
    original = classifier.weights()
    fine_tune(classifier, data, SETTINGS, seed=0)
    merge = linear_merge(original, classifier.weights())
    decoded = []

    def batches():
        for b in sequential_batches(data, classifier.tower.preprocess, 7):
            decoded.append(len(b.labels))
            yield b

    found, labels, indices = sweep(
        classifier, merge, (0.0, 0.5, 1.0), batches(), total=30, chunk_bytes=200_000
    )
    assert sum(decoded) == 30  # each image once for all alphas
    assert indices.tolist() == list(range(30))
    for alpha, logits in found.items():
        classifier.load_state_dict(merge(alpha))
        _, alone, same, _ = classifier.embed(
            sequential_batches(data, classifier.tower.preprocess, 7)
        )
        assert torch.equal(labels, same)
        torch.testing.assert_close(logits, alone)


def test_chunks_keep_all_batches():
    parts = list(chunks([batch(2) for _ in range(5)], 2 * batch(2).images.nbytes))
    assert [len(part) for part in parts] == [2, 2, 1]


def test_fisher_merge_has_the_same_ends(classifier, data):
    original = classifier.weights()
    fine_tune(classifier, data, SETTINGS, seed=0)
    tuned = classifier.weights()
    merge = fisher_weighted_merge(classifier, original, tuned, [torch.randn(1, 3, 32, 32)], 0)
    assert all(torch.equal(merge(0.0)[k], v) for k, v in original.items())
    assert all(torch.equal(merge(1.0)[k], v) for k, v in tuned.items())
    middle = merge(0.5)
    low, high = torch.minimum, torch.maximum
    for name, value in middle.items():
        a, b = original[name], tuned[name]
        assert (value >= low(a, b) - 1e-5).all() and (value <= high(a, b) + 1e-5).all()
    assert not torch.equal(middle["head.weight"], linear_merge(original, tuned)(0.5)["head.weight"])


def test_a_fifth_is_held_out_of_each_class(data):
    train, held = hold_out(data)
    assert len(train) == 24 and len(held) == 6
    assert not set(train.paths) & set(held.paths)
    assert sorted(held.labels) == [0, 0, 1, 1, 2, 2]
    with pytest.raises(UsageError, match="fewer than 50"):
        hold_out(data, every=50)


def test_spread_takes_from_all_classes(data):
    assert sorted(set(spread(data, 6).labels)) == [0, 1, 2]
    assert spread(data, 99) is data


def test_the_filter_drops_what_looks_least_like_its_class():
    logits = torch.tensor([[5.0, 0], [0, 5], [4, 0], [3, 0], [0, 9], [0, 1]])
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    assert keep_agreeing(logits, labels, 0.25) == [0, 2, 3, 4, 5]
    assert keep_agreeing(logits, labels, 0.5) == [0, 2, 4]
    assert keep_agreeing(logits, labels, 0.99) == [0, 4]  # one image of each class stays


def test_alpha_follows_the_generator_where_zero_shot_confirms_it():
    labels = torch.tensor([0, 0, 0, 1])
    right = 2 * torch.nn.functional.one_hot(labels, 2).float()
    one_wrong = right.clone()
    one_wrong[3] = torch.tensor([2.0, 0.0])
    found = {1.0: 9 * one_wrong, 0.5: 2 * right, 0.0: right, 0.3: 2 * right}
    choice = choose_alpha(found, labels)
    assert choice.alpha == 0.3  # of two equals the smaller
    assert choice.proxy[0.0] == pytest.approx(math.log(1 + math.exp(-2)))
    assert "4 held-out" in choice.why and "100%" in choice.why


def test_alpha_stays_with_zero_shot_as_far_as_it_contradicts_the_generator():
    labels = torch.tensor([0, 0])
    original = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # confirms one of two
    obeys = torch.tensor([[5.0, 0.0], [5.0, 0.0]])
    choice = choose_alpha({0.0: original, 1.0: obeys}, labels)
    sure, second = original.softmax(-1)[0, 0].item(), original.softmax(-1)[1, 0].item()
    targets = (0.5 + 0.5 * sure, 0.5 + 0.5 * second)  # of class 0

    def cross_entropy(logits):
        rows = logits.log_softmax(-1).tolist()
        return -sum(t * r[0] + (1 - t) * r[1] for t, r in zip(targets, rows, strict=True)) / 2

    assert choice.proxy == pytest.approx({0.0: cross_entropy(original), 1.0: cross_entropy(obeys)})
    assert choice.alpha == 0
    nothing = torch.tensor([[0.0, 1.0], [0.0, 1.0]])  # confirms none: its own opinion is kept
    assert choose_alpha({0.0: nothing, 1.0: obeys}, labels).alpha == 0


def test_what_becomes_too_sure_keeps_the_original():
    labels = torch.tensor([0, 1])
    unsure, sure = torch.tensor([[0.2, 0], [0.1, 0]]), torch.tensor([[9.0, 0], [9.0, 0]])
    assert choose_alpha({0.0: unsure, 1.0: sure}, labels).alpha == 0


def test_head_only_leaves_batch_statistics(data):
    """A frozen tower with batch-norm must not drift by being run in training mode."""
    import open_clip

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1},
    }
    model = open_clip.CLIP(**config)
    clip = CLIP("resnet", model, None, {}, None, lambda image: to_tensor(image))
    classifier = Classifier(clip, Head(16, 3), NAMES)
    before = classifier.weights()
    fine_tune(classifier, data, replace(SETTINGS, trainable="head"), seed=0)
    after = classifier.weights()
    assert {k for k in before if not torch.equal(before[k], after[k])} == {
        "head.weight",
        "head.bias",
    }
