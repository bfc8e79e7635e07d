"""The pinned package of drawings: its sets, and an SVG text for each icon."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .categories import SETS, category
from .naming import canonical, parse
from .teams import LICENCES, role, team

PACKAGE, VERSION = "@iconify/json", "2.2.535"
BUILD = Path(__file__).resolve().parent.parent / "build" / "world"
SOURCE = BUILD.parent / "iconify" / "package"
LEFT_OUT = {"svg-spinners", "ginetex", "fad", "bpmn", "nonicons", "codex"}  # nothing to name


@dataclass(frozen=True)
class Icon:
    """One drawing. `noun` is its plain name, `group` the name that its synonyms share."""

    collection: str
    name: str
    noun: str
    group: str
    style: str
    team: str
    role: str
    category: str
    palette: bool


def unpack(archive: Path) -> None:
    """Unpack the package's archive (`npm pack @iconify/json@2.2.535` downloads it)."""
    if not (SOURCE / "collections.json").exists():
        with tarfile.open(archive) as tar:
            tar.extractall(SOURCE.parent, filter="data")


def collections() -> dict[str, Any]:
    """What is known of each set that may be used: name, author, licence."""
    known = json.loads((SOURCE / "collections.json").read_text(encoding="utf-8"))
    return {
        k: v for k, v in known.items() if v["license"].get("spdx") in LICENCES and k not in LEFT_OUT
    }


def load(collection: str) -> dict[str, Any]:
    """The file of one set."""
    data: dict[str, Any] = json.loads(
        (SOURCE / "json" / f"{collection}.json").read_text(encoding="utf-8")
    )
    return data


def svg(data: dict[str, Any], name: str) -> str:
    """An icon as a square SVG document; `currentColor` is black."""
    icon = data["icons"][name]
    left, top = icon.get("left", data.get("left", 0)), icon.get("top", data.get("top", 0))
    width = icon.get("width", data.get("width", 16))
    height = icon.get("height", data.get("height", 16))
    side = max(width, height)
    left, top = left - (side - width) / 2, top - (side - height) / 2
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {side} {side}" width="32" height="32" color="#000">'
        f"{icon['body']}</svg>"
    )


def brands() -> set[str]:
    """Names that at least two sets of logos have, and that no emoji set has."""
    seen: dict[str, set[str]] = {}
    for name in SETS["logos"]:
        path = SOURCE / "json" / f"{name}.json"
        if not path.exists():
            continue
        data = load(name)
        for icon in data["icons"]:
            found = parse(icon, name, data.get("suffixes") or {}, False)
            if found:
                seen.setdefault(found[0], set()).add(team(name))
    common: set[str] = set()
    for name in ("noto", "twemoji", "game-icons", "emojione", "healthicons", "maki", "temaki"):
        data = load(name)
        for icon in data["icons"]:
            found = parse(icon, name, data.get("suffixes") or {}, True)
            common |= {found[0], *found[0].split()} if found else set()
    common |= {"scan", "task", "progress", "vault", "sketch", "nfc", "markdown", "target", "notion"}
    return {noun for noun, teams in seen.items() if len(teams) >= 2 and noun not in common}


def countries() -> dict[str, str]:
    """Two-letter codes -> names of countries, as an emoji set has them."""
    found = {}
    for code, name in load("twemoji")["chars"].items():
        parts = code.split("-")
        if len(parts) == 2 and all(part.startswith("1f1") for part in parts):
            letters = "".join(chr(int(part, 16) - 0x1F1E6 + ord("a")) for part in parts)
            found[letters] = re.sub(r"^(flag-)+(for-)?(flag-)?", "", name).replace("-", " ")
    return found


def icons() -> Iterator[Icon]:
    """Every drawing that has a name and may be used, in a fixed order.

    Of the sizes that some sets draw an icon in, only the first is taken.
    """
    known_brands, known_countries = brands(), countries()
    names = set(known_countries.values())
    for collection in sorted(collections()):
        data, owner, seen = load(collection), team(collection), set()
        palette = bool(data["info"].get("palette"))
        for name, icon in sorted(data["icons"].items(), key=lambda item: _size_last(item[0])):
            found = (
                None
                if icon.get("hidden")
                else parse(name, collection, data.get("suffixes") or {}, palette)
            )
            if not found:
                continue
            noun, style = found
            of = category(collection, noun, known_brands)
            if of == "flags":
                land = re.sub(r"^(flag )*(for |of )?(flag )?(for )?", "", noun)
                land = known_countries.get(land, land)
                if land not in names:
                    continue
                noun, of = f"flag of {land}", "flags"
            kind = _size_last(name)[0]
            if kind in seen:
                continue
            seen.add(kind)
            yield Icon(
                collection, name, noun, canonical(noun), style, owner, role(owner),
                of, palette,
            )  # fmt: skip


def _size_last(name: str) -> tuple[str, int]:
    """`cat-24-filled` -> (`cat-filled`, 24's distance from 24), so that one size is taken."""
    words = name.split("-")
    sizes = [w for w in words if w in ("10", "12", "16", "20", "24", "28", "32", "48")]
    if not sizes or len(words) < 2:
        return name, 0
    return "-".join(w for w in words if w != sizes[-1]) or name, abs(int(sizes[-1]) - 24)


def digest(*values: str) -> int:
    """A number from texts, the same on every machine."""
    return int.from_bytes(hashlib.sha256("/".join(values).encode()).digest()[:8], "little")
