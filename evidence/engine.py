"""Declared runs of Holdfast: made once, resumed, read back.

`evidence/transfer.py` is a study: tables of names and plain values. A new method or variant is a
line in `runs`, and its name in a table of the page; a new claim is a line in `claims`, and after
the runs the reason in `why`. Settings may hold places, which are filled in for each run:

    {out}            its folder
    {seed} {case}    where it stands in the grid; {name} of the case's own values
    {work}           the folder of all runs
    {run[NAME]}      the folder of another run of the same case and seed, which is made first
    {chosen[NAME]}   what the choice of that name took, on development data
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import holdfast
from holdfast.results import VERSION, Result, read_result

Call = str | Callable[..., object]
Settings = Mapping[str, Any]
FAILED = float("-inf")
# A place inside a JSON text, or with its quotation marks as the whole of one.
PLACE = re.compile(r'(")?\{(\w+)(?:\[([^]]+)\])?\}(?(1)")')


@dataclass(frozen=True)
class Run:
    """A call of a public function of holdfast, by its name, or of one that writes pictures.

    settings: as the command line names them (`train.steps`), beside the common ones. cases: those
    it is for; none is all. alone: runs with the same text here are not made side by side, as they
    write to one folder. keep: whether weights are kept.
    """

    call: Call
    settings: Settings
    cases: Sequence[str] = ()
    alone: str = ""
    keep: bool = False


@dataclass(frozen=True)
class Measure:
    """A number of a result, or None; a list counts as its length.

    of: its dotted place in the result, or a function of it; a row may have values for places and
    arguments. The page shows it times `scale`, with so many digits.
    """

    of: str | Callable[..., float | None]
    scale: float = 100
    digits: int = 1

    def read(self, result: Result, given: Settings) -> float | None:
        """The number. given: what the row has."""
        if not isinstance(self.of, str):
            return self.of(result, **given)
        value: Any = result
        for part in fill(self.of, given).split("."):
            value = value[part] if isinstance(value, Mapping) else getattr(value, part, None)
        return len(value) if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Choice:
    """Of `values` (a list, or a place) the first with the largest mean over the spare seeds.

    Each is tried in the run with the settings `given` on top, where it is the place {value}.
    """

    run: str
    values: Sequence[Any] | str
    measure: str
    given: Settings


@dataclass(frozen=True)
class Claim:
    """That `more`, a row, exceeds `less`, a row or a number, by more than `margin`.

    A negative margin claims that it is at most so much below. cases: none is all.
    """

    text: str
    more: str
    less: str | float
    measures: Sequence[str]
    margin: float = 0.0
    cases: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a page stands on.

    cases: {name: values for its places}. common, quick: {name of a call: settings of all its runs,
    and those that make them tiny}. rows: {name: (run, what measures are given)}, beside the runs as
    they are. why: {text of a claim: the reason of what was found}. seeds: two or more; spare: those
    of choices. weights: folders of embedded weights that are used.
    """

    title: str
    cases: Mapping[str, Settings]
    runs: Mapping[str, Run]
    measures: Mapping[str, Measure]
    claims: Sequence[Claim]
    common: Mapping[str, Settings]
    quick: Mapping[str, Settings]
    rows: Mapping[str, tuple[str, Settings]] = field(default_factory=dict)
    choices: Mapping[str, Choice] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    seeds: Sequence[int] = range(5)
    spare: Sequence[int] = (100,)
    weights: Sequence[str] = ()


class UndecidedError(Exception):
    """A setting is yet to be chosen."""


@dataclass(frozen=True)
class Job:
    """A run with its places filled in; finished once its record stands beside its folder."""

    label: str
    title: str
    run: Run
    settings: Settings
    folder: Path
    needs: Sequence[Job]
    alone: str

    @property
    def record(self) -> Path:
        return self.folder.with_suffix(".json")

    def finish(self, seconds: float) -> None:
        """Write the record, then remove the weights: those of all runs would fill gigabytes."""
        about = {"run": self.title, "seconds": seconds, "settings": self.settings}
        temporary = self.record.with_suffix(".tmp")
        temporary.write_text(json.dumps(about))
        temporary.replace(self.record)
        for path in () if self.run.keep else self.folder.rglob("*.safetensors"):
            path.unlink()


