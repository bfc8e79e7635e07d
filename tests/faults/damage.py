"""Each file of a run, a model, a store and a checkpoint is deleted, cut short, and changed."""

import json
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.case import case, require
from tests.faults.small import World, apart, copied, difference, killed_after, outcome

from holdfast import report
from holdfast.cli import main
from holdfast.files import LOCK

HARMS = ("deleted", "cut", "one byte flipped")


def harmed(path: Path, how: str, draw: random.Random) -> None:
    """Do one of HARMS to a file that is not empty."""
    data = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
        return
    if how == "cut":
        del data[len(data) // 2 :]
    else:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def without_page() -> None:
    """A report takes most of the time of these commands, and reads none of the files."""
    report.write_report = lambda *_: None


@dataclass
class Count:
    """How many harms ended in which way, and what is to be mended."""

    files: int = 0
    ways: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def take(self, what: str, path: Path, ended, differs: list[str]) -> None:
        """Note how a command ended on a damaged file `path`, and in what its outcome differs."""
        named = path.name in ended.text
        places = [str(each) for each in path.parents if each.name not in ("", "tmp")]
        if ended.is_one_sentence and not named and any(place in ended.text for place in places):
            self.ways["refused with its folder named"] += 1
        elif ended.is_one_sentence and named:
            self.ways["refused by name"] += 1
        elif ended.code == 0 and named and differs == ["training"]:
            self.ways["named, and left out of the curve"] += 1
        elif ended.code == 0 and not differs:
            self.ways["named, and gone on" if named else "the same result without it"] += 1
        else:
            said = ended.text.strip().splitlines()[-1:] or [""]
            self.wrong.append(f"{what}: exit {ended.code}, differs {differs[:3]}, {said[0][:150]}")


def each_harm(count, title, folder, files, command, look, prepare=None):
    """Harm each of `files` below a folder in turn, run a command on it, look at the outcome."""
    draw = random.Random(0)
    whole = copied(folder, folder.with_name(f"{folder.name}-whole"))
    expected = None
    for name in [None, *files]:
        for how in HARMS if name else ("whole",):
            copied(whole, folder)
            if prepare:
                prepare()
            if name:
                harmed(folder / name, how, draw)
            ended = apart(main, command, before=without_page)
            if name is None:
                require(ended.code == 0, f"{title}, whole: {ended.text[-500:]}")
                expected = look("")
                count.files += len(files)
                continue
            differs = []
            if ended.code == 0:
                # A file that is needed no more may stay as it is.
                differs = [n for n in difference(look(name), expected) if n != name]
            count.take(f"{title}, {name} {how}", folder / name, ended, differs)


def files_of(folder: Path, leave_out=()) -> list[str]:
    """Names of the files below a folder that hold something."""
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.stat().st_size)
    names = [str(p.relative_to(folder)) for p in found if p.name != LOCK]
    twins = [name for name in names if name.endswith(".png")][1:]  # one picture is as any other
    return [n for n in names if n not in twins and not n.startswith(tuple(leave_out))]


@case(
    5,
    "each file of a run, a checkpoint, a model and a store deleted, cut to half, one bit flipped",
    "named, or the same result without it; never silent, no traceback",
)
def damaged_files(folder: Path) -> str:
    world, count = World(folder), Count()
    for method in ("transfer", "distill", "continual"):
        out = folder / "runs" / method
        world.whole(method, out)
        again = world.command(method, out)

        def came_to(name, out=out):
            return outcome(out, [name])

        # The first task of a stream has the same files as the second.
        files = files_of(out, ["model", "tasks/01", "report.html"])
        each_harm(count, f"finished {method}", out, files, again, came_to)
        if method == "continual":  # the run reads its models itself
            continue
        data = world.domains / "line" if method == "distill" else world.pictures
        scores = folder / "scores.json"
        evaluate = ["evaluate", str(out / "model"), str(data), "--out", str(scores)]

        def scored(_, scores=scores):
            return {key: str(value) for key, value in json.loads(scores.read_text()).items()}

        each_harm(
            count, f"{method} model", out / "model", files_of(out / "model"), evaluate, scored
        )
    store, out = folder / "runs" / "distill-store", folder / "runs" / "distill"
    fresh = folder / "fresh" / "distill"
    command = world.command("distill", fresh)
    command[command.index("--store") + 1] = str(store)

    def clean():
        shutil.rmtree(fresh, ignore_errors=True)

    each_harm(count, "store", store, files_of(store), command, lambda _: outcome(fresh), clean)
    stopped = folder / "runs" / "stopped"
    ended = world.run("transfer", stopped, before=killed_after(4))
    require(ended.code == -9, ended.text[-300:])
    files = files_of(stopped)
    resume = world.command("transfer", stopped)
    each_harm(count, "checkpoint", stopped, files, resume, lambda name: outcome(stopped))
    total = sum(count.ways.values()) + len(count.wrong)
    figure = f"{total} harms in {count.files} files: "
    figure += ", ".join(f"{n} {way}" for way, n in count.ways.most_common())
    require(not count.wrong, f"{figure}; {len(count.wrong)} wrong: {'; '.join(count.wrong)}")
    return f"{figure}, 0 silent"
