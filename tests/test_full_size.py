"""The path of full-size models, untrained: the same command, at 224 px, for a few steps."""

import json

import pytest
from PIL import Image
from safetensors.torch import load_file
from tests.tiny import diffusion_folder, siglip_folder

from holdfast.cli import main
from holdfast.models.clip import load_clip

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


def continual(tmp_path, pictures, *model):
    """Weights before and after `continual add` of one task in two steps, with the default method.

    Replay images are given, so that nothing is drawn.
    """
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    for n, image in enumerate(sorted(pictures.rglob("0.png"))):
        Image.open(image).save(pairs / f"{n}.png")
        (pairs / f"{n}.txt").write_text(f"a photo of thing {n}.")
    words = [
        *("continual", "add", *model, "--task", pictures, "--out", tmp_path / "added"),
        *("--replay.folder", pairs, "--train.steps", 2, "--train.batch_size", 2),
        *("--train.replay_batch_size", 2, "--train.workers", 0, "--device", "cpu"),
    ]
    assert main([str(word) for word in words]) == 0
    steps = [json.loads(line) for line in (tmp_path / "added" / "train.jsonl").open()]
    assert [len(step["losses"]) for step in steps] == [6, 6]
    return load_file(tmp_path / "added" / "model" / "open_clip_model.safetensors")


def test_vit_b_32_learns_a_task(tmp_path, pictures):
    saved = continual(tmp_path, pictures, "ViT-B-32", "--pretrained", "random")
    original = load_clip("ViT-B-32", "random", "cpu").model.state_dict()
    assert saved["logit_scale"] == original["logit_scale"]
    for name in ("visual.conv1.weight", "transformer.resblocks.0.mlp.c_fc.weight"):
        assert (saved[name] != original[name]).any()


def test_a_siglip_type_model_learns_a_task(tmp_path, pictures):
    model = siglip_folder(tmp_path / "siglip")
    saved = continual(tmp_path, pictures, f"local-dir:{model}")
    original = load_file(model / "open_clip_model.safetensors")
    assert saved["logit_bias"] == original["logit_bias"] == -10
    for part in ("visual.", "text."):
        assert any((saved[k] != original[k]).any() for k in saved if k.startswith(part))


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
