"""What is known of files that were read before: a hash, and whether an image is whole.

It holds for as long as a file keeps its size and the time of its last change, so that a second
start of a run reads none of its images again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from holdfast.archives import open_file, state_of
from holdfast.errors import HoldfastError
from holdfast.files import as_type, read_sealed, write_sealed

NAME = "seen.json"  # of the file in a folder of a run, or of images
HASHED_AT_ONCE = 2**20  # bytes that are hashed at once
Entry = tuple[int, int, str | None, str | None]  # bytes, time in ns, SHA-256, problem


class Seen:
    """What this process knows of files; it can be kept in a folder and read again.

    Files are known by their absolute paths; they may lie in archives.
    """

    def __init__(self) -> None:
        self._known: dict[str, Entry] = {}
        self._changed = False

    def digest(self, path: Path) -> str:
        """SHA-256 of the bytes of the file at `path`. Raises OSError."""

        def read() -> str:
            digest = hashlib.sha256()
            with open_file(path) as opened:
                while block := opened.read(HASHED_AT_ONCE):
                    digest.update(block)
            return digest.hexdigest()

        return self._remembered(path, 2, read)

    def note_digest(self, path: Path, digest: str) -> None:
        """Remember the SHA-256 of a file that this process wrote."""
        self._remembered(path, 2, lambda: digest)

    def problem(self, path: Path, find: Callable[[Path], str]) -> str:
        """What is wrong with the image at `path`, "" for nothing; `find` is asked only once."""
        try:
            return self._remembered(path, 3, lambda: find(path))
        except OSError:
            return find(path)

    def note_problem(self, path: Path, problem: str) -> None:
        """Remember what is wrong with an image that could not be read."""
        self.problem(path, lambda _: problem)

    def _remembered(self, path: Path, place: int, find: Callable[[], str]) -> str:
        key, state = str(path if path.is_absolute() else path.absolute()), state_of(path)
        known = self._known.get(key)
        if known is None or known[:2] != state:
            known = (*state, None, None)
        value = known[place]
        if value is None:
            value = find()
            entry = [*known]
            entry[place] = value
            self._known[key] = (state[0], state[1], *entry[2:])  # type: ignore[assignment]
            self._changed = True
        return str(value)

    def recall(self, folder: Path) -> None:
        """Read what an earlier process kept in `folder`; nothing if that is not whole."""
        if not (folder / NAME).is_file():
            return
        try:
            kept = as_type(read_sealed(folder / NAME), dict[str, Entry], folder / NAME)
        except HoldfastError:
            return  # it only saves time
        self._known = kept | self._known

    def keep(self, folder: Path) -> None:
        """Write what is known into `folder`, where anything is new. Raises OSError."""
        if self._changed or not (folder / NAME).is_file():
            write_sealed(folder / NAME, self._known)
            self._changed = False


SEEN = Seen()
