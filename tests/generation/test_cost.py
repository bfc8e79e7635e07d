import pytest

from holdfast.errors import UsageError
from holdfast.generation.cost import Estimate, estimate
from holdfast.names import from_names
from holdfast.settings import ImageSettings

CLASSES = from_names(["cat", "F-16A/B", "red fox"])
PROMPTS = [[f"a photo of a {name}."] for name in CLASSES]


def test_estimate_leaves_nothing(diffusion, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cost = estimate(
        CLASSES,
        PROMPTS,
        [100, 50, 150],
        str(diffusion),
        ImageSettings(steps=2),
        seed=0,
        device="cpu",
    )
    assert cost.images == 300
    assert cost.seconds == 300 * cost.seconds_per_image > 0
    assert 300 < cost.bytes_per_image < 4000
    assert "300 images would take about" in str(cost)
    assert not list(tmp_path.iterdir())


def test_several_generators_are_all_measured(diffusion):
    both = f"{diffusion},{diffusion}"
    cost = estimate(CLASSES, PROMPTS, [2, 2, 2], both, ImageSettings(steps=2), seed=0, device="cpu")
    assert cost.images == 6 and cost.seconds_per_image > 0
    with pytest.raises(UsageError, match="no folder here and no hub id"):
        estimate(CLASSES, PROMPTS, [1, 1, 1], "no such", ImageSettings(), seed=0)


def test_what_two_drawings_cost_together():
    both = Estimate(10, 2.0, 1000.0) + Estimate(30, 4.0, 3000.0)
    assert (both.images, both.seconds, both.bytes) == (40, 140.0, 100_000.0)
    nothing = Estimate(0, 0.0, 0.0) + Estimate(0, 0.0, 0.0)
    assert (nothing.images, nothing.seconds) == (0, 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(30.0, "5.0 minutes"), (1200.0, "3.3 hours"), (600.0, "100.0 minutes")]
)
def test_the_text_has_units_that_can_be_read(seconds, text):
    shown = str(Estimate(10, seconds, 2_000_000.0))
    assert text in shown and "20.0 MB of disk (2,000 kB each)" in shown
