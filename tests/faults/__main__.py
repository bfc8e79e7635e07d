"""`python -m tests.faults [NUMBERS]`: run all cases, or some; see `make faults`."""

import os
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

# One thread gives the same bits always; nothing here may reach the network.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

from tests.faults import page
from tests.faults.all import CASES


def run(number: int) -> page.Found:
    """Run a case in a folder that is gone afterwards."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="holdfast-faults-") as folder:
        try:
            result, figure = "ok", CASES[number].run(Path(folder))
        except Exception as error:  # the other cases are run all the same
            result, figure = "failed", str(error) or type(error).__name__
            if not isinstance(error, AssertionError):
                traceback.print_exc()
    return page.Found(result, " ".join(figure.split()), page.here(time.monotonic() - begun))


def main(numbers: list[str]) -> int:
    """Run the cases, two at a time; print a line for each, write the page; 1 if one failed."""
    chosen = [int(each) for each in numbers] or sorted(CASES)
    found: dict[int, page.Found] = {}
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        running = {pool.submit(run, number): number for number in chosen}
        for done in as_completed(running):
            number = running[done]
            found[number] = done.result()
            print(f"case {number:2}  {found[number].figure}  {found[number].result}", flush=True)
            # At once, in case this is stopped, and beside what another run has written meanwhile.
            page.write(CASES, page.read() | found)
    return int(any(found[number].result != "ok" for number in chosen))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
