"""The command line: each verb with the fields of its settings as options. Imports nothing heavy."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser

from holdfast import settings
from holdfast.errors import HoldfastError, UsageError, did_you_mean


@dataclass(frozen=True)
class Verb:
    """A verb: its settings, and the fields that the words after it fill, in order.

    A last field that ends in `*` takes all the words that are left.
    """

    kind: type
    words: tuple[str, ...]
    help: str


VERBS = {
    "generate": Verb(settings.GenerateSettings, ("names*",), "class names -> images"),
    "transfer": Verb(settings.TransferSettings, ("names*",), "class names -> classifier (RegFT)"),
    "distill": Verb(settings.DistillSettings, ("data",), "images + teacher -> student (VL2V-ADiP)"),
    "evaluate": Verb(settings.EvaluateSettings, ("classifier", "data"), "score a classifier"),
    "predict": Verb(settings.PredictSettings, ("classifier", "images*"), "name images"),
    "serve": Verb(settings.ServeSettings, ("model",), "answer embeddings requests over HTTP"),
    "continual run": Verb(
        settings.ContinualRunSettings, ("stream",), "learn a stream of tasks (GIFT)"
    ),
    "continual add": Verb(
        settings.ContinualAddSettings, ("model",), "add a task to a model that keeps learning"
    ),
    "demo": Verb(settings.DemoSettings, ("what",), "a method on the embedded world"),
}


class Parser(ArgumentParser):
    """Reports a wrong option in one sentence."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(" ".join(message.split()))


def usage() -> str:
    """The page that `holdfast --help` prints."""
    lines = ["usage: holdfast VERB ... [--option value]", "", "verbs:"]
    for name, verb in VERBS.items():
        words = " ".join(w.rstrip("*").upper() + ("..." if "*" in w else "") for w in verb.words)
        lines.append(f"  {name + ' ' + words:32} {verb.help}")
    return "\n".join([*lines, "", "holdfast VERB --help shows a verb's options.", ""])


def build(name: str) -> Parser:
    """The parser of a verb."""
    verb = VERBS[name]
    words = " ".join(w.rstrip("*").upper() + (" ..." if "*" in w else "") for w in verb.words)
    parser = Parser(prog=f"holdfast {name}", usage=f"holdfast {name} {words} [--option value]")
    parser.add_argument("--config", action=ActionConfigFile, help="a settings.json, or YAML")
    parser.add_class_arguments(verb.kind, nested_key=None)
    return parser


def named_words(name: str, arguments: Sequence[str]) -> list[str]:
    """`arguments` with the words before the first option put under the names of their fields."""
    import json

    count = next((i for i, a in enumerate(arguments) if a.startswith("-")), len(arguments))
    words, rest = list(arguments[:count]), list(arguments[count:])
    named: list[str] = []
    for field in VERBS[name].words:
        if not words:
            break
        if field.endswith("*"):
            named.append(f"--{field[:-1]}={json.dumps(words, ensure_ascii=False)}")
            words = []
        else:
            named.append(f"--{field}={words.pop(0)}")
    if words:
        raise UsageError(f"`holdfast {name}` does not know what to do with {' '.join(words)!r}.")
    # A switch needs no value.
    for place, argument in enumerate(rest):
        if argument == "--dry_run" and rest[place + 1 : place + 2] not in (["true"], ["false"]):
            rest[place] = "--dry_run=true"
    return named + rest


def parse(name: str, arguments: Sequence[str]) -> Any:
    """The settings of a verb from its arguments. Raises UsageError."""
    parser = build(name)
    given = named_words(name, arguments)
    try:
        config = parser.parse_args(given)
    except UsageError as error:
        raise UsageError(readable(str(error), name, parser)) from None
    except UnicodeDecodeError:
        raise UsageError("The file given with --config is no text.") from None
    values = parser.instantiate(config).as_dict()
    return VERBS[name].kind(**{k: v for k, v in values.items() if k != "config"})


