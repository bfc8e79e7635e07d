import sys
from pathlib import Path

import huggingface_hub.constants
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny


@pytest.fixture(scope="session")
def diffusion(tmp_path_factory):
    """Folder of a tiny diffusion pipeline."""
    return tiny.diffusion_folder(tmp_path_factory.mktemp("models") / "tiny-diffusion")


@pytest.fixture
def hub(tmp_path, monkeypatch, diffusion):
    """A hub cache that holds the tiny pipeline as owner/tiny, at one commit of `main`."""
    tiny.cached_on_hub(tmp_path, "owner/tiny", diffusion)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path
