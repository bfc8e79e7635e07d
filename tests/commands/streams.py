"""Small streams of tasks, and the commands that learn them."""

import json

import numpy as np
from PIL import Image
from safetensors.torch import load_file

from holdfast import task_history
from holdfast.cli import main
from holdfast.names import from_names

THINGS = from_names(["red thing", "green thing", "blue thing"])  # of the fixture `pictures`
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
SHADES = {"dark": (0.2, 0.2, 0.2), "bright": (1, 1, 1), "red": (1, 0, 0)}


def paint(root, classes, count, seed):
    """Class folders of noisy 32 px pictures."""
    noise = np.random.default_rng(seed)
    for name, colour in classes.items():
        (root / name).mkdir(parents=True)
        for n in range(count):
            pixels = noise.integers(0, 120, (32, 32, 3)) + 130 * np.array(colour)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{n}.png")


def quick(tasks, diffusion_folder):
    """Options of tasks that take a second each."""
    return [
        *("--generator", diffusion_folder, "--replay.base", tasks / "names.txt"),
        *("--replay.images", 12, "--replay.steps", 2, "--replay.batch_size", 12),
        *("--train.steps", 4, "--train.batch_size", 4, "--train.replay_batch_size", 6),
        *("--train.learning_rate", 1e-3, "--train.workers", 0, "--device", "cpu"),
    ]


def run(*arguments):
    return main(["continual", "run", *map(str, arguments)])


def add(*arguments):
    return main(["continual", "add", *map(str, arguments)])


def weights(folder):
    return load_file(folder / task_history.WEIGHTS)


def read(path):
    return json.loads(path.read_text())
