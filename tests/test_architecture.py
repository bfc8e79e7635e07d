"""The structure is what the documents say: rooms import one way, names are said once."""

import ast
import importlib.util
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "architecture.py")
architecture = importlib.util.module_from_spec(spec)
spec.loader.exec_module(architecture)

FLOW, SOURCE = architecture.FLOW, architecture.SOURCE
ONLY_IN = {
    "diffusers": {"generation"},
    "open_clip": {"models", "prompts"},
    "timm": {"models"},
}
LIGHT = (
    *("cli", "commands.settings", "anchors", "methods", "settings", "results", "runs"),
    *("report", "builtin"),
)
LONGEST = 350  # lines of a file
MOST_IMPORTED = 36  # names of ours in a module that is no list of exports
PUBLIC = {"distill", "evaluate", "generate", "load_classifier", "predict", "transfer", "report"}
# Each file has one of its own.
EVERYWHERE = {"logger", "P", "T", "write_report"}


def files():
    return architecture.source_files()


def name_of(path):
    return str(path.relative_to(SOURCE))


def test_every_room_has_its_place_in_the_flow():
    assert {architecture.room_of(path) for path in files()} == set(FLOW)


def test_imports_go_one_way():
    wrong = [
        f"{name_of(path)} imports {room}"
        for path in files()
        for room in architecture.rooms_imported(path)
        if FLOW.index(room) > FLOW.index(architecture.room_of(path))
    ]
    assert not wrong


@pytest.mark.parametrize("room", ["methods", "anchors"])
def test_methods_and_anchors_do_not_import_each_other(room):
    for path in (SOURCE / room).glob("*.py"):
        if path.name not in ("base.py", "__init__.py"):
            own = {m for m, _ in architecture.imports(path) if m.startswith(f"holdfast.{room}")}
            assert own <= {f"holdfast.{room}.base"}, path


def test_the_report_sees_only_results():
    for path in (SOURCE / "report").glob("*.py"):
        assert architecture.rooms_imported(path) <= {
            "archives",
            "errors",
            "files",
            "results",
            "settings",
        }


def test_only_builtin_knows_the_embedded_world():
    for path in files():
        if architecture.room_of(path) not in ("pocket", "builtin"):
            assert "pocket" not in architecture.rooms_imported(path), path


def test_each_heavy_library_stays_in_its_room():
    for path in files():
        for module, line in architecture.imports(path):
            allowed = ONLY_IN.get(module.split(".")[0])
            here = architecture.room_of(path)
            assert allowed is None or here in allowed, f"{path}:{line} imports {module}"


def test_the_command_line_knows_everything_without_torch():
    """So that help is there at once: methods and anchors compute through `holdfast.lazy`."""
    names = ", ".join(f"holdfast.{name}" for name in LIGHT)
    script = (
        f"import sys, {names}; from holdfast.methods import Method; "
        "from holdfast.anchors.base import Anchor; Method.known(); Anchor.known(); "
        "found = {'torch', 'open_clip', 'timm', 'matplotlib'} & set(sys.modules); "
        "sys.exit(' '.join(found) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_is_unpickled():
    for path in files():
        text = path.read_text()
        assert "import pickle" not in text
        loads = re.findall(r"torch\.load\((.*)\)", text)
        assert all("weights_only=True" in each for each in loads) and len(loads) <= 1
        assert not loads or name_of(path) == "models/checkpoint.py"


def definitions():
    """{top-level name: files that define it}, without those that begin with an underscore."""
    found = defaultdict(set)
    for path in files():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found[node.name].add(name_of(path))
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        found[target.id].add(name_of(path))
    return found


def test_each_name_is_defined_once():
    twice = {
        name: sorted(places)
        for name, places in definitions().items()
        if len(places) > 1 and not name.startswith("_") and name not in EVERYWHERE
    }
    assert not twice


def test_files_can_be_read_in_one_sitting():
    long = {
        name_of(path): count
        for path in files()
        if (count := len(path.read_text().splitlines())) > LONGEST
    }
    assert not long


def test_no_module_needs_too_many_others():
    """Names that a module imports from ours; `__init__` files are lists of exports."""
    many = {
        name_of(path): count
        for path in files()
        if path.name != "__init__.py" and (count := len(own_imports(path))) > MOST_IMPORTED
    }
    assert not many


def own_imports(path):
    return [
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("holdfast")
        for alias in node.names
    ]


def test_modules_have_tests_of_their_name():
    """tests/ mirrors src/: data/views.py is tested in tests/data/test_views.py."""
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    # What the pages of a report are made of is looked at on the pages (tests/report).
    tests |= {
        f"test_{part}.py" for part in ("blocks", "domains", "page", "scores", "steps", "trials")
    }
    missing = [
        name_of(path)
        for path in files()
        if path.name not in ("__init__.py", "__main__.py") and f"test_{path.name}" not in tests
    ]
    assert not missing