class Evidence:
    """The runs of a study, below a folder; runs with the same settings are one.

    quick: tiny settings, two seeds, and two values of each choice.
    """

    def __init__(self, study: Study, root: Path, quick: bool = False) -> None:
        self.study, self.quick, self.few = study, quick, 2 if quick else None
        self.seeds = list(study.seeds)[: self.few]
        self.work = root / weights_digest(study.weights)
        self.known: dict[str, Job] = {}  # by what was asked for
        self.jobs: dict[Path, Job] = {}  # what a run needs comes before it
        self.failed: dict[Path, str] = {}
        self.shown: dict[str, dict[str, dict[str, Any]]] = {}  # all values that were asked for
        self.read = cache(read_result)

    def job(
        self, label: str, case: str, seed: int, given: Settings | None = None, value: Any = None
    ) -> Job:
        """A run at one point of the grid. given: settings to change; value: their place.

        Raises UndecidedError if it waits for a choice, KeyError for an unknown name.
        """
        if (asked := str((label, case, seed, given, value))) in self.known:
            return self.known[asked]
        run, needs = self.study.runs[label], []

        def other(name: str) -> str:
            needs.append(self.job(name, case, seed))
            return str(needs[-1].folder)

        places = dict(self.study.cases[case], case=case, seed=seed, value=value, out="{out}")
        places |= {"run": other, "chosen": lambda name: self.chosen(name, case)}
        places["work"] = str(self.work)
        name = run.call if isinstance(run.call, str) else run.call.__name__
        common, tiny = self.study.common.get(name, {}), self.study.quick.get(name, {})
        last = tiny if self.quick else {}
        settings = fill(nested({**common, **run.settings, **(given or {}), **last}), places)
        folder = self.work / f"{name}-{key(run.call, settings, self.work)}"
        settings, alone = fill(settings, {"out": str(folder)}), fill(run.alone, places)
        job = Job(label, f"{label} ({case}, {seed})", run, settings, folder, needs, alone)
        return self.known.setdefault(asked, self.jobs.setdefault(folder, job))

    def scores(self, choice: str, case: str) -> dict[Any, float | None]:
        """{value: its mean measure}; None if it is not finished, minus infinity if it failed."""
        about, scores = self.study.choices[choice], {}
        for value in fill(about.values, self.study.cases[case])[: self.few]:
            jobs = [self.job(about.run, case, s, about.given, value) for s in self.study.spare]
            found = [r for job in jobs if (r := self.result(job)) is not None]
            read = [self.study.measures[about.measure].read(r, {}) or 0.0 for r in found]
            scores[value] = mean(read) if len(read) == len(jobs) else None
            if any(job.folder in self.failed for job in jobs):
                scores[value] = FAILED
        return scores

    def chosen(self, choice: str, case: str) -> Any:
        """The best value. Raises UndecidedError while one is not finished, or if all failed."""
        scores = self.scores(choice, case)
        if None in scores.values() or set(scores.values()) == {FAILED}:
            raise UndecidedError(choice)
        return max(scores, key=lambda value: scores[value] or 0.0)

    def plan(self) -> list[str]:
        """Put all runs whose settings are known into `jobs`; the labels of the others."""
        waiting = []
        for choice, case in product(self.study.choices, self.study.cases):
            self.scores(choice, case)
        for label, run in self.study.runs.items():
            for case, seed in product(run.cases or self.study.cases, self.seeds):
                try:
                    self.job(label, case, seed)
                except UndecidedError:
                    waiting.append(label)
        return waiting

    def make(self, pool: Executor, workers: int, minutes: float = float("inf")) -> None:
        """Make what is missing, so many at a time; begin nothing after so many minutes."""
        deadline = time.monotonic() + 60 * minutes
        running: dict[Future[float], Job] = {}
        while True:
            self.plan()
            for job in self.jobs.values():
                busy = {each.folder for each in running.values()} | set(self.failed)
                taken = {each.alone for each in running.values()} - {""}
                ready = all(need.record.exists() for need in job.needs) and not job.record.exists()
                free = job.folder not in busy and job.alone not in taken
                if ready and free and len(running) < workers and time.monotonic() < deadline:
                    running[pool.submit(perform, job.run.call, job.settings)] = job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                if error := future.exception():
                    self.failed[job.folder] = f"{job.title} failed: {type(error).__name__}: {error}"
                else:
                    job.finish(future.result())
                print(self.failed.get(job.folder, job.title), self.left(), sep=". ", flush=True)

    def left(self) -> str:
        """How much is left, and how long it takes, from the runs that are finished."""
        waiting = self.plan()
        left = [job.label for job in self.jobs.values() if not job.record.exists()] + waiting
        seconds: dict[str, list[float]] = {}
        for job in self.jobs.values():
            if job.record.exists():
                taken = json.loads(job.record.read_text())["seconds"]
                seconds.setdefault(job.label, []).append(taken)
        minutes = sum(mean(seconds[label]) for label in left if label in seconds) / 60
        unknown = sum(label not in seconds for label in left)
        more = f", and {unknown} of a kind that is not timed yet" if unknown else ""
        total = len(self.jobs) + len(waiting)
        return f"Left: {len(left)} of {total} runs, {minutes:.0f} minutes on one core{more}"

    def result(self, job: Job) -> Result | None:
        """What a run found; None if it is not finished."""
        return self.read(job.folder / "result.json") if job.record.exists() else None

    def values(self, row: str | float, measure: str, case: str) -> list[float] | None:
        """A measure of a row, a value for each seed; None if one is missing. A number is itself."""
        if not isinstance(row, str):
            return [float(row)] * len(self.seeds)
        label, given = self.study.rows.get(row, (row, {}))
        of, cases = self.study.measures[measure], self.study.runs[label].cases
        if cases and case not in cases:
            return None
        try:
            results = [self.result(self.job(label, case, seed)) for seed in self.seeds]
        except UndecidedError:
            return None
        found = [of.read(result, given) for result in results if result is not None]
        known = [float(value) for value in found if value is not None]
        values = known if len(known) == len(self.seeds) else None
        self.shown.setdefault(case, {}).setdefault(row, {})[measure] = values
        return values


