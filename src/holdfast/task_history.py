"""The tasks that a model has learnt: `tasks.json` beside the weights in an open_clip folder.

Nothing but this folder is needed to add another task. It is never changed: adding a task reads one
folder and writes a new one, which gets its name when it is whole.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError, UsageError
from holdfast.files import read_typed, sha256, write_sealed
from holdfast.models.clip import CLIP, WEIGHTS
from holdfast.names import comparable
from holdfast.places import LOCAL
from holdfast.sealed import check_seal, listed_files, replaced_folder

TASKS = "tasks.json"


@dataclass(frozen=True)
class TaskRecord:
    """A task that the model has learnt.

    name: of the task. classes: its class names, in the order of the labels.
    templates: sentences with one `{}`; the first was used in training, all are in evaluation.
    captions: whether `classes` are captions of images and no names.
    method: it was learnt with. seed: of the run, from which the task's own seed is derived.
    settings: of training and replay. data: number and hash of the images of each split.
    replay: the replayed images with their coverage, None without any.
    weights: SHA-256 of the file of weights after the task. scores: measured after it.
    """

    name: str
    classes: tuple[str, ...]
    templates: tuple[str, ...]
    captions: bool
    method: str
    seed: int
    settings: dict[str, Any]
    data: dict[str, Any]
    replay: dict[str, Any] | None
    weights: str = ""
    scores: dict[str, Any] = field(default_factory=dict)

    def training_prompts(self) -> tuple[str, ...]:
        """The prompt of each class."""
        return tuple(self.templates[0].replace("{}", name) for name in self.classes)


@dataclass(frozen=True)
class TaskHistory:
    """What a model has learnt.

    base: the model before the first task: `model` and `pretrained` as they were given, and
    `weights`, the digest of its tensors. tasks: in the order in which they were learnt.
    """

    base: dict[str, str]
    tasks: tuple[TaskRecord, ...] = ()

    @property
    def weights(self) -> str:
        """Hash of the weights: of the file after the last task, or of the base's tensors."""
        return self.tasks[-1].weights if self.tasks else self.base["weights"]

    def check_new(self, name: str) -> None:
        """Raise UsageError if there is a task called `name`."""
        for task in self.tasks:
            if comparable(task.name) == comparable(name):
                raise UsageError(
                    f"The model has learnt a task called {task.name!r} already; give the new one "
                    "another name (--name, or `name` in a stream)."
                )

    def shared_classes(self, classes: tuple[str, ...]) -> dict[str, list[str]]:
        """{earlier task: those of `classes` that it has too}, without tasks that have none."""
        found: dict[str, list[str]] = {}
        for task in self.tasks:
            known = set() if task.captions else {comparable(name) for name in task.classes}
            if both := [name for name in classes if comparable(name) in known]:
                found[task.name] = both
        return found

    def with_task(self, *tasks: TaskRecord) -> TaskHistory:
        """The history with more `tasks` at its end."""
        return replace(self, tasks=(*self.tasks, *tasks))


def find_model(model: str) -> Path | None:
    """The folder with a task history that `model` names: the model's own, or its run's; or None."""
    place = Path(model.removeprefix(LOCAL)).expanduser()
    for folder in (place, place / "model"):
        if (folder / TASKS).is_file():
            return folder
    return None


def read_history(folder: Path) -> TaskHistory:
    """The history of a model's `folder`.

    Raises HoldfastError if it cannot be read, or does not belong to the weights beside it.
    """
    check_seal(folder, needed=True)
    history = read_typed(folder / TASKS, TaskHistory, sealed=True)
    if not history.tasks or not {"model", "pretrained", "weights"} <= history.base.keys():
        raise HoldfastError(
            f"{folder / TASKS} is no task history of this version; give another model's folder."
        )
    if listed_files(folder).get(WEIGHTS) != history.weights:
        raise HoldfastError(
            f"The weights in {folder} are not those that its {TASKS} describes; restore the "
            "folder from a copy, or make the model again."
        )
    return history


def save(clip: CLIP, history: TaskHistory, folder: Path) -> None:
    """Write a model's folder, which gets its name when it is whole.

    clip: the model. history: of its tasks; the last one gets the hash of the weights.
    folder: a new one. Raises UsageError if it exists already.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists already; give another folder.")
    with replaced_folder(folder, apart=[TASKS]) as new:
        clip.save(new)
        last = replace(history.tasks[-1], weights=sha256(new / WEIGHTS))
        write(replace(history, tasks=(*history.tasks[:-1], last)), new)


def write(history: TaskHistory, folder: Path) -> None:
    """Write the `history` beside the weights in `folder`."""
    tasks = [asdict(task) for task in history.tasks]
    write_sealed(folder / TASKS, {"base": history.base, "tasks": tasks})


def note_scores(folder: Path, scores: dict[str, Any]) -> None:
    """Add `scores`, measured after the last task, to the history in `folder`."""
    history = read_history(folder)
    last = history.tasks[-1]
    last = replace(last, scores=last.scores | scores)
    write(replace(history, tasks=(*history.tasks[:-1], last)), folder)
