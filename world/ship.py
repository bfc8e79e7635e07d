"""Put what is shipped into the package: task drawings, manifest of the split, NOTICE.

`python -m world.ship` writes `src/holdfast/pocket/pictures`, `NOTICE.md` and `manifest.json`
there, and `world/manifest/hashes.safetensors`, which the test suite reads.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from holdfast.files import write_json, write_text

from .corpus import _render
from .duplicates import BITS, CORRELATION, Distinct, exact
from .saving import save_weights
from .source import PACKAGE, VERSION, collections
from .split import World
from .tasks import (
    CATEGORY_TASKS,
    DOMAIN_CLASSES,
    PER_DOMAIN,
    STYLES,
    category_task,
    loosely_named,
    nouns,
    ordered,
    unseen,
)
from .teams import role, team
from .words import NOUNS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE_DIR = ROOT / "src" / "holdfast" / "pocket"
SHEETS = PACKAGE_DIR / "pictures"
MANIFEST = ROOT / "world" / "manifest" / "hashes.safetensors"
SIDE, COLUMNS = 32, 32
Bytes = NDArray[np.uint8]


def sheet(tiles: list[Bytes], mode: str) -> bytes:
    """Drawings side by side as one lossless WebP."""
    rows = -(-len(tiles) // COLUMNS)
    whole = Image.new(mode, (COLUMNS * SIDE, rows * SIDE))
    for k, tile in enumerate(tiles):
        whole.paste(Image.fromarray(tile, mode), (k % COLUMNS * SIDE, k // COLUMNS * SIDE))
    data = io.BytesIO()
    whole.save(data, "WEBP", lossless=True, quality=100, method=6, exact=False)
    return data.getvalue()


class Shipment:
    """Collects the drawings of all tasks."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tasks: dict[str, Any] = {}
        self.sets: list[str] = []
        self.bytes = 0

    def add(
        self, task: str, split: str, names: list[str], drawings: list[Bytes], labels: list[int],
        sets: list[str], palette: list[bool],
    ) -> None:  # fmt: skip
        """Write the sheets of one split of a task."""
        flags = [int(coloured) for coloured in palette]
        for kind, flag, mode in (("plain", 0, "L"), ("colour", 1, "RGBA")):
            tiles = [
                d[..., 3] if mode == "L" else d
                for d, f in zip(drawings, flags, strict=True)
                if f == flag
            ]
            if tiles:
                data = sheet(tiles, mode)
                (SHEETS / f"{task.replace('/', '-')}-{split}-{kind}.webp").write_bytes(data)
                self.bytes += len(data)
        for name in sets:
            if name not in self.sets:
                self.sets.append(name)
        entry = self.tasks.setdefault(task, {"names": names})
        entry[split] = {
            "classes": labels,
            "coloured": flags,
            "sets": [self.sets.index(name) for name in sets],
        }

    def add_rows(
        self, task: str, split: str, names: list[str], rows: list[int], labels: list[int]
    ) -> None:
        """`add` for rows of the corpus."""
        of = [self.world.rows[i] for i in rows]
        self.add(
            task, split, names, [np.array(self.world.pictures[i]) for i in rows], labels,
            [row["collection"] for row in of], [row["palette"] for row in of],
        )  # fmt: skip


def domains(world: World) -> dict[str, dict[str, list[tuple[str, bool, Bytes]]]]:
    """style -> noun -> drawings (set, coloured, RGBA) by teams that pre-training did not see."""
    result: dict[str, dict[str, list[tuple[str, bool, Bytes]]]] = {s: {} for s in STYLES}
    loose = loosely_named(world)
    extra: dict[str, list[tuple[str, str, str]]] = {}
    for (style, noun), found in loose.items():
        for collection, name in found:
            extra.setdefault(collection, []).append((style, noun, name))
    rendered: dict[tuple[str, str], list[tuple[str, bool, Bytes]]] = {}
    for collection, items in sorted(extra.items()):
        drawn, good = _render((collection, [name for _, _, name in items]))
        good &= unseen(world, drawn)
        coloured = collection.endswith("color")
        for (style, noun, _), picture, fine in zip(items, drawn, good, strict=True):
            if fine:
                rendered.setdefault((style, noun), []).append((collection, coloured, picture))
    distinct = Distinct()  # some sets call one drawing by two styles
    for style in STYLES:
        for noun in NOUNS:
            own = np.flatnonzero(
                np.isin(world.use, ("dev", "test")) & (world.category == "")
                & (world.group == noun) & np.isin(world.style, (style, f"thin {style}"))
            )  # fmt: skip
            rows = ordered(world, own)
            every = [
                (world.rows[i]["collection"], bool(world.palette[i]), np.array(world.pictures[i]))
                for i in rows
                if style not in ("pixel", "freehand")
            ] + rendered.get((style, noun), [])
            result[style][noun] = [
                (of, coloured, drawing)
                for of, coloured, drawing in every
                if distinct.new(drawing, coloured)
            ]
    return result


