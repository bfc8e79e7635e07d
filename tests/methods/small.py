"""A tiny learner and a batch, to write the losses of a method out by hand."""

import torch
from torch import nn
from torch.nn import functional as F

from holdfast.anchors.base import Memory
from holdfast.data.batches import Batch
from holdfast.learners import HeadLearner
from holdfast.methods import Family, Method, compose
from holdfast.models.classifier import Head
from holdfast.train import objective

TEXT = F.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(2)), dim=-1)
SCALE = 10.0


def small_learner(width=6):
    """Images (batch, 3, 2, 2) -> features (batch, width) -> three classes."""
    torch.manual_seed(0)
    visual = nn.Sequential(nn.Flatten(), nn.Linear(12, width))
    return HeadLearner(visual, Head(width, 3, normalise=False), SCALE, TEXT)


def small_batch():
    """Five images with a teacher's embeddings, which are four wide."""
    torch.manual_seed(1)
    images, labels = torch.randn(5, 3, 2, 2), torch.arange(5) % 3
    answers = F.normalize(torch.randn(5, 4), dim=-1)
    return Batch(images, labels, torch.arange(5), answers, TEXT[labels])


def terms_of(method, learner, batch, anchors=(), family=Family.DISTILL):
    """The losses of a step of a method without replay; `method` as settings have it."""
    composition = compose(Method.from_value(method, "method"), anchors, family)
    [terms] = objective(composition, learner, Memory())(learner, batch)
    return terms
