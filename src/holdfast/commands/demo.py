"""`holdfast demo`: a method of each kind on the embedded world, through its ordinary command.

Learning rates and steps suit its small models; name-only transfer's rate was chosen on drawings of
development teams, the others were not compared.
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
    PromptSettings,
    ReplaySettings,
    StageSettings,
    TrainSettings,
    ViewSettings,
)

UNSEEN = "colour"  # the style that the student of the demo never sees
PROMPT = "an icon of a {}."
LEARNT = ("flags", "logos", "digits", "food", "nouns")
PICTURES = 10  # of each class and split of a task


def demo(settings: DemoSettings) -> tuple[Any, Any]:
    """Show a method on the embedded world.

    Run again, it goes on where it stopped. Returns the settings of the command that does it, and
    what the command returns.
    """
    suffix = "" if settings.what == "transfer" else f"-{settings.what}"
    chosen = DEMOS[settings.what](settings, settings.out or Path(f"runs/demo{suffix}"))
    return chosen, ORDINARY[settings.what](chosen)


def demo_transfer(settings: DemoSettings, out: Path) -> TransferSettings:
    """From the names of 113 everyday things to a verdict on drawings by teams it never saw."""
    real = out / "drawings"
    if not (real / "classes.json").exists():
        builtin.write_images("pocket:nouns", real)
    return TransferSettings(
        names=[str(real / "classes.json")],
        out=out / "run",
        model="pocket",
        generator="pocket",
        evaluate=real,
        prompts=PromptSettings(templates=PROMPT),
        images=ImageSettings(per_class=12, steps=12, guidance=3.0, batch_size=64),
        train=TrainSettings(learning_rate=1e-4, epochs=6, batch_size=32, workers=0),
        seed=settings.seed,
        device=settings.device,
    )


def demo_distill(settings: DemoSettings, out: Path) -> DistillSettings:
    """A student that was trained on line drawings only learns from a teacher in five styles.

    Both are measured on a sixth style, colour pictures, which the student never saw.
    """
    for name in builtin.datasets():
        family, _, style = name.partition("/")
        folder = out / "domains" / style
        if family == "pocket:domains" and not (folder / "classes.json").exists():
            builtin.write_images(name, folder)
    return DistillSettings(
        data=out / "domains",
        out=out / "run",
        store=out / "answers",
        teacher="pocket",
        student="pocket",
        held_out=UNSEEN,
        prompts=PromptSettings(templates=PROMPT),
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
    """Five tasks one after the other, with drawn images that stand for what was learnt before.

    Everyday things come last, so their accuracy before that tells what the model forgot.
    """
    stream = out / "stream.json"
    write_json(
        stream,
        [
            {"dataset": f"{builtin.FAMILY}{task}", "per_class": PICTURES, "templates": PROMPT}
            for task in LEARNT
        ],
    )
    return ContinualRunSettings(
        stream=stream,
        out=out / "run",
        model="pocket",
        pretrained="",
        generator="pocket",
        replay=ReplaySettings(
            images=200, base="pocket", template=PROMPT, steps=12, guidance=3.0, batch_size=64
        ),
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