def readable(message: str, name: str, parser: Parser) -> str:
    """The parser's message with what a user can do about it."""
    unknown = re.search(r"[Uu]nrecognized arguments?: (\S+)", message)
    if unknown and not unknown.group(1).startswith("-"):
        return f"{unknown.group(1)!r} comes too late: what has no option's name comes first."
    value = re.search(r'Parser key "([^"]+)": .*?(?:Given|Got) value: (.*)$', message)
    if value:
        return f"{value[1]} cannot be {value[2]!r}; see `holdfast {name} --help`."
    if unknown:
        option = unknown.group(1).split("=")[0]
        options = [o for action in parser._actions for o in action.option_strings]
        hint = did_you_mean(option, options)
        return f"There is no option {option}{hint}; see `holdfast {name} --help`."
    return f"{message.rstrip('.')}; see `holdfast {name} --help`."


def run(name: str, chosen: Any) -> None:
    """Carry out a verb and print what it found."""
    from holdfast import verbs

    printers: dict[str, Callable[[Any], None]] = {
        "generate": lambda s: show_generated(verbs.generate(s)),
        "transfer": lambda s: show_transfer(s, verbs.transfer(s)),
        "distill": lambda s: show_distilled(s, verbs.distill(s)),
        "evaluate": lambda s: show_scores(verbs.evaluate(s)),
        "predict": lambda s: show_predictions(verbs.predict(s)),
        "serve": lambda s: verbs.serve(s),
        "continual run": lambda s: show_stream(s, verbs.continual_run(s)),
        "continual add": lambda s: show_added(s, verbs.continual_add(s)),
        "demo": lambda s: show_demo(s, *verbs.demo(s)),
    }
    printers[name](chosen)


def show_generated(found: Any) -> None:
    """Where the images are, or what they would cost."""
    print(found if hasattr(found, "seconds_per_image") else f"Images: {found}")


def show_transfer(chosen: settings.TransferSettings, found: Any) -> None:
    """The verdict, and where everything is."""
    if hasattr(found, "seconds_per_image"):
        print(found)
        return
    from holdfast.files import read_json

    result = read_json(chosen.out / "result.json")
    for kind, scores in result.get("scores", {}).items():
        print(f"{kind:12} top-1 {scores['top1']:6.1%}   calibration error {scores['ece']:6.1%}")
    alpha = result["alpha"]
    print(f"alpha {alpha['chosen']:g} ({alpha['why']})")
    if verdict := result.get("verdict"):
        print(f"Verdict: {verdict['text']}")
    print(f"Classifier: {chosen.out / 'model'}\nReport:     {chosen.out / 'report.html'}")


def show_distilled(chosen: settings.DistillSettings, found: Any) -> None:
    """Accuracy per domain, what was asked, and where everything is; or what it would cost."""
    if not isinstance(found, dict):
        print(found)
        return
    if "summary" not in found:  # the advice itself is printed as soon as it is known
        print(f"Per class and domain: {chosen.out / 'advice.json'}")
        return
    tables = {"trained on": found["summary"]["in_domain"]}
    if "held_out" in found["summary"]:
        tables["unseen"] = found["summary"]["held_out"]["full"]
    for kind, table in tables.items():
        rows = table["domains"] | {"average": table["average"], "worst": table["worst"]}
        for name, row in rows.items():
            spread = "" if row["deviation"] is None else f" ± {row['deviation']:.1%}"
            print(f"{kind:12} {name:20} {row['mean']:6.1%}{spread}")
    show_verdict(found["verdict"])
    print(f"Queries: {found['queries']['asked_by_this_run']:,}")
    students = [trial["classifier"] for trial in found["trials"] if "classifier" in trial]
    if students:
        place = (
            chosen.out / students[0] if len(students) == 1 else f"{len(students)} in {chosen.out}"
        )
        print(f"Student:    {place}")
    print(f"Report:     {chosen.out / 'report.html'}")


def show_demo(chosen: settings.DemoSettings, ordinary: Any, found: Any) -> None:
    """What the verb that was demonstrated prints."""
    printers: dict[str, Callable[[Any, Any], None]] = {
        "transfer": show_transfer,
        "distill": show_distilled,
        "continual": show_stream,
    }
    printers[chosen.what](ordinary, found)


def show_scores(found: Any) -> None:
    """Accuracy and calibration, and the verdict if there is one."""
    for kind, scores in (("zero-shot", found.zero_shot), ("classifier", found.scores)):
        if scores is not None:
            print(
                f"{kind:12} {scores.n} images   top-1 {scores.top1:6.1%}   "
                f"mean per class {scores.mean_per_class:6.1%}   calibration error {scores.ece:6.1%}"
            )
    if found.verdict is not None:
        print(f"Verdict: {found.verdict.text}")


