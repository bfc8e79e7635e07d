import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny


@pytest.fixture(scope="session")
def diffusion(tmp_path_factory):
    """Folder of a tiny diffusion pipeline."""
    return tiny.diffusion_folder(tmp_path_factory.mktemp("models") / "tiny-diffusion")
