"""Workers that are killed or hang end with one sentence, and none outlives its parent."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from holdfast.data import loading
from holdfast.errors import HoldfastError

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="uses /proc")


@dataclass
class Item:
    step: int
    values: torch.Tensor
    process: int


class Items(torch.utils.data.Dataset):
    """Items by number; at `step` the worker does `what`."""

    def __init__(self, step=-1, what=None, size=4):
        self.step, self.what, self.size = step, what, size

    def __getitem__(self, step):
        loading.alive()
        if step == self.step:
            self.what()
        return Item(step, torch.full((self.size,), float(step)), os.getpid())


def hang():
    time.sleep(1000)


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    os._exit(3)


def slow():
    for _ in range(5):
        time.sleep(0.5)
        loading.alive()


def fail():
    raise ZeroDivisionError


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_items_come_in_order_whoever_prepares_them(workers):
    found = list(loading.load(Items(), [3, 1, 2, 5], workers))
    assert [item.step for item in found] == [3, 1, 2, 5]
    assert all(torch.equal(i.values, torch.full((4,), float(i.step))) for i in found)
    own = {item.process for item in found} == {os.getpid()}
    assert own == (workers == 0)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (hang, "has said nothing for 2 s"),
        (stop, "has said nothing for 2 s"),
        (die, "was killed, perhaps because memory ran out"),
        (leave, "ended with code 3"),
    ],
)
def test_a_worker_that_fails_ends_all_with_one_sentence(monkeypatch, what, sentence):
    monkeypatch.setattr(loading, "SILENCE", 2.0)
    source = loading.load(Items(5, what), range(40), 2)
    processes = {next(source).process for _ in range(2)}
    begun = time.monotonic()
    with pytest.raises(HoldfastError, match=rf"^A process .* {sentence}; .*0 workers[^\n]*$"):
        list(source)
    assert time.monotonic() - begun < 10
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_a_slow_worker_is_waited_for(monkeypatch):
    monkeypatch.setattr(loading, "SILENCE", 1.5)
    found = list(loading.load(Items(1, slow), range(4), 1))
    assert [item.step for item in found] == [0, 1, 2, 3]


def test_an_error_of_a_worker_stays_what_it_is():
    with pytest.raises(ZeroDivisionError):
        list(loading.load(Items(1, fail), range(4), 1))


def test_leaving_early_ends_the_workers():
    source = loading.load(Items(), range(40), 1)
    process = next(source).process
    source.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unable to allocate shared memory(shm) for file </torch_1>: Success (0)", True),
        ("unable to write to file </torch_12_3>: No space left on device (28)", True),
        ("CUDA error", False),
    ],
)
def test_errors_of_shared_memory_are_known(text, expected):
    assert loading.is_shared_memory(text) == expected


RUN = """
import sys, time
from tests.data.test_loading import Items, hang
from holdfast.data.loading import load
source = load(Items(3, hang), range(40), 2)
print(next(source).process, next(source).process, flush=True)
list(source)
"""


@LINUX
def test_workers_end_with_a_parent_that_is_killed():
    process = subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True)
    workers = [int(word) for word in process.stdout.readline().split()]
    process.kill()
    process.wait()
    end = time.monotonic() + 5
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < end
        time.sleep(0.05)


def is_running(process):
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


SMALL = """
import sys
from tests.data.test_loading import Items
from holdfast.data.loading import load
from holdfast.errors import HoldfastError
try:
    print(len(list(load(Items(size=10**6), range(8), 1))))
except HoldfastError as error:
    print(error)
"""


@LINUX
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root")
def test_shared_memory_that_is_too_small_is_one_sentence():
    mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    command = ["unshare", "-m", "bash", "-c", f'{mount} && exec "$@"', "-", sys.executable]
    found = subprocess.run([*command, "-c", SMALL], capture_output=True, text=True, timeout=60)
    if "mount" in found.stderr:
        pytest.skip("may not mount")
    assert "/dev/shm" in found.stdout and found.stdout.count("\n") == 1
    assert "Traceback" not in found.stderr
