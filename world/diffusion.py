"""The small text-to-image pipeline: its parts as diffusers reads them, and pictures from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from open_clip.model import CLIP
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from holdfast.files import write_json

from .clip import WIDTH
from .saving import half, save_weights
from .tokenizer import CONTEXT

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
