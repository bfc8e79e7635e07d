"""GIFT's step, and the methods of continual learning that are parts of it, on a tiny CLIP."""

import gc
import weakref
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F

from holdfast import learners
from holdfast.anchors.alignment import Alignment
from holdfast.anchors.base import Memory
from holdfast.anchors.consolidation import Consolidation
from holdfast.anchors.iterate_average import IterateAverage
from holdfast.anchors.replay_distillation import ReplayDistillation
from holdfast.data.batches import Batch
from holdfast.data.folders import scan
from holdfast.data.pictures import read_image
from holdfast.device import autocast
from holdfast.errors import HoldfastError
from holdfast.learners import TwoTowerLearner
from holdfast.memory import build_replay_set, clip_training, replay_fisher, with_prefix
from holdfast.methods import Family, compose
from holdfast.methods.finetune import FineTuning
from holdfast.methods.gift import GIFT
from holdfast.methods.l2 import L2
from holdfast.models.clip import load_clip
from holdfast.models.text import encode_text, image_features
from holdfast.names import from_names
from holdfast.settings import ContinualTrainSettings
from holdfast.stages import Stage
from holdfast.train import fit, objective
from holdfast.weights import adaptive_importance, uniform_importance

NAMES = from_names(["red thing", "green thing", "blue thing"])
PROMPTS = ["a red thing.", "one green thing.", "something that is blue."]
TRAIN = ContinualTrainSettings(
    learning_rate=1e-3, warmup_steps=0, steps=6, batch_size=8, replay_batch_size=6, workers=0
)


def gift(distill=None, align=None, pull=None):
    """GIFT with other settings of its anchors, and its composition."""
    own = GIFT(
        ReplayDistillation(**(distill or {})),
        Alignment(**(align or {})),
        Consolidation(**(pull or {})),
    )
    return compose(own, [], Family.CONTINUAL)


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
    return build_replay_set(clip, task.paths, prompts, batch_size=6)


@pytest.fixture
def moved(clip, replay):
    """The model some way off the weights that taught the replay set; returns those."""
    anchor = {name: p.detach().clone() for name, p in clip.model.named_parameters()}
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in clip.model.named_parameters():
            if name != "logit_scale":
                p.add_(0.05 * torch.randn(p.shape, generator=draw))
    return anchor


def learner_of(clip, negatives="task"):
    return TwoTowerLearner(clip, clip.tokenizer(PROMPTS), negatives)


def batch_of(clip, replay):
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


def gradients_of(clip, batch, replay, composition, anchor, fisher=None):
    """What one step of the objective leaves in `.grad`, and its losses."""
    learner = learner_of(clip)
    learner.zero_grad()
    memory = Memory(
        replay,
        initial=lambda: with_prefix(anchor, "model."),
        fisher=lambda: with_prefix(fisher, "model."),
    )
    # The pull goes to where `anchor` is, not to where the model is now.
    pulls = [replace(a, toward="initial") for a in composition.of(Consolidation)]
    others = [a for a in composition.anchors if not isinstance(a, Consolidation)]
    step = objective(
        replace(composition, anchors=(*others, *pulls)), learner, memory, label_smoothing=0.2
    )
    losses = {}
    for terms in step(learner, batch):
        sum(terms.values()).backward()
        losses |= {name: term.item() for name, term in terms.items()}
    return {n: p.grad for n, p in clip.model.named_parameters() if p.requires_grad}, losses


@dataclass
class Variant:
    distill: dict
    align: dict
    pull: dict

    @property
    def composition(self):
        return gift(self.distill, self.align, self.pull)


