"""Small runs of the three methods, each in a process of its own that can be killed."""

import hashlib
import io
import json
import os
import shutil
import signal
import sys
import time
import traceback
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.commands.streams import COLOURS, SHADES, paint
from tests.tiny import clip_folder, diffusion_folder

# Imported once, here, and not in each process.
from holdfast.cli import main
from holdfast.commands import continual_run, distill, evaluate, transfer  # noqa: F401
from holdfast.report import charts, page  # noqa: F401

NAMES = ["red thing", "green thing", "blue thing"]
METHODS = ("transfer", "distill", "continual")


class World:
    """Tiny models and data in a folder, and the command of each method on them."""

    def __init__(self, root: Path) -> None:
        from tests.worlds import domain_tree

        torch.set_num_threads(1)
        self.root = root
        warnings.simplefilter("ignore")  # of diffusers, about its own files
        self.clip = clip_folder(root / "clip")
        self.diffusion = diffusion_folder(root / "diffusion")
        self.pictures = root / "pictures"
        primary = zip(NAMES, COLOURS.values(), strict=True)
        paint(self.pictures, dict(primary), 10, 0)
        self.domains = domain_tree(root / "domains", count=5)
        for name, classes in (("colours", COLOURS), ("shades", SHADES)):
            for seed, split in enumerate(("train", "val", "test")):
                paint(root / "tasks" / name / split, classes, 6, seed)
        (root / "tasks" / "names.txt").write_text("ant\nbee\ncow\n")
        self.stream = root / "tasks" / "stream.yaml"
        self.stream.write_text("- colours\n- shades\n")

    def command(self, method: str, out: Path, *more: object) -> list[str]:
        """The command line of a small run; it saves after each step."""
        model = f"local-dir:{self.clip}"
        words: list[object] = {
            "transfer": [
                *("transfer", *NAMES, "--model", model, "--generator", self.diffusion),
                *("--images.steps", 2, "--images.per_class", 4, "--images.batch_size", 6),
                *("--train.epochs", 2, "--train.batch_size", 5, "--train.workers", 0),
                *("--train.learning_rate", 1e-3, "--train.checkpoint_minutes", 0),
                *("--evaluate", self.pictures),
            ],
            "distill": [
                *("distill", self.domains, "--teacher", "pocket", "--student", "pocket"),
                *("--store", out.with_name(f"{out.name}-store"), "--views", 2, "--view.size", 32),
                *("--align.steps", 4, "--align.per_domain", 3, "--align.validate_every", 2),
                *("--train.steps", 4, "--train.per_domain", 3, "--train.validate_every", 2),
                *("--workers", 0, "--checkpoint_minutes", 0),
            ],
            "continual": [
                *("continual", "run", self.stream, "--model", model),
                *("--generator", self.diffusion, "--replay.base", self.root / "tasks/names.txt"),
                *("--replay.images", 12, "--replay.steps", 2, "--replay.batch_size", 12),
                *("--replay.cache", out.with_name(f"{out.name}-cache")),
                *("--train.steps", 4, "--train.batch_size", 4, "--train.replay_batch_size", 6),
                *("--train.learning_rate", 1e-3, "--train.workers", 0),
                *("--train.checkpoint_minutes", 0),
            ],
        }[method]
        return [*map(str, words), "--device", "cpu", "--out", str(out), *map(str, more)]

    def run(self, method: str, out: Path, *more: object, **options):
        """A small run in a process of its own, as `apart` does it."""
        return apart(main, self.command(method, out, *more), **options)

    def call(self, command: list[str]):
        """A command in a process of its own."""
        return apart(main, command)

    def whole(self, method: str, out: Path, *more: object):
        """A run that nothing disturbs."""
        ended = self.run(method, out, *more)
        assert ended.code == 0, f"the undisturbed {method} failed: {ended.text[-800:]}"
        return ended


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (below zero a signal), what it printed, its seconds."""

    code: int
    text: str
    seconds: float

    @property
    def is_one_sentence(self) -> bool:
        """Whether it failed without a traceback."""
        return self.code in (1, 2) and "Traceback" not in self.text


def killed_after(step: int):
    """What `before` takes: the process kills itself once a checkpoint of `step` steps is there."""

    def prepare():
        from holdfast.stages import Stage

        save = Stage.save

        def last(stage, done, *arguments):
            save(stage, done, *arguments)
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)

        Stage.save = last

    return prepare


class Apart:
    """A function in a forked process, which needs no imports of its own; `wait` ends it.

    before: called in the process, before the function. What it prints comes through a pipe, as a
    limit of files' sizes would hold for a file.
    """

    def __init__(self, function, *arguments, before=None) -> None:
        self.begun, self.text = time.monotonic(), b""
        sys.stdout.flush()
        self.pipe, end = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(end)
            os.set_blocking(self.pipe, False)
            return
        code = 1
        try:
            for handle, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(end, handle)
                raw = os.fdopen(handle, "wb", 0, closefd=False)
                setattr(sys, name, io.TextIOWrapper(raw, write_through=True))
            if before is not None:
                before()
            code = function(*arguments) or 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code if isinstance(code, int) else 0)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, if it is still there."""
        if not self.ended:
            os.kill(self.pid, number)

    @property
    def ended(self) -> bool:
        """Whether it is gone; it is not waited for."""
        with suppress(BlockingIOError):
            while block := os.read(self.pipe, 2**16):
                self.text += block
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self, limit: float = 120.0) -> Ended:
        """Wait until it ends; not to do so within `limit` seconds is a failure."""
        late = False
        while not self.ended:
            if not late and time.monotonic() - self.begun > limit:
                late = True
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.005)
        assert self.ended  # reads the rest
        os.close(self.pipe)
        _, status = os.waitpid(self.pid, 0)
        assert not late, f"a process was there after {limit:.0f} s"
        seconds = time.monotonic() - self.begun
        return Ended(os.waitstatus_to_exitcode(status), self.text.decode(errors="replace"), seconds)


