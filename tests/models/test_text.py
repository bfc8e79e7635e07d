import pytest
import torch
from tests.tiny import clip_folder, coca_folder, siglip_folder

from holdfast.models import text
from holdfast.models.clip import load_clip
from holdfast.models.text import (
    by_length,
    cut_rows,
    encode_text,
    prompt_lengths,
    text_features,
    tokenize,
)


@pytest.fixture
def clip(clip_folder):
    return load_clip(f"local-dir:{clip_folder}", device="cpu")


def test_equal_prompts_get_equal_embeddings_in_order(clip):
    rows = encode_text(clip, ["a", "b", "a"])
    assert torch.equal(rows[0], rows[2])
    assert not torch.equal(rows[0], rows[1])
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(3))


def whole_context(clip, prompts):
    """Normalised text embeddings as open_clip computes them."""
    return clip.model.encode_text(clip.tokenizer(prompts), normalize=True)


def test_prompts_are_grouped_where_that_saves_tokens(monkeypatch):
    monkeypatch.setattr(text, "GROUP_COST", 8)
    lengths = torch.tensor([9, 3, 4, 3, 20])
    # Cutting off the longest saves 4 x 11 tokens, then the 9 costs the others 3 x 5.
    assert [group.tolist() for group in by_length(lengths)] == [[1, 3, 2], [0], [4]]
    monkeypatch.setattr(text, "GROUP_COST", 1000)
    assert [group.tolist() for group in by_length(lengths)] == [[1, 3, 2, 0, 4]]
    assert [group.tolist() for group in by_length(torch.tensor([7]))] == [[0]]


@pytest.mark.parametrize("cost", [1, 1000])
def test_a_causal_text_tower_stops_at_the_last_token(clip, monkeypatch, cost):
    monkeypatch.setattr(text, "GROUP_COST", cost)
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


@pytest.mark.parametrize("folder", [clip_folder, siglip_folder, coca_folder])
def test_prompts_that_are_cut_are_found_to_the_token(folder, tmp_path):
    """Whatever a tokenizer pads with: the tower's last place may be filled, and no more."""
    tokenizer = load_clip(f"local-dir:{folder(tmp_path / 'model')}", device="cpu").tokenizer
    context = tokenizer([""]).shape[1]
    prompts = ["a " * count for count in range(1, context + 3)]
    # Each word is one token, and each prompt has a start and an end.
    expected = [row for row in range(len(prompts)) if row + 1 + 2 > context]
    assert cut_rows(tokenizer, prompts, tokenizer(prompts)) == expected


def test_cut_prompts_are_warned_of_once_with_their_count_and_an_example(clip, caplog):
    same = "small details, " * 20
    prompts = [f"{same} of a cat", "a dog", f"{same} of a dog", "b " * 90]
    text = encode_text(clip, prompts)
    assert torch.equal(text[0], text[2])
    [warning] = caplog.messages
    assert warning.startswith("3 of 4 prompts are longer than the 32 tokens that")
    assert repr(f"{same[:80]}...") in warning
    assert "(what is left of 1 is the same as of another)" in warning
    encode_text(clip, prompts)
    tokenize(clip, ["a dog", prompts[0], "c " * 90])
    assert [m[:6] for m in caplog.messages] == ["3 of 4", "1 of 3"]
    assert "the same" not in caplog.messages[1]
