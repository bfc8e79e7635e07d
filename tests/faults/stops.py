"""Runs that are stopped, at any moment and by anything, and go on."""

import itertools
import json
import random
from pathlib import Path

from tests.faults.case import case, require
from tests.faults.small import METHODS, World, difference, killed_after, leftovers, outcome


@case(
    2,
    "kill -9 at 20 random moments of runs that restart themselves, all methods",
    "20 of 20 finish with the undisturbed run's hash",
)
def random_kills(folder: Path, times: int = 20) -> str:
    world = World(folder)
    draw = random.Random(0)
    whole = {}
    seconds = {}
    for method in METHODS:
        seconds[method] = world.whole(method, folder / "whole" / method).seconds
        whole[method] = outcome(folder / "whole" / method)
    landed = 0
    for number in range(times):
        method = METHODS[number % 3]
        out = folder / f"killed{number}" / method
        moment = draw.uniform(0, seconds[method])
        landed += world.run(method, out, kill_after=moment).code == -9
        ended = world.run(method, out)
        require(ended.code == 0, f"{method}, killed after {moment:.2f} s: {ended.text[-500:]}")
        found = difference(outcome(out), whole[method])
        require(not found, f"{method}, killed after {moment:.2f} s, differs in {found}")
        require(not leftovers(out), f"{method} left {leftovers(out)}")
    return f"{times} of {times} end with the same hashes ({landed} were hit before their end)"


def seen_samples(log: Path):
    """What `before` takes: the positions of each batch's images are appended to a file."""

    def prepare():
        from holdfast import train

        compute = train.compute_gradients

        def noted(module, batch, *arguments):
            found = compute(module, batch, *arguments)
            with log.open("a") as file:
                file.write(json.dumps(batch.indices.tolist()) + "\n")
            return found

        train.compute_gradients = noted

    return prepare


@case(
    1,
    "stop and resume in the middle of an epoch, at its last batch and at its end; each method",
    "difference 0; each sample once an epoch",
)
def stopped_at_steps(folder: Path) -> str:
    world, compared = World(folder), 0
    log = folder / "samples"
    for method in METHODS:
        whole = folder / "whole" / method
        require(world.run(method, whole, before=seen_samples(log)).code == 0, method)
        expected, order = outcome(whole), log.read_text()
        log.unlink()
        if method == "transfer":  # two epochs of three batches
            batches = [json.loads(line) for line in order.splitlines()]
            for epoch in (batches[:3], batches[3:]):
                require(sorted(itertools.chain(*epoch)) == list(range(12)), f"an epoch had {epoch}")
        for step in (1, 2, 3):
            out = folder / f"at{step}" / method

            def both(step=step):
                seen_samples(log)()
                killed_after(step)()

            require(world.run(method, out, before=both).code == -9, f"{method} ended before {step}")
            ended = world.run(method, out, before=seen_samples(log))
            require(ended.code == 0, ended.text)
            found = difference(outcome(out), expected)
            require(not found, f"{method}, stopped after step {step}, differs in {found}")
            require(log.read_text() == order, f"{method}, stopped after {step}, saw other samples")
            log.unlink()
            compared += len(expected)
    return f"9 stops: difference 0 in {compared} files and numbers; all samples in the same order"


@case(
    3,
    "resume twice; with 0 and 2 loader workers; with gradient accumulation",
    "same hash",
)
def resumed_twice(folder: Path) -> str:
    world, told = World(folder), []
    for title, more in (("plain", ()), ("accumulation", ("--train.accumulation", 2))):
        whole = folder / title / "transfer"
        world.whole("transfer", whole, *more)
        for workers in ((0, 0, 0), (2, 2, 2), (0, 2, 0)):
            out = folder / f"{title}{len(told)}" / "transfer"
            for count, step in zip(workers, (2, 4, None), strict=True):
                before = step and killed_after(step)
                words = (*more, "--train.workers", count)
                ended = world.run("transfer", out, *words, before=before)
                require(ended.code == (-9 if step else 0), ended.text)
            found = difference(outcome(out), outcome(whole))
            require(not found, f"{title} with workers {workers} differs in {found}")
            told.append(title)
    return f"{len(told)} runs stopped twice, with workers 0, 2 and changing: the same hashes"
