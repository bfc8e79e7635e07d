"""Measure the pocket models and write their card: `python -m holdfast.pocket.measure`.

Nothing here looks at a test picture: rendered tasks are measured on their `val` split, the real
digits on their `train` split.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.model import CLIP
from torch import Tensor
from transformers import CLIPTokenizer

from holdfast.files import read_json, read_lines, sha256, write_json, write_text

from . import STUDENTS, WEIGHTS, clip, diffusion, vae
from .captions import readable_name
from .card import as_text
from .clip import read_clip, scaled_pixels
from .corpus import SHARES, SIZE
from .diffusion import GENERATION, draw_pictures, load_pipeline
from .student import FAMILIES, LABELS, RECIPES, read_student
from .tasks import DATASETS, picture, real_digits
from .tokenizer import encode, load_tokenizer
from .train import TIMES
from .vae import load_vae, scaled
from .world import CLASSES, draw

PROMPT = "a photo of a {}."
Pictures = NDArray[np.uint8]  # (classes, n, 32, 32, 3)


def task_pictures(task: str, per_class: int) -> Pictures:
    """Pictures that may be looked at while the world is being tuned."""
    if task == "digits":
        return np.stack([pictures[:per_class] for pictures in real_digits("train")])
    names = CLASSES[task.partition("/")[0]]
    return np.stack([[picture(task, name, "val", n) for n in range(per_class)] for name in names])


def prompts(family: str) -> list[str]:
    """One prompt for each class of a family."""
    return [PROMPT.format(readable_name(family, name)) for name in CLASSES[family]]


class ZeroShotJudge:
    """The CLIP as a classifier of pictures by prompts."""

    def __init__(self, model: CLIP, tokenizer: CLIPTokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer

    @torch.inference_mode()
    def predict(self, pictures: NDArray[np.uint8], texts: list[str]) -> Tensor:
        """(n, 32, 32, 3), m texts -> the index of the nearest text (n,)."""
        text = self.model.encode_text(
            torch.from_numpy(encode(self.tokenizer, texts)), normalize=True
        )
        chunks = scaled_pixels(pictures).split(256)
        image = torch.cat([self.model.encode_image(chunk, normalize=True) for chunk in chunks])
        return (image @ text.T).argmax(dim=1)

    def accuracy(self, pictures: Pictures, texts: list[str]) -> float:
        """Share of pictures that are nearest to the text of their own class, in percent."""
        classes, per_class = pictures.shape[:2]
        guess = self.predict(pictures.reshape(-1, *pictures.shape[2:]), texts)
        return in_percent(guess == torch.arange(classes).repeat_interleave(per_class))


def in_percent(right: Tensor) -> float:
    """The share of true values."""
    return round(100 * right.float().mean().item(), 1)


def zero_shot(judge: ZeroShotJudge, per_class: int = 60) -> dict[str, Any]:
    """Accuracy by task on downstream pictures, and by family on pictures like those trained on."""
    families = [task.partition("/")[0] for task in DATASETS]
    far = {
        task: judge.accuracy(task_pictures(task, per_class), prompts(family))
        for task, family in zip(DATASETS, families, strict=True)
    }
    near = {}
    for family, names in CLASSES.items():
        seen = [
            [draw(family, name, (6, i, n), far=False)[0] for n in range(20)]
            for i, name in enumerate(names)
        ]
        near[family] = judge.accuracy(np.array(seen), prompts(family))
    chance = {
        task: round(100 / len(CLASSES[f]), 1) for task, f in zip(DATASETS, families, strict=True)
    }
    return {"downstream": far, "as in pre-training, unseen seeds": near, "chance": chance}


def generated(judge: ZeroShotJudge, weights: Path, per_class: int = 10) -> dict[str, Any]:
    """How often the CLIP sees in a drawn picture what was asked for, by family; and the speed."""
    pipeline = load_pipeline(weights / "diffusion")
    begun, agreement, count = time.perf_counter(), {}, 0
    for family in CLASSES:
        drawn = draw_pictures(pipeline, prompts(family), per_class)
        agreement[family] = judge.accuracy(drawn, prompts(family))
        count += drawn.shape[0] * drawn.shape[1]
    seconds = time.perf_counter() - begun
    return {
        "settings": GENERATION,
        "pictures the CLIP reads as asked, percent": agreement,
        "pictures per second": round(count / seconds, 1),
        "threads": torch.get_num_threads(),
    }


@torch.inference_mode()
def student_accuracy(folder: Path, per_class: int = 60) -> dict[str, float]:
    """A student's own 72-way classifier, downstream (val); things as photos."""
    model, result = read_student(folder), {}
    for family in FAMILIES:
        task = "things/photo" if family == "things" else family
        pictures = task_pictures(task, per_class)
        labels = torch.tensor([LABELS.index(f"{family}/{name}") for name in CLASSES[family]])
        logits = torch.cat(
            [model(chunk) for chunk in scaled(pictures.reshape(-1, 32, 32, 3)).split(256)]
        )
        result[family] = in_percent(logits.argmax(dim=1) == labels.repeat_interleave(per_class))
    return result


