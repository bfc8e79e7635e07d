"""`holdfast demo`: the main job on the embedded world."""

from __future__ import annotations

from holdfast import pocket
from holdfast.models import Classifier
from holdfast.settings import DemoSettings, ImageSettings, TrainSettings, TransferSettings
from holdfast.verbs.transfer import transfer


def demo(settings: DemoSettings) -> tuple[TransferSettings, Classifier]:
    """From ten class names to a verdict on real digits, on the embedded world."""
    real = settings.out / "real-digits"
    if not (real / "classes.json").exists():
        pocket.write_task("digits", real, None, "all")
    run = TransferSettings(
        names=[str(real / "classes.json")],
        out=settings.out / "run",
        model="pocket",
        generator="pocket",
        evaluate=real,
        images=ImageSettings(steps=12, guidance=3.0, batch_size=64),
        train=TrainSettings(learning_rate=1e-4, batch_size=32, workers=0),
        seed=settings.seed,
        device=settings.device,
    )
    classifier = transfer(run)
    assert isinstance(classifier, Classifier)
    return run, classifier
