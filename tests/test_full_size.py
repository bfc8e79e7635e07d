"""The path of full-size models, untrained: the same command, at 224 px, for a few steps."""

import json

import pytest
from PIL import Image
from safetensors.torch import load_file
from tests.tiny import diffusion_folder, siglip_folder

from holdfast.cli import main

QUICK = [
    *("--images.steps", "1", "--images.per_class", "2", "--images.batch_size", "2"),
    *("--train.epochs", "1", "--train.batch_size", "2", "--train.workers", "0"),
    *("--device", "cpu"),
]


def transfer(tmp_path, *more):
    run = tmp_path / "run"
    assert main(["transfer", "cat", "dog", *map(str, more), *QUICK, "--out", str(run)]) == 0
    return run, json.loads((run / "result.json").read_text())


def test_vit_b_16_at_224_px(tmp_path, capsys):
    generator = diffusion_folder(tmp_path / "diffusion")
    run, result = transfer(
        tmp_path,
        *("--model", "ViT-B-16", "--pretrained", "random"),
        *("--generator", generator, "--images.size", "224"),
    )
    assert Image.open(next((run / "generated").rglob("*.png"))).size == (224, 224)
    assert result["model"]["parameters"] == pytest.approx(86e6, rel=0.02)
    assert len(result["training"]) == 2
    with capsys.disabled():
        peak = result["costs"]["peak_memory_bytes"]
        print(f"\nViT-B/16 at 224 px: peak memory {peak / 2**30:.2f} GiB")


def test_a_siglip_type_model(tmp_path):
    model = siglip_folder(tmp_path / "siglip")
    run, _ = transfer(
        tmp_path,
        *("--model", f"local-dir:{model}", "--generator", diffusion_folder(tmp_path / "diffusion")),
    )
    saved = load_file(run / "model" / "open_clip_model.safetensors")
    original = load_file(model / "open_clip_model.safetensors")
    assert saved["logit_bias"] == original["logit_bias"] == -10
    assert any((saved[k] != original[k]).any() for k in saved if k.startswith("visual."))
    assert all((saved[k] == original[k]).all() for k in saved if k.startswith("text."))
    assert main(["predict", str(run), str(run / "generated" / "images")]) == 0
