"""The rooms import one way: each only those before it in this list."""

import ast
import subprocess
import sys
from pathlib import Path

import holdfast

FLOW = [
    "errors",
    "files",
    "builtin",
    "progress",
    "settings",
    "device",
    "runs",
    "names",
    "prompts",
    "generation",
    "data",
    "models",
    "teachers",
    "losses",
    "weights",
    "averaging",
    "task_history",
    "train",
    "harness",
    "methods",
    "metrics",
    "report",
    "pocket",
    "verbs",
    "cli",
]
SOURCE = Path(holdfast.__file__).parent
ONLY_IN = {
    "diffusers": {"generation", "pocket"},
    "open_clip": {"models", "pocket", "prompts"},
    "timm": {"models", "pocket"},
}

# Where a room later in the flow is entered, when a function is called.
DOORS = {("builtin", "holdfast.pocket"), ("builtin", "holdfast.pocket.world")}


def imports(path):
    """(room or package, line) for each import of a file from outside its room."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "holdfast":
            modules = [f"holdfast.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module]
        else:
            continue
        yield from ((module, node.lineno) for module in modules)


def room_of(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[0]


def files():
    return [p for p in SOURCE.rglob("*.py") if room_of(p) not in ("__init__", "__main__")]


def test_every_room_has_its_place_in_the_flow():
    assert {room_of(path) for path in files()} == set(FLOW)


def test_imports_go_one_way():
    wrong = []
    for path in files():
        here = FLOW.index(room_of(path))
        for module, line in imports(path):
            if module.startswith("holdfast."):
                there = FLOW.index(module.split(".")[1])
                if there > here and (path.stem, module) not in DOORS:
                    wrong.append(f"{path.name}:{line} imports {module}")
    assert not wrong


def test_methods_do_not_import_each_other():
    for path in (SOURCE / "methods").glob("*.py"):
        assert not [m for m, _ in imports(path) if m.startswith("holdfast.methods")]


def test_the_report_sees_only_results():
    for path in (SOURCE / "report").glob("*.py"):
        rooms = {m.split(".")[1] for m, _ in imports(path) if m.startswith("holdfast.")}
        assert rooms <= {"errors", "files", "results", "settings", "report"}


def test_the_embedded_world_has_one_door():
    for path in files():
        entered = [m for m, _ in imports(path) if m.startswith("holdfast.pocket")]
        assert not entered or room_of(path) in ("builtin", "pocket"), path


def test_the_names_of_what_comes_along_are_quickly_known():
    code = "import sys, holdfast.builtin; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not {"numpy", "torch", "PIL"} & {*found.stdout.split()} and found.stdout


def test_each_heavy_library_stays_in_its_room():
    for path in files():
        for module, line in imports(path):
            allowed = ONLY_IN.get(module.split(".")[0])
            assert allowed is None or room_of(path) in allowed, f"{path}:{line} imports {module}"


def test_nothing_is_unpickled():
    for path in files():
        text = path.read_text()
        assert "import pickle" not in text
        assert "torch.load(" not in text
