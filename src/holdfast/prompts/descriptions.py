"""Sentences about class names: from a file, or from a language model.

CuPL publishes such files: {"class name": ["sentence", ...]}. A model is asked through the
OpenAI-compatible request `POST {llm_url}/chat/completions`, once for each class.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError, UsageError, did_you_mean
from holdfast.files import read_json, write_json
from holdfast.names import ClassNames, normalised
from holdfast.settings import PromptSettings

logger = logging.getLogger(__name__)

TIMEOUT = 120.0  # seconds a language model may take for one answer
LONGEST = 2**20  # bytes of an answer
PAUSES = (1.0, 4.0, 16.0)  # seconds between tries


def read_descriptions(path: Path, classes: ClassNames) -> dict[int, list[str]]:
    """{label: sentences} from the JSON file `path`, {"class name": ["sentence", ...]}.

    classes: the classes, which are matched by name; names that match none are in a warning.
    Raises UsageError for a file of another form, and for one that describes none of the classes;
    HoldfastError for a file that cannot be read.
    """
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
        and all(isinstance(item, str) and item.strip() and _is_text(item) for item in value)
    )


def _is_text(text: str) -> bool:
    """Whether no half of a surrogate pair is in it, which no tokenizer takes."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def ask_descriptions(
    classes: ClassNames,
    labels: Sequence[int],
    settings: PromptSettings,
    template: str,
    cache: Path | None,
) -> dict[int, list[str]]:
    """{label: sentences} that a language model writes.

    classes: the classes. labels: those to ask for. settings: which model, and how many sentences.
    template: sentence with one `{}`; it comes before a sentence that does not name its class.
    cache: JSON file that each answer is saved to before the next question; what is in it is not
        asked for again.

    Raises UsageError for settings or a cache that cannot be used, HoldfastError if the model does
    not answer.
    """
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
    import httpx2  # not needed before

    key = os.environ.get("OPENAI_API_KEY", "").strip()  # a key from a file ends in a new line
    if not re.fullmatch(r"[!-~]*", key):
        raise UsageError("OPENAI_API_KEY holds a space or a letter that no key can have.")
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"prompts.llm_url must start with http:// or https://, not {url[:8]!r}.")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        # Redirects are not followed, since one would hand the key to another address.
        with httpx2.stream("POST", url, json=body, headers=headers, timeout=TIMEOUT) as answer:
            data, reason = _received(answer.iter_bytes()), answer.reason_phrase
            status, right = answer.status_code, answer.is_success
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise UsageError(f"{_shown(url)} is no address of a service: {error}.") from None
    except httpx2.RequestError as error:
        raise _AgainError(f"no answer ({error or type(error).__name__})") from None
    if not right:
        detail = data[:500].decode("utf-8", "replace")
        detail = detail.replace(key, "***") if key else detail
        problem = f"HTTP status {status}: {' '.join(detail.split()) or reason}"
        if status in (408, 409, 425, 429) or status >= 500:
            raise _AgainError(problem)
        hint = "set OPENAI_API_KEY" if status in (401, 403) else "check prompts.llm_url"
        raise HoldfastError(
            f"The language model at {_shown(url)} refused ({problem}); {hint} and the model's name."
        )
    try:
        content = json.loads(data)["choices"][0]["message"]["content"]
        if isinstance(content, list):  # parts, as some services give them
            content = "".join(part["text"] for part in content if part.get("type") == "text")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _AgainError("its answer is not in the OpenAI form") from None
    return content if isinstance(content, str) else ""


def _received(parts: Iterable[bytes]) -> bytes:
    """The whole of an answer, unless it is too long or takes too long."""
    data, end = b"", time.monotonic() + TIMEOUT
    for part in parts:
        data += part
        if len(data) > LONGEST:
            raise _AgainError(f"its answer has more than {LONGEST:,} bytes")
        if time.monotonic() > end:
            raise _AgainError(f"its answer was not whole within {TIMEOUT:g} s")
    return data


def _shown(url: str) -> str:
    """The address without a password in it."""
    return re.sub(r"//[^/@]*@", "//", url)


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value of JSON: lists may be nested, or hold objects such as {"text": ...}."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _sentences(text: str) -> list[str]:
    """The sentences of an answer: a JSON list, fenced or not, or one a line, numbered or not."""
    text = re.sub(r"<think>.*?</think>", "", text, flags=re.DOTALL)
    start, end = text.find("["), text.rfind("]")
    if start >= 0:
        try:
            items = list(_texts(json.loads(text[start : end + 1])))
        except (ValueError, RecursionError):
            if text.lstrip("`json \n").startswith("["):
                return []  # a list cut short: the last sentence may be half of one
            items = text.splitlines()
    else:
        items = text.splitlines()
    lines = (re.sub(r"^\s*(?:[-*•]|\d+[.)])\s+", "", item) for item in items)
    clean = (line.strip().strip('"').strip() for line in lines)
    # Shorter lines are headings, longer ones end in a colon: "Here are ten sentences:".
    return list(dict.fromkeys(ln for ln in clean if len(ln.split()) > 2 and not ln.endswith(":")))