def apart(function, *arguments, kill_after=None, before=None) -> Ended:
    """Call a function in a process of its own; kill_after: seconds to kill -9."""
    process = Apart(function, *arguments, before=before)
    if kill_after is not None:
        time.sleep(kill_after)
        process.kill()
    return process.wait()


def outcome(run: Path, leave_out=()) -> dict[str, str]:
    """What a run came to: a hash of each file of tensors and picture, and of its numbers.

    leave_out: files, as they lie in the run, that do not count.
    """
    found = {}
    for path in sorted(run.rglob("*")):
        if str(path.relative_to(run)) in leave_out:
            continue
        if path.suffix == ".safetensors":
            content = hashlib.sha256()
            for name, tensor in sorted(load_file(path).items()):
                content.update(name.encode() + tensor.reshape(-1).view(torch.uint8).numpy().data)
        elif path.suffix == ".png":
            content = hashlib.sha256(path.read_bytes())
        else:
            continue
        found[str(path.relative_to(run))] = content.hexdigest()
    result = json.loads((run / "result.json").read_text())
    for key in ("scores", "verdict", "matrix", "trials", "training"):
        if key in result:
            text = json.dumps(timeless(result[key]), sort_keys=True)
            found[key] = text.replace(str(run), "RUN")
    return found


def timeless(value):
    """A value of JSON without what differs from start to start: times and memory."""
    if isinstance(value, dict):
        left = ("seconds", "bytes", "milliseconds_per_image")
        return {k: timeless(v) for k, v in value.items() if not k.endswith(left) and k != "costs"}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def difference(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The names in which two outcomes differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def copied(folder: Path, place: Path) -> Path:
    """A copy of a folder, in the place of an earlier one."""
    shutil.rmtree(place, ignore_errors=True)
    return Path(shutil.copytree(folder, place))


def leftovers(folder: Path) -> list[str]:
    """Temporary files below a folder."""
    return [path.name for path in folder.rglob(".*holdfast-tmp*")]
