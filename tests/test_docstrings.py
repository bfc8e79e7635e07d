"""Public docstrings name every parameter, and say what is raised."""

import ast
import builtins
import re
from pathlib import Path

import pytest

import holdfast

SOURCE = Path(holdfast.__file__).parent
ROOMS = (
    *(
        "builtin",
        "data",
        "descriptions",
        "device",
        "errors",
        "files",
        "generation",
        "models",
        "names",
    ),
    *("progress", "prompts", "task_history", "teachers"),
)
MODULES = sorted(
    path
    for room in ROOMS
    for path in [SOURCE / f"{room}.py", *(SOURCE / room).glob("*.py")]
    if path.is_file()
)


def functions(tree):
    """(name, node, docstring) of public functions, and of methods with their class's docstring."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node, ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            about = ast.get_docstring(node) or ""
            for each in node.body:
                if not isinstance(each, ast.FunctionDef):
                    continue
                if not each.name.startswith("_") or each.name in ("__init__", "__call__"):
                    own = ast.get_docstring(each) or ""
                    yield f"{node.name}.{each.name}", each, f"{about}\n{own}"


def parameters(node):
    given = node.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [a.arg for a in every if a is not None and a.arg not in ("self", "cls")]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_every_parameter_is_named(path):
    missing = [
        f"{name}({parameter})"
        for name, node, text in functions(ast.parse(path.read_text()))
        for parameter in parameters(node)
        if not re.search(rf"\b{parameter}\b", text)
    ]
    assert not missing


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_what_a_function_raises_itself_is_said(path):
    missing = []
    for name, node, text in functions(ast.parse(path.read_text())):
        for each in ast.walk(node):
            if isinstance(each, ast.Raise) and isinstance(each.exc, ast.Call):
                error = ast.unparse(each.exc.func)
                ours = error.endswith("Error") and not hasattr(builtins, error)
                if ours and not re.search(rf"\b{error}\b", text):
                    missing.append(f"{name} raises {error}")
    assert not missing