def show_stream(chosen: settings.ContinualRunSettings, result: Any) -> None:
    """The accuracy matrix and its numbers."""
    matrix = result["matrix"]
    width = max(len(name) for name in (*matrix["rows"], *matrix["columns"], "after"))
    line = " ".join(f"{name:>{max(7, len(name))}}" for name in matrix["columns"])
    print(f"{'after':{width}} {line}   ({matrix['split']})")
    for after, row in zip(matrix["rows"], matrix["within"], strict=True):
        cells = zip(matrix["columns"], row, strict=True)
        line = " ".join(f"{value:>{max(7, len(name))}.1%}" for name, value in cells)
        print(f"{after:{width}} {line}")
    for kind, numbers in result["metrics"].items():
        shown = (f"{name} {100 * v:.2f}" for name, v in numbers.items() if v is not None)
        print(f"{kind}: {', '.join(shown)}")
    show_notes(result["notes"])
    show_verdict(result["verdict"])
    print(f"Models:     {chosen.out / 'tasks'}\nReport:     {chosen.out / 'report.html'}")


def show_added(chosen: settings.ContinualAddSettings, result: Any) -> None:
    """Accuracy before and after, and where the model is."""
    for name, before in result["before"].items():
        after = result["after"][name]["top1"]
        print(f"{name:20} {before['top1']:6.1%} -> {after:6.1%}   ({before['images']} images)")
    show_notes(result["notes"])
    show_verdict(result["verdict"])
    print(f"Model:      {chosen.out / 'model'}\nReport:     {chosen.out / 'report.html'}")


def show_verdict(verdict: Any) -> None:
    """What came of a run, in words."""
    print(f"Verdict: {verdict['headline']}. {verdict['text']}")


def show_notes(notes: Sequence[str]) -> None:
    """What there is to be said, a line each; a long list is cut short."""
    for note in notes[:10]:
        print(f"Note: {note}")
    if len(notes) > 10:
        print(f"Note: and {len(notes) - 10} more, in result.json.")


def show_predictions(rows: Any) -> None:
    """A line an image: path, then names with probabilities, separated by tabs."""
    for path, found in rows:
        print("\t".join([str(path), *(f"{name}\t{p:.4f}" for name, p in found)]))


def split(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The verb, of one or two words, and what comes after it. Raises UsageError."""
    for count in (2, 1):
        name = " ".join(arguments[:count])
        if name in VERBS:
            return name, list(arguments[count:])
    if any(verb.startswith(f"{arguments[0]} ") for verb in VERBS):
        name = " ".join(arguments[:2])
    raise UsageError(
        f"There is no verb {name!r}{did_you_mean(name, VERBS)}; see `holdfast --help`."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, 2 for usage, 1 for other failures."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # The libraries' own warnings and bars would bury the one sentence that matters.
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not given or given[0] in ("-h", "--help"):
        print(usage())
        return 0 if given else 2
    if given[0] == "--version":
        from importlib.metadata import version

        print(version("holdfast"))
        return 0
    try:
        name, rest = split(given)
        run(name, parse(name, rest))
    except KeyboardInterrupt:
        print("holdfast: interrupted; run the same command again to go on.", file=sys.stderr)
        return 130
    except HoldfastError as error:
        print(f"holdfast: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:
        # The reader of our output has seen enough; do not complain when Python closes it either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(
            f"holdfast: {place}{error.strerror or error}; mend it and run the same command again.",
            file=sys.stderr,
        )
        return 1
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported here
            raise
        options = batches(name)
        lower = f"lower {' or '.join(options)}, or " if options else ""
        print(
            f"holdfast: The memory of the device ran out; {lower}give --device cpu.",
            file=sys.stderr,
        )
        return 1
    return 0


BATCHES = ("batch", "batch_size", "replay_batch_size", "per_domain")


def batches(name: str) -> list[str]:
    """The options of a verb that say how many images are on the device at once."""
    options = (action.dest for action in build(name)._actions)
    return [f"--{option}" for option in options if option.rpartition(".")[2] in BATCHES]


if __name__ == "__main__":
    sys.exit(main())
