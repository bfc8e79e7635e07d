"""Make the pocket models: `python -m holdfast.pocket.train all`, or one of the steps by name.

Each step needs those before it: tokenizer, clip, vae, diffusion; the students need none. Pictures
and intermediate results are kept in a cache folder, so a step that was cut off can be run again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from holdfast.files import append_lines

from . import STUDENTS, WEIGHTS
from .corpus import corpus


def tokenizer(cache: Path) -> None:
    """Learn the vocabulary from the captions."""
    from .tokenizer import train_tokenizer

    train_tokenizer(corpus(cache).captions).save_pretrained(WEIGHTS / "clip")


def clip(cache: Path) -> None:
    """Train the CLIP."""
    from .clip import train_clip
    from .tokenizer import load_tokenizer

    train_clip(corpus(cache), load_tokenizer(WEIGHTS / "clip"), WEIGHTS / "clip")


def vae(cache: Path) -> None:
    """Train the autoencoder."""
    from .vae import train_vae

    train_vae(corpus(cache), WEIGHTS / "diffusion" / "vae")


def diffusion(cache: Path) -> None:
    """Train the diffusion model, on the latents of one and the text tower of the other."""
    from .diffusion import train_diffusion

    train_diffusion(corpus(cache), cache, WEIGHTS)


def students(name: str, cache: Path) -> None:
    """Train one of the supervised students."""
    from .student import train_student

    train_student(corpus(cache), name, WEIGHTS / name)


TIMES = "times.jsonl"  # one line for each step that was run, read by `measure`
STEPS: dict[str, Callable[[Path], None]] = {
    **{step.__name__: step for step in (tokenizer, clip, vae, diffusion)},
    **{name: partial(students, name) for name in STUDENTS.values()},
}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.pocket.train", description=__doc__)
    parser.add_argument("step", choices=[*STEPS, "all"])
    parser.add_argument("--cache", type=Path, default=Path("build/pocket"))
    parser.add_argument("--threads", type=int, default=None, help="of the CPU; default: all")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    for name in STEPS if options.step == "all" else [options.step]:
        begun = time.monotonic()
        STEPS[name](options.cache)
        seconds = round(time.monotonic() - begun)
        line = {"step": name, "seconds": seconds, "threads": torch.get_num_threads()}
        append_lines(options.cache / TIMES, [line])
        print(f"{name}: {seconds} s")


if __name__ == "__main__":
    main()