def plain_gradients(clip, batch, replay, variant, anchor, importance):
    """The same as one formula: whole context, a prompt for each image, all of it by autograd."""
    model, scale = clip.model, clip.logit_scale
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
    kind = variant.distill.get("loss", "contrastive")
    towers = variant.distill.get("train_towers", "both")
    pairs = replay.prompts if variant.distill.get("over") == "all" else None
    own = [replay.prompts[i] for i in batch.replay.labels]

    def text(prompts):
        return model.encode_text(clip.tokenizer(prompts), normalize=True)

    def images(batch):
        return model.encode_image(batch.images, normalize=True)

    taught_images = replay.teacher_images[batch.replay.indices]
    compared = pairs or own
    taught_text = torch.stack([replay.teacher_text[replay.prompts.index(p)] for p in compared])
    z = taught_images if towers == "text" else images(batch.replay)
    w = taught_text if towers == "image" else text(compared)
    student, teacher = scale * z @ w.T, scale * taught_images @ taught_text.T
    paired = student if pairs is None else student[:, [compared.index(p) for p in own]]

    def distill(s, t):
        p, log_q = (t / 2).softmax(dim=1), (s / 2).log_softmax(dim=1)
        if kind == "contrastive":
            return -4 * (p * log_q).sum(dim=1).mean()
        if kind == "kl":
            return 4 * F.kl_div(log_q, p, reduction="batchmean")
        return 4 * F.kl_div(p.log(), log_q.exp(), reduction="batchmean")

    losses = {}
    if kind == "features":
        losses["distillation_image"] = (z - taught_images).square().mean()
        losses["distillation_text"] = (w - taught_text).square().mean()
    else:
        losses["distillation_image"] = distill(student, teacher)
        losses["distillation_text"] = distill(student.T, teacher.T)
    if variant.distill.get("directions") == "image":
        del losses["distillation_text"]
    if variant.align.get("weight", 0.25):
        same = torch.tensor([[float(a == b) for b in own] for a in own])
        target = 0.8 * same / same.sum(dim=1, keepdim=True) + 0.2 / len(own)
        for side, scores in (("image", paired), ("text", paired.T)):
            cross = -(target * scores.log_softmax(dim=1)).sum(dim=1).mean()
            losses[f"alignment_{side}"] = 0.25 * cross
    found = torch.autograd.grad(
        sum(losses.values()), list(learning.values()), retain_graph=True, allow_unused=True
    )
    losses["consolidation"] = sum(
        (importance(name, None if g is None else g.clone()) * (p - anchor[name]).square()).sum()
        for (name, p), g in zip(learning.items(), found, strict=True)
    )
    logits = scale * images(batch) @ text(PROMPTS).T
    losses["cross_entropy"] = F.cross_entropy(logits, batch.labels, label_smoothing=0.2)
    total = torch.autograd.grad(sum(losses.values()), list(learning.values()))
    return dict(zip(learning, total, strict=True)), {k: v.item() for k, v in losses.items()}


