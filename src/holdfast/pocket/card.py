"""The card of the pocket models, for people: what `measure` found, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CARD = """\
# The pocket models

A CLIP (`clip/`, open_clip), a text-to-image pipeline (`diffusion/`, diffusers) and two supervised
students (`student/`, a ResNet, and `student-vit/`, timm) for 32 x 32 pictures. They exist so that
Holdfast can be tried, tested and timed without a download; they know nothing but the drawn world of
`holdfast.pocket`.

Trained on {trained_on}.
Made by `{made_by}`; source at commit {commit}.
This file was written by `python -m holdfast.pocket.measure`. The models were trained one by one
while the scripts were written; seeds, sizes and steps are those of the source. Training again gives
models like these, not the same bits, since kernels differ between machines and thread counts.

## Training

| model | seed | batch | steps | seconds | CPU threads |
|---|---|---|---|---|---|
{training}

## Files

| file | parameters | bytes |
|---|---|---|
{files}

Together {bytes:,} bytes, in half precision.

## Zero-shot accuracy of the CLIP

Prompt `{prompt}`. Splits: {splits}.

| task | accuracy % | chance % |
|---|---|---|
{zero_shot}

On pictures like those trained on, with unseen seeds (%): {near}.

## Generated pictures

With {steps} steps and guidance {guidance}, {speed} pictures/s on {threads} CPU thread(s).
The CLIP reads in them what was asked for (%): {agreement}.
The guidance was chosen by this agreement. Textures are not usable where it is near chance.
The autoencoder misses a pixel by {error} of 255 on average.

## Students

Trained with labels on photos, textures, letters and shapes, no drawings of things and no digits.
Their own classifiers over {labels} classes, on downstream pictures (%):

{students}
"""


def as_text(facts: dict[str, Any]) -> str:
    """The card as Markdown."""
    shot, drawn = facts["zero-shot accuracy, percent"], facts["generation"]
    columns = ("seed", "batch", "steps", "seconds", "threads")
    return _CARD.format(
        trained_on=facts["trained on"],
        made_by=facts["made by"],
        commit=facts["commit"] or "unknown",
        training=_rows([name, *map(row.get, columns)] for name, row in facts["training"].items()),
        files=_rows(
            [name, f"{row['parameters']:,}", f"{row['bytes']:,}"]
            for name, row in facts["files"].items()
        ),
        bytes=facts["bytes"],
        prompt=facts["prompt"],
        splits=facts["splits"],
        zero_shot=_rows(
            [task, value, shot["chance"][task]] for task, value in shot["downstream"].items()
        ),
        near=_list(shot["as in pre-training, unseen seeds"]),
        steps=drawn["settings"]["num_inference_steps"],
        guidance=drawn["settings"]["guidance_scale"],
        speed=drawn["pictures per second"],
        threads=drawn["threads"],
        agreement=_list(drawn["pictures the CLIP reads as asked, percent"]),
        error=facts["autoencoder error, of 255"],
        labels=facts["student classes"],
        students="\n".join(
            f"- `{name}`: {_list(found)}"
            for name, found in facts["student accuracy, percent"].items()
        ),
    )


def _rows(rows: Any) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def _list(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
