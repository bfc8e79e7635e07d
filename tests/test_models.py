import json
import shutil

import open_clip
import pytest
import torch
from PIL import Image
from tests.tiny import siglip_folder

from holdfast import models
from holdfast.data.batches import sequential_batches
from holdfast.data.folders import scan
from holdfast.errors import HoldfastError, UsageError
from holdfast.models import (
    Classifier,
    Head,
    by_length,
    encode_text,
    load_clip,
    prompt_lengths,
    text_features,
    text_head,
)
from holdfast.names import from_names
from holdfast.students import load_classifier

NAMES = from_names(["red thing", "green thing", "blue thing"])


@pytest.fixture
def clip(clip_folder):
    return load_clip(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture
def classifier(clip):
    return Classifier(clip, text_head(clip, [[f"a photo of a {n}."] for n in NAMES]), NAMES).eval()


def test_head_by_hand():
    head = Head(2, 1)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[10.0, 0.0]]))
        head.bias.zero_()
    assert head(torch.tensor([[3.0, 4.0]])).item() == pytest.approx(6.0)
    assert head(torch.tensor([[30.0, 40.0]])).item() == pytest.approx(6.0)  # length is no matter


def test_text_head_is_the_zero_shot_classifier(clip):
    prompts = [["a red thing", "one red thing"], ["a blue thing"]]
    head = text_head(clip, prompts)
    tokens = clip.tokenizer(["a red thing", "one red thing", "a blue thing"])
    with torch.no_grad():
        rows = clip.model.encode_text(tokens)
        rows = rows / rows.norm(dim=-1, keepdim=True)
        red = rows[:2].mean(dim=0)
        expected = torch.stack([red / red.norm(), rows[2]]) * clip.model.logit_scale.exp()
    torch.testing.assert_close(head.weight.detach(), expected)
    assert not head.bias.any()


def test_equal_prompts_get_equal_embeddings_in_order(clip):
    rows = encode_text(clip, ["a", "b", "a"])
    assert torch.equal(rows[0], rows[2])
    assert not torch.equal(rows[0], rows[1])
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(3))


def test_the_logits_are_open_clips(clip, classifier):
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        z, logits = classifier(images)
        theirs = clip.model.encode_image(images, normalize=True)
        scale = clip.model.logit_scale.exp()
        text = encode_text(clip, [f"a photo of a {n}." for n in NAMES])
    torch.testing.assert_close(logits, scale * theirs @ text.T)
    torch.testing.assert_close(torch.nn.functional.normalize(z, dim=-1), theirs)


def test_a_saved_classifier_comes_back_and_loads_in_plain_open_clip(tmp_path, classifier, pictures):
    with torch.no_grad():
        for p in classifier.parameters():
            p.add_(0.01)
    classifier.save(tmp_path / "model", {"alpha": 0.5})
    again = load_classifier(tmp_path / "model", "cpu")
    data = scan(pictures, NAMES)
    batches = list(sequential_batches(data, classifier.tower.preprocess, 7))
    ours, theirs = classifier.embed(batches), again.embed(batches)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert again.classes == NAMES
    plain, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'model'}")
    state = plain.visual.state_dict()
    assert all(torch.equal(state[k], v) for k, v in classifier.visual.state_dict().items())


def test_predict_takes_files_and_pictures(classifier, pictures):
    files = sorted(pictures.rglob("*.png"))[:5]
    names, probabilities = classifier.predict(files, batch_size=2)
    opened, same = classifier.predict([Image.open(f) for f in files])
    assert names == opened
    assert set(names) <= set(NAMES.names)
    torch.testing.assert_close(probabilities, same)
    torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(5))


def test_unknown_models_and_tags_get_near_matches():
    with pytest.raises(UsageError, match=r"did you mean ViT-B-16"):
        load_clip("ViT-B16", "openai")
    with pytest.raises(UsageError, match=r"no pre-trained weights 'opnai'.*openai"):
        load_clip("ViT-B-16", "opnai")
    with pytest.raises(UsageError, match="no pre-trained weights ''"):
        load_clip("ViT-B-16")


def test_weights_that_cannot_be_fetched_get_the_command_that_fetches_them():
    with pytest.raises(HoldfastError, match=r"hf download timm/vit_base_patch16_clip_224\.openai"):
        load_clip("ViT-B-16", "openai")
    with pytest.raises(HoldfastError, match="hf download nobody/nothing"):
        load_clip("hf-hub:nobody/nothing")


