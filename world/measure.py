"""What the shipped models can do, into their card: `python -m world.measure`.

Everything was chosen on development teams (`dev`); `test` is looked at for the card only.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from holdfast import pocket
from holdfast.files import sha256, write_text

from .diffusion import GENERATION, draw_pictures, load_pipeline
from .words import NOUNS, PROMPT

CARD = pocket.WEIGHTS_FOLDER.parent / "CARD.md"


class Judge:
    """A CLIP folder, loaded by plain open_clip, as a classifier of pictures by names."""

    def __init__(self, folder: Path) -> None:
        name = f"local-dir:{folder}"
        model, self.preprocess = open_clip.create_model_from_pretrained(name)
        self.model = model.eval()
        self.tokenizer = open_clip.get_tokenizer(name)

    @torch.inference_mode()
    def text(self, names: Sequence[str], prompt: str = PROMPT) -> Tensor:
        """Unit vectors of names (n, d)."""
        tokens = self.tokenizer([prompt.format(name) for name in names])
        result: Tensor = self.model.encode_text(tokens, normalize=True)
        return result

    @torch.inference_mode()
    def image(self, pictures: NDArray[np.uint8]) -> Tensor:
        """Pictures (n, 32, 32, 3) -> unit vectors (n, d)."""
        x = torch.stack([self.preprocess(Image.fromarray(p)) for p in pictures])
        parts = [self.model.encode_image(c, normalize=True) for c in x.split(256)]
        return torch.cat(parts)

    def accuracy(
        self, per_class: Sequence[NDArray[np.uint8]], names: Sequence[str], prompt: str = PROMPT
    ) -> float:
        """Percent of pictures that are nearest to the name of their class, all pictures alike."""
        labels = torch.tensor([k for k, part in enumerate(per_class) for _ in part])
        image = self.image(np.concatenate([p for p in per_class if len(p)]))
        guess = (image @ self.text(names, prompt).T).argmax(1)
        return round(100 * (guess == labels).float().mean().item(), 1)


def zero_shot(judge: Judge) -> dict[str, dict[str, float]]:
    """Accuracy on the shipped pictures of test teams, by task; and chance."""
    found = {}
    for task in pocket.TASKS:
        names = pocket.class_names(task)
        drawn = pocket.pictures(task, "test")
        found[task] = {
            "accuracy": judge.accuracy(drawn, names),
            "pictures": sum(map(len, drawn)),
            "classes": len(names),
            "chance": round(100 / len(names), 1),
        }
    return found


def recognised(
    judge: Judge, folder: Path, names: Sequence[str], per_class: int = 4, **settings: Any
) -> tuple[float, NDArray[np.uint8], float]:
    """Percent of generated pictures that the CLIP reads as asked; the pictures; their speed."""
    begun = time.perf_counter()
    drawn = draw_pictures(
        load_pipeline(folder), [PROMPT.format(n) for n in names], per_class, **settings
    )
    speed = drawn.shape[0] * drawn.shape[1] / (time.perf_counter() - begun)
    return judge.accuracy(list(drawn), names), drawn, speed


def contact(drawn: NDArray[np.uint8], path: Path, columns: int = 40) -> None:
    """A sheet of pictures (classes, n, 32, 32, 3), a column a class, for the eye."""
    classes, per_class = drawn.shape[:2]
    bands = -(-classes // columns)
    sheet = Image.new("RGB", (columns * 34, bands * per_class * 34), "gray")
    for k in range(classes):
        for n in range(per_class):
            place = (k % columns * 34, (k // columns * per_class + n) * 34)
            sheet.paste(Image.fromarray(drawn[k, n]), place)
    sheet.save(path)


def inventory(weights: Path = pocket.WEIGHTS_FOLDER) -> str:
    """Every file of weights, as rows of a table: parameters, bytes and digest."""
    lines = []
    for file in sorted(weights.rglob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
        count = sum(math.prod(shape) for shape in shapes)
        name = file.relative_to(weights).as_posix()
        lines.append(f"| {name} | {count:,} | {file.stat().st_size:,} | {sha256(file)[:16]} |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """What the card holds between its marks, by mark."""
    judge = Judge(pocket.path("clip"))
    shots = [
        f"| {task} | {row['classes']} | {row['pictures']:,} | {row['accuracy']} | {row['chance']} |"
        for task, row in zero_shot(judge).items()
    ]
    scale = judge.model.logit_scale.exp().item()
    drawn = {
        name: recognised(judge, pocket.path("diffusion"), names)[0]
        for name, names in (
            ("nouns", NOUNS),
            *((task, pocket.class_names(task)) for task in ("food", "flags", "logos")),
        )
    }
    return {
        "files": inventory(),
        "zero-shot": "\n".join([*shots, "", f"The logit scale is {scale:.0f}."]),
        "pictures": ", ".join(f"{name} {share} %" for name, share in drawn.items()),
    }


def write_card() -> None:
    """Measure the shipped models; write what was found into their card."""
    text = CARD.read_text(encoding="utf-8")
    for mark, table in tables().items():
        begin, end = f"<!-- measured: {mark} -->\n", "\n<!-- end -->"
        before, _, rest = text.partition(begin)
        text = before + begin + table + end + rest.partition(end)[2]
    write_text(CARD, text)


def main() -> None:
    """Write the card, or look at a generator in the making: `--generator FOLDER`."""
    parser = argparse.ArgumentParser(prog="python -m world.measure")
    parser.add_argument("--generator", type=Path)
    parser.add_argument("--guidance", type=float, default=GENERATION["guidance_scale"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.generator is None:
        write_card()
    else:
        judge = Judge(pocket.path("clip"))
        share, drawn, speed = recognised(
            judge, options.generator, NOUNS, guidance_scale=options.guidance
        )
        print(f"read as asked {share} %, {speed:.1f} pictures/s at guidance {options.guidance}")
        contact(drawn, Path("build/generated.png"))


if __name__ == "__main__":
    main()
