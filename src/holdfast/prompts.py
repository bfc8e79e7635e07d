"""Class names -> prompts: templates, or descriptions from a file or a language model.

The paper's template is kept literally: no article is mended ("a photo of a apple.").
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError, UsageError, did_you_mean
from holdfast.files import read_json, write_json
from holdfast.names import ClassNames, normalised
from holdfast.settings import PromptSettings

logger = logging.getLogger(__name__)

TIMEOUT = 120.0  # seconds a language model may take for one answer
PAUSES = (1.0, 4.0, 16.0)  # seconds between tries

# The templates that CLIP's authors published for each data set (data/prompts.md of their code).
DATASET_TEMPLATES: dict[str, tuple[str, ...]] = {
    "aircraft": ("a photo of a {}, a type of aircraft.", "a photo of the {}, a type of aircraft."),
    "birds": ("a photo of a {}, a type of bird.",),
    "cars": (
        *("a photo of a {}.", "a photo of the {}.", "a photo of my {}.", "i love my {}!"),
        *("a photo of my dirty {}.", "a photo of my clean {}."),
        *("a photo of my new {}.", "a photo of my old {}."),
    ),
    "digits": ('a photo of the number: "{}".',),
    "flowers": ("a photo of a {}, a type of flower.",),
    "food": ("a photo of {}, a type of food.",),
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
    "stanford-cars": "cars",
    "mnist": "digits",
    "flowers102": "flowers",
    "food101": "food",
    "eurosat": "land",
    "oxford-pets": "pets",
    "sun397": "scenes",
    "gtsrb": "signs",
    "dtd": "textures",
}
OPEN_CLIP_LISTS = {
    "simple": "SIMPLE_IMAGENET_TEMPLATES",
    "imagenet": "OPENAI_IMAGENET_TEMPLATES",
}


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
        described = _read_descriptions(settings.descriptions, classes)
    if settings.llm_url is not None:
        missing = [label for label in range(len(classes)) if label not in described]
        described |= _written(classes, missing, settings, templates[0], cache)
    return [
        described.get(label) or [template.replace("{}", name) for template in templates]
        for label, name in enumerate(classes)
    ]


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
    return list(dict.fromkeys(_open_clip_metadata().IMAGENET_CLASSNAMES))


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


def _read_descriptions(path: Path, classes: ClassNames) -> dict[int, list[str]]:
    """{label: sentences} from {"class name": ["sentence", ...]}, matched by name."""
    value = read_json(path)
    if not isinstance(value, dict) or not all(_is_sentences(item) for item in value.values()):
        raise UsageError(f'{path} must hold {{"class name": ["sentence", ...]}}.')
    described: dict[int, list[str]] = {}
    unknown: list[str] = []
    for name, sentences in value.items():
        label = classes.label(name)
        if label is None:
            unknown.append(name)
        else:
            described[label] = [sentence.strip() for sentence in sentences]
    if not described:
        raise UsageError(f"{path} describes none of the classes, but for example {unknown[:3]}.")
    if unknown:
        shown = ", ".join(f"{name!r}{did_you_mean(name, classes.names)}" for name in unknown[:5])
        logger.warning("%s: %d keys match no class: %s", path, len(unknown), shown)
    return described


def _is_sentences(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, str) and item.strip() for item in value)
    )


def _written(
    classes: ClassNames,
    labels: Sequence[int],
    settings: PromptSettings,
    template: str,
    cache: Path | None,
) -> dict[int, list[str]]:
    """Sentences of a language model for `labels`; each answer is saved before the next question."""
    if not settings.llm_model:
        raise UsageError("A language model's address needs its name too; set prompts.llm_model.")
    if settings.llm_count < 1:
        raise UsageError("prompts.llm_count must be at least 1.")
    # Another model, or another number of sentences, is another set of answers.
    key = f"{settings.llm_model}, {settings.llm_count} sentences"
    saved: dict[str, dict[str, list[str]]] = {}
    if cache is not None and cache.exists():
        saved = _read_cache(cache)
    answers = saved.setdefault(key, {})
    for label in labels:
        name = classes.names[label]
        if name not in answers:
            answers[name] = _ask(
                str(settings.llm_url), settings.llm_model, name, settings.llm_count
            )
            if cache is not None:
                write_json(cache, saved)
    return {
        label: [_mentioning(classes.names[label], text, template) for text in answers[name]]
        for label in labels
        for name in [classes.names[label]]
    }


def _read_cache(path: Path) -> dict[str, dict[str, list[str]]]:
    try:
        value = read_json(path)
        if all(_is_sentences(item) for answers in value.values() for item in answers.values()):
            return value
    except (HoldfastError, AttributeError):
        pass
    raise UsageError(f"{path} is no file of saved descriptions; move it away to ask again.")


def _mentioning(name: str, sentence: str, template: str) -> str:
    """The sentence, behind the filled template if it does not name the class itself."""
    if normalised(name) in normalised(sentence):
        return sentence
    return f"{template.replace('{}', name)} {sentence}"


def _ask(url: str, model: str, name: str, count: int) -> list[str]:
    """At most `count` different sentences on `name` from an OpenAI-compatible service.

    Three more tries with longer and longer pauses when the service is busy, silent or answers
    without sentences. Raises HoldfastError after them, and at once when it refuses the request.
    """
    question = (
        f"Write {count} different sentences that each describe what one photo of a {name} shows: "
        f'its look, setting, view and light. Every sentence names "{name}" and has at most 25 '
        "words. Answer with a JSON list of strings and nothing else."
    )
    body = {"model": model, "messages": [{"role": "user", "content": question}]}
    problem = ""
    for pause in (*PAUSES, None):
        try:
            sentences = _sentences(_post(f"{url.rstrip('/')}/chat/completions", body))[:count]
            if sentences:
                return sentences
            problem = "its answer holds no sentence"
        except _AgainError as error:
            problem = str(error)
        if pause is not None:
            time.sleep(pause)
    raise HoldfastError(
        f"The language model at {_shown(url)} did not describe {name!r}: {problem}; what it wrote "
        "so far is kept, run again later to go on."
    )


class _AgainError(Exception):
    """The service may answer the next time."""


def _post(url: str, body: Mapping[str, Any]) -> str:
    """The answer's text. The key goes to this address only and never into a message."""
    import http.client
    import urllib.error
    import urllib.request

    class NoRedirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None  # following one would hand the key to another address

    key = os.environ.get("OPENAI_API_KEY", "")
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"prompts.llm_url must start with http:// or https://, not {url[:8]!r}.")
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    opener = urllib.request.build_opener(NoRedirects)
    try:
        with opener.open(request, timeout=TIMEOUT) as response:
            text = json.loads(response.read())["choices"][0]["message"]["content"]
            return text if isinstance(text, str) else ""
    except urllib.error.HTTPError as error:
        detail = error.read(500).decode("utf-8", "replace")
        detail = detail.replace(key, "***") if key else detail
        problem = f"HTTP status {error.code}: {' '.join(detail.split()) or error.reason}"
        if error.code in (408, 409, 425, 429) or error.code >= 500:
            raise _AgainError(problem) from None
        hint = "set OPENAI_API_KEY" if error.code in (401, 403) else "check prompts.llm_url"
        raise HoldfastError(
            f"The language model at {_shown(url)} refused ({problem}); {hint} and the model's name."
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise _AgainError(f"no answer ({getattr(error, 'reason', None) or error})") from None
    except (ValueError, LookupError, TypeError):
        raise _AgainError("its answer is not in the OpenAI form") from None


def _shown(url: str) -> str:
    """The address without a password in it."""
    return re.sub(r"//[^/@]*@", "//", url)


def _sentences(text: str) -> list[str]:
    """The sentences of an answer: a JSON list, fenced or not, or one a line, numbered or not."""
    text = re.sub(r"<think>.*?</think>", "", text, flags=re.DOTALL)
    start, end = text.find("["), text.rfind("]")
    if start >= 0:
        try:
            items = json.loads(text[start : end + 1])
        except ValueError:
            if text.lstrip("`json \n").startswith("["):
                return []  # a list cut short: the last sentence may be half of one
            items = text.splitlines()
    else:
        items = text.splitlines()
    lines = (
        re.sub(r"^\s*(?:[-*•]|\d+[.)])\s+", "", item) for item in items if isinstance(item, str)
    )
    clean = (line.strip().strip('"').strip() for line in lines)
    # Shorter lines are headings, longer ones end in a colon: "Here are ten sentences:".
    return list(dict.fromkeys(ln for ln in clean if len(ln.split()) > 2 and not ln.endswith(":")))