def test_folders_that_hold_no_model(tmp_path, clip_folder):
    with pytest.raises(UsageError, match="no open_clip folder"):
        load_clip(f"local-dir:{tmp_path}")
    with pytest.raises(UsageError, match="holds no classifier"):
        load_classifier(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(clip_folder, broken)
    weights = broken / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(HoldfastError, match="could not be loaded"):
        load_clip(f"local-dir:{broken}")
    weights.unlink()
    with pytest.raises(HoldfastError, match="could not be loaded"):
        load_clip(f"local-dir:{broken}")


def test_a_half_written_classifier_is_not_loaded(tmp_path, classifier, monkeypatch):
    classifier.save(tmp_path, {"alpha": 0.5})
    monkeypatch.setattr(type(classifier.classes), "write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        classifier.save(tmp_path, {"alpha": 0.7})
    with pytest.raises(UsageError, match="holds no classifier"):
        load_classifier(tmp_path)


def test_quickgelu_follows_the_weights(tmp_path, clip_folder):
    """A folder saved from QuickGELU weights says so, or its embeddings would drift."""
    config = json.loads((clip_folder / "open_clip_config.json").read_text())
    config["model_cfg"]["quick_gelu"] = True
    quick = tmp_path / "quick"
    shutil.copytree(clip_folder, quick)
    (quick / "open_clip_config.json").write_text(json.dumps(config))
    clip = load_clip(f"local-dir:{quick}", device="cpu")
    clip.save(tmp_path / "again")
    again = load_clip(f"local-dir:{tmp_path / 'again'}", device="cpu")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(clip.model.visual(images), again.model.visual(images))


def whole_context(clip, prompts):
    """Normalised text embeddings as open_clip computes them."""
    return clip.model.encode_text(clip.tokenizer(prompts), normalize=True)


def test_prompts_are_grouped_where_that_saves_tokens(monkeypatch):
    monkeypatch.setattr(models, "GROUP_COST", 8)
    lengths = torch.tensor([9, 3, 4, 3, 20])
    # Cutting off the longest saves 4 x 11 tokens, then the 9 costs the others 3 x 5.
    assert [group.tolist() for group in by_length(lengths)] == [[1, 3, 2], [0], [4]]
    monkeypatch.setattr(models, "GROUP_COST", 1000)
    assert [group.tolist() for group in by_length(lengths)] == [[1, 3, 2, 0, 4]]
    assert [group.tolist() for group in by_length(torch.tensor([7]))] == [[0]]


@pytest.mark.parametrize("cost", [1, 1000])
def test_a_causal_text_tower_stops_at_the_last_token(clip, monkeypatch, cost):
    monkeypatch.setattr(models, "GROUP_COST", cost)
    prompts = ["a photo of one blue thing", "a red thing"]
    seen = []
    encode = clip.model.encode_text
    monkeypatch.setattr(
        clip.model, "encode_text", lambda tokens, **o: [seen.append(tokens), encode(tokens, **o)][1]
    )
    ours = text_features(clip.model, clip.tokenizer(prompts))
    # Six words, and three, between start and end.
    assert [tuple(t.shape) for t in seen] == ([(1, 5), (1, 8)] if cost == 1 else [(2, 8)])
    theirs = whole_context(clip, prompts)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    parameters = [p for n, p in clip.model.named_parameters() if not n.startswith(("visual", "lo"))]
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(0))
    for one, other in zip(
        torch.autograd.grad((ours * weight).sum(), parameters),
        torch.autograd.grad((theirs * weight).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_tower_that_looks_everywhere_sees_the_whole_context(tmp_path):
    clip = load_clip(f"local-dir:{siglip_folder(tmp_path)}", device="cpu")
    tokens = clip.tokenizer(["a red thing", "one"])
    assert prompt_lengths(clip.model, tokens) is None
    torch.testing.assert_close(
        text_features(clip.model, tokens), whole_context(clip, ["a red thing", "one"])
    )


def test_where_a_prompt_ends_by_the_id_of_its_end(clip, monkeypatch):
    tokens = torch.tensor([[9, 5, 2, 0, 0, 0], [9, 5, 5, 5, 2, 0]])
    monkeypatch.setattr(clip.model, "text_pool_type", "eos")
    monkeypatch.setattr(clip.model, "text_eos_id", 2)
    assert prompt_lengths(clip.model, tokens).tolist() == [3, 5]
    monkeypatch.setattr(clip.model, "text_pool_type", "last")
    assert prompt_lengths(clip.model, tokens) is None
