"""A small latent diffusion model that draws what a caption says, saved as diffusers reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UNet2DConditionModel,
)
from numpy.typing import NDArray
from open_clip.model import CLIP
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from holdfast.files import write_json
from holdfast.settings import Optimisation, Precision
from holdfast.train import fit

from .clip import WIDTH, read_clip
from .corpus import Corpus
from .saving import half, save_weights
from .shuffle import Shuffled
from .tokenizer import CONTEXT, encode, load_tokenizer
from .vae import encoded, load_vae

BATCH = 96
# The learning rate rises and falls in each round; a round starts from the averaged weights of the
# one before it.
ROUNDS: tuple[tuple[int, Precision], ...] = ((3500, "fp32"), (1800, "bf16"), (7500, "bf16"))
UNCONDITIONAL = 0.1  # share of captions left out, for classifier-free guidance
DECAY = 0.999  # of the running average of the weights, which is what is saved
UNET_OPTIMISATION = Optimisation(
    learning_rate=1e-3, weight_decay=0.01, warmup_steps=200, clip_norm=1.0
)
GENERATION = {"num_inference_steps": 12, "guidance_scale": 5.0}  # for looking at the model
NOISE: dict[str, Any] = {
    "num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
}  # fmt: skip


def load_pipeline(folder: Path) -> Any:
    """The text-to-image pipeline, without its progress bars."""
    from diffusers import AutoPipelineForText2Image

    pipeline = AutoPipelineForText2Image.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw_pictures(
    pipeline: Any, texts: Sequence[str], per_text: int, seed: int = 0, **settings: Any
) -> NDArray[np.uint8]:
    """Pictures (texts, per_text, 32, 32, 3), each from a seed of its own."""
    asked = [text for text in texts for _ in range(per_text)]
    drawn = []
    for start in range(0, len(asked), 64):
        chunk = asked[start : start + 64]
        seeds = [
            torch.Generator().manual_seed(seed * 1_000_003 + start + i) for i in range(len(chunk))
        ]
        images = pipeline(
            chunk, generator=seeds, output_type="np", **(GENERATION | settings)
        ).images
        drawn.append((images * 255).round().astype(np.uint8))
    whole = np.concatenate(drawn)
    return whole.reshape(len(texts), per_text, *whole.shape[1:])


def build_unet() -> UNet2DConditionModel:
    """A new, untrained model of 2 M parameters."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 80),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,  # diffusers' name for the number of heads
        norm_num_groups=8,
    )


