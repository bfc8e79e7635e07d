import pytest

from holdfast.data.views import View, draw_parameters
from holdfast.files import sha256
from holdfast.settings import ViewSettings


@pytest.fixture(scope="session")
def views(pictures):
    """Three whole pictures and a random view of each."""
    paths = sorted(pictures.rglob("0.png"))
    whole = [View(path, sha256(path)) for path in paths]
    settings = ViewSettings(size=32)
    return whole + [
        View(view.path, view.digest, draw_parameters(settings, view.digest, 0, 0)) for view in whole
    ]
