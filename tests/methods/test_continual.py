import gc
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from holdfast.data.batches import Batch
from holdfast.data.folders import read_image, scan
from holdfast.errors import HoldfastError, UsageError
from holdfast.methods import continual
from holdfast.methods.continual import learn, objective, static_importance, teach
from holdfast.models.clip import load_clip
from holdfast.models.text import encode_text, image_features
from holdfast.names import from_names
from holdfast.settings import ContinualTrainSettings
from holdfast.train import fit
from holdfast.weights import adaptive_importance, uniform_importance

NAMES = from_names(["red thing", "green thing", "blue thing"])
PROMPTS = ["a red thing.", "one green thing.", "something that is blue."]
SETTINGS = ContinualTrainSettings(
    learning_rate=1e-3, warmup_steps=0, steps=6, batch_size=8, replay_batch_size=6, workers=0
)


@pytest.fixture
def clip(clip_folder):
    return load_clip(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture
def task(pictures):
    return scan(pictures, NAMES)


@pytest.fixture
def replay(clip, task):
    """The pictures again; each prompt belongs to several of them."""
    prompts = [("a colour", "a light", "a dark")[i % 3] for i in range(len(task))]
    return teach(clip, task.paths, prompts, SETTINGS)


@pytest.fixture
def moved(clip, replay):
    """The model some way off the weights that taught the replay set; returns those."""
    anchor = {name: p.detach().clone() for name, p in clip.model.named_parameters()}
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in clip.model.named_parameters():
            if name != "logit_scale":
                p.add_(0.05 * torch.randn(p.shape, generator=draw))
    continual.unfreeze(clip.model)
    return anchor


def batch_of(clip, task, replay):
    draw = torch.Generator().manual_seed(4)
    at = torch.tensor([0, 3, 6, 1, 2, 0])  # prompts 0, 0, 0, 1, 2, 0
    labels = torch.tensor([replay.labels[i] for i in at])
    own = torch.stack([clip.preprocess(read_image(replay.paths[i])) for i in at])
    images = torch.randn(5, 3, 32, 32, generator=draw)
    return Batch(
        images,
        torch.tensor([0, 2, 1, 1, 0]),
        torch.arange(5),
        replay=Batch(own, labels, at),
    )


def gradients_of(clip, batch, replay, settings, anchor, importance):
    """What one step of the objective leaves in `.grad`, and its losses."""
    model = clip.model
    model.zero_grad()
    step = objective(
        clip.tokenizer(PROMPTS),
        replay,
        clip.tokenizer(replay.prompts),
        settings,
        anchor,
        importance,
    )
    losses = {}
    for terms in step(model, batch):
        sum(terms.values()).backward()
        losses |= {name: term.item() for name, term in terms.items()}
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}, losses


def plain_gradients(clip, batch, replay, settings, anchor, importance):
    """The same as one formula: whole context, a prompt for each image, all of it by autograd."""
    model, scale = clip.model, clip.logit_scale
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
    pairs = replay.prompts if settings.distill_over == "all" else None
    own = [replay.prompts[i] for i in batch.replay.labels]

    def text(prompts):
        return model.encode_text(clip.tokenizer(prompts), normalize=True)

    def images(batch):
        return model.encode_image(batch.images, normalize=True)

    taught_images = replay.teacher_images[batch.replay.indices]
    compared = pairs or own
    taught_text = torch.stack([replay.teacher_text[replay.prompts.index(p)] for p in compared])
    z = taught_images if settings.learns == "text" else images(batch.replay)
    w = taught_text if settings.learns == "image" else text(compared)
    student, teacher = scale * z @ w.T, scale * taught_images @ taught_text.T
    paired = student if pairs is None else student[:, [compared.index(p) for p in own]]

    def distill(s, t):
        p, log_q = (t / 2).softmax(dim=1), (s / 2).log_softmax(dim=1)
        if settings.distill == "contrastive":
            return -4 * (p * log_q).sum(dim=1).mean()
        if settings.distill == "kl":
            return 4 * F.kl_div(log_q, p, reduction="batchmean")
        return 4 * F.kl_div(p.log(), log_q.exp(), reduction="batchmean")

    losses = {}
    if settings.distill == "features":
        losses["distillation_image"] = (z - taught_images).square().mean()
        losses["distillation_text"] = (w - taught_text).square().mean()
    else:
        losses["distillation_image"] = distill(student, teacher)
        losses["distillation_text"] = distill(student.T, teacher.T)
    if settings.distill_sides == "image":
        del losses["distillation_text"]
    if settings.alignment:
        same = torch.tensor([[float(a == b) for b in own] for a in own])
        target = 0.8 * same / same.sum(dim=1, keepdim=True) + 0.2 / len(own)
        for side, scores in (("image", paired), ("text", paired.T)):
            cross = -(target * scores.log_softmax(dim=1)).sum(dim=1).mean()
            losses[f"alignment_{side}"] = 0.25 * cross
    found = torch.autograd.grad(
        sum(losses.values()), list(learning.values()), retain_graph=True, allow_unused=True
    )
    losses["consolidation"] = settings.consolidation * sum(
        (importance(name, None if g is None else g.clone()) * (p - anchor[name]).square()).sum()
        for (name, p), g in zip(learning.items(), found, strict=True)
    )
    logits = scale * images(batch) @ text(PROMPTS).T
    losses["cross_entropy"] = F.cross_entropy(logits, batch.labels, label_smoothing=0.2)
    total = torch.autograd.grad(sum(losses.values()), list(learning.values()))
    return dict(zip(learning, total, strict=True)), {k: v.item() for k, v in losses.items()}


