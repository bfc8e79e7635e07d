"""A limit of files' sizes that begins with a chosen file, and too little free space."""

import os
import re
import resource
import shutil
import sys
from pathlib import Path

from tests.faults.case import case, require
from tests.faults.small import World, contents, difference, leftovers, outcome

FEW = 10  # bytes


def writes(log):
    """What `before` takes: names of files that are opened to be written come to a function."""

    def prepare():
        def heard(event, arguments):
            if (
                event == "open"
                and isinstance(arguments[0], str)
                and set(str(arguments[1])) & set("wxa+")
            ):
                log(Path(arguments[0]))

        sys.addaudithook(heard)

    return prepare


def name_of(path: Path) -> str:
    """The name of what a temporary file will be."""
    return re.sub(r"^\.(.*)\.\d+\.holdfast-tmp$", r"\1", path.name)


def limited_from(name: str):
    """What `before` takes: from the opening of the file `name` on, files may have FEW bytes."""

    def limit(path):
        if name_of(path) == name:
            resource.setrlimit(resource.RLIMIT_FSIZE, (FEW, resource.RLIM_INFINITY))

    return writes(limit)


def full():
    """What `before` takes: the system says that no byte is free. A real full disk needs root."""
    usage = shutil.disk_usage
    shutil.disk_usage = lambda path: usage(path)._replace(free=0)


@case(
    7,
    "a file-size limit at every file that a run of each method writes, also over a finished run; "
    "no free space (as the system would report it)",
    "non-zero exit, one sentence with the file's name, 0 old files changed, the next start goes "
    "on; no space is refused before step 1",
)
def full_disks(folder: Path) -> str:
    world, failed, kinds = World(folder), 0, set()
    for method in ("transfer", "distill"):
        whole, log = folder / "whole" / method, folder / f"{method}.log"

        def note(path, log=log):
            if path.is_relative_to(folder / "whole"):
                descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.write(descriptor, f"{name_of(path)}\n".encode())
                os.close(descriptor)

        require(world.run(method, whole, before=writes(note)).code == 0, method)
        names = dict.fromkeys(log.read_text().splitlines())
        names = [n for n in names if not n.endswith(("lock", ".png"))] + ["00000.png"]
        for name in names:
            out = folder / f"limit-{name}" / method
            ended = world.run(method, out, before=limited_from(name))
            what = f"{method} with no room for {name}"
            if ended.code == 0:  # what is only of use, such as digests that were seen
                require(name in ended.text, f"{what}: silent")
            require(ended.code == 0 or ended.is_one_sentence, f"{what}: {ended.text}")
            require(name in ended.text, f"{what}, not named: {ended.text}")
            ended = world.run(method, out)
            require(ended.code == 0, f"{what}, next start: {ended.text}")
            found = difference(outcome(out), outcome(whole))
            require(not found and not leftovers(out), f"{what}, next start: {found}")
            failed, kinds = failed + 1, kinds | {name}
        ended = world.run(method, folder / "full" / method, before=full)
        require(ended.is_one_sentence and "are free" in ended.text, f"{method}: {ended.text}")
        require(not list((folder / "full" / method).rglob("*.jsonl.*")), "a step was done")
    old, again = folder / "whole" / "transfer", ["--method.ensemble.alpha", 0.3]
    before = contents(old)
    for name in ("open_clip_model.safetensors", "head.safetensors", "classifier.json"):
        ended = world.run("transfer", old, *again, before=limited_from(name))
        require(ended.is_one_sentence and name in ended.text, f"finished, {name}: {ended.text}")
        after = contents(old)
        changed = [n for n in before if n.startswith("model/") and after.get(n) != before[n]]
        require(not changed, f"finished, no room for {name}: {changed} changed")
        failed += 1
    return f"{failed} writes of {len(kinds)} files failed, each named; 0 old files changed"
