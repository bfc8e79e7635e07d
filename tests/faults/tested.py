"""Cases whose harm is done by tests of the suite; pytest runs them, and the figure counts them."""

import re
import subprocess
import sys
from pathlib import Path

from tests.faults.case import case, require

ROOT = Path(__file__).parents[2]


def tested(files: str, chosen: str = "") -> str:
    """Run tests in `files`, names with spaces between; chosen: pytest's -k. All must pass."""
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *files.split()]
    if chosen:
        words += ["-k", chosen]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    last = (ended.stdout.strip().splitlines() or [ended.stderr])[-1].strip("= ")
    failed = re.findall(r"^FAILED (\S+)", ended.stdout, flags=re.M)
    require(ended.returncode == 0, f"{last}: {' '.join(failed)}")
    passed = re.search(r"(\d+) passed", last)
    require(passed, f"no test passed: {last}")
    skipped = re.search(r"(\d+) skipped", last)
    note = f", {skipped[1]} skipped" if skipped else ""
    return f"{passed[1]} tests passed{note}"


@case(
    10,
    "NaN or infinite loss and gradient in a step, weights and rates that are absurd",
    "stops at the step, the weights before it on disk, nothing non-finite saved, the same command "
    "with a lower rate goes on",
)
def not_finite(_: Path) -> str:
    files = "tests/test_stages.py tests/test_train.py tests/test_runs.py tests/teachers"
    return tested(files, "finite or nan")


@case(
    11,
    "latents of NaN, an all-black picture, a prompt that is always black",
    "drawn again from a recorded seed or counted as missing; 0 flat pictures; the run goes on",
)
def black_pictures(_: Path) -> str:
    names = "flawed or never_comes_out or blanked or draws_nothing or cannot_be_drawn"
    return tested("tests/generation tests/commands/test_transfer.py", names)


@case(
    12,
    "0 bytes, a JPEG cut short, HTML as .jpg, EPS as .jpg, pictures of too many pixels",
    "all named with the reason, in time and memory; the good ones are used",
)
def bad_pictures(_: Path) -> str:
    files = (
        "tests/data/test_readable.py tests/data/test_pictures.py tests/commands/test_transfer.py"
    )
    return tested(files, "cannot_be_read or cut_short or no_image or corrupt or decoded_once")


@case(
    13,
    "CMYK, 16 bits, palettes, RGBA, animations, EXIF orientations",
    "upright, within 2 grey levels of a reference, none silently clipped",
)
def picture_modes(_: Path) -> str:
    names = "mode or rotation or sixteen or pixels or transparency or formats or lossless or same"
    return tested("tests/data/test_pictures.py", names)


@case(
    14,
    "class names that are paths, too long, emoji, twins, invisible, empty, repeated",
    "a safe unique folder or a clear refusal; names round-trip; nothing written outside",
)
def class_names(_: Path) -> str:
    return tested("tests/test_names.py tests/data/test_folder_names.py")


@case(
    15,
    "classes missing or extra in a split, empty and hidden folders, missing splits",
    "labels by name; an error or a note; accuracy as computed by hand",
)
def folders_of_classes(_: Path) -> str:
    files = "tests/data/test_layouts.py tests/data/test_walk.py tests/data/test_folders.py "
    files += "tests/data/test_streams.py tests/data/test_domains.py tests/commands/test_evaluate.py"
    return tested(files)


@case(
    16,
    "pickles in weights files, tokenizers and models that name code, archives that lead outside",
    "refused; the canary never appears; no network; nothing is asked on standard input",
)
def strangers_code(_: Path) -> str:
    files = "tests/test_foreign.py tests/test_archives.py tests/generation/test_checks.py"
    return tested(files)


@case(
    17,
    "server: foreign Host and Origin, large bodies, half-sent headers, pixel bombs, clients that "
    "leave",
    "refused; loopback only; others are answered meanwhile; memory bounded",
)
def hostile_clients(_: Path) -> str:
    files = (
        "tests/teachers/test_server.py tests/teachers/test_guard.py tests/commands/test_serve.py"
    )
    return tested(files)


@case(
    18,
    "a loader worker killed, hung, out of shared memory; its parent killed; two processes on a "
    "folder with different TMPDIR",
    "down in 15 s, non-zero, one sentence; the second process refuses",
)
def loader_workers(_: Path) -> str:
    loading = tested("tests/data/test_loading.py")
    locks = tested("tests/test_runs.py tests/test_files.py", "one_process or lock")
    return f"workers: {loading}; locks: {locks}"


@case(
    19,
    "teacher service: refuses, times out, drips, 429, 500, wrong width, closes mid-answer, "
    "garbage, nested too deeply, too long",
    "retried with pauses within a total time, or one sentence; ledger exact, --max_queries kept",
)
def teacher_services(_: Path) -> str:
    files = "tests/teachers/test_http.py tests/teachers/test_exchange.py "
    return tested(files + "tests/teachers/test_ledger.py")


@case(20, "every parser of ours fuzzed with hypothesis", "no traceback, no hang")
def fuzzed_parsers(_: Path) -> str:
    return tested("tests/test_fuzz.py")
