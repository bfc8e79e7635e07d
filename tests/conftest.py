import os

# Two processes with one thread each beat one with two, and one thread gives the same bits always.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from jaxtyping import config, install_import_hook
from tqdm import tqdm

# Types and shapes of these modules' functions are checked while the tests run, as their
# annotations have them; an int is good for a float. Anchors are settings as well, which take text.
CHECKED = [
    "averaging",
    "feature_metrics",
    "losses",
    "metrics",
    "models",
    "swad",
    "verdicts",
    "weights",
]
install_import_hook(
    [f"holdfast.{name}" for name in CHECKED],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

# The thread that watches its bars may hold their lock while a test forks, and the child would wait
# for that lock for ever.
tqdm.monitor_interval = 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """What a test printed goes to another process, which takes no names that are no UTF-8."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture
def unchecked():
    """The checks of `CHECKED` are off: a function must find wrong shapes itself."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    """A tiny untrained open_clip folder."""
    from tests.tiny import clip_folder

    return clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def diffusion_folder(tmp_path_factory):
    """A tiny untrained diffusers folder."""
    from tests.tiny import diffusion_folder

    return diffusion_folder(tmp_path_factory.mktemp("diffusion"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Class folders of 32 px pictures: three classes that differ in colour, ten of each."""
    import numpy as np
    from PIL import Image

    root = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0)
    for channel, name in enumerate(("red thing", "green thing", "blue thing")):
        (root / name).mkdir()
        for n in range(10):
            pixels = noise.integers(0, 120, (32, 32, 3))
            pixels[..., channel] += 130
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{n}.png")
    return root


@pytest.fixture
def canary(tmp_path):
    """A file that hostile files would make if they were let."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()
