"""Architectures of open_clip with all of their switches and few of their weights."""

from copy import deepcopy
from pathlib import Path

import open_clip
import timm
import torch
from tests.tiny import cached_on_hub, clip_tokenizer, save_open_clip
from timm.models import register_model
from timm.models.vitamin import VitCfg, VitConvCfg

VIT = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2}
FASTVIT = {"layers": (1, 1, 1, 1), "embed_dims": (8, 16, 32, 64)}
HYBRID = VitCfg(
    embed_dim=(8, 16, 32),
    depths=(1, 1, 1),
    stem_width=8,
    conv_cfg=VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6),
    head_type="1d",
)
# timm's towers: what makes each small, and the side of its pictures.
TOWERS = {
    "convnext_base": ({"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}, 64),
    "vit_base_patch16_siglip_224": (VIT, 32),
    "eva02_base_patch16_clip_224": (VIT, 32),
    "vit_pe_core_base_patch16_224": (VIT, 32),
    "fastvit_mci0": (FASTVIT, 64),
    "fastvit_mci1": (FASTVIT, 64),
    "fastvit_mci2": (FASTVIT, 64),
    "vitamin_small_224": ({**VIT, "img_size": 64, "embed_cfg": HYBRID}, 64),
}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 520}
# Text towers of transformers, whose configuration is fetched by their name.
TEXT_TOWERS = {
    "xlm-roberta-base": {
        "model_type": "xlm-roberta",
        **TEXT,
        "intermediate_size": 16,
        "max_position_embeddings": 100,
        "pad_token_id": 1,
    },
    "facebook/nllb-200-distilled-600M": {
        "model_type": "m2m_100",
        "vocab_size": 520,
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "max_position_embeddings": 100,
        "pad_token_id": 1,
    },
}


def register_small_towers():
    """Let timm know `small_NAME` for each of TOWERS."""
    for name, (options, _) in TOWERS.items():

        def small(pretrained=False, name=name, options=options, **others):
            return timm.create_model(name, pretrained=False, **options, **others)

        small.__name__ = f"small_{name}"
        small.__module__ = __name__
        register_model(small)


def cache_text_towers(cache: Path):
    """Put the small configurations of TEXT_TOWERS into a cache of the hub."""
    import json

    for name, config in TEXT_TOWERS.items():
        folder = cache / "made" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config))
        cached_on_hub(cache, name, folder)


def shrunk_config(name):
    """The configuration of an architecture of open_clip, with small sizes."""
    config = deepcopy(open_clip.get_model_config(name))
    config["embed_dim"] = 16
    vision, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" in vision:
        tower = vision["timm_model_name"]
        vision |= {"timm_model_name": f"small_{tower}", "image_size": TOWERS[tower][1]}
        if vision.get("timm_proj") == "none":
            config["embed_dim"] = VIT["embed_dim"]
    elif isinstance(vision["layers"], list):
        vision |= {"layers": [1, 1, 1, 1], "width": 8, "image_size": 64}
    else:
        vision |= {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32}
    if "hf_model_name" not in text:
        text |= {"width": 16, "heads": 2, "layers": 2}
        text["vocab_size"] = 520 if "hf_tokenizer_name" in text else text["vocab_size"]
    for part in (vision, config.get("multimodal_cfg", {})):
        if "attn_pooler_heads" in part:
            part["attn_pooler_heads"] = 2
    if "multimodal_cfg" in config:
        config["multimodal_cfg"] |= {"width": 16, "heads": 2, "layers": 1}
    return config


def shrunk_folder(folder: Path, name, preprocess):
    """An untrained small model of an architecture, as an open_clip folder.

    preprocess: that of its published weights.
    """
    torch.manual_seed(0)
    config = shrunk_config(name)
    parts = {key: value for key, value in config.items() if key != "custom_text"}
    kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    if "hf_model_name" in parts["text_cfg"]:
        kind = open_clip.CustomTextCLIP
        parts["text_cfg"] = {**parts["text_cfg"], "hf_model_pretrained": False}
    if "multimodal_cfg" in parts:
        kind = open_clip.CoCa
    if "hf_tokenizer_name" in config["text_cfg"]:
        tokenizer = clip_tokenizer()
        tokenizer.sep_token = tokenizer.eos_token  # CLIPA's are stripped
        tokenizer.save_pretrained(folder)
    model = kind(**parts)
    # As a training leaves them: otherwise such towers see the same in all pictures.
    for key, parameter in model.named_parameters():
        if key.endswith("gamma"):
            torch.nn.init.ones_(parameter)
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.momentum = None  # the mean over batches
        side = parts["vision_cfg"]["image_size"]
        with torch.no_grad():
            model.train().encode_image(torch.rand(16, 3, side, side))
    return save_open_clip(folder, model, config, preprocess)
