"""A small tree of domains from the embedded world, and what methods of distillation train in."""

from dataclasses import replace
from pathlib import Path

from PIL import Image

STYLES = ("photo", "neon", "sketch")
THINGS = ("apple", "bird", "boat")


def domain_tree(root: Path, styles=STYLES, things=THINGS, count=10) -> Path:
    """`root/<style>/<thing>/<n>.png`, 32 px."""
    from holdfast.pocket.tasks import picture

    for style in styles:
        for thing in things:
            folder = root / style / thing
            folder.mkdir(parents=True)
            for n in range(count):
                Image.fromarray(picture(f"things/{style}", thing, "train", n)).save(
                    folder / f"{n}.png"
                )
    return root


def small_settings(data: Path, **changes):
    """Settings of runs that take a second."""
    from holdfast.settings import (
        AverageSettings,
        DistillSettings,
        PromptSettings,
        StageSettings,
        ViewSettings,
    )

    stage = StageSettings(learning_rate=1e-3, steps=4, per_domain=3, validate_every=2)
    settings = DistillSettings(
        data=data,
        teacher="pocket",
        student="pocket",
        views=2,
        view=ViewSettings(size=32),
        prompts=PromptSettings(),
        align=stage,
        train=stage,
        average=AverageSettings(kind="none"),
        workers=0,
        device="cpu",
    )
    return replace(settings, **changes)


def small_world(data: Path, store: Path, **changes):
    """(world, store): all domains, the pocket teacher, every view asked for."""
    from holdfast.data.domains import scan_domains
    from holdfast.data.teacher_batches import rounds
    from holdfast.data.views import Views
    from holdfast.harness import World
    from holdfast.teachers import open_teacher
    from holdfast.teachers.store import EmbeddingStore
    from holdfast.verbs.distill.run import asking, towers

    settings = small_settings(data, **changes)
    domains = scan_domains(data)
    teacher = open_teacher(settings, "cpu")
    kept = EmbeddingStore(store, teacher)
    views = Views(domains.images.paths, settings.view, 0)
    kept.fill(*rounds(views, range(len(views)), max(1, settings.views)))
    tower = towers(settings, teacher)
    world = World(
        settings=settings,
        domains=domains,
        views=views,
        ask=kept.images if settings.views else asking(kept),
        text=kept.text([f"a photo of a {name}." for name in domains.images.classes]),
        logit_scale=teacher.logit_scale,
        tower=tower,
        first=tower(None, 0),
    )
    return world, kept
