"""Class names: reading them, checking them, and ids that can be names of folders.

An id is the name itself wherever a folder can carry it ("golden retriever" -> "golden_retriever");
other names get the closest safe spelling and a short hash ("F-16A/B" -> "F-16A_B-3f0c9e1d").
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from holdfast.errors import HoldfastError, UsageError
from holdfast.files import read_json, read_plain_text, write_json
from holdfast.published import published_names

T = TypeVar("T")

MAX_ID_BYTES = 100
# What nobody sees: soft hyphens, marks of direction, byte order marks, spaces of no width. Joiners
# are kept, since scripts and emoji are made of them.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
)
# Names that Windows reserves for devices, whatever their case.
RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}


def comparable(name: str) -> str:
    """The form in which a `name` is compared with others: NFKC, case folded, `_` as a space.

    What is invisible in it does not count.
    """
    folded = unicodedata.normalize("NFKC", INVISIBLE.sub("", name)).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).replace("_", " ").split())


def normalised(name: str) -> str:
    """A looser form of a `name` for matching folders and files: hyphens are spaces too."""
    return " ".join(comparable(name).replace("-", " ").split())


@dataclass(frozen=True)
class ClassNames:
    """The classes of a task, in the order of their labels.

    names: what people and text encoders read.
    ids: of each class a unique spelling that can be the name of a folder; it depends on the name
        alone.

    Raises UsageError when there are fewer than two names, or when one is empty, repeated or holds
    control characters.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_names(self.names)
        for class_id in self.ids:
            if problem := folder_problem(class_id):
                raise UsageError(f"The class folder {class_id!r} {problem}; rename it.")
        if pair := _first_repeat(self.ids):
            raise UsageError(
                f"The class folders {pair[0]!r} and {pair[1]!r} are the same on some file systems; "
                "rename one of them."
            )

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def label(self, name: str, folder: bool = False) -> int | None:
        """The label of the class `name`, spelt exactly or nearly so; None if there is none.

        folder: whether `name` is that of a folder, which may be an id too; ids come before names.
        Raises UsageError when several classes are spelt like it.
        """
        ids, names, names_normalised, ids_normalised = self._tables
        spelt = normalised(name)
        places = [(name, names), (spelt, names_normalised)]
        if folder:
            places = [(name, ids), *places, (spelt, ids_normalised)]
        found = next((table[word] for word, table in places if word in table), [])
        if len(found) > 1:
            several = " or ".join(repr(self.names[label]) for label in found)
            raise UsageError(f"{name!r} could be the class {several}; write it exactly.")
        return found[0] if found else None

    @cached_property
    def _tables(self) -> list[dict[str, list[int]]]:
        """Words to labels: exact ids, exact names, normalised names, normalised ids."""
        tables: list[dict[str, list[int]]] = [{}, {}, {}, {}]
        for label, (class_id, name) in enumerate(zip(self.ids, self.names, strict=True)):
            words = class_id, name, normalised(name), normalised(class_id)
            for word, table in zip(words, tables, strict=True):
                table.setdefault(word, []).append(label)
        return tables

    def to_json(self) -> dict[str, str]:
        """{"id": "name"}, in the order of the labels."""
        return dict(zip(self.ids, self.names, strict=True))

    def write(self, folder: Path) -> None:
        """Write `folder/classes.json`."""
        write_json(folder / "classes.json", self.to_json())


def from_names(names: Iterable[str]) -> ClassNames:
    """Classes from readable `names`; spaces around them and repeated ones are dropped.

    Raises UsageError if the names cannot be used.
    """
    clean = tuple(tidy(name) for name in names)
    return ClassNames(clean, tuple(make_id(name) for name in clean))


def from_arguments(arguments: Sequence[str]) -> ClassNames:
    """Classes from `arguments`: names, a file of them (`.txt`, `.json`), or a data set's.

    Raises UsageError for a file or a list that does not exist and for names that cannot be used.
    """
    if len(arguments) == 1:
        if (known := published_names(arguments[0])) is not None:
            return _from_mapping(known)
        path = Path(arguments[0])
        if path.suffix.lower() in (".txt", ".json"):
            if not path.is_file():
                raise UsageError(f"The file of class names {str(path)!r} does not exist.")
            return read_names(path)
        if path.is_file():
            raise UsageError(
                f"Class names are read from .txt (a name a line) and .json files, and {path} is "
                "neither; save it as one of them."
            )
        if "," in arguments[0]:
            raise UsageError(
                f"{arguments[0]!r} is one class name; write several names apart: "
                f"{' '.join(repr(part.strip()) for part in arguments[0].split(',')[:3])} ..."
            )
    files = [word for word in arguments if Path(word).suffix.lower() in (".txt", ".json")]
    if files and Path(files[0]).is_file():
        raise UsageError(
            f"The file of class names {files[0]!r} stands beside others; give it alone."
        )
    return from_names(arguments)