def perform(call: Call, settings: Settings) -> float:
    """Make a run, in a process of the pool; the seconds it took."""
    begun = time.monotonic()
    (getattr(holdfast, call) if isinstance(call, str) else call)(**settings)
    return time.monotonic() - begun


def weights_digest(folders: Sequence[str]) -> str:
    """Other embedded weights, or another form of results, make other runs."""
    digest = hashlib.sha256(str(VERSION).encode())
    weights = Path(holdfast.__file__).parent / "pocket" / "weights"
    for path in sorted(
        path for each in folders for path in (weights / each).rglob("*.safetensors")
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def key(call: Call, settings: Settings, work: Path) -> str:
    """A hash of all settings, defaults among them, but for those that are off: so a setting that
    comes to Holdfast later leaves old runs as they are.

    Raises UsageError for settings that the function does not have.
    """
    if isinstance(call, str):
        kinds = importlib.import_module("holdfast.commands.settings")
        kind = getattr(kinds, f"{call.title().replace('_', '')}Settings")
        settings = on(kind.from_dict(settings).to_json())
    text = json.dumps(settings, sort_keys=True).replace(str(work), "")
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def on(settings: Settings) -> Settings:
    """Settings without those that are none, false or empty."""
    kept = {k: on(v) if isinstance(v, Mapping) else v for k, v in settings.items()}
    return {k: v for k, v in kept.items() if v is not False and v not in (None, "", [], {})}


def fill(value: Any, places: Settings) -> Any:
    """Plain values with their places filled in. A text that is one place becomes the value."""

    def found(match: re.Match[str]) -> str:
        whole, name, argument = match.groups()
        known = places[name] if argument is None else places[name](argument)
        text = json.dumps(known, ensure_ascii=False)
        return text if whole else text.strip('"')

    return json.loads(PLACE.sub(found, json.dumps(value, ensure_ascii=False)))


def nested(settings: Settings) -> dict[str, Any]:
    """`train.steps` and the like as groups."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        *groups, last = name.split(".")
        group = found
        for each in groups:
            group = group.setdefault(each, {})
        group[last] = value
    return found
