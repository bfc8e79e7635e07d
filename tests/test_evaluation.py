"""The one loop from images to answers."""

import pytest
import torch
from torch import nn

from holdfast.data.batches import Batch, sequential_batches
from holdfast.data.folders import scan
from holdfast.errors import HoldfastError
from holdfast.evaluation import (
    EvalSet,
    chunks,
    classifier_logits,
    embed_sets,
    forward,
    sweep,
)
from holdfast.models.classifier import Classifier, text_head
from holdfast.models.clip import load_clip
from holdfast.weights import interpolate

CPU = torch.device("cpu")


def batches(sizes=(2, 3, 1)):
    start = 0
    for size in sizes:
        places = torch.arange(start, start + size)
        yield Batch(places[:, None].float(), places % 2, places)
        start += size


def test_every_pass_sees_every_image_in_order():
    doubled, squared = (lambda: lambda x: 2 * x), (lambda: lambda x: x.square())
    found = forward([doubled, squared], batches(), CPU)
    assert found.rows[0].flatten().tolist() == [0, 2, 4, 6, 8, 10]
    assert found.rows[1].flatten().tolist() == [0, 1, 4, 9, 16, 25]
    assert found.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert found.indices.tolist() == list(range(6))


def test_what_comes_out_may_be_part_of_a_loss():
    weight = nn.Parameter(torch.ones(()))
    found = forward([lambda: lambda x: weight * x], batches(), CPU)
    assert not found.rows[0].requires_grad and not found.rows[0].is_inference()
    (weight * found.rows[0]).sum().backward()
    assert weight.grad == 15


def test_a_pass_is_prepared_once_for_each_chunk():
    """It may load weights, which costs more than a batch."""
    began = []

    def start(name):
        def begin():
            began.append(name)
            return lambda x: x

        return begin

    forward([start("a"), start("b")], batches(), CPU, chunk_bytes=5 * 4)
    assert began == ["a", "b", "a", "b"]  # 2 + 3 images, then 1
    began.clear()
    forward([start("a"), start("b")], batches(), CPU)
    assert began == ["a", "b"] * 3


def test_chunks_have_the_size_asked_for():
    sizes = [[len(b.labels) for b in chunk] for chunk in chunks(batches((2, 2, 2, 1)), 16)]
    assert sizes == [[2, 2], [2, 1]]


def test_without_a_readable_image_there_is_nothing_to_say():
    with pytest.raises(HoldfastError, match="None of the images could be read"):
        forward([lambda: lambda x: x], iter(()), CPU)


@pytest.fixture
def classifier(clip_folder, pictures):
    clip = load_clip(f"local-dir:{clip_folder}", device="cpu")
    data = scan(pictures)
    prompts = [[f"a {name}."] for name in data.classes.names]
    return Classifier(clip, text_head(clip, prompts), data.classes).eval(), data


def test_a_sweep_gives_the_logits_of_each_ensemble(classifier):
    model, data = classifier
    original = model.weights()
    tuned = {
        name: t + 0.05 * torch.ones_like(t) if t.is_floating_point() else t
        for name, t in original.items()
    }

    def images():
        return sequential_batches(data, model.tower.preprocess, 7)

    alphas = [0.0, 0.4, 1.0]
    logits, labels, indices = sweep(
        model, lambda a: interpolate(original, tuned, a), alphas, images(), total=len(data)
    )
    assert labels.tolist() == data.labels and indices.tolist() == list(range(len(data)))
    for alpha in alphas:
        model.load_state_dict(interpolate(original, tuned, alpha))
        with torch.no_grad():
            wanted = torch.cat([model(batch.images)[1] for batch in images()])
        assert torch.equal(logits[alpha], wanted)
    assert not torch.equal(logits[0.0], logits[1.0])


def test_classifiers_that_share_their_preprocessing(classifier):
    model, data = classifier
    batches = list(sequential_batches(data, model.tower.preprocess, 7))
    found = classifier_logits([model, model], batches, len(data), "evaluating")
    assert torch.equal(found.rows[0], found.rows[1])
    with torch.no_grad():
        wanted = torch.cat([model(batch.images)[1] for batch in batches])
    assert torch.equal(found.rows[0], wanted)


@pytest.mark.parametrize("which", ["logits", "sweep", "clip"])
def test_forward_passes_have_the_precision_that_is_asked_for(classifier, which):
    """Else what is measured, and what a model is compared with, is not what was trained."""
    model, data = classifier
    seen = []
    model.visual.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))

    def once(precision):
        batches = sequential_batches(data, model.tower.preprocess, 7)
        if which == "logits":
            return classifier_logits([model], batches, len(data), "", precision).rows[0]
        if which == "sweep":
            weights = model.weights()
            found = sweep(
                model, lambda _: weights, [0.0], batches, total=len(data), precision=precision
            )
            return found[0][0.0]
        sets = [EvalSet("one", "test", data, data.classes.names, [[n] for n in data.classes.names])]
        return embed_sets(model.tower, sets, (), 0, precision).sets[0][1]

    full, half = once("fp32"), once("bf16")
    assert set(seen[: len(seen) // 2]) == {False} and set(seen[len(seen) // 2 :]) == {True}
    assert full.dtype == half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(full, half, rtol=0.1, atol=0.1)
