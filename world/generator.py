"""The text-to-image pipeline: a small latent diffusion model conditioned on the CLIP's text tower.

It learns names that tasks need and many more, from drawings of teams of pre-training only. It also
sees their flags, logos, food and other categories that the CLIP hardly knows, as a real generator
knows more than a real CLIP.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTokenizer

from . import vae
from .clip import read_clip
from .diffusion import NOISE, build_unet, read_text, save_around, text_encoder
from .saving import half, save_weights
from .source import BUILD, digest
from .split import World
from .state import Average, load_state, save_state
from .tasks import CATEGORY_TASKS, category_task
from .tokenizer import encode
from .vae import load_vae
from .words import NOUNS, STYLED, TEMPLATES

BATCH, SEED, RATE = 96, 2, 1e-3
UNCONDITIONAL = 0.1  # share of captions left out, for classifier-free guidance
COLOURINGS = 2  # pictures made of each drawing
PER_NAME = {"": 100, "logos": 24, "flags": 12}  # drawings of a name at most
OTHERS = 120  # more names, the most frequent ones
CATEGORIES = {
    "flags": 40, "logos": 40, "files": 10, "coins": 12, "weather": 20, "map": 10, "food": 50,
    "faces": 30,
}  # fmt: skip


def names(world: World) -> list[tuple[str, str]]:
    """(category, group) that the generator learns: the nouns, more names, and each category's."""
    trained = world.use == "train"
    result = [("", noun) for noun in NOUNS]
    common = Counter(world.group[trained & (world.category == "")].tolist())
    more = [name for name, _ in common.most_common() if name not in NOUNS]
    result += [("", name) for name in more[:OTHERS]]
    for category, count in CATEGORIES.items():
        seen = Counter(world.group[trained & (world.category == category)].tolist())
        wanted = category_task(world, category)[0] if category in CATEGORY_TASKS else []
        order = sorted(seen, key=lambda name: (name not in wanted, -seen[name], name))
        result += [(category, name) for name in order[:count] if seen[name] >= 2]
    return result


def lessons(world: World) -> NDArray[np.int64]:
    """Rows of the drawings that the generator sees, repeated for rare names."""
    chosen: list[int] = []
    for category, group in names(world):
        own = np.flatnonzero(
            (world.use == "train") & (world.category == category) & (world.group == group)
        )
        order = sorted(
            own,
            key=lambda i: digest("generator", world.rows[i]["collection"], world.rows[i]["name"]),
        )
        own_list = order[: PER_NAME.get(category, 40)]
        least = 60 if group in NOUNS else 24
        chosen += own_list * max(1, least // max(1, len(own_list)))
    return np.array(chosen)


def prepare(world: World, folder: Path) -> tuple[Tensor, NDArray[np.int64]]:
    """Latents (n, 8, 8, 8) in unit variance, cached, and the row of the drawing of each (n,)."""
    rows = np.repeat(lessons(world), COLOURINGS)
    file = BUILD / "latents.safetensors"
    if not file.exists():
        model = load_vae(folder / "vae")
        starts = range(0, len(rows), 512)
        chunks = (vae.pictures(world, rows[s : s + 512], (SEED, s)) for s in starts)
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encoded(model, chunks).float() * model.config.scaling_factor
        save_weights({"latents": latents.half()}, file)
    return load_file(file)["latents"].float(), rows


def told(world: World, row: int, kind: int) -> str:
    """Caption `kind` of a drawing: half of the kinds tell the style."""
    data = world.rows[row]
    noun = data["group"] if kind % 3 else data["noun"]
    styled = kind >= 4 and data["style"]
    text = STYLED[kind % len(STYLED)] if styled else TEMPLATES[kind % len(TEMPLATES)]
    return text.replace("{style}", data["style"]).replace("{}", noun)


KINDS = 8


def train(out: Path, steps: int) -> None:
    """Train from scratch, or go on; write the diffusers folder `out`."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    world = World()
    tokenizer = CLIPTokenizer.from_pretrained(BUILD / "clip")
    reader = text_encoder(read_clip(BUILD / "clip"), tokenizer)
    save_around(reader, tokenizer, out)
    latents, rows = prepare(world, out)
    distinct = np.unique(rows)
    texts = ["", *(told(world, int(row), kind) for row in distinct for kind in range(KINDS))]
    unique, place = np.unique(texts, return_inverse=True)
    ids = torch.from_numpy(encode(tokenizer, unique.tolist()))
    longest = int((ids == tokenizer.eos_token_id).int().argmax(1).max()) + 1
    words = read_text(reader, ids).half()  # the pipeline shows the UNet all CONTEXT places
    first = np.searchsorted(distinct, rows)
    print(f"{len(rows)} latents, {len(unique)} captions, at most {longest} tokens", flush=True)
    unet = build_unet()
    unet.save_config(out / "unet")
    optimizer = torch.optim.AdamW(unet.parameters(), lr=RATE, weight_decay=0.01)
    average, start, state = Average(unet, 0.9992), 0, BUILD / "unet.safetensors"
    if state.exists():
        start, parts = load_state(state, optimizer)
        unet.load_state_dict(parts["model"])
        average.weights = parts["average"]
    noising = DDPMScheduler(**NOISE)
    shown = out / "unet" / "diffusion_pytorch_model.safetensors"
    begun = saved = time.time()
    total = 0.0
    for step in range(start, steps):
        share = step / steps
        optimizer.param_groups[0]["lr"] = (
            RATE * min(1, (step + 1) / 200) * min(1.0, 2 * (1 - share))
        )
        r = np.random.default_rng((SEED, step))
        noise_source = torch.Generator().manual_seed(SEED * 1_000_003 + step)
        index = r.integers(len(rows), size=BATCH)
        clean = latents[index]
        caption = place[1 + first[index] * KINDS + r.integers(KINDS, size=BATCH)]
        caption = np.where(r.random(BATCH) < UNCONDITIONAL, place[0], caption)
        noise = torch.randn(clean.shape, generator=noise_source)
        when = torch.randint(0, 1000, (BATCH,), generator=noise_source)
        target = noising.get_velocity(clean, noise, when)
        with torch.autocast("cpu", torch.bfloat16):
            guess = unet(noising.add_noise(clean, noise, when), when, words[caption].float()).sample
        loss = F.mse_loss(guess.float(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        average.update(step, unet)
        total += loss.item()
        if step % 200 == 199:
            print(f"{step + 1} loss {total / 200:.4f} {time.time() - begun:.0f}s", flush=True)
            total = 0.0
        if time.time() - saved > 300 or step + 1 == steps:
            saved = time.time()
            save_state(state, step + 1, optimizer, model=unet.state_dict(), average=average.weights)
            save_weights(half(average.weights), shown)


if __name__ == "__main__":
    train(BUILD / "diffusion", int(sys.argv[1]))
