"""VL2V's objective against the sum written out."""

import pytest
import torch
from tests.anchors.towers import numbers

from holdfast.anchors.base import Answers, Need
from holdfast.anchors.teacher_embeddings import TeacherEmbeddings
from holdfast.data.batches import Batch

Z = numbers(5, 3, seed=1)
IMAGE, TEXT = numbers(5, 3, seed=2), numbers(5, 3, seed=3)
BATCH = Batch(torch.empty(5, 0), torch.arange(5), torch.arange(5), IMAGE, TEXT)


def terms(z, weight, batch=BATCH):
    answers = Answers(z, torch.empty(5, 2), batch.labels)
    return TeacherEmbeddings(weight).feature_losses(answers, batch)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_by_hand(weight):
    cosine = {"image": 0.0, "text": 0.0}
    for row in range(5):
        for name, target in (("image", IMAGE), ("text", TEXT)):
            dot = (Z[row] * target[row]).sum()
            cosine[name] += dot / (Z[row].norm() * target[row].norm()) / 5
    found = terms(Z, weight)
    assert list(found) == ["image", "text"]
    torch.testing.assert_close(found["image"], -weight * cosine["image"])
    torch.testing.assert_close(found["text"], -(1 - weight) * cosine["text"])


def test_lengths_do_not_matter_and_the_target_is_the_best_there_is():
    longer = terms(7 * Z, 0.5)
    for name, term in terms(Z, 0.5).items():
        torch.testing.assert_close(longer[name], term)
    both = Batch(BATCH.images, BATCH.labels, BATCH.indices, IMAGE, IMAGE)
    best = sum(terms(IMAGE, 0.3, both).values())
    torch.testing.assert_close(best, torch.tensor(-1.0))


def test_it_needs_a_teacher_and_weighs_both_alike():
    assert TeacherEmbeddings.needs == {Need.TEACHER}
    assert TeacherEmbeddings().image_weight == 0.5
