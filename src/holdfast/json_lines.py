"""Files of JSON lines that only grow: a line for each step, image or request, with its checksum."""

from __future__ import annotations

import json
import logging
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from holdfast.errors import DamagedFile
from holdfast.files import append_bytes, parse_json, read_limited

logger = logging.getLogger(__name__)

LINES_BYTES = 2**31  # of a file


def append_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Append `values` to the file `path`, a JSON object a line, and sync them once.

    Each line ends with its own checksum, `crc32`. A kill may leave half a line, which readers
    ignore and the next call cuts off. Raises ValueError for NaN; HoldfastError, with the file as it
    was, if the lines cannot be written.
    """
    if content := b"".join(map(json_line, values)):
        append_bytes(path, content, whole_lines(path))


def json_line(value: Mapping[str, Any]) -> bytes:
    """The line of a `value`, with its checksum and its end. Raises ValueError for NaN."""
    text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False)
    body = text.encode(errors="backslashreplace")[:-1]
    return body + b', "crc32": "%08x"}\n' % zlib.crc32(body)


def whole_lines(path: Path) -> int:
    """The bytes of the file `path` up to the end of its last whole line; 0 without the file."""
    if not path.exists():
        return 0
    with path.open("rb") as handle:
        end = handle.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - 2**16)
            handle.seek(begin)
            if (place := handle.read(end - begin).rfind(b"\n")) >= 0:
                return begin + place + 1
            end = begin
    return 0


def read_lines(path: Path, *, leave_out: bool = False) -> list[dict[str, Any]]:
    """The JSON objects of the lines that `append_lines` wrote to `path`; [] without the file.

    What follows the last whole line, as a kill may leave it, is not read. leave_out: name damaged
    lines in a warning, and go on without them.

    Raises DamagedFile, with its number, for a line that is not what was written.
    """
    if not path.exists():
        return []
    try:
        *lines, _ = read_limited(path, LINES_BYTES).split(b"\n")
    except (OSError, ValueError) as error:
        raise DamagedFile(f"{path} cannot be read: {error}.") from None
    values = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(parse_line(line))
        except ValueError:
            if not leave_out:
                raise DamagedFile(f"Line {number} of {path} is damaged.") from None
            logger.warning("Line %d of %s is damaged; it is left out.", number, path)
    return values


def parse_line(line: bytes) -> dict[str, Any]:
    """The value of a `line` of `append_lines`. Raises ValueError for anything else."""
    found = re.fullmatch(rb'(\{.*), "crc32": "([0-9a-f]{8})"\}', line, re.DOTALL)
    if found is None or int(found[2], 16) != zlib.crc32(found[1]):
        raise ValueError("its checksum is not of its content")
    try:
        value = parse_json(found[1] + b"}")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    assert isinstance(value, dict)  # the pattern begins with a brace
    return value
