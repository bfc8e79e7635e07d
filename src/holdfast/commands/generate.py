"""`holdfast generate`: class names -> prompts -> images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from holdfast import names
from holdfast.commands.settings import GenerateSettings
from holdfast.errors import HoldfastError
from holdfast.generation import Estimate, estimate, generate_images
from holdfast.generation.manifest import MISSING
from holdfast.generation.sources import find_pipelines
from holdfast.prompts import prompts_for


def generate(settings: GenerateSettings, descriptions: Path | None = None) -> Path | Estimate:
    """Class names -> prompts -> images in `settings.out`; or time and disk, for a dry run.

    descriptions: where to keep what a language model writes; `settings.out` by default.

    Raises UsageError for names, prompts and settings that cannot be used, HoldfastError for a
    pipeline or a service that does not answer, and for a class of which nothing could be drawn.
    """
    classes = names.from_arguments(settings.names)
    find_pipelines(settings.generator)  # before a language model is asked for anything
    seed, device, images = settings.seed, settings.device, settings.images
    counts = [images.per_class] * len(classes)
    if settings.dry_run:
        prompts = prompts_for(classes, replace(settings.prompts, llm_url=None))
        return estimate(
            classes, prompts, counts, settings.generator, images, seed=seed, device=device
        )
    cache = descriptions or settings.out / "descriptions.json"
    prompts = prompts_for(classes, settings.prompts, cache)
    manifest = generate_images(
        classes, prompts, counts, settings.out, settings.generator, images, seed=seed, device=device
    )
    drawn = {record.name for record in manifest.records}
    if empty := [name for name in classes.names if name not in drawn]:
        others = f" and {len(empty) - 5} others" if len(empty) > 5 else ""
        raise HoldfastError(
            f"No image of {', '.join(map(repr, empty[:5]))}{others} could be drawn: {MISSING} in "
            f"{settings.out} says why; change the prompts or the generator, raise the setting "
            "redraws, or leave the class out. The other images are kept."
        )
    return settings.out