VARIANTS = [
    {},
    {"distill": "kl"},
    {"distill": "reverse_kl"},
    {"distill": "features"},
    {"learns": "image"},
    {"learns": "text"},
    {"alignment": 0.0},
    {"importance": "uniform"},
    {"importance": "static"},
    {"distill_over": "all"},
    {"distill_over": "all", "distill_sides": "image"},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda c: "-".join(map(str, c.values())) or "all")
def test_a_step_equals_a_plain_implementation(clip, task, replay, moved, changes):
    settings = replace(SETTINGS, **changes)
    fisher = {name: torch.rand_like(p) for name, p in moved.items()}
    importance = {
        "adaptive": adaptive_importance,
        "uniform": uniform_importance,
        "static": lambda name, gradient: fisher[name],
    }[settings.importance]
    batch = batch_of(clip, task, replay)
    given = (clip, batch, replay, settings, moved, importance)
    ours, losses = gradients_of(*given)
    theirs, wanted = plain_gradients(*given)
    assert losses == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    for name, gradient in theirs.items():
        close = {"rtol": 1e-3, "atol": 1e-5 + 1e-4 * gradient.abs().max().item()}
        torch.testing.assert_close(ours[name], gradient, **close, msg=lambda m, n=name: f"{n}: {m}")


def test_where_one_side_learns_the_other_gets_nothing_of_the_replay(clip, task, replay, moved):
    quiet = replace(SETTINGS, consolidation=0.0, learns="image")
    batch = batch_of(clip, task, replay)
    step = objective(
        clip.tokenizer(PROMPTS), replay, clip.tokenizer(replay.prompts), quiet, {}, None
    )
    clip.model.zero_grad()
    sum(next(step(clip.model, batch)).values()).backward()
    with_gradient = {n for n, p in clip.model.named_parameters() if p.grad is not None}
    assert with_gradient == {n for n, _ in clip.model.named_parameters() if n.startswith("visual")}


def test_a_step_is_indifferent_to_the_order_of_the_replay_images(clip, task, replay, moved):
    batch = batch_of(clip, task, replay)
    order = torch.tensor([5, 2, 0, 4, 1, 3])
    turned = Batch(
        *(getattr(batch.replay, name)[order] for name in ("images", "labels", "indices"))
    )
    given = (replay, SETTINGS, moved, adaptive_importance)
    ours, losses = gradients_of(clip, batch, *given)
    theirs, other = gradients_of(clip, replace(batch, replay=turned), *given)
    assert losses == pytest.approx(other, rel=1e-4)
    torch.testing.assert_close(ours["visual.proj"], theirs["visual.proj"], rtol=1e-3, atol=1e-5)


class Saved:
    """A tensor that a graph keeps for its backward pass."""

    def __init__(self, tensor):
        self.tensor = tensor


def test_the_first_graph_is_gone_before_the_second_is_built(clip, task, replay, moved, monkeypatch):
    batch = batch_of(clip, task, replay)
    alive, seen = weakref.WeakSet(), []

    def save(tensor):
        saved = Saved(tensor)
        alive.add(saved)
        return saved

    def watched(*given):
        gc.collect()
        seen.append(len(alive))
        return image_features(*given)

    monkeypatch.setattr(continual, "image_features", watched)
    with torch.autograd.graph.saved_tensors_hooks(save, lambda saved: saved.tensor):
        gradients_of(clip, batch, replay, SETTINGS, moved, adaptive_importance)
    assert seen == [0, 0]


