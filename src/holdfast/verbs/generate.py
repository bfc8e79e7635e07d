"""`holdfast generate`: class names -> prompts -> images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from holdfast import names
from holdfast.generation import Estimate, estimate, generate_images
from holdfast.generation.pipeline import find
from holdfast.prompts import prompts_for
from holdfast.settings import GenerateSettings


def generate(settings: GenerateSettings, descriptions: Path | None = None) -> Path | Estimate:
    """Class names -> prompts -> images in `settings.out`; or time and disk, for a dry run.

    descriptions: where to keep what a language model writes; `settings.out` by default.
    """
    classes = names.from_arguments(settings.names)
    source = settings.generator
    find(source)  # before a language model is asked for anything
    seed, device = settings.seed, settings.device
    counts = [settings.images.per_class] * len(classes)
    if settings.dry_run:
        prompts = prompts_for(classes, replace(settings.prompts, llm_url=None))
        return estimate(classes, prompts, counts, source, settings.images, seed=seed, device=device)
    cache = descriptions or settings.out / "descriptions.json"
    prompts = prompts_for(classes, settings.prompts, cache)
    generate_images(
        classes, prompts, counts, settings.out, source, settings.images, seed=seed, device=device
    )
    return settings.out
