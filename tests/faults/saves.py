"""Processes that are killed while they save, and saves that fail."""

import random
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tests.faults.case import case, require
from tests.faults.small import Apart, apart, leftovers

from holdfast.errors import HoldfastError
from holdfast.runs import Run
from holdfast.settings.base import Settings
from holdfast.stages import Stage
from holdfast.tensor_files import read_tensors

WIDTH = 400  # of a square layer: a checkpoint of some 2 MB


@dataclass(frozen=True)
class Nothing(Settings):
    """A run without settings."""


def started(folder: Path, work):
    """What `work` gives of (stage, module, optimizer, steps done) of the run, as it goes on."""
    with Run.open(folder, Nothing(), "transfer"):
        module = torch.nn.Linear(WIDTH, WIDTH)
        optimizer = torch.optim.AdamW(module.parameters(), fused=True)
        for parameter in module.parameters():
            moments = {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
            optimizer.state[parameter] |= moments | {"step": torch.tensor(0.0)}
        stage = Stage(folder, "train", 0)
        return work(stage, module, optimizer, stage.resume(module, optimizer))


def save_on(stage, module, optimizer, done):
    """Save on and on; all values of a checkpoint are its number of steps."""
    while True:
        done += 1
        for tensor in tensors_of(module, optimizer):
            tensor.data.fill_(done)
        stage.record({"step": done})
        stage.save(done, module, optimizer)


def tensors_of(module, optimizer):
    """All weights and moments."""
    return [*module.parameters(), *(t for s in optimizer.state.values() for t in s.values())]


def look(stage, module, optimizer, done):
    """The steps done; all weights and moments must be those of that step."""
    for tensor in tensors_of(module, optimizer):
        require((tensor == done).all() or not done, f"a checkpoint of step {done} has other values")
    return done


@case(
    6,
    "kill -9 100 times during saves; the second save fails",
    "0 unreadable, always one that loads, no temporary file after the next start",
)
def kills_while_saving(folder: Path, times: int = 100) -> str:
    draw, run = random.Random(0), folder / "run"
    before, half, unreadable = 0, 0, []
    for number in range(times):
        process = Apart(started, run, save_on)
        while not process.ended and not list(run.glob(".*checkpoint*tmp")):
            time.sleep(0.0005)  # until a save has begun
        time.sleep(draw.uniform(0, 0.04))
        process.kill()
        ended = process.wait()
        require(ended.code == -9, ended.text[-300:])
        half += bool(leftovers(run))
        for path in run.glob("*.safetensors"):
            try:
                read_tensors(path)
            except HoldfastError:
                unreadable.append(path.name)
        done = started(run, look)
        require(done >= before, f"after {before} steps only {done} were left")
        require(not leftovers(run), f"{leftovers(run)} are left after kill {number}")
        before = done
    require(not unreadable, f"{len(unreadable)} unreadable: {unreadable[:3]}")
    require(before, "nothing was ever saved")
    ended = apart(started, run, second_save_fails)
    sentence = ended.text.strip().splitlines()[-1]
    require("Cannot write" in sentence and "train.checkpoint" in sentence, ended.text[-400:])
    require(started(run, look) == before + 1, "the checkpoint before the failed save is gone")
    require(not leftovers(run), leftovers(run))
    return (
        f"{times} kills, {half} of them within a file: 0 unreadable, {before} steps saved, none "
        "lost; a second save that failed left the first"
    )


def second_save_fails(stage, module, optimizer, done):
    """Save once; then files may have 1 kB only."""
    for step in (done + 1, done + 2):
        for tensor in tensors_of(module, optimizer):
            tensor.data.fill_(step)
        stage.save(step, module, optimizer)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
