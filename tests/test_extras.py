"""What a command needs no optional library for."""

import subprocess
import sys
import tomllib
from pathlib import Path

from PIL import Image

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
RUN = """
import sys
for module in {modules}:
    sys.modules[module] = None
from holdfast.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_predicting_needs_neither_diffusers_nor_a_server(tmp_path):
    extras = PROJECT["optional-dependencies"]
    modules = [each.split(">")[0] for name in ("generate", "serve") for each in extras[name]]
    assert {"diffusers", "starlette", "uvicorn"} <= set(modules)
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    command = ["predict", "pocket", "--names", "red square,blue dog", str(tmp_path / "red.png")]
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(modules=modules), *command],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "red.png"))
