"""Each architecture that people bring, small: trained in every way, saved, and read by others."""

import huggingface_hub.constants
import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from tests.gradients import assert_same_step, step_gradients
from tests.models.shrunk import (
    TOWERS,
    cache_text_towers,
    register_small_towers,
    shrunk_folder,
)
from torch import nn

from holdfast.anchors.base import Memory, ReplaySet
from holdfast.data.batches import Batch, sequential_batches
from holdfast.data.folders import scan, subset
from holdfast.learners import HeadLearner, TwoTowerLearner, set_checkpointing
from holdfast.memory import clip_memory, clip_training
from holdfast.methods import Family, compose
from holdfast.methods.gift import GIFT
from holdfast.methods.regft import RegFT
from holdfast.methods.vl2v import VL2V
from holdfast.models.checkpoint import PREPROCESS, published_facts
from holdfast.models.classifier import Classifier, head_of, load_classifier, text_head
from holdfast.models.clip import load_clip
from holdfast.models.student import Student, load_student
from holdfast.models.text import encode_text, image_features, tokenize
from holdfast.settings import ContinualTrainSettings, Optimisation
from holdfast.train import fit, objective

# What people call it, and the configuration of open_clip that is made small.
ARCHITECTURES = {
    "ViT": "ViT-B-16",
    "ViT-L": "ViT-L-14",
    "ViT-H": "ViT-H-14",
    "OpenAI, QuickGELU": "ViT-B-32-quickgelu",
    "MetaCLIP": "ViT-H-14-quickgelu",
    "MetaCLIP 2": "ViT-H-14-worldwide",
    "RN50": "RN50-quickgelu",
    "ConvNeXt": "convnext_base_w",
    "SigLIP": "ViT-B-16-SigLIP",
    "SigLIP 2": "ViT-B-16-SigLIP2",
    "EVA02": "EVA02-B-16",
    "CoCa": "coca_ViT-B-32",
    "MobileCLIP S0": "MobileCLIP2-S0",
    "MobileCLIP S1": "MobileCLIP-S1",
    "MobileCLIP S2": "MobileCLIP-S2",
    "ViTamin": "ViTamin-S",
    "PE-Core": "PE-Core-B-16",
    "CLIPA": "ViT-L-14-CLIPA",
    "xlm-roberta": "xlm-roberta-base-ViT-B-32",
    "nllb": "nllb-clip-base",
}
PROMPTS = [["a photo of a red thing."], ["a photo of a green thing.", "green"], ["a blue thing"]]
QUICK = Optimisation(learning_rate=1e-3, warmup_steps=0, precision="fp32")


class Repeated:
    """A batch, so many steps."""

    def __init__(self, batch, steps=2):
        self.batch, self.steps = batch, steps

    def __len__(self):
        return self.steps

    def __call__(self, start):
        return iter([self.batch] * (self.steps - start))


