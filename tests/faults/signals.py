"""Commands that are asked to stop: TERM, and Ctrl-C."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.case import case, require
from tests.faults.small import World, difference, outcome

LIMIT = 10.0  # seconds
PYTHON = [sys.executable, "-W", "ignore", "-m", "holdfast"]


def stopped(what: str, command: list[str], number: int, ready) -> float:
    """Start a command, send it a signal once `ready` holds; the seconds that it took to end.

    ready: of what it printed so far.
    """
    with tempfile.TemporaryFile("w+") as printed:
        return stopped_while_printing(printed, what, command, number, ready)


def stopped_while_printing(printed, what, command, number, ready) -> float:
    """As `stopped`; printed: the file that the command writes to."""
    process = subprocess.Popen([*PYTHON, *command], stdout=printed, stderr=subprocess.STDOUT)
    begun, text = time.monotonic(), ""
    while not ready(text):
        text = read(printed)
        require(process.poll() is None, f"{what} ended by itself: {text[-400:]}")
        require(time.monotonic() - begun < 60, f"{what} did not get there: {text[-400:]}")
        time.sleep(0.005)
    process.send_signal(number)
    asked = time.monotonic()
    try:
        code = process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"{what} was there after {LIMIT:.0f} s") from None
    seconds = time.monotonic() - asked
    text = read(printed)
    expected = 143 if number == signal.SIGTERM else 130
    require(code == expected, f"{what}: exit {code} and not {expected}: {text[-400:]}")
    require("Traceback" not in text, f"{what}: {text[-600:]}")
    return seconds


def read(printed) -> str:
    """What a process has printed into a file; the place where it writes stays."""
    return os.pread(printed.fileno(), 2**24, 0).decode(errors="replace")


@case(
    9,
    "TERM and Ctrl-C in training, saving, evaluation, generation, serving, and during import",
    "exit 143 or 130 within 10 s, no traceback, resumable, 0 finished steps lost in training",
)
def asked_to_stop(folder: Path) -> str:
    world, slowest, times = World(folder), 0.0, 0
    whole = folder / "whole" / "transfer"
    epochs = ("--train.epochs", 40)
    world.whole("transfer", whole, *epochs)
    expected = outcome(whole)
    for number in (signal.SIGTERM, signal.SIGINT):
        for what, minutes in (("training", 5), ("saving", 0)):
            out = folder / f"{what}{int(number)}" / "transfer"
            words = (*epochs, "--train.checkpoint_minutes", minutes)
            command = world.command("transfer", out, *words)

            def trains(text, out=out, what=what):
                file = "train.checkpoint*" if what == "saving" else "inputs.json"
                return bool(list(out.glob(file)))

            slowest = max(slowest, stopped(what, command, number, trains))
            ended = world.run("transfer", out, *words)
            require(ended.code == 0, ended.text)
            found = difference(outcome(out), expected)
            require(not found, f"{what}: after the stop it differs in {found}")
        out = folder / f"drawing{int(number)}" / "transfer"
        drawing = world.command("transfer", out, "--images.per_class", 200)

        def draws(text, out=out):
            return bool(list(out.rglob("*.png")))

        slowest = max(slowest, stopped("generation", drawing, number, draws))
        evaluation = ["evaluate", str(whole), str(world.pictures)]
        serve = ["serve", "pocket", "--device", "cpu", "--port", "0"]
        for what, command, ready in (
            ("import", evaluation, after(0.3)),
            ("import of torch", evaluation, after(1.5)),
            ("serving", serve, lambda text: "http://" in text),
        ):
            slowest = max(slowest, stopped(what, command, number, ready))
        times += 6
    return f"{times} stops: exit 143 or 130 within {slowest:.1f} s, no traceback, same hashes"


def after(seconds: float):
    """Whether so many seconds have passed since the first look."""
    begun: list[float] = []

    def passed(_: str) -> bool:
        begun.append(time.monotonic())
        return begun[-1] - begun[0] > seconds

    return passed
