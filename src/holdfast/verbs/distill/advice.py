"""Should I distil? What a teacher knows of a task, from answers that training needs anyway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from holdfast.data.domains import Domains
from holdfast.metrics import is_correct

WEAK = 0.5  # accuracy under which a teacher misleads more often than not


def advise(domains: Domains, indices: Sequence[int], logits: Tensor) -> dict[str, Any]:
    """The teacher's zero-shot accuracy on some images, per domain and per class.

    indices: places of the images; logits: (n, classes). The record's `text` says it in words.
    """
    labels = torch.tensor([domains.images.labels[i] for i in indices])
    starts = torch.tensor(domains.starts[1:])
    where = torch.bucketize(torch.tensor(list(indices)), starts, right=True)
    right = is_correct(logits, labels)
    by_domain = shares(right, where, domains.names)
    by_class = shares(right, labels, domains.images.classes.names)
    overall = right.float().mean().item()
    weak = {
        kind: [name for name, found in table.items() if found["top1"] < WEAK]
        for kind, table in (("domains", by_domain), ("classes", by_class))
    }
    return {
        "images": len(right),
        "top1": overall,
        "domains": by_domain,
        "classes": by_class,
        "weak": weak,
        "text": in_words(overall, len(right), by_domain, weak),
    }


def shares(right: Tensor, groups: Tensor, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """{name: {"n", "top1"}} of the groups that have images."""
    found = {}
    for number, name in enumerate(names):
        members = right[groups == number]
        if len(members):
            found[name] = {"n": len(members), "top1": members.float().mean().item()}
    return found


def in_words(
    overall: float, count: int, by_domain: dict[str, dict[str, Any]], weak: dict[str, list[str]]
) -> str:
    """The answer in a few sentences."""
    listed = ", ".join(f"{name} {found['top1']:.0%}" for name, found in by_domain.items())
    text = f"The teacher names {overall:.0%} of {count:,} training images right ({listed})."
    if overall < WEAK:
        return (
            f"{text} It is wrong more often than right: distilling teaches its mistakes. Try other "
            "--prompts.templates or another teacher, or learn from the labels with --method erm."
        )
    parts = [
        f"the {kind} {', '.join(names[:5])}{' and others' if len(names) > 5 else ''}"
        for kind, names in weak.items()
        if names
    ]
    if not parts:
        return f"{text} It is right more often than wrong in every domain and class: distil."
    return (
        f"{text} It is wrong more often than right in {' and in '.join(parts)}: there the labels "
        "teach more than it; a lower --image_weight gives them more say."
    )