@pytest.fixture(scope="module", autouse=True)
def towers(tmp_path_factory):
    """Small towers of timm, and of transformers in a cache of the hub."""
    register_small_towers()
    cache = tmp_path_factory.mktemp("hub")
    cache_text_towers(cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
        yield
    assert all(timm.is_model(f"small_{name}") for name in TOWERS)


@pytest.fixture(params=ARCHITECTURES, scope="module")
def given(request, tmp_path_factory):
    """An untrained model's folder."""
    name = ARCHITECTURES[request.param]
    facts = {"interpolation": "bicubic", "resize_mode": "shortest"} | published_facts(name)[0]
    preprocess = {key: facts[key] for key in PREPROCESS if key in facts}
    return shrunk_folder(tmp_path_factory.mktemp("given") / "model", name, preprocess)


@pytest.fixture(scope="module")
def clip(given):
    """The model, which each test trains further."""
    return load_clip(f"local-dir:{given}", device="cpu")


@pytest.fixture(scope="module")
def check_in_open_clip(given, clip):
    """A saved folder, in plain open_clip, turns a picture and prompts into what `clip` does."""
    tokenizer = open_clip.get_tokenizer(f"local-dir:{given}")

    def check(folder):
        model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        model.eval()
        picture = Image.effect_mandelbrot((90, 70), (-2, -1, 1, 1), 100).convert("RGB")
        prompts = ["a photo of a red thing.", "a blue thing"]
        with torch.no_grad():
            theirs = model.encode_image(preprocess(picture)[None], normalize=True)
            ours = image_features(clip.model.eval(), clip.preprocess(picture)[None])
            assert torch.equal(ours, theirs)
            theirs = model.encode_text(tokenizer(prompts), normalize=True)
            torch.testing.assert_close(encode_text(clip, prompts), theirs, rtol=0, atol=1e-5)

    return check


def some_images(pictures):
    images = scan(pictures)
    return subset(images, [0, 1, 10, 11, 20, 21])


def trained(learner, given, steps):
    """Train; `given` says whether the names of the weights that moved are right."""
    before = {name: p.detach().clone() for name, p in learner.learning().items()}
    fit(learner, **steps)
    moved = [name for name, p in learner.learning().items() if not torch.equal(p, before[name])]
    assert given(moved), moved
    assert not any("text_decoder" in name or "logit_scale" in name for name in moved)


def moves_towers(*parts):
    """Whether weights of each part are among those that moved."""
    return lambda moved: all(any(part in name for name in moved) for part in parts)


def test_name_only_transfer(clip, check_in_open_clip, pictures, tmp_path):
    images = some_images(pictures)
    classifier = Classifier(clip, text_head(clip, PROMPTS), images.classes).eval()
    [batch] = sequential_batches(images, clip.augment, 6)
    learner = HeadLearner(classifier.visual, classifier.head, clip.logit_scale)
    composition = compose(RegFT(), [], Family.TRANSFER)
    trained(
        learner,
        moves_towers("visual", "head"),
        {
            "batches": Repeated(batch),
            "objective": objective(composition, learner, Memory()),
            "optimisation": QUICK,
        },
    )
    classifier.save(tmp_path / "model")
    again = load_classifier(tmp_path / "model", "cpu")
    assert torch.equal(classifier.predict(images.paths)[1], again.predict(images.paths)[1])
    check_in_open_clip(tmp_path / "model")


def test_continual_learning(clip, check_in_open_clip, pictures, tmp_path):
    images = some_images(pictures)
    prompts = [group[0] for group in PROMPTS]
    train = ContinualTrainSettings(
        learning_rate=1e-3, steps=2, batch_size=4, replay_batch_size=4, workers=0, precision="fp32"
    )
    composition = compose(GIFT(), [], Family.CONTINUAL)
    learner = TwoTowerLearner(clip, tokenize(clip, prompts))
    memory = clip_memory(
        clip,
        composition,
        (images.paths, [prompts[label] for label in images.labels]),
        among=[],
        initial=lambda: clip,
        train=train,
        seed=0,
    )
    training = clip_training(learner, clip, images, composition, memory, train, 0)
    text = "text" if hasattr(clip.model, "text") else "transformer"
    trained(learner, moves_towers("visual", text), training)
    clip.save(tmp_path / "model")
    check_in_open_clip(tmp_path / "model")


def test_a_step_in_parts_with_checkpointing_is_the_step(clip, pictures):
    images = some_images(pictures)
    prompts = [group[0] for group in PROMPTS]
    [batch] = sequential_batches(images, clip.preprocess, 6)
    with torch.no_grad():
        # Not the model's own answers: the distillation would have no gradient.
        answers = F.normalize(image_features(clip.model, batch.images).flip(0) + 0.01, dim=1)
        text = encode_text(clip, prompts)
    tokens = tokenize(clip, prompts)
    replay = ReplaySet(images.paths, images.labels, prompts, tokens, answers, text)
    batch.replay = Batch(batch.images, batch.labels, batch.indices)
    learner = TwoTowerLearner(clip, tokens)
    step = objective(compose(GIFT(), [], Family.CONTINUAL), learner, Memory(replay=replay))
    whole = step_gradients(learner, step, batch)
    learner.parts = 3
    set_checkpointing(learner, True)
    assert_same_step(whole, step_gradients(learner, step, batch))
    set_checkpointing(learner, False)


def test_distillation_from_it_and_into_it(clip, check_in_open_clip, pictures, tmp_path):
    images = some_images(pictures)
    text = encode_text(clip, [group[0] for group in PROMPTS])
    [seen] = sequential_batches(images, clip.preprocess, 6)
    with torch.no_grad():
        answers = image_features(clip.model, seen.images)
    composition = compose(VL2V(), [], Family.DISTILL)
    small = load_student("test_vit3", text.shape[1], pretrained=False, device="cpu")
    for tower in (small, clip):
        [batch] = sequential_batches(images, tower.preprocess, 6)
        batch = Batch(batch.images, batch.labels, batch.indices, answers, text[batch.labels])
        visual = tower.visual if tower is small else Student(tower.visual, nn.Identity())
        learner = HeadLearner(visual, head_of(text, 10.0), 10.0, text)
        learner.head.requires_grad_(False)
        trained(
            learner,
            moves_towers("visual"),
            {
                "batches": Repeated(batch),
                "objective": objective(composition, learner, Memory()),
                "optimisation": QUICK,
            },
        )
    clip.save(tmp_path / "model")
    check_in_open_clip(tmp_path / "model")
