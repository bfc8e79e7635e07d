"""Make the embedded world again: `python -m world --package iconify-json-2.2.535.tgz`.

Every step is skipped if it is done and goes on where it was stopped; all files lie in
`build/world`. `npm pack @iconify/json@2.2.535` downloads the package.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from holdfast import pocket

from . import corpus, measure, ship, split, student
from .source import BUILD, unpack

STEPS = {"clip": 5000, "vae": 4000, "generator": 20000}  # of each long training


def main() -> None:
    """Corpus, models, what is shipped, and the card."""
    parser = argparse.ArgumentParser(prog="python -m world", description=__doc__)
    parser.add_argument("--package", type=Path, default=Path("iconify-json-2.2.535.tgz"))
    options = parser.parse_args()
    unpack(options.package)
    if not (BUILD / "index.json").exists():
        corpus.render()
    if not (BUILD / "split.json").exists():
        split.split()
    for module, steps in STEPS.items():
        # a process each, so that a training starts from its own seed and state
        subprocess.run([sys.executable, "-m", f"world.{module}", str(steps)], check=True)
    for name in student.RECIPES:
        if not (BUILD / name / "model.safetensors").exists():
            student.train(name, BUILD / name)
    for name in pocket.MODELS:
        shutil.copytree(BUILD / name, pocket.WEIGHTS_FOLDER / name, dirs_exist_ok=True)
    ship.main()
    measure.write_card()


if __name__ == "__main__":
    main()
