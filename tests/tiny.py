"""Tiny, randomly initialised models in folders, so that tests run offline in seconds."""

import shutil
from pathlib import Path

import torch


def diffusion_folder(folder: Path, seed: int = 0) -> Path:
    """A StableDiffusionPipeline of some 20,000 parameters for 32 px images."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    tokenizer = clip_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    )
    # The last layer of a fresh decoder gives nearly flat grey: spread it over the whole range.
    vae.decoder.conv_out.weight.data *= 4
    text_config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text_config),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def checked_diffusion_folder(folder: Path) -> Path:
    """The same pipeline with a safety checker that refuses every picture."""
    from diffusers import StableDiffusionPipeline
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    pipeline = StableDiffusionPipeline.from_pretrained(diffusion_folder(folder))
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    vision = {**small, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=4))
    # A picture is refused where a cosine exceeds its threshold.
    checker.concept_embeds_weights.data.fill_(-2)
    extractor = CLIPImageProcessor(size={"shortest_edge": 8}, crop_size=8)
    parts = pipeline.components | {"safety_checker": checker, "feature_extractor": extractor}
    StableDiffusionPipeline(**parts).save_pretrained(folder)
    return folder


def clip_tokenizer():
    """A CLIPTokenizer that knows single bytes only."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    bytes_alone = sorted(ByteLevel.alphabet())
    tokens = [*bytes_alone, *(f"{byte}</w>" for byte in bytes_alone)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


PREPROCESS = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def clip_folder(folder: Path, seed: int = 0) -> Path:
    """An open_clip `local-dir` folder: CLIP for 32 px images with open_clip's own tokenizer."""
    import open_clip

    torch.manual_seed(seed)
    config = {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 32,
            "layers": 2,
            "width": 32,
            "head_width": 16,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": 32,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    }
    return save_open_clip(folder, open_clip.CLIP(**config), config)


def siglip_folder(folder: Path, seed: int = 0) -> Path:
    """The same of SigLIP's kind: timm tower, no causal mask, logit bias, a tokenizer of its own."""
    import open_clip

    torch.manual_seed(seed)
    tokenizer = clip_tokenizer()
    tokenizer.save_pretrained(folder)
    config = {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit3",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
        },
        "text_cfg": {
            "context_length": 32,
            "vocab_size": len(tokenizer),
            "hf_tokenizer_name": "bytes",
            "width": 32,
            "heads": 2,
            "layers": 1,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
        },
    }
    model = open_clip.CustomTextCLIP(**config)
    return save_open_clip(folder, model, {**config, "custom_text": True})


def coca_folder(folder: Path, seed: int = 0) -> Path:
    """The same of CoCa's kind: towers that also give tokens, for a decoder of captions."""
    import open_clip

    torch.manual_seed(seed)
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 32,
            "layers": 1,
            "width": 32,
            "head_width": 16,
            "patch_size": 8,
            "attentional_pool": True,
            "attn_pooler_heads": 2,
            "output_tokens": True,
        },
        "text_cfg": {**text, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**text, "attn_pooler_heads": 2},
    }
    model = open_clip.CoCa(**config)
    return save_open_clip(folder, model, {**config, "custom_text": True})


def student_folder(folder: Path, crop_pct: float = 0.5, seed: int = 0) -> Path:
    """A timm folder: a ViT for 32 px images whose own evaluation cuts the middle out of them."""
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(seed)
    model = timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=0,
        img_size=32,
        patch_size=8,
        embed_dim=32,
        depth=2,
        num_heads=2,
    )
    model.pretrained_cfg |= {"crop_pct": crop_pct, "crop_mode": "center", "input_size": (3, 32, 32)}
    save_for_hf(model, str(folder), safe_serialization=True)
    return folder


def framed(size: tuple[int, int], frame: int = 2):
    """A black picture (width, height) with a white frame so many pixels wide."""
    from PIL import Image

    picture = Image.new("RGB", size, "white")
    width, height = size
    picture.paste("black", (frame, frame, width - frame, height - frame))
    return picture


def save_open_clip(
    folder: Path, model: torch.nn.Module, config: dict, preprocess: dict = PREPROCESS
) -> Path:
    """Write a model and its configuration as open_clip reads them."""
    import json

    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    whole = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(whole))
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cached_on_hub(cache: Path, repository: str, folder: Path) -> Path:
    """A folder as `repository` in a cache of the Hugging Face Hub, at COMMIT of its `main`."""
    place = cache / f"models--{repository.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    return cache


def embed(classifier, batches):
    """Features, logits, labels and indices of batches, as a plain loop gives them."""
    rows = []
    with torch.no_grad():
        for batch in batches:
            z, logits = classifier(batch.images)
            rows.append((z, logits, batch.labels.clone(), batch.indices.clone()))
    return tuple(torch.cat(column) for column in zip(*rows, strict=True))
