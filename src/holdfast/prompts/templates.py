"""Lists of templates: sentences with one `{}` for the class name."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.errors import UsageError, did_you_mean

ARTICLES = ("a", "the")


def with_articles(*templates: str) -> tuple[str, ...]:
    """The `templates`, which have ART for the article: all with `a`, then all with `the`."""
    return tuple(each.replace("ART", article) for article in ARTICLES for each in templates)


# The templates that CLIP's authors published for each data set (data/prompts.md of their code).
# Some follow the papers: cars begin with the template that RegFT, ZSCL and GIFT use, actions have
# RegFT's alone, and food-mtil is how ZSCL and GIFT write that of food.
DATASET_TEMPLATES: dict[str, tuple[str, ...]] = {
    "actions": ("a photo of a person doing {}.",),
    "aircraft": ("a photo of a {}, a type of aircraft.", "a photo of the {}, a type of aircraft."),
    "birds": ("a photo of a {}, a type of bird.",),
    "caltech": with_articles(
        *("a photo of ART {}.", "a painting of ART {}.", "ART plastic {}."),
        *("a sculpture of ART {}.", "a sketch of ART {}.", "a tattoo of ART {}.", "ART toy {}."),
        *("a rendition of ART {}.", "ART embroidered {}.", "ART cartoon {}."),
        *("ART {} in a video game.", "ART plushie {}.", "ART origami {}.", "art of ART {}."),
        *("graffiti of ART {}.", "a drawing of ART {}.", "a doodle of ART {}."),
    ),
    "cars": (
        "a photo of a {}, a type of car.",
        *("a photo of a {}.", "a photo of the {}.", "a photo of my {}.", "i love my {}!"),
        *("a photo of my dirty {}.", "a photo of my clean {}."),
        *("a photo of my new {}.", "a photo of my old {}."),
    ),
    "cifar": with_articles(
        *("a photo of ART {}.", "a blurry photo of ART {}.", "a black and white photo of ART {}."),
        *("a low contrast photo of ART {}.", "a high contrast photo of ART {}."),
        *("a bad photo of ART {}.", "a good photo of ART {}."),
        *("a photo of ART small {}.", "a photo of ART big {}."),
    ),
    "digits": ('a photo of the number: "{}".',),
    "flowers": ("a photo of a {}, a type of flower.",),
    "food": ("a photo of {}, a type of food.",),
    "food-mtil": ("a photo of a {}, a type of food.",),
    "land": (
        "a centered satellite photo of {}.",
        "a centered satellite photo of a {}.",
        "a centered satellite photo of the {}.",
    ),
    "pets": ("a photo of a {}, a type of pet.",),
    "scenes": ("a photo of a {}.", "a photo of the {}."),
    "signs": (
        'a zoomed in photo of a "{}" traffic sign.',
        'a centered photo of a "{}" traffic sign.',
        'a close up photo of a "{}" traffic sign.',
    ),
    "textures": (
        *("a photo of a {} texture.", "a photo of a {} pattern."),
        *("a photo of a {} thing.", "a photo of a {} object."),
        *("a photo of the {} texture.", "a photo of the {} pattern."),
        *("a photo of the {} thing.", "a photo of the {} object."),
    ),
}
# The same lists under the names of their data sets.
ALIASES = {
    "fgvc-aircraft": "aircraft",
    "birdsnap": "birds",
    "caltech101": "caltech",
    "cifar10": "cifar",
    "cifar100": "cifar",
    "stanford-cars": "cars",
    "mnist": "digits",
    "flowers102": "flowers",
    "food101": "food",
    "eurosat": "land",
    "oxford-pets": "pets",
    "sun397": "scenes",
    "gtsrb": "signs",
    "dtd": "textures",
    "ucf101": "actions",
}
OPEN_CLIP_LISTS = {
    "simple": "SIMPLE_IMAGENET_TEMPLATES",
    "imagenet": "OPENAI_IMAGENET_TEMPLATES",
}


def expand_templates(templates: Sequence[str] | str) -> list[str]:
    """Sentences with one `{}` each.

    templates: such sentences, and names of lists (`imagenet`, `pets`, ...), which become the lists.
    Raises UsageError for a text that is neither, and if there is none.
    """
    expanded: list[str] = []
    for template in [templates] if isinstance(templates, str) else templates:
        name = ALIASES.get(template, template)
        if name in OPEN_CLIP_LISTS:
            expanded += _open_clip_templates(OPEN_CLIP_LISTS[name])
        elif name in DATASET_TEMPLATES:
            expanded += DATASET_TEMPLATES[name]
        elif template.count("{}") == 1:
            expanded.append(template)
        else:
            known = [*OPEN_CLIP_LISTS, *DATASET_TEMPLATES, *ALIASES]
            raise UsageError(
                f"The template {template!r} must hold {{}} once, where the class name goes, or be "
                f"the name of a list{did_you_mean(template, known)}."
            )
    if not expanded:
        raise UsageError("There is no prompt template; give one, such as 'a photo of a {}.'.")
    return expanded


def _open_clip_templates(attribute: str) -> list[str]:
    return [template("{}") for template in getattr(_open_clip_metadata(), attribute)]


def imagenet_names() -> list[str]:
    """The class names of ImageNet as open_clip spells them; the two that occur twice occur once."""
    return list(dict.fromkeys(imagenet_clip_names()))


def imagenet_clip_names() -> list[str]:
    """ImageNet's 1,000 class names in the order of its labels, as CLIP's authors spell them."""
    return list(_open_clip_metadata().IMAGENET_CLASSNAMES)


def _open_clip_metadata() -> Any:
    # Only this one file of open_clip is run: importing the package takes seconds.
    package = importlib.util.find_spec("open_clip")
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "zero_shot_metadata.py"
    spec = importlib.util.spec_from_file_location("_open_clip_metadata", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