def text_encoder(clip: CLIP, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The text tower of an open_clip model as transformers' CLIPTextModel; outputs agree."""
    tower = clip.state_dict()
    layers = len(clip.transformer.resblocks)
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH,
            projection_dim=WIDTH, num_hidden_layers=layers, num_attention_heads=2,
            max_position_embeddings=CONTEXT, hidden_act="gelu",
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    prefix = "text_model." if any(k.startswith("text_model.") for k in model.state_dict()) else ""
    mine = {
        f"{prefix}embeddings.token_embedding.weight": tower["token_embedding.weight"],
        f"{prefix}embeddings.position_embedding.weight": tower["positional_embedding"],
    }
    for kind in ("weight", "bias"):
        mine[f"{prefix}final_layer_norm.{kind}"] = tower[f"ln_final.{kind}"]
        for i in range(layers):
            ours, theirs = f"transformer.resblocks.{i}.", f"{prefix}encoder.layers.{i}."
            attention = tower[f"{ours}attn.in_proj_{kind}"].chunk(3)
            for name, part in zip(("q_proj", "k_proj", "v_proj"), attention, strict=True):
                mine[f"{theirs}self_attn.{name}.{kind}"] = part
            for old, new in (
                ("attn.out_proj", "self_attn.out_proj"), ("ln_1", "layer_norm1"),
                ("ln_2", "layer_norm2"), ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"),
            ):  # fmt: skip
                mine[f"{theirs}{new}.{kind}"] = tower[f"{ours}{old}.{kind}"]
    buffers = {k: v for k, v in model.state_dict().items() if re.search("position_ids$", k)}
    model.load_state_dict(mine | buffers)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def read_text(model: CLIPTextModel, tokens: Tensor, batch: int = 512) -> Tensor:
    """Token ids (n, CONTEXT) -> what the UNet attends to (n, CONTEXT, WIDTH)."""
    return torch.cat([model(chunk).last_hidden_state for chunk in tokens.split(batch)])


class Average:
    """Running average of a module's weights, written to `file` now and then."""

    def __init__(self, module: torch.nn.Module, file: Path) -> None:
        self.weights = {k: v.detach().clone() for k, v in module.state_dict().items()}
        self.file = file

    @torch.no_grad()
    def update(self, step: int, module: torch.nn.Module) -> None:
        decay = min(DECAY, (1 + step) / (10 + step))  # quicker while young
        now = module.state_dict()
        torch._foreach_lerp_(list(self.weights.values()), list(now.values()), 1 - decay)
        if step % 1000 == 999:
            save_weights(half(self.weights), self.file)


def train_diffusion(data: Corpus, cache: Path, weights: Path, seed: int = 2) -> None:
    """Train the UNet on cached latents and caption embeddings; write `weights/diffusion`."""
    torch.manual_seed(seed)
    out = weights / "diffusion"
    tokenizer = load_tokenizer(weights / "clip")
    reader = text_encoder(read_clip(weights / "clip"), tokenizer)
    vae = load_vae(out / "vae")
    latents = _latents(cache, vae, data) * vae.config.scaling_factor
    distinct, place = np.unique(["", *data.captions], return_inverse=True)
    words = read_text(reader, torch.from_numpy(encode(tokenizer, distinct.tolist())))
    nothing, which = int(place[0]), torch.from_numpy(place[1:])
    noising, unet = DDPMScheduler(**NOISE), build_unet()
    unet.save_config(out / "unet")
    save_around(reader, tokenizer, out)

    def batch(index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return latents[index], which[index]

    def denoising(
        model: UNet2DConditionModel, batch: tuple[Tensor, Tensor]
    ) -> Iterator[dict[str, Tensor]]:
        clean, caption = batch
        caption = torch.where(torch.rand(len(caption)) < UNCONDITIONAL, nothing, caption)
        noise, time = torch.randn_like(clean), torch.randint(0, 1000, (len(clean),))
        target = noising.get_velocity(clean, noise, time)
        guess = model(noising.add_noise(clean, noise, time), time, words[caption]).sample
        yield {"velocity": F.mse_loss(guess.float(), target)}

    shown = out / "unet" / "diffusion_pytorch_model.safetensors"
    for number, (steps, precision) in enumerate(ROUNDS, 1):
        done = cache / f"unet-{number}.safetensors"
        if not done.exists():
            average = Average(unet, shown)
            batches = Shuffled(len(data.captions), BATCH, steps, seed + 100 * (number - 1), batch)
            with sdpa_kernel(SDPBackend.MATH):  # on a CPU, flash attention's backward is slow
                fit(
                    unet,
                    batches,
                    denoising,
                    replace(UNET_OPTIMISATION, precision=precision),
                    seed=seed + 100 * (number - 1),
                    after_step=average.update,
                    label=f"diffusion, round {number} of {len(ROUNDS)}",
                )
            save_weights(half(average.weights), done)
        unet.load_state_dict(load_file(done))
        save_weights(half(unet.state_dict()), shown)


def _latents(cache: Path, vae: AutoencoderKL, data: Corpus) -> Tensor:
    """Latents of the whole corpus (n, 8, 8, 8), computed once."""
    file = cache / "latents.safetensors"
    if not file.exists():
        save_weights({"latents": encoded(vae, data.pictures)}, file)
    return load_file(file)["latents"]


def save_around(reader: CLIPTextModel, tokenizer: CLIPTokenizer, out: Path) -> None:
    """Everything of the pipeline's folder except the trained UNet and VAE."""
    tokenizer.save_pretrained(out / "tokenizer")
    reader.config.dtype = "float32"  # else transformers computes in the half precision of the file
    reader.config.save_pretrained(out / "text_encoder")
    save_weights(half(reader.state_dict()), out / "text_encoder" / "model.safetensors")
    DPMSolverMultistepScheduler(
        **NOISE, timestep_spacing="trailing", steps_offset=1
    ).save_pretrained(out / "scheduler")
    write_json(
        out / "model_index.json",
        {
            "_class_name": "StableDiffusionPipeline",
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )
