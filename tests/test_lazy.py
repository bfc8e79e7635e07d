"""Modules that are imported when something of them is used."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module

from holdfast import lazy


def test_a_module_is_imported_when_something_of_it_is_asked_for():
    script = (
        "import sys; from holdfast.lazy import losses, torch; assert 'torch' not in sys.modules;"
        "assert losses.cross_entropy and torch.Tensor and 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_each_stands_for_the_module_that_type_checkers_see():
    tree = ast.parse(inspect.getsource(lazy))
    [choice] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name for node in choice.body for alias in node.names}
    assert seen == {name for name, value in vars(lazy).items() if isinstance(value, lazy._Lazy)}
    for name in seen - {"torch"}:
        module = import_module(f"holdfast.{name}")
        public = next(
            key for key in vars(module) if not key.startswith("_") and key != "annotations"
        )
        assert getattr(getattr(lazy, name), public) is getattr(module, public)
