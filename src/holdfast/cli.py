"""The command line: each command with the fields of its settings as options.

It imports nothing heavy: a command imports what it needs when it is carried out.
"""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from holdfast import cli_output
from holdfast.cli_options import Command, options_of
from holdfast.cli_parse import Page, parse
from holdfast.commands import settings
from holdfast.errors import HoldfastError, UsageError, did_you_mean
from holdfast.methods.base import Family

COMMANDS = {
    "generate": Command(
        settings.GenerateSettings,
        ("names...",),
        "class names -> images",
        "holdfast generate cat dog --out pets --images.per_class 8",
        "generate:generate",
        cli_output.show_generated,
        first=("images.per_class",),
    ),
    "transfer": Command(
        settings.TransferSettings,
        ("names...",),
        "class names -> classifier (RegFT and others)",
        "holdfast transfer cat dog --model ViT-B-16 --evaluate photos --out runs/pets",
        "transfer:transfer",
        cli_output.show_transfer,
        Family.TRANSFER,
        ("images.per_class", "train.epochs"),
    ),
    "distill": Command(
        settings.DistillSettings,
        ("data",),
        "images and a teacher -> student (VL2V-ADiP and others)",
        "holdfast distill data --teacher ViT-B-16 --held_out sketch --out runs/student",
        "distill:distill",
        cli_output.show_distilled,
        Family.DISTILL,
    ),
    "evaluate": Command(
        settings.EvaluateSettings,
        ("classifier", "data..."),
        "score a classifier, or a CLIP with names, on real images",
        "holdfast evaluate runs/pets photos",
        "evaluate:evaluate",
        cli_output.show_evaluation,
    ),
    "predict": Command(
        settings.PredictSettings,
        ("classifier", "images..."),
        "name images",
        "holdfast predict runs/pets photos --out predictions.csv",
        "predict:predict",
        cli_output.show_predictions,
    ),
    "serve": Command(
        settings.ServeSettings,
        ("model",),
        "answer embeddings requests over HTTP",
        "holdfast serve ViT-B-16 --port 7997",
        "serve:serve",
        cli_output.show_nothing,
    ),
    "continual run": Command(
        settings.ContinualRunSettings,
        ("stream",),
        "learn a stream of tasks (GIFT and others)",
        "holdfast continual run tasks.yaml --model ViT-B-16 --out runs/stream",
        "continual_run:run_stream",
        cli_output.show_stream,
        Family.CONTINUAL,
        ("replay.images", "train.steps", "train.learning_rate"),
        "continual_dry_run:dry_stream",
    ),
    "continual add": Command(
        settings.ContinualAddSettings,
        ("model",),
        "add a task to a model that keeps learning",
        "holdfast continual add ViT-B-16 --task data/pets --out runs/pets",
        "continual_add:add",
        cli_output.show_added,
        Family.CONTINUAL,
        ("replay.images", "train.steps", "train.learning_rate"),
        "continual_dry_run:dry_add",
    ),
    "report": Command(
        settings.ReportSettings,
        ("run",),
        "make the report of a run again",
        "holdfast report runs/pets",
        "report:remake_report",
        cli_output.show_report,
    ),
    "compare": Command(
        settings.CompareSettings,
        ("runs...",),
        "results of runs side by side",
        "holdfast compare runs/pets runs/pets-auto",
        "compare:side_by_side",
        cli_output.show_compared,
    ),
    "demo": Command(
        settings.DemoSettings,
        ("what",),
        "a method on the embedded world",
        "holdfast demo continual",
        "demo:demo",
        cli_output.show_demo,
    ),
}
TABLES = {
    "methods": ("the methods, their papers and what they need", cli_output.methods_table),
    "anchors": ("the anchors that any method can take", cli_output.anchors_table),
}
# Fields that say how many images are on the device at once.
BATCHES = ("batch", "batch_size", "replay_batch_size", "per_domain")


def usage(first: str = "") -> str:
    """The page that `holdfast --help` prints; first: only commands that begin with this word."""
    known = {name: c for name, c in COMMANDS.items() if not first or name.startswith(f"{first} ")}
    lines = [f"usage: holdfast {first or 'COMMAND'} ... [--option value]", "", "commands:"]
    lines += [f"  {f'{name} {c.usage}':32} {c.help}" for name, c in known.items()]
    if not first:
        lines += ["", "tables:"]
        lines += [f"  {name:32} {text}" for name, (text, _) in TABLES.items()]
    lines += [
        "",
        "`holdfast COMMAND --help` shows the options of a command. With any command --json",
    ]
    lines += ["prints the result as JSON, and --quiet nothing but warnings and errors."]
    return "\n".join(lines)