def test_the_classes_of_the_batch_alone(clip, task, replay, moved):
    """With captions an image is told apart from the others of its batch only."""
    few = replace(SETTINGS, negatives="batch", consolidation=0.0, distillation=0.0, alignment=0.0)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = Batch(images, torch.tensor([2, 0, 2, 0]), torch.arange(4))
    step = objective(clip.tokenizer(PROMPTS), None, None, few, {}, adaptive_importance)
    [terms] = step(clip.model, batch)
    with torch.no_grad():
        text = encode_text(clip, [PROMPTS[0], PROMPTS[2]])
        logits = clip.logit_scale * image_features(clip.model, images) @ text.T
        wanted = F.cross_entropy(logits, torch.tensor([1, 0, 1, 0]), label_smoothing=0.2)
    torch.testing.assert_close(terms["cross_entropy"].detach(), wanted)


def test_teaching_asks_each_image_and_each_prompt_once(clip, task):
    found = teach(clip, task.paths[:4], ["b", "a", "b", "b"], SETTINGS, among=["c", "a"])
    assert (found.prompts, found.labels) == (["b", "a", "c"], [0, 1, 0, 0])
    images = torch.stack([clip.preprocess(read_image(path)) for path in task.paths[:4]])
    with torch.no_grad():
        torch.testing.assert_close(
            found.teacher_images, clip.model.encode_image(images, normalize=True)
        )
    torch.testing.assert_close(found.teacher_text, encode_text(clip, ["b", "a", "c"]))


def test_images_without_prompts_are_compared_with_the_others_alone(clip, task):
    """As LwF has it: what the task's images look like among the classes of before."""
    few = replace(SETTINGS, alignment=0.0, consolidation=0.0, learns="image", distill_over="all")
    found = teach(clip, task.paths[:4], None, SETTINGS, among=["c", "a", "c"])
    assert (found.prompts, found.labels) == (["c", "a"], [0, 0, 0, 0])
    own = torch.stack([clip.preprocess(read_image(path)) for path in task.paths[:4]])
    batch = Batch(own, torch.zeros(4, dtype=torch.long), torch.arange(4))
    with torch.no_grad():
        losses = continual.replay_losses(
            clip.model,
            batch,
            found,
            clip.tokenizer(found.prompts),
            replace(few, distill_sides="image"),
        )
        p = (clip.logit_scale * found.teacher_images @ found.teacher_text.T / 2).softmax(dim=1)
    assert losses.keys() == {"distillation_image"}
    torch.testing.assert_close(
        losses["distillation_image"], -4 * (p * p.log()).sum(dim=1).mean(), rtol=1e-4, atol=1e-5
    )