def domain_names(drawn: dict[str, dict[str, list[Any]]]) -> list[str]:
    """The nouns that all styles have drawings of; of these, those with the most."""
    everywhere = [noun for noun in NOUNS if all(drawn[style][noun] for style in STYLES)]
    order = sorted(everywhere, key=lambda n: (-sum(min(4, len(drawn[s][n])) for s in STYLES), n))
    return sorted(order[:DOMAIN_CLASSES])


def notice(sets: set[str], world: World) -> str:
    """Every set that weights or pictures come from, with its author and licence."""
    lines = [
        "# Drawings by others",
        "",
        "The embedded models were trained on, and the embedded pictures are, icons of the npm "
        f"package `{PACKAGE}` {VERSION} (MIT for the collection). Each set is its authors' work, "
        "under its own licence; pictures were rendered at 32 pixels, those of one colour in other "
        "colours too.",
        "",
        "| set | author | licence | used for |",
        "|---|---|---|---|",
    ]
    trained = {
        row["collection"] for row, use in zip(world.rows, world.use, strict=True) if use == "train"
    }
    for name, data in collections().items():
        uses = [w for w, yes in (("training", name in trained), ("pictures", name in sets)) if yes]
        if uses:
            author, licence = data["author"], data["license"]
            made = f"[{author['name']}]({author['url']})" if author.get("url") else author["name"]
            under = (
                f"[{licence['title']}]({licence['url']})"
                if licence.get("url")
                else licence["title"]
            )
            lines.append(f"| {data['name']} | {made} | {under} | {', '.join(uses)} |")
    return "\n".join(lines) + "\n"


def manifest(world: World, shipped: dict[str, Any]) -> dict[str, Any]:
    """Which team every set belongs to, what the team is for, and how many drawings are used how."""
    counts: dict[str, Counter[str]] = {}
    for row, use in zip(world.rows, world.use.tolist(), strict=True):
        counts.setdefault(row["collection"], Counter())[use] += 1
    return {
        "package": {"name": PACKAGE, "version": VERSION},
        "near-duplicates": {"bits": BITS, "correlation": CORRELATION},
        "sets": {
            name: {"team": team(name), "role": role(team(name)), **dict(sorted(found.items()))}
            for name, found in sorted(counts.items())
        },
        "pictures": shipped,
    }


def main() -> None:
    """Write everything."""
    torch.set_num_threads(1)
    world = World()
    SHEETS.mkdir(parents=True, exist_ok=True)
    for old in SHEETS.glob("*.webp"):
        old.unlink()
    shipment = Shipment(world)
    names, parts = nouns(world)
    for split, part in parts.items():
        shipment.add_rows("nouns", split, names, part.rows, part.labels)
    for category in CATEGORY_TASKS:
        names, parts = category_task(world, category)
        for split, part in parts.items():
            shipment.add_rows(category, split, names, part.rows, part.labels)
    drawn = domains(world)
    names = domain_names(drawn)
    print({s: sum(min(PER_DOMAIN, len(drawn[s][n])) for n in names) for s in STYLES})
    for style in STYLES:
        items = [(k, *d) for k, n in enumerate(names) for d in drawn[style][n][:PER_DOMAIN]]
        shipment.add(
            f"domains/{style}", "test", names, [i[3] for i in items], [i[0] for i in items],
            [i[1] for i in items], [i[2] for i in items],
        )  # fmt: skip
    text = json.dumps(shipment.tasks, separators=(",", ":"))
    write_text(SHEETS / "tasks.json", text + "\n")
    counts = {
        task: {s: len(v["classes"]) for s, v in entry.items() if s != "names"}
        | {"classes": len(entry["names"])}
        for task, entry in shipment.tasks.items()
    }
    data = manifest(world, counts)
    data["sets of pictures"] = shipment.sets
    write_json(PACKAGE_DIR / "manifest.json", data)
    write_text(PACKAGE_DIR / "NOTICE.md", notice(set(shipment.sets), world))
    codes = np.load(MANIFEST_SOURCE)
    trained = np.flatnonzero(world.use == "train")
    same = np.array([exact(world.pictures[i]) for i in trained], dtype=np.uint64)
    MANIFEST.parent.mkdir(parents=True, exist_ok=True)
    save_weights(
        {
            "perceptual": torch.from_numpy(np.unique(codes[trained]).view(np.int64)),
            "exact": torch.from_numpy(np.unique(same).view(np.int64)),
        },
        MANIFEST,
    )
    print(json.dumps(counts), f"{shipment.bytes:,} bytes of sheets, {len(text):,} of tasks.json")


MANIFEST_SOURCE = ROOT / "build" / "world" / "hashes.npy"

if __name__ == "__main__":
    main()
