"""Each module has a test file of its name: holdfast/data/views.py has tests/data/test_views.py."""

from pathlib import Path

import pytest

import holdfast

SOURCE, TESTS = Path(holdfast.__file__).parent, Path(__file__).parent
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
    path.relative_to(SOURCE)
    for room in ROOMS
    for path in [SOURCE / f"{room}.py", *(SOURCE / room).glob("*.py")]
    if path.is_file() and path.name != "__init__.py"
)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_has_tests_of_its_own(module):
    file = TESTS / module.parent / f"test_{module.name}"
    assert file.is_file() and "def test_" in file.read_text()
