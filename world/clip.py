"""The CLIP: a convolutional image tower and a small text tower, trained on captioned drawings.

Each picture is compared with a learnt vector for *each* of the names, and so is its caption: as
many negatives as there are names, for the price of a small batch. The vectors are thrown away at
the end.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.model import CLIP
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTokenizer

from holdfast.files import write_json

from .categories import RARE
from .drawing import augmented, plain
from .saving import half, save_weights
from .source import BUILD, digest
from .split import World
from .state import Average, load_state, save_state
from .tokenizer import CONTEXT, encode, train_tokenizer
from .words import NOUNS, PROMPT, STYLED, TEMPLATES, caption

TOWER = "convnext_zepto_rms_ols"
WIDTH = 128
MEAN, STD = (0.6, 0.6, 0.6), (0.35, 0.35, 0.35)
GLIMPSE = 4  # drawings of each noun of the rare categories that pre-training shows
TEAMS = 5  # of pre-training that drew a noun, at least
BATCH, SEED = 128, 0
SCALES = (20.0, 55.0)  # the logit scale at first, and in the last fifth of the training
SIZE = 48  # px that the image tower sees (a change of size in the middle costs 500 steps: tried)


def config(vocabulary: int, tower: str = TOWER, size: int = SIZE) -> dict[str, Any]:
    """What open_clip_config.json holds."""
    return {
        "model_cfg": {
            "embed_dim": WIDTH,
            "vision_cfg": {
                "image_size": size, "timm_model_name": tower, "timm_model_pretrained": False,
                "timm_pool": "", "timm_proj": "linear",
            },
            "text_cfg": {
                "context_length": CONTEXT, "vocab_size": vocabulary, "width": WIDTH, "heads": 2,
                "layers": 3, "hf_tokenizer_name": "pocket",
            },
        },
        "preprocess_cfg": {
            "mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest",
        },
    }  # fmt: skip


def prepared(pictures: Tensor, size: int) -> Tensor:
    """RGB (n, 3, 32, 32) in 0..1 -> what the image tower takes (n, 3, size, size)."""
    if size != pictures.shape[-1]:
        pictures = F.interpolate(
            pictures, size=size, mode="bicubic", antialias=True, align_corners=False
        ).clamp(0, 1)
    x = (pictures - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    return x.contiguous(memory_format=torch.channels_last)


def read(model: CLIP, tokens: Tensor) -> Tensor:
    """Token ids (n, CONTEXT) -> unit vectors (n, WIDTH); padding is not read."""
    length = int(tokens.argmax(dim=1).max()) + 1
    x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x)[torch.arange(len(x)), tokens.argmax(dim=1)] @ model.text_projection
    return F.normalize(x.float(), dim=-1)


class Lessons:
    """The pictures of pre-training and how often each is shown."""

    def __init__(self, world: World, seed: int = SEED) -> None:
        self.world = world
        general = np.flatnonzero((world.use == "train") & (world.category == ""))
        teams = defaultdict(set)
        for i in general:
            teams[world.group[i]].add(world.team[i])
        general = general[[len(teams[world.group[i]]) >= TEAMS for i in general]]
        rare = np.flatnonzero((world.use == "train") & np.isin(world.category, RARE))
        by_noun = defaultdict(list)
        for i in rare:
            by_noun[world.group[i]].append(int(i))
        names = [row["name"] for row in world.rows]
        seen = [
            i
            for group, rows in sorted(by_noun.items())
            for i in sorted(
                rows, key=lambda i: digest("glimpse", world.rows[i]["collection"], names[i])
            )[:GLIMPSE]
        ]
        self.rows = np.concatenate([general, np.array(seen, dtype=np.int64)])
        groups = world.group[self.rows]
        self.names, self.label = np.unique(groups, return_inverse=True)
        _, label_team = np.unique(
            np.char.add(np.char.add(groups, "/"), world.team[self.rows]), return_inverse=True
        )
        weight = np.bincount(self.label)[self.label] ** -0.25
        weight *= np.bincount(label_team)[label_team] ** -0.5
        self.chance = weight / weight.sum()
        self.seed = seed

    def batch(self, step: int, size: int) -> tuple[Tensor, list[str], NDArray[np.int64]]:
        """Pictures (size, 3, 32, 32), their captions, and the labels of their groups (size,)."""
        r = np.random.default_rng((self.seed, step))
        place = r.choice(len(self.rows), size, p=self.chance)
        rows = self.rows[place]
        pictures = augmented(self.world.pictures[np.sort(rows)][np.argsort(np.argsort(rows))],
                             self.world.palette[rows], r)  # fmt: skip
        texts = [
            caption(self.world.rows[i]["noun"], self.world.group[i], self.world.style[i], r)
            for i in rows
        ]
        return pictures, texts, self.label[place]


def tokenizer_for(world: World) -> CLIPTokenizer:
    """Trained once on captions with the names that teams of pre-training use."""
    folder = BUILD / "tokenizer"
    if not folder.exists():
        usable = world.use == "train"
        nouns = [row["noun"] for row, good in zip(world.rows, usable, strict=True) if good]
        styles = sorted(set(world.style.tolist()))
        texts = (
            nouns
            + [
                t.replace("{style}", s).replace("{}", "")
                for s in styles
                for t in (*STYLED, *TEMPLATES)
            ]
            * 50
        )
        train_tokenizer(texts).save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


class Judge:
    """Zero-shot accuracy on drawings of teams that pre-training did not see."""

    def __init__(
        self, world: World, role: str, tokenizer: CLIPTokenizer, per_class: int = 60
    ) -> None:
        rows = []
        for noun in NOUNS:
            own = np.flatnonzero(
                (world.use == role) & (world.category == "") & (world.group == noun)
            )
            order = sorted(
                own, key=lambda i: digest(world.rows[i]["collection"], world.rows[i]["name"])
            )
            rows += order[:per_class]
        self.rows = np.array(rows)
        self.labels = torch.tensor([NOUNS.index(world.group[i]) for i in rows])
        self.pictures = plain(world.pictures[self.rows], world.palette[self.rows], seed=7)
        self.tokens = torch.from_numpy(encode(tokenizer, [PROMPT.format(noun) for noun in NOUNS]))
        self.style, self.team = world.style[self.rows], world.team[self.rows]

    @torch.inference_mode()
    def logits(self, model: CLIP, size: int) -> Tensor:
        """Cosines of pictures with nouns (n, nouns)."""
        x = torch.from_numpy(self.pictures).permute(0, 3, 1, 2).float() / 255
        text = read(model, self.tokens)
        image = [F.normalize(model.visual(prepared(c, size)).float(), dim=-1) for c in x.split(256)]
        return torch.cat(image) @ text.T

    def accuracy(self, model: CLIP, size: int) -> float:
        """Percent, the mean over classes."""
        right = (self.logits(model, size).argmax(1) == self.labels).float()
        means = [right[self.labels == k].mean() for k in self.labels.unique()]
        return 100 * torch.stack(means).mean().item()


def build(vocabulary: int, tower: str, size: int) -> CLIP:
    """A new, untrained model."""
    return CLIP(**config(vocabulary, tower, size)["model_cfg"], output_dict=True)


def contrastive(image: Tensor, text: Tensor, table: Tensor, label: Tensor, scale: float) -> Tensor:
    """Pictures and captions against the vectors of all names, and against each other.

    image, text: unit vectors (n, d); table: of all names (names, d), learnt; label: names (n,)
    """
    own = F.cross_entropy(scale * image @ table.T, label)
    named = F.cross_entropy(scale * text @ F.normalize(table, dim=-1).T.detach(), label)
    same = (label[:, None] == label[None]).float()
    same /= same.sum(1, keepdim=True)
    logits = scale * image @ text.T
    both = (
        -(logits.log_softmax(1) * same).sum(1).mean() - (logits.log_softmax(0) * same).sum(0).mean()
    )
    return own + 0.5 * named + 0.25 * both


def train(out: Path, tower: str, size: int, steps: int, rate: float = 2e-3) -> None:
    """Train from scratch, or go on; write the open_clip folder `out`."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    world = World()
    tokenizer = tokenizer_for(world)
    lessons, judge = Lessons(world), Judge(world, "dev", tokenizer)
    model = build(len(tokenizer), tower, size).to(memory_format=torch.channels_last)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):  # layer scales start at 1e-6, for much longer trainings
            parameter.data.fill_(0.1)
    table = torch.nn.Parameter(torch.randn(len(lessons.names), WIDTH) * 0.02)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": 0.1},
            {"params": [*others, table], "weight_decay": 0.0},
        ],
        lr=rate, betas=(0.9, 0.98),
    )  # fmt: skip
    average, start = Average(model, 0.998), 0
    state = BUILD / f"{out.name}.safetensors"
    if state.exists():
        start, parts = load_state(state, optimizer)
        model.load_state_dict(parts["model"])
        average.weights = parts["average"]
        table.data = parts["table"]["table"]
    print(f"{len(lessons.rows)} pictures, {len(lessons.names)} names, {len(judge.rows)} judged")
    begun = saved = time.time()
    for step in range(start, steps):
        share = step / steps
        scale = SCALES[0] + (SCALES[1] - SCALES[0]) * np.clip((share - 0.2) / 0.6, 0, 1)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 200) * 0.5 * (1 + np.cos(np.pi * share))
        pictures, texts, labels = lessons.batch(step, BATCH)
        label = torch.from_numpy(labels)
        ids = torch.from_numpy(encode(tokenizer, texts))
        with torch.autocast("cpu", torch.bfloat16):
            image = model.visual(prepared(pictures, size))
            text = read(model, ids)
        loss = contrastive(F.normalize(image.float(), dim=-1), text, table, label, scale)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.fill_(np.log(scale))
        average.update(step, model)
        if step % 100 == 99:
            spent = time.time() - begun
            print(f"{step + 1} loss {loss.item():.3f} {spent:.0f}s "
                  f"{BATCH * (step + 1 - start) / spent:.0f}/s", flush=True)  # fmt: skip
        if step % 400 == 399 or step + 1 == steps:
            shown = build(len(tokenizer), tower, size)
            shown.load_state_dict(average.weights)
            print(f"  dev {judge.accuracy(shown.eval(), size):.1f}", flush=True)
        if time.time() - saved > 240 or step + 1 == steps:
            saved = time.time()
            save_state(state, step + 1, optimizer, model=model.state_dict(),
                       average=average.weights, table={"table": table.data})  # fmt: skip
            save(average.weights, tokenizer, out, tower, size)


def save(
    weights: dict[str, Tensor], tokenizer: CLIPTokenizer, out: Path, tower: str, size: int
) -> None:
    """Write the open_clip folder `out`: configuration, tokenizer and half-precision weights."""
    tokenizer.save_pretrained(out)
    write_json(out / "open_clip_config.json", config(len(tokenizer), tower, size))
    save_weights(half(weights), out / "open_clip_model.safetensors")


def read_clip(folder: Path) -> CLIP:
    """The trained model, in evaluation mode."""
    model: CLIP = open_clip.create_model_from_pretrained(f"local-dir:{folder}")[0]
    return model.eval()


if __name__ == "__main__":
    train(BUILD / "clip", TOWER, SIZE, int(sys.argv[1]))