VARIANTS = {
    "gift": Variant({}, {}, {}),
    "kl": Variant({"loss": "kl"}, {}, {}),
    "reverse-kl": Variant({"loss": "reverse_kl"}, {}, {}),
    "features": Variant({"loss": "features"}, {}, {}),
    "image": Variant({"train_towers": "image"}, {"train_towers": "image"}, {}),
    "text": Variant({"train_towers": "text"}, {"train_towers": "text"}, {}),
    "no-alignment": Variant({}, {"weight": 0.0}, {}),
    "uniform": Variant({}, {}, {"importance": "uniform"}),
    "static": Variant({}, {}, {"importance": "static"}),
    "over-all": Variant({"over": "all"}, {}, {}),
    "over-all-image": Variant({"over": "all", "directions": "image"}, {}, {}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_step_equals_a_plain_implementation(clip, replay, moved, name):
    variant, batch = VARIANTS[name], batch_of(clip, replay)
    fisher = {name: torch.rand_like(p) for name, p in moved.items()}
    importance = {
        "adaptive": adaptive_importance,
        "uniform": uniform_importance,
        "static": lambda name, gradient: fisher[name],
    }[variant.pull.get("importance", "adaptive")]
    ours, losses = gradients_of(clip, batch, replay, variant.composition, moved, fisher)
    theirs, wanted = plain_gradients(clip, batch, replay, variant, moved, importance)
    assert losses == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    for name, gradient in theirs.items():
        close = {"rtol": 1e-3, "atol": 1e-5 + 1e-4 * gradient.abs().max().item()}
        torch.testing.assert_close(ours[name], gradient, **close, msg=lambda m, n=name: f"{n}: {m}")


def test_where_one_tower_learns_the_other_gets_nothing_of_the_replay(clip, replay, moved):
    quiet = gift({"train_towers": "image"}, {"train_towers": "image"}, {"strength": 0.0})
    learner = learner_of(clip)
    step = objective(quiet, learner, Memory(replay))
    sum(next(step(learner, batch_of(clip, replay))).values()).backward()
    with_gradient = {n for n, p in clip.model.named_parameters() if p.grad is not None}
    assert with_gradient == {n for n, _ in clip.model.named_parameters() if n.startswith("visual")}


def test_a_step_is_indifferent_to_the_order_of_the_replay_images(clip, replay, moved):
    batch = batch_of(clip, replay)
    order = torch.tensor([5, 2, 0, 4, 1, 3])
    turned = Batch(
        *(getattr(batch.replay, name)[order] for name in ("images", "labels", "indices"))
    )
    given = (replay, gift(), moved)
    ours, losses = gradients_of(clip, batch, *given)
    theirs, other = gradients_of(clip, replace(batch, replay=turned), *given)
    assert losses == pytest.approx(other, rel=1e-4)
    torch.testing.assert_close(ours["visual.proj"], theirs["visual.proj"], rtol=1e-3, atol=1e-5)


class Saved:
    """A tensor that a graph keeps for its backward pass."""

    def __init__(self, tensor):
        self.tensor = tensor


def test_the_first_graph_is_gone_before_the_second_is_built(clip, replay, moved, monkeypatch):
    batch = batch_of(clip, replay)
    alive, seen = weakref.WeakSet(), []

    def save(tensor):
        saved = Saved(tensor)
        alive.add(saved)
        return saved

    encode = type(clip.model).encode_image

    def watched(*given, **options):
        gc.collect()
        seen.append(len(alive))
        return encode(*given, **options)

    monkeypatch.setattr(type(clip.model), "encode_image", watched)
    with torch.autograd.graph.saved_tensors_hooks(save, lambda saved: saved.tensor):
        gradients_of(clip, batch, replay, gift(), moved)
    assert seen == [0, 0]


def test_the_previous_model_has_no_gradient_of_the_distillation_before_the_first_step(clip, replay):
    """Where both are the same model, what they say is the same, up to rounding."""
    learner = learner_of(clip)
    alone = gift(align={"weight": 0.0}, pull={"strength": 0.0})
    step = objective(alone, learner, Memory(replay))
    sum(next(step(learner, batch_of(clip, replay))).values()).backward()
    assert clip.model.visual.proj.grad.abs().max() < 1e-4


def test_in_bf16_the_previous_model_answers_in_bf16_too(clip, task):
    """Else the first step would distil the difference of two precisions."""
    found = {}
    prompts = [("a colour", "a light", "a dark")[i % 3] for i in range(len(task))]
    alone = gift(align={"weight": 0.0}, pull={"strength": 0.0})
    with torch.no_grad():
        clip.model.logit_scale.fill_(4.6)  # as real models have it, 100
    for precision in ("fp32", "bf16"):
        known = build_replay_set(clip, task.paths, prompts, batch_size=6, precision=precision)
        learner = learner_of(clip)
        learner.zero_grad()
        with autocast(torch.device("cpu"), "bf16"):
            step = objective(alone, learner, Memory(known))
            terms = next(step(learner, batch_of(clip, known)))
        sum(terms.values()).backward()
        found[precision] = clip.model.visual.proj.grad.norm().item()
    assert found["bf16"] < 0.01 * found["fp32"]


def test_the_classes_of_the_batch_alone(clip):
    """With captions an image is told apart from the others of its batch only."""
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = Batch(images, torch.tensor([2, 0, 2, 0]), torch.arange(4))
    learner = learner_of(clip, "batch")
    step = objective(compose(FineTuning(), [], Family.CONTINUAL), learner, Memory(), 0.2)
    [terms] = step(learner, batch)
    with torch.no_grad():
        text = encode_text(clip, [PROMPTS[0], PROMPTS[2]])
        logits = clip.logit_scale * image_features(clip.model, images) @ text.T
        wanted = F.cross_entropy(logits, torch.tensor([1, 0, 1, 0]), label_smoothing=0.2)
    torch.testing.assert_close(terms["cross_entropy"].detach(), wanted)


def test_images_without_prompts_are_compared_with_the_others_alone(clip, task):
    """As LwF has it: what the task's images look like among the classes of before."""
    found = build_replay_set(clip, task.paths[:4], None, batch_size=4, among=["c", "a", "c"])
    assert (found.prompts, found.labels) == (["c", "a"], [0, 0, 0, 0])
    own = torch.stack([clip.preprocess(read_image(path)) for path in task.paths[:4]])
    seen = Batch(own, torch.zeros(4, dtype=torch.long), torch.arange(4))
    towers = {"over": "all", "directions": "image", "train_towers": "image"}
    composition = gift(towers, {"weight": 0}, {"strength": 0})
    learner = learner_of(clip)
    step = objective(composition, learner, Memory(found))
    losses = next(step(learner, replace(seen, replay=seen)))
    with torch.no_grad():
        p = (clip.logit_scale * found.teacher_images @ found.teacher_text.T / 2).softmax(dim=1)
    assert losses.keys() == {"distillation_image"}
    wanted = -4 * (p * p.log()).sum(dim=1).mean()
    torch.testing.assert_close(losses["distillation_image"].detach(), wanted, rtol=1e-4, atol=1e-5)


def weights(clip):
    return {name: tensor.clone() for name, tensor in clip.model.state_dict().items()}


def distance(one, other):
    return sum((one[name] - other[name]).square().sum() for name in one).sqrt().item()


def learn(clip, task, memory, composition, train=TRAIN, **more):
    """Train a task from the weights that the model has."""
    learner = learner_of(clip)
    training = clip_training(learner, clip, task, composition, memory, train, 0)
    fit(learner, **training, **more)


def losses_of(stage):
    return [step.losses for step in stage.curve()]


def test_learning_a_task(clip, task, replay, tmp_path):
    before, stage = weights(clip), Stage(tmp_path, "train")
    learn(clip, task, Memory(replay), gift(), replace(TRAIN, steps=25), stage=stage)
    losses = losses_of(stage)
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
        pull = {"strength": strength, "importance": "uniform"}
        learn(clip, task, Memory(replay), gift(pull=pull))
        away[strength] = distance(weights(clip), before)
    assert away[100.0] < 0.8 * away[0.0]


def test_without_replay(clip, task, tmp_path):
    """Plain continual fine-tuning, and L2."""
    for method, losses in ((FineTuning(), set()), (L2(), {"consolidation"})):
        stage = Stage(tmp_path / method.name, "train")
        learn(clip, task, Memory(), compose(method, [], Family.CONTINUAL), stage=stage)
        assert [set(step) for step in losses_of(stage)] == [losses | {"cross_entropy"}] * 6


class Killed(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("kind", ["last", "mean", "static"])
def test_a_killed_run_goes_on_to_the_same_weights(clip, task, replay, tmp_path, kind):
    composition = gift(pull={"importance": "static" if kind == "static" else "adaptive"})
    if kind == "mean":
        composition = compose(GIFT(), [IterateAverage(2)], Family.CONTINUAL)
    before = weights(clip)

    def fisher():
        found = replay_fisher(clip, replay, over_all=False, batch_size=6, workers=0, seed=0)
        return with_prefix(found, "model.")

    memory = Memory(replay, fisher=fisher)
    learn(clip, task, memory, composition)
    whole = weights(clip)

    def kill(step, module):
        if step == 3:
            raise Killed

    clip.model.load_state_dict(before)
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        learn(clip, task, memory, composition, stage=Stage(folder, "train", 0), after_step=kill)
    clip.model.load_state_dict(before)  # as a new process finds it
    steps = []
    note = lambda step, module: steps.append(step)  # noqa: E731
    learn(clip, task, memory, composition, stage=Stage(folder, "train", 0), after_step=note)
    assert steps == [3, 4, 5]
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(clip).items())


def test_the_mean_of_the_iterates(clip, task, replay):
    """Of the weights before the task and after steps 0, 2, 4 and the last, 5."""
    seen = [weights(clip)]
    composition = compose(GIFT(), [IterateAverage(2)], Family.CONTINUAL)
    keep = lambda step, module: seen.append(weights(clip))  # noqa: E731
    learn(clip, task, Memory(replay), composition, after_step=keep)
    wanted = {name: sum(seen[i][name] for i in (0, 1, 3, 5, 6)) / 5 for name in seen[0]}
    for name, tensor in weights(clip).items():
        torch.testing.assert_close(tensor, wanted[name])


def test_the_logit_scale_stays(clip):
    learner = learner_of(clip)
    frozen = {name for name, p in learner.named_parameters() if not p.requires_grad}
    assert frozen == {
        f"model.{name}"
        for name in learners.FROZEN
        if hasattr(clip.model, name) and getattr(clip.model, name) is not None
    }


def test_replayed_images_are_not_augmented(clip, task, replay):
    """They are seen as the old model saw them, whose answers are computed once."""
    learner = learner_of(clip)
    training = clip_training(learner, clip, task, gift(), Memory(replay), TRAIN, 0)
    batch = next(training["batches"](0)).replay
    for image, place in zip(batch.images, batch.indices.tolist(), strict=True):
        assert torch.equal(image, clip.preprocess(read_image(replay.paths[place])))


def test_a_replay_set_smaller_than_its_batch_is_the_batch(clip, task):
    few = build_replay_set(clip, task.paths[:4], ["a", "b", "a", "b"], batch_size=2)
    learner = learner_of(clip)
    training = clip_training(learner, clip, task, gift(), Memory(few), TRAIN, 0)
    assert len(next(training["batches"](0)).replay.labels) == 4


def test_images_that_cannot_be_read_are_left_out_of_the_replay(clip, task, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    paths = [task.paths[0], broken, task.paths[1]]
    found = build_replay_set(clip, paths, ["a", "b", "c"], batch_size=2)
    assert found.paths == [task.paths[0], task.paths[1]]
    assert found.labels == [0, 2]
    assert len(found.teacher_images) == 2
    with pytest.raises(HoldfastError, match="None of the images could be read"):
        build_replay_set(clip, [broken], ["a"], batch_size=2)