def read_names(path: Path) -> ClassNames:
    """Classes from the file `path`: `.json` ({"folder": "name"} or a list), or a name a line.

    In a text file empty lines and lines that start with `#` are left out; UTF-8, with or without a
    byte order mark. Raises UsageError when the file cannot be read or its names cannot be used.
    """
    if path.suffix.lower() != ".json":
        lines = (line.strip() for line in _reading(read_plain_text, path).split("\n"))
        return _naming(path, from_names, [ln for ln in lines if ln and not ln.startswith("#")])
    value = _reading(read_json, path)
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return _naming(path, from_names, value)
    return _naming(path, _from_mapping, _check_mapping(path, value))


def read_mapping(path: Path) -> dict[str, str]:
    """The {"folder": "name"} of the `classes.json` at `path`.

    Raises UsageError if it is something else.
    """
    return _check_mapping(path, _reading(read_json, path))


def tidy(name: str) -> str:
    """A `name` without spaces around it, runs of them, and what is invisible; the rest stays."""
    return re.sub(r" +", " ", INVISIBLE.sub("", name).strip())


def _check_names(names: Sequence[str]) -> None:
    for position, name in enumerate(names, 1):
        if not name.strip():
            raise UsageError(f"Class name {position} of {len(names)} is empty; remove it.")
        bad = next((c for c in name if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")), None)
        if bad:
            raise UsageError(
                f"The class name {name!r} holds the control character U+{ord(bad):04X}; remove it."
            )
    if pair := _first_repeat(names):
        how = "is given twice" if pair[0] == pair[1] else f"is given again as {pair[1]!r}"
        raise UsageError(f"The class name {pair[0]!r} {how}; keep one, or tell them apart.")
    if len(names) < 2:
        given = f"only {names[0]!r}" if names else "no class name"
        raise UsageError(
            f"There is {given}; give two class names or more, or one .txt or .json file of them."
        )


def _first_repeat(names: Sequence[str]) -> tuple[str, str] | None:
    seen: dict[str, str] = {}
    for name in names:
        form = comparable(name)
        if form in seen:
            return seen[form], name
        seen[form] = name
    return None


def folder_problem(folder: str) -> str | None:
    """Why `folder` cannot be a folder's name everywhere, or None if it can."""
    if not folder or folder != folder.strip() or folder.endswith("."):
        return "is empty or ends in a space or a dot"
    if folder.startswith("."):
        return "starts with a dot, which hides it"
    if re.search(r'[/\\:*?"<>|]', folder) or not folder.isprintable():
        return "holds a character that not every file system allows"
    if folder.split(".")[0].casefold() in RESERVED:
        return "is a reserved name on Windows"
    if len(folder.encode("utf-8", "replace")) > MAX_ID_BYTES:
        return f"is longer than {MAX_ID_BYTES} bytes"
    return None


def make_id(name: str) -> str:
    """The id of a class `name`: with `_` for spaces; or a safe spelling and a hash of the name."""
    name = unicodedata.normalize("NFC", name)
    spelled = "".join("_" if c in " _" else c if _is_safe(c) else "\0" for c in name)
    slug = re.sub(r"[\0_]+", "_", spelled).strip("_-.")
    if slug == spelled and folder_problem(slug) is None:
        return slug
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    short = slug.encode()[: MAX_ID_BYTES - 9].decode("utf-8", "ignore").rstrip("_-.")
    class_id = f"{short or 'class'}-{digest}"
    return f"class-{digest}" if folder_problem(class_id) else class_id


def _is_safe(character: str) -> bool:
    return character.isalnum() or character in "-." or unicodedata.category(character)[0] == "M"


def _reading(read: Callable[[Path], T], path: Path) -> T:
    """What a file of names holds; one that cannot be read is a wrong request."""
    try:
        return read(path)
    except HoldfastError as error:
        raise UsageError(str(error)) from None


def _naming(path: Path, build: Any, value: Any) -> ClassNames:
    """Build classes, naming the file in what goes wrong."""
    try:
        return build(value)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _from_mapping(mapping: Mapping[str, str]) -> ClassNames:
    return ClassNames(tuple(tidy(name) for name in mapping.values()), tuple(mapping))


def _check_mapping(path: Path, value: Any) -> dict[str, str]:
    if isinstance(value, dict) and all(isinstance(name, str) for name in value.values()):
        return value
    raise UsageError(f'{path} must hold {{"folder": "class name"}}; its values must be text.')
