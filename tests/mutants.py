"""Change each module a little in many places, and count the changes that its own tests notice.

    python tests/mutants.py [MODULE ...]

The work is mutmut's. A module is judged by the tests of its name alone. What this adds: it works on
a copy in build/mutants, it writes the scores to docs/testing.md, and it puts the decorators of
functions after them, because mutmut leaves decorated functions as they are. What survives is in
build/mutants/MODULE.diff.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORK = ROOT / "build" / "mutants"
PAGE = ROOT / "docs" / "testing.md"
COPIED = ("src", "tests", "pyproject.toml")
# Each with its tests; a folder is judged as one.
MODULES = {
    "losses": ["tests/test_losses.py"],
    "weights": ["tests/test_weights.py"],
    "swad": ["tests/test_swad.py"],
    "averaging": ["tests/averaging"],
    "metrics": ["tests/test_metrics.py", "tests/test_metrics_stream.py"],
    "feature_metrics": ["tests/test_feature_metrics.py"],
    "anchors": ["tests/anchors"],
    "methods": ["tests/methods"],
}
MUTMUT = [sys.executable, "-m", "mutmut"]


def without_decorators(source: str) -> str:
    """The same module, with `f = decorator(f)` after each decorated function of its top level."""
    lines = source.splitlines()
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            wrapped = node.name
            for decorator in reversed(node.decorator_list):
                wrapped = f"{ast.unparse(decorator)}({wrapped})"
            lines.insert(node.end_lineno or 0, f"\n\n{node.name} = {wrapped}")
            del lines[node.decorator_list[0].lineno - 1 : node.lineno - 1]
    return "\n".join(lines) + "\n"


def prepare(module: str) -> Path:
    """A copy of the project in which mutmut changes `module`."""
    folder = WORK / module
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in COPIED:
        if (ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, folder / name)
    place = Path("src/holdfast", module)
    changed = sorted((folder / place).glob("*.py")) or [folder / place.with_suffix(".py")]
    for file in changed:
        file.write_text(without_decorators(file.read_text()))
    settings = {
        "source_paths": ["src"],
        "only_mutate": [str(file.relative_to(folder)) for file in changed],
        "pytest_add_cli_args_test_selection": MODULES[module],
        "use_git_change_detection": False,
        "timeout_constant": 60,  # seconds: a busy machine is no endless loop
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    with (folder / "pyproject.toml").open("a") as file:
        file.write("\n".join(["", "[tool.mutmut]", *lines, ""]))
    return folder


def mutate(module: str) -> dict[str, int]:
    """Run mutmut on a module; its counts. What survives is written out."""
    folder = prepare(module)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    def mutmut(*arguments: str) -> str:
        done = subprocess.run(
            [*MUTMUT, *arguments], cwd=folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}\nmutmut failed on {module}")
        return done.stdout

    mutmut("run", "--max-children", str(max(1, (os.cpu_count() or 1) // 2)))
    mutmut("export-cicd-stats")
    names = re.findall(r"^\s+(\S+): (?!killed)", mutmut("results"), flags=re.MULTILINE)
    survivors = "\n".join(mutmut("show", name) for name in names)
    (WORK / f"{module}.diff").write_text(survivors)
    return json.loads((folder / "mutants" / "mutmut-cicd-stats.json").read_text())


def row(module: str, counts: dict[str, int]) -> str:
    """A line of the page's table."""
    noticed = counts["killed"] + counts["timeout"]
    return (
        f"| {module} | {counts['total']} | {noticed} | {counts['total'] - noticed} | "
        f"{100 * noticed / counts['total']:.1f} % |"
    )


def main(modules: list[str]) -> int:
    """Judge these modules, or all; their lines in the page are written anew, others stay."""
    if wrong := set(modules) - MODULES.keys():
        print(f"{', '.join(sorted(wrong))}: one of {', '.join(MODULES)}")
        return 2
    for module in modules or MODULES:
        line = row(module, mutate(module))
        print(line, flush=True)
        page = PAGE.read_text()
        page, found = re.subn(rf"^\| {module} \|.*$", line, page, flags=re.MULTILINE)
        assert found == 1, f"{PAGE} has no line for {module}"
        PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
