"""The papers' losses as pure functions of tensors, each beside its equation.

They compute in float32 whatever autocast the forward pass ran under: products of embeddings with
a logit scale of 100 do not survive bfloat16. So tensors of any floating-point type may be given,
and the result is float32. Losses are scalars, means over the batch; entropies are in nats.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

P = ParamSpec("P")


def full_precision(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Run `function` without autocast, on float32 copies of its floating-point tensors.

    function: takes one tensor or more, and anything else, by place or by name.
    """

    def promoted(value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        device = next(v.device.type for v in (*args, *kwargs.values()) if isinstance(v, Tensor))
        with torch.autocast(device, enabled=False):
            return function(
                *(promoted(v) for v in args), **{k: promoted(v) for k, v in kwargs.items()}
            )

    return wrapped


@full_precision
def cross_entropy(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean cross-entropy -mean_i sum_j y_ij log softmax(logits_i)_j.

    logits: (batch, classes), scaled as they enter the softmax.
    labels: (batch,) class indices, or (batch, classes) probabilities whose rows sum to one.
    label_smoothing: share in [0, 1] of each target that is spread evenly over all classes.
    """
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


@full_precision
def variance_loss(z: Float[Tensor, "batch dim"], epsilon: float = 1e-7) -> Float[Tensor, ""]:
    """Hinge that keeps the standard deviation of each feature above one.

    mean_j max(0, 1 - sqrt(Var(z_j) + epsilon)), the variance term of RegFT (arXiv 2406.05432), as
    in VICReg (arXiv 2105.04906, Eq. 1) with the epsilon of RegFT's public code.

    z: (batch, dim) embeddings, not normalised. A batch of one has no variance: zero.
    epsilon: added to the variance, so that its root has a gradient at zero.
    """
    if len(z) < 2:
        return z.sum() * 0.0
    return F.relu(1.0 - torch.sqrt(z.var(dim=0) + epsilon)).mean()


@full_precision
def covariance_loss(z: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Mean squared covariance between two different features.

    The covariance term of RegFT (arXiv 2406.05432): VICReg's (arXiv 2105.04906, Eq. 3 and 4) as a
    mean over the dim·(dim-1) off-diagonal entries, where VICReg divides by dim.

    z: (batch, dim) embeddings, not normalised. A batch of one, or one feature, has no
        covariance: zero.
    """
    batch, dim = z.shape
    if batch < 2 or dim < 2:
        return z.sum() * 0.0
    centred = z - z.mean(dim=0)
    covariance = centred.T @ centred / (batch - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / (dim * (dim - 1))


@full_precision
def cosine_loss(
    z: Float[Tensor, "batch dim"], target: Float[Tensor, "batch dim"]
) -> Float[Tensor, ""]:
    """Negative mean cosine similarity of matching rows, in [-1, 1].

    One term of VL2V-ADiP (arXiv 2310.08255): the student's embeddings against the teacher's of the
    images, or of their labels' text.

    z: (batch, dim) the student's embeddings; their length does not matter.
    target: (batch, dim) what they should point at.
    """
    return -F.cosine_similarity(z, target).mean()


@full_precision
def clip_logits(
    images: Float[Tensor, "images dim"],
    text: Float[Tensor, "prompts dim"],
    logit_scale: Float[Tensor, ""],
) -> Float[Tensor, "images prompts"]:
    """Logits of images over prompts (CLIP, arXiv 2103.00020): logit_scale·images·text^T.

    images: (images, dim), rows of length one.
    text: (prompts, dim), rows of length one.
    logit_scale: scalar factor on the cosine; the exponential of the model's parameter, about 100.
    """
    return logit_scale * images @ text.T


@full_precision
def distillation_loss(
    student: Float[Tensor, "batch candidates"],
    teacher: Float[Tensor, "batch candidates"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of the student against the teacher's softened distribution, times T^2.

    -T^2·mean_i sum_j softmax(t_i / T)_j log softmax(s_i / T)_j (Hinton et al., arXiv 1503.02531).
    One direction of GIFT's contrastive distillation (arXiv 2503.04229): the rows are images and
    the columns prompts, or the other way round.

    student: (batch, candidates) logits of the model that learns.
    teacher: (batch, candidates) logits of the model that teaches.
    temperature: T > 0, without unit; larger is softer.
    """
    target = (teacher / temperature).softmax(dim=1)
    return F.cross_entropy(student / temperature, target) * temperature**2


@full_precision
def kl_loss(
    student: Float[Tensor, "batch candidates"],
    teacher: Float[Tensor, "batch candidates"],
    temperature: float,
    reverse: bool = False,
) -> Float[Tensor, ""]:
    """Divergence KL(teacher || student) of the softened distributions, times T^2.

    It is `distillation_loss` less the teacher's own entropy, so its gradient is the same; zero
    where both agree.

    student: (batch, candidates) logits of the model that learns.
    teacher: (batch, candidates) logits of the model that teaches.
    temperature: T > 0, without unit; larger is softer.
    reverse: KL(student || teacher) instead, as GIFT's public code has it.
    """
    log_p, log_q = ((z / temperature).log_softmax(dim=1) for z in (teacher, student))
    if reverse:
        log_p, log_q = log_q, log_p
    return (log_p.exp() * (log_p - log_q)).sum(dim=1).mean() * temperature**2


@full_precision
def feature_mse(
    z: Float[Tensor, "batch dim"], target: Float[Tensor, "batch dim"]
) -> Float[Tensor, ""]:
    """Mean squared difference of two embeddings, over all entries.

    z: (batch, dim) embeddings of the model that learns.
    target: (batch, dim) what they should equal.
    """
    return F.mse_loss(z, target)


def multi_positive_targets(labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch batch"]:
    """Targets that pairs with equal labels share; each row sums to one.

    For the image-text alignment of GIFT (arXiv 2503.04229): an image belongs to each copy of its
    prompt in the batch, and a prompt to each of its images.

    labels: (batch,) which prompt each pair has. Pairs of one prompt have equal numbers.
    """
    equal = (labels[:, None] == labels[None, :]).float()
    return equal / equal.sum(dim=1, keepdim=True)