def test_images_that_cannot_be_read_are_left_out_of_the_replay(clip, task, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    paths = [task.paths[0], broken, task.paths[1]]
    found = teach(clip, paths, ["a", "b", "c"], SETTINGS)
    assert found.paths == [task.paths[0], task.paths[1]]
    assert found.labels == [0, 2]
    assert len(found.teacher_images) == 2
    with pytest.raises(HoldfastError, match="None of the replay images"):
        teach(clip, [broken], ["a"], SETTINGS)


def weights(clip):
    return {name: tensor.clone() for name, tensor in clip.model.state_dict().items()}


def distance(one, other):
    return sum((one[name] - other[name]).square().sum() for name in one).sqrt().item()


def test_learning_a_task(clip, task, replay):
    before, losses = weights(clip), []
    longer = replace(SETTINGS, steps=25)
    learn(clip, task, PROMPTS, replay, longer, seed=0, record=lambda s: losses.append(s["losses"]))
    assert len(losses) == 25
    assert losses[-1]["cross_entropy"] < losses[0]["cross_entropy"] - 0.1
    assert losses[0]["consolidation"] == 0 < losses[-1]["consolidation"]
    assert torch.equal(clip.model.logit_scale, before["logit_scale"])
    assert distance(weights(clip), before) > 0


def test_the_pull_keeps_the_weights_near_the_previous_ones(clip, task, replay):
    before = weights(clip)
    away = {}
    for strength in (0.0, 100.0):
        clip.model.load_state_dict(before)
        settings = replace(SETTINGS, consolidation=strength, importance="uniform")
        learn(clip, task, PROMPTS, replay, settings, seed=0)
        away[strength] = distance(weights(clip), before)
    assert away[100.0] < 0.8 * away[0.0]


def test_without_replay(clip, task):
    """Plain continual fine-tuning, and L2 with it."""
    losses = []
    for strength in (0.0, 1.0):
        settings = replace(SETTINGS, consolidation=strength, importance="uniform")
        record = lambda step: losses.append(set(step["losses"]))  # noqa: E731
        learn(clip, task, PROMPTS, None, settings, seed=0, record=record)
    assert losses == [{"cross_entropy"}] * 6 + [{"cross_entropy", "consolidation"}] * 6


class Killed(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize(
    "changes", [{}, {"average_every": 2}, {"importance": "static"}], ids=["last", "mean", "static"]
)
def test_a_killed_run_goes_on_to_the_same_weights(clip, task, replay, tmp_path, changes):
    settings = replace(SETTINGS, checkpoint_minutes=0.0, **changes)
    before = weights(clip)
    learn(clip, task, PROMPTS, replay, settings, seed=0)
    whole = weights(clip)

    def kill(step):
        if step["step"] == 3:
            raise Killed

    clip.model.load_state_dict(before)
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        learn(clip, task, PROMPTS, replay, settings, seed=0, checkpoint=checkpoint, record=kill)
    clip.model.load_state_dict(before)  # as a new process finds it
    steps = []
    note = lambda step: steps.append(step["step"])  # noqa: E731
    learn(clip, task, PROMPTS, replay, settings, seed=0, checkpoint=checkpoint, record=note)
    assert steps == [3, 4, 5]
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(clip).items())


def test_the_mean_of_the_iterates(clip, task, replay, monkeypatch):
    """Of the weights before the task and after steps 0, 2, 4 and the last, 5."""
    seen = [weights(clip)]
    settings = replace(SETTINGS, average_every=2)

    def watched(*given, **options):
        keep = lambda step, module: seen.append(weights(clip))  # noqa: E731
        fit(*given, **options, after_step=keep)

    monkeypatch.setattr(continual, "fit", watched)
    learn(clip, task, PROMPTS, replay, settings, seed=0)
    wanted = {name: sum(seen[i][name] for i in (0, 1, 3, 5, 6)) / 5 for name in seen[0]}
    for name, tensor in weights(clip).items():
        torch.testing.assert_close(tensor, wanted[name])


def test_static_importance(clip, task, replay):
    found = static_importance(clip, replay, SETTINGS, seed=0)
    assert set(found) == {n for n, _ in clip.model.named_parameters()} - {"logit_scale"}
    for name, tensor in found.items():
        assert (tensor >= 0).all()
        torch.testing.assert_close(tensor.mean(), torch.tensor(1.0), msg=name)
    again = static_importance(clip, replay, SETTINGS, seed=0)
    assert all(torch.equal(tensor, again[name]) for name, tensor in found.items())
    other = static_importance(clip, replay, SETTINGS, seed=1)
    assert not torch.equal(other["visual.proj"], found["visual.proj"])
    # It comes from where it is told to: fisher= makes a replay set unnecessary.
    static = replace(SETTINGS, importance="static", distillation=0.0, alignment=0.0)
    start = weights(clip)
    learn(clip, task, PROMPTS, None, static, seed=0, fisher=found)
    # Without losses on them the replay images are not read again.
    wanted = weights(clip)
    clip.model.load_state_dict(start)
    gone = replace(replay, paths=[Path("gone.png")] * len(replay))
    learn(clip, task, PROMPTS, gone, static, seed=0, fisher=found)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in weights(clip).items())


def test_what_does_not_go_together(clip, task, replay):
    with pytest.raises(UsageError, match="30 images, fewer than the 31 of a step"):
        learn(clip, task, PROMPTS, replay, replace(SETTINGS, replay_batch_size=31), seed=0)
    with pytest.raises(UsageError, match="importance: adaptive"):
        learn(clip, task, PROMPTS, None, SETTINGS, seed=0)
    mute = replace(SETTINGS, distillation=0.0, alignment=0.0)
    with pytest.raises(UsageError, match="importance: adaptive"):
        learn(clip, task, PROMPTS, replay, mute, seed=0)
    with pytest.raises(UsageError, match="importance: static"):
        learn(clip, task, PROMPTS, None, replace(SETTINGS, importance="static"), seed=0)


def test_static_importance_tells_many_prompts_apart_though_images_lie_sorted(
    clip, replay, monkeypatch
):
    """Drawn images come prompt by prompt; where a batch has only one, nothing is told apart."""
    order = sorted(range(len(replay)), key=lambda i: replay.labels[i])
    lying = replace(
        replay,
        paths=[replay.paths[i] for i in order],
        labels=[replay.labels[i] for i in order],
        teacher_images=replay.teacher_images[order],
    )
    seen = []

    def watched(batch, known, settings):
        seen.append(len(batch.labels.unique()))
        return candidates(batch, known, settings)

    candidates = continual.candidates
    monkeypatch.setattr(continual, "candidates", watched)
    static_importance(clip, lying, replace(SETTINGS, replay_batch_size=10), seed=0)
    assert seen == [3, 3, 3]