@torch.inference_mode()
def reconstruction_error(weights: Path) -> float:
    """Mean absolute error of the autoencoder on unseen pictures, in 8-bit steps."""
    model = load_vae(weights / "diffusion" / "vae")
    x = scaled(
        np.concatenate([task_pictures(task, 4)[:, :4].reshape(-1, 32, 32, 3) for task in DATASETS])
    )
    y = model.decode(model.encode(x).latent_dist.mean).sample.clamp(-1, 1)
    return round((y - x).abs().mean().item() * 127.5, 2)


def inventory(weights: Path) -> dict[str, Any]:
    """Every weight file: parameters, bytes and digest."""
    from safetensors import safe_open

    files = {}
    for file in sorted(weights.rglob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            count = sum(int(np.prod(tensors.get_slice(k).get_shape())) for k in tensors.keys())  # noqa: SIM118
        files[file.relative_to(weights).as_posix()] = {
            "parameters": count, "bytes": file.stat().st_size, "sha256": sha256(file),
        }  # fmt: skip
    return files


def commit() -> str | None:
    """The git commit of the source, if it is a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def training_times(weights: Path, cache: Path) -> dict[str, dict[str, int]]:
    """Seconds and threads of each step; of those not run with this cache, what the card says."""
    path = weights / "card.json"
    known = read_json(path)["training"] if path.exists() else {}
    found = {
        name: {key: row[key] for key in ("seconds", "threads") if key in row}
        for name, row in known.items()
    }
    lines = read_lines(cache / TIMES)  # a step that was cut off and run again has two
    for name in {line["step"] for line in lines}:
        ours = [line for line in lines if line["step"] == name]
        found[name] = {
            "seconds": sum(line["seconds"] for line in ours),
            "threads": max(line["threads"] for line in ours),
        }
    return found


def card(weights: Path, cache: Path) -> dict[str, Any]:
    """Everything that is worth knowing about the models in `weights`."""
    judge = ZeroShotJudge(read_clip(weights / "clip"), load_tokenizer(weights / "clip"))
    packages = ("torch", "open_clip_torch", "diffusers", "transformers", "timm", "numpy", "pillow")
    training = {
        "clip": {"seed": 0, "batch": clip.BATCH, "steps": clip.STEPS},
        "vae": {"seed": 1, "batch": vae.BATCH, "steps": vae.STEPS},
        "diffusion": {
            "seed": 2,
            "batch": diffusion.BATCH,
            "steps": sum(steps for steps, _ in diffusion.ROUNDS),
        },
        **{
            name: {"seed": recipe.seed, "batch": recipe.batch, "steps": recipe.steps}
            for name, recipe in RECIPES.items()
        },
    }
    times = training_times(weights, cache)
    for name, row in training.items():
        row |= times.get(name, {})
    files = inventory(weights)
    return {
        "made by": "python -m holdfast.pocket.train all; python -m holdfast.pocket.measure",
        "trained on": f"{SIZE} rendered pictures with captions, shares {SHARES}; no outside data",
        "commit": commit(),
        "versions": {name: version(name) for name in packages}
        | {"python": platform.python_version()},
        "training": training,
        "files": files,
        "bytes": sum(file["bytes"] for file in files.values()),
        "prompt": PROMPT,
        "splits": "val of the rendered tasks, train of the real digits; nothing was measured on "
        "test. How far rendered tasks are from pre-training was chosen on val, after the CLIP was "
        "trained",
        "zero-shot accuracy, percent": zero_shot(judge),
        "generation": generated(judge, weights),
        "student classes": len(LABELS),
        "student accuracy, percent": {
            name: student_accuracy(weights / name) for name in STUDENTS.values()
        },
        "autoencoder error, of 255": reconstruction_error(weights),
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.pocket.measure", description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("build/pocket"))
    options = parser.parse_args()
    facts = card(WEIGHTS, options.cache)
    write_json(WEIGHTS / "card.json", facts)
    write_text(WEIGHTS / "CARD.md", as_text(facts))
    print(as_text(facts))


if __name__ == "__main__":
    main()