def split(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The command, of one or two words, and what comes after it. Raises UsageError."""
    for count in (2, 1):
        name = " ".join(arguments[:count])
        if name in COMMANDS:
            return name, list(arguments[count:])
    if arguments[0].startswith("-"):
        raise UsageError(
            f"The option {arguments[0]} stands before the command; write it after the command."
        )
    if any(command.startswith(f"{arguments[0]} ") for command in COMMANDS):
        name = " ".join(arguments[:2])
    hint = did_you_mean(name, [*COMMANDS, *TABLES])
    raise UsageError(f"There is no command {name!r}{hint}; see `holdfast --help`.")


def page_for(given: Sequence[str]) -> str | None:
    """What is printed without a command to carry out, if that was asked for."""
    if not given:
        return usage()
    first, *rest = given
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    if first in ("-h", "--help"):
        return usage()
    if first in groups and (not rest or rest[0] in ("-h", "--help")):
        return usage(first)
    if first == "--version":
        from importlib.metadata import version

        return version("holdfast")
    if first in TABLES:
        if rest and not {"-h", "--help"} & set(rest):
            raise UsageError(f"`holdfast {first}` does not know what to do with {rest[0]!r}.")
        return TABLES[first][1]()
    return None


def carry_out(name: str, chosen: Any, arguments: Sequence[str], form: str = "") -> None:
    """Carry out a command and print what it found.

    form: `json` prints that as JSON alone, and what else there is to say goes to standard error;
    `quiet` prints nothing.
    """
    from holdfast.runs import command_line

    command = COMMANDS[name]
    dry = command.dry and chosen.dry_run
    module, function = (command.dry if dry else command.where).split(":")
    token = command_line.set(list(arguments))
    try:
        with spoken(form):
            found = getattr(import_module(f"holdfast.commands.{module}"), function)(chosen)
    finally:
        command_line.reset(token)
    if form == "json":
        value = cli_output.as_json(chosen, found)
        print(json.dumps(value, indent=2, ensure_ascii=False))
    elif form != "quiet":
        command.show(chosen, found)


@contextmanager
def spoken(form: str) -> Iterator[None]:
    """While a command works, what it prints goes where `form` wants it; `quiet` has no bars."""
    from holdfast import progress

    if form == "json":
        with redirect_stdout(sys.stderr):
            yield
    elif form == "quiet":
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), progress.hidden():
            yield
    else:
        yield


def without_form(arguments: Sequence[str]) -> tuple[list[str], str]:
    """The arguments without `--json` and `--quiet`, and the one that was given. Raises UsageError.

    Both may stand anywhere, also before the command.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    forms = {word[2:] for word in arguments[:end] if word in ("--json", "--quiet")}
    if len(forms) > 1:
        raise UsageError("--json prints the result and --quiet nothing; give one of them.")
    kept = [word for word in arguments[:end] if word not in ("--json", "--quiet")]
    return [*kept, *arguments[end:]], "".join(forms)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, 2 for usage, 1 for other failures."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="%(message)s")  # before a library sets up a form of its own
    # The libraries' own warnings and bars would bury the one sentence that matters.
    for library in ("TRANSFORMERS", "DIFFUSERS", "HF_HUB"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Names of files may hold what a console cannot show: it gets an escape, and no traceback.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if not given:
        print(usage())
        return 2
    name = ""
    try:
        plain, form = without_form(given)
        # What is said of folders goes to standard error, where warnings go.
        level = logging.WARNING if form == "quiet" else logging.INFO
        logging.getLogger("holdfast").setLevel(level)
        page = page_for(plain)
        if page is None:
            name, rest = split(plain)
            chosen = parse(name, COMMANDS[name], rest)
            if not isinstance(chosen, Page):
                carry_out(name, chosen, given, form)
                return 0
            page = chosen.text
        print(page)
    except KeyboardInterrupt:
        return fail("interrupted; run the same command again to go on.", 130)
    except HoldfastError as error:
        return fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except BrokenPipeError:
        # The reader of our output has seen enough; do not complain when Python closes it either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return fail(f"{place}{error.strerror or error}; mend it and run the same command again.", 1)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        options = batches(name)
        lower = f"lower {' or '.join(options)}" if options else "take smaller ones"
        other = f"{f'{lower}, or ' if options else ''}give --device cpu"
        lower = other if type(error).__name__ == "OutOfMemoryError" else lower
        return fail(f"The memory of the device ran out; {lower}.", 1)
    return 0


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out: torch's (not imported here), or Python's own."""
    named = type(error).__name__ in ("OutOfMemoryError", "MemoryError")
    return named or "can't allocate memory" in str(error)


def fail(sentence: str, code: int) -> int:
    """Print what is wrong; the exit code."""
    print(f"holdfast: {sentence}", file=sys.stderr)
    return code


def batches(name: str) -> list[str]:
    """The options of a command that say how many images are on the device at once."""
    options = (option.name for option in options_of(COMMANDS[name].kind))
    return [f"--{option}" for option in options if option.rpartition(".")[2] in BATCHES]


if __name__ == "__main__":
    sys.exit(main())
