"""`holdfast demo`: a method of each kind on the embedded world, through its ordinary command.

Learning rates and steps suit its small models; the student's were chosen on validation pictures.
The defaults are for real CLIP checkpoints, which are some hundred times as large.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast import builtin
from holdfast.commands.continual_run import run_stream
from holdfast.commands.distill import distill
from holdfast.commands.settings import (
    ContinualRunSettings,
    DemoSettings,
    DistillSettings,
    TransferSettings,
)
from holdfast.commands.transfer import transfer
from holdfast.files import write_json
from holdfast.settings import (
    ContinualTrainSettings,
    ImageSettings,
    ReplaySettings,
    StageSettings,
    TrainSettings,
    ViewSettings,
)

UNSEEN = "sketch"  # the style that the student of the demo never sees
THINGS = 20  # pictures of each thing in each style
PICTURES = 20  # of each class and split of a task


def demo(settings: DemoSettings) -> tuple[Any, Any]:
    """Show a method on the embedded world.

    Run again, it goes on where it stopped. Returns the settings of the command that does it, and
    what the command returns.
    """
    suffix = "" if settings.what == "transfer" else f"-{settings.what}"
    chosen = DEMOS[settings.what](settings, settings.out or Path(f"runs/demo{suffix}"))
    return chosen, ORDINARY[settings.what](chosen)


def demo_transfer(settings: DemoSettings, out: Path) -> TransferSettings:
    """From ten class names to a verdict on real digits."""
    real = out / "real-digits"
    if not (real / "classes.json").exists():
        builtin.write_images("pocket:digits", real, split="all")
    return TransferSettings(
        names=[str(real / "classes.json")],
        out=out / "run",
        model="pocket",
        generator="pocket",
        evaluate=real,
        images=ImageSettings(steps=12, guidance=3.0, batch_size=64),
        train=TrainSettings(learning_rate=1e-4, batch_size=32, workers=0),
        seed=settings.seed,
        device=settings.device,
    )


def demo_distill(settings: DemoSettings, out: Path) -> DistillSettings:
    """A student that was trained on photos only learns from a teacher in four styles of things.

    Both are measured on a fifth style, which the student never saw.
    """
    for name in builtin.datasets():
        family, _, style = name.partition("/")
        folder = out / "things" / style
        if family == "pocket:things" and style and not (folder / "classes.json").exists():
            builtin.write_images(name, folder, THINGS)
    return DistillSettings(
        data=out / "things",
        out=out / "run",
        store=out / "answers",
        teacher="pocket",
        student="pocket",
        held_out=UNSEEN,
        teacher_scores="all",
        views=4,
        view=ViewSettings(size=32),
        align=StageSettings(steps=400, learning_rate=1e-2, per_domain=16, validate_every=20),
        train=StageSettings(
            steps=400, learning_rate=1e-3, per_domain=16, validate_every=20, precision="bf16"
        ),
        workers=0,
        seed=settings.seed,
        device=settings.device,
    )


def demo_continual(settings: DemoSettings, out: Path) -> ContinualRunSettings:
    """Five tasks one after the other, with drawn images that stand for what was learnt before."""
    stream = out / "stream.json"
    places = builtin.stream("pocket") or ()
    write_json(stream, [{"dataset": place, "per_class": PICTURES} for place in places])
    return ContinualRunSettings(
        stream=stream,
        out=out / "run",
        model="pocket",
        pretrained="",
        generator="pocket",
        replay=ReplaySettings(images=200, base="pocket", steps=12, guidance=5.0, batch_size=64),
        train=ContinualTrainSettings(
            learning_rate=3e-4,
            warmup_steps=10,
            steps=60,
            batch_size=32,
            replay_batch_size=32,
            precision="bf16",
            workers=0,
        ),
        seed=settings.seed,
        device=settings.device,
    )


DEMOS: dict[str, Callable[[DemoSettings, Path], Any]] = {
    "transfer": demo_transfer,
    "distill": demo_distill,
    "continual": demo_continual,
}
ORDINARY: dict[str, Callable[[Any], Any]] = {
    "transfer": transfer,
    "distill": distill,
    "continual": run_stream,
}
