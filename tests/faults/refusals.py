"""Runs that are called again with something else."""

import shutil
from functools import partial
from pathlib import Path

from PIL import Image
from tests.faults.case import case, require
from tests.faults.small import METHODS, World, contents, killed_after

BATCH = {"transfer": "train.batch_size", "distill": "train.per_domain"}


@case(
    4,
    "resume with another seed, rate, batch size, classes, and other pixels in a file of the same "
    "size; each method",
    "refused, the difference named, the run untouched",
)
def resumed_with_something_else(folder: Path) -> str:
    world, refused = World(folder), 0
    for method in METHODS:
        picture = {
            "transfer": world.pictures / "red thing" / "0.png",
            "distill": world.domains / "line" / "bug" / "0.png",
            "continual": world.stream.parent / "colours" / "train" / "red" / "0.png",
        }[method]
        store(picture, "black")
        # As a run that stopped is: with inputs, and a training to go on with.
        out = folder / "runs" / method
        own = ("--folder", world.pictures) if method == "transfer" else ()
        ended = world.run(method, out, *own, before=killed_after(2))
        require(ended.code == -9, f"{method}: {ended.text}")
        before = kept(out)

        refusal = partial(refused_for, world, world.command(method, out, *own), out, before)
        refused += refusal("seed", "--seed", 1)
        refused += refusal("learning_rate", "--train.learning_rate", 0.01)
        batch = BATCH.get(method, "train.batch_size")
        refused += refusal(batch, f"--{batch}", 2)
        data = picture.read_bytes()
        store(picture, "white")
        require(len(data) == picture.stat().st_size, "the file has another size")
        refused += refusal("images")
        store(picture, "black")
        require(data == picture.read_bytes(), "the picture is not as it was")
        if method == "transfer":
            refused += refusal("classes", "--classes=-blue thing")
        elif method == "continual":
            world.stream.write_text("- shades\n- colours\n")
            refused += refusal("tasks")
        else:
            for style in world.domains.iterdir():
                shutil.rmtree(style / "bug")
            refused += refusal("images")
    return f"{refused} requests refused, each with what differs; 0 files changed"


def refused_for(world, command, run, before, what, *more) -> int:
    """1 if a command with further words is refused for `what`, and leaves the run as `before`."""
    ended = world.call([*command, *map(str, more)])
    require(ended.code == 2 and ended.is_one_sentence, f"{run.name}, {what}: {ended.text}")
    require(what in ended.text, f"{run.name}: {what} is not named: {ended.text}")
    found = kept(run)
    differs = [n for n in before.keys() | found.keys() if before.get(n) != found.get(n)]
    require(not differs, f"{run.name}, {what}: {differs} changed")
    return 1


def store(path: Path, colour: str) -> None:
    """A picture in one colour, in a file whose size does not depend on it."""
    Image.new("RGB", (32, 32), colour).save(path, compress_level=0)


def kept(run: Path) -> dict[str, bytes]:
    """The files of a run, but for the digests that save a second reading of the data."""
    return {name: data for name, data in contents(run).items() if Path(name).name != "seen.json"}
