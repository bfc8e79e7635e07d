"""Class names -> prompts: templates, or descriptions from a file or a language model.

A template is filled in literally, as in the papers: no article is mended ("a photo of a apple.").
"""

from __future__ import annotations

from pathlib import Path

from holdfast.names import ClassNames
from holdfast.prompts.descriptions import ask_descriptions, read_descriptions
from holdfast.prompts.templates import expand_templates, imagenet_clip_names, imagenet_names
from holdfast.settings import PromptSettings

__all__ = ["expand_templates", "imagenet_clip_names", "imagenet_names", "prompts_for"]


def prompts_for(
    classes: ClassNames, settings: PromptSettings, cache: Path | None = None
) -> list[list[str]]:
    """The prompts of each class, in the order of the labels; every class has at least one.

    classes: the classes. settings: where prompts come from. cache: JSON file for the answers of a
    language model; what is in it is not asked for again.
    A class takes the sentences of the file of descriptions if that names it; else those of the
    language model if there is one; else the templates.

    Raises UsageError for templates without exactly one `{}` and for files that cannot be used,
    HoldfastError if the language model does not answer.
    """
    templates = expand_templates(settings.templates)
    described: dict[int, list[str]] = {}
    if settings.descriptions is not None:
        described = read_descriptions(settings.descriptions, classes)
    if settings.llm_url is not None:
        missing = [label for label in range(len(classes)) if label not in described]
        described |= ask_descriptions(classes, missing, settings, templates[0], cache)
    return [
        described.get(label) or [template.replace("{}", name) for template in templates]
        for label, name in enumerate(classes)
    ]
