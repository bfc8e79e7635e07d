"""Draw the structure from the code: `python docs/architecture.py` (`make architecture`).

It writes the tree of CONTRIBUTING.md, a line for each file from the first line of its docstring,
the picture of docs/architecture.md, an arrow for each import between rooms, and the tables of
docs/methods.md. A test fails where one of them is not what the code says.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "holdfast"
# Each room imports only those before it.
FLOW = tuple(
    """
    errors files json_lines sealed foreign yaml_files archives seen progress signals settings lazy
    device tensor_files losses weights swad averaging results metrics verdicts feature_metrics
    stages report runs published names prompts pocket builtin places generation data models
    task_history teachers
    anchors methods evaluation learners replay train memory experiment training_run commands cli
    """.split()
)
BEGIN, END = "<!-- made by docs/architecture.py -->", "<!-- end -->"


def room_of(path: Path) -> str:
    """The room that a file belongs to: its folder, or its own name."""
    room = path.relative_to(SOURCE).with_suffix("").parts[0]
    return "cli" if room.startswith("cli_") else room


def source_files() -> list[Path]:
    """All modules but the package's own, leaves first."""
    found = [p for p in SOURCE.rglob("*.py") if room_of(p) not in ("__init__", "__main__")]
    return sorted(found, key=lambda p: (FLOW.index(room_of(p)), p.name != "__init__.py", p))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(module, line) for each import of a file at any depth, but those for type checkers alone.

    What is taken from `holdfast.lazy` counts as imported from its own module.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module]
            if node.module in ("holdfast", "holdfast.lazy"):
                modules += [f"holdfast.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((module, node.lineno) for module in modules)


def rooms_imported(path: Path) -> set[str]:
    """The other rooms that a file imports."""
    named = {m.split(".")[1] for m, _ in imports(path) if m.startswith("holdfast.")}
    return {room for room in named if room in FLOW} - {room_of(path)}


def summary(path: Path) -> str:
    """The first line of a file's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0] if text else ""


def tree() -> str:
    """A line for each file, leaves first."""
    rows = [(str(path.relative_to(SOURCE)), summary(path)) for path in source_files()]
    width = max(len(name) for name, _ in rows)
    return "\n".join(["```", *(f"{name:{width}}  {text}" for name, text in rows), "```"])


def picture() -> str:
    """A Mermaid flowchart: rooms in layers, an arrow from each room to those that it imports.

    An arrow that a longer way implies is left out.
    """
    edges: dict[str, set[str]] = {room: set() for room in FLOW}
    for path in source_files():
        edges[room_of(path)] |= rooms_imported(path)
    shown = [(room, other) for room in FLOW for other in sorted(edges[room])]
    kept = [(a, b) for a, b in shown if not implied(edges, a, b)]
    present = [room for room in FLOW if any(room in edge for edge in kept)]
    boxes = [f"    {room}[{room}]" for room in reversed(present)]
    arrows = [f"    {a} --> {b}" for a, b in kept]
    return "\n".join(["```mermaid", "flowchart TD", *boxes, *arrows, "```"])


def implied(edges: dict[str, set[str]], start: str, end: str) -> bool:
    """Whether `end` can be reached from `start` by way of another room."""
    waiting, seen = [room for room in edges[start] if room != end], set()
    while waiting:
        room = waiting.pop()
        if end in edges[room]:
            return True
        seen.add(room)
        waiting += [other for other in edges[room] if other not in seen]
    return False


def replaced(text: str, made: str) -> str:
    """A page with what lies between the two marks made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def tables() -> str:
    """All methods and anchors, as their classes say it."""
    from holdfast.anchors.base import Anchor
    from holdfast.methods import Method

    rows = ["| method | paper | commands | what it does |", "|---|---|---|---|"]
    for name, kind in Method.known().items():
        commands = ", ".join(sorted(kind.families))
        first = (kind.__doc__ or "").splitlines()[0]
        rows.append(f"| `{name}` {kind.title} | {kind.paper or '–'} | {commands} | {first} |")
    rows += ["", "| anchor | paper | needs | what it does |", "|---|---|---|---|"]
    for name, anchor in Anchor.known().items():
        needs = ", ".join(sorted(anchor.needs)) or "–"
        first = (anchor.__doc__ or "").splitlines()[0]
        rows.append(f"| `{name}` | {anchor.paper or '–'} | {needs} | {first} |")
    return "\n".join(rows)


PAGES = {
    ROOT / "CONTRIBUTING.md": tree,
    ROOT / "docs" / "architecture.md": picture,
    ROOT / "docs" / "methods.md": tables,
}


def main() -> None:
    """Write the pages."""
    for page, make in PAGES.items():
        page.write_text(replaced(page.read_text(encoding="utf-8"), make()), encoding="utf-8")


if __name__ == "__main__":
    main()
