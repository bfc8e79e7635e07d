"""A teacher behind HTTP: the OpenAI-compatible embeddings request with image data.

`POST {base}/embeddings` with `{"model", "input", "modality": "image" | "text",
"encoding_format": "float"}`, as Infinity (infinity-emb, tried with 0.0.78) and `holdfast serve`
answer it. Images go as PNG data URIs, so without loss.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import math
import os
import random
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import torch
from torch import Tensor

from holdfast.data.pictures import sendable
from holdfast.errors import HoldfastError, UsageError, did_you_mean, shortened
from holdfast.settings import TeacherSettings
from holdfast.teachers.exchange import NoAddress, NoReply, Reply, TooLong, exchange
from holdfast.teachers.teacher import LOGIT_SCALE, NotTaken, retrying, unit_rows

if TYPE_CHECKING:
    from holdfast.data.views import View

T = TypeVar("T")

logger = logging.getLogger(__name__)

PAUSE = 1.0  # seconds before the second try; doubled for each further one
LONGEST_PAUSE = 60.0  # seconds
PATIENCE = 600.0  # seconds for all tries of a request, with the pauses between them
ANSWER_BYTES = 2**20  # of an answer; and as many more for each embedding as the next says
EMBEDDING_BYTES = 2**18
REPORTED = ("identity", "revision", "root", "backend", "dtype", "embedding_dtype")


class HTTPTeacher:
    """A model of an embedding service.

    settings: address, model, and how often and how long to ask.
    Its identity is the model's name with what `GET {base}/models` says of its weights (`REPORTED`,
    none of which must be there), or with `settings.revision` if that is set. The address is not
    part of it: a service may move, and may change its weights without telling, which only asking
    again for something already answered can show.

    Nothing is asked before it is needed. With model, revision and logit_scale set, the service
    need not run while no embedding is asked for. Raises UsageError if the key in OPENAI_API_KEY
    cannot be one.
    """

    free = False

    def __init__(self, settings: TeacherSettings) -> None:
        self.settings = settings
        self.batch = settings.batch
        self.width: int | None = None  # of the first answer, which all others must have
        self._base = settings.teacher.rstrip("/")
        self.name = re.sub(r"//[^/@]*@", "//", self._base)  # without a password in it
        self._key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not re.fullmatch(r"[!-~]*", self._key):
            raise UsageError("OPENAI_API_KEY holds a space or a letter that no key can have.")
        self._headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}

    @cached_property
    def model(self) -> str:
        """The service's own name of the model."""
        return self.settings.model or self._about["id"]

    @cached_property
    def identity(self) -> str:
        """Name and revision of the model, as far as the service tells."""
        if self.settings.revision is not None:
            reported: dict[str, Any] = {"given": self.settings.revision}
        else:
            reported = {key: self._about[key] for key in REPORTED if self._about.get(key)}
        return "http " + json.dumps({"model": self.model, **reported}, sort_keys=True)

    @cached_property
    def logit_scale(self) -> float:
        """The one set, else what the service reports (`holdfast serve` does), else 100."""
        if self.settings.logit_scale is not None:
            return self.settings.logit_scale
        own = self._about.get("logit_scale")
        if isinstance(own, int | float) and math.isfinite(own) and own > 0:
            return float(own)
        return LOGIT_SCALE

    def embed_images(self, views: Sequence[View]) -> Tensor:
        """Embeddings of `views`: (views, dim) float32 on the CPU, L2-normalised.

        There is a request for each `batch` of views. Raises HoldfastError if the service does not
        answer, refuses, or answers with something else than finite embeddings of one width.
        """
        with ThreadPoolExecutor() as pool:
            return self._embed("image", views, lambda part: list(pool.map(data_uri, part)))

    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings of `prompts`: (prompts, dim) float32 on the CPU, L2-normalised.

        Raises as `embed_images` does.
        """
        return self._embed("text", prompts, list)

    def _embed(
        self, modality: str, items: Sequence[T], encode: Callable[[Sequence[T]], list[str]]
    ) -> Tensor:
        rows = []
        for start in range(0, len(items), self.batch):
            part = encode(items[start : start + self.batch])
            body = {"model": self.model, "input": part, "modality": modality}
            body["encoding_format"] = "float"
            answer = self._ask("POST", "embeddings", body, len(part) * EMBEDDING_BYTES)
            rows.append(unit_rows(self._checked(answer, len(part)), f"The teacher at {self.name}"))
        return torch.cat(rows)

    def _checked(self, answer: Any, count: int) -> Tensor:
        """The rows of an answer in the order of the inputs, (count, width)."""
        try:
            numbers = [item.get("index") for item in answer["data"]]
            if all(number is None for number in numbers):
                numbers = list(range(len(numbers)))  # without an index they are in order
            elif len(numbers) == count > 1 and set(numbers) == {0}:
                self._wrong("it gives each embedding the index 0, which hides their order")
            given = (plain(item["embedding"]) for item in answer["data"])
            found = dict(zip(numbers, given, strict=True))
            rows = [[math.nan if x is None else x for x in found[i]] for i in sorted(found)]
            widths = {len(row) for row in rows} | ({self.width} if self.width else set())
        except (LookupError, TypeError, AttributeError):
            self._wrong("its answer is not in the OpenAI form")
        if sorted(found) != list(range(count)) or len(answer["data"]) != count:
            self._wrong(f"it gave {len(answer['data'])} embeddings for {count} inputs")
        if len(widths) > 1:
            self._wrong(f"its embeddings have different widths, {sorted(widths)}")
        try:
            values = torch.tensor(rows, dtype=torch.float32)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            self._wrong("its embeddings are not lists of numbers")
        if values.dim() != 2:
            self._wrong("it gives several embeddings an input")
        self.width = values.shape[1]
        return values

    def _wrong(self, problem: str) -> NoReturn:
        raise HoldfastError(
            f"The teacher at {self.name} cannot be used: {problem}; check that the model "
            f"{self.model!r} embeds images and text into one space."
        )

    @cached_property
    def _about(self) -> dict[str, Any]:
        """The service's entry for the model; its name alone if the service has no list."""
        try:
            data = self._ask("GET", "models")["data"]
            entries = {str(entry["id"]): dict(entry) for entry in data}
        except (LookupError, TypeError, ValueError, RecursionError):
            entries = {}
        wanted = self.settings.model
        if wanted is None and len(entries) == 1:
            return next(iter(entries.values()))
        if wanted is None:
            has = f"has {', '.join(sorted(entries)[:10])}" if entries else "lists no models"
            raise UsageError(
                f"The teacher at {self.name} {has}; check the address (with or without /v1), and "
                "name the model to ask for in the setting `model`."
            )
        if not entries:
            return {"id": wanted}
        if wanted not in entries:
            raise UsageError(
                f"The teacher at {self.name} has no model {wanted!r}"
                f"{did_you_mean(wanted, entries)}; it has {', '.join(sorted(entries)[:10])}."
            )
        return entries[wanted]

    def _ask(self, method: str, path: str, body: Any = None, room: int = 0) -> Any:
        """The JSON value of a successful answer, None where the service has no such list.

        room: bytes that the answer may have beyond ANSWER_BYTES.

        Tries again, for PATIENCE seconds at most, when the service is silent, busy or failing. A
        vendor may charge for each try that it received, so `retrying` is called before the next.
        """
        begun, taken = time.monotonic(), False  # whether the last try may have been worked on
        for attempt in range(self.settings.retries + 1):
            if attempt and taken and method == "POST":
                retrying()
            wait = 0.0
            try:
                reply = exchange(
                    method,
                    f"{self._base}/{path}",
                    body,
                    headers=self._headers,
                    timeout=self.settings.timeout,
                    most=ANSWER_BYTES + room,
                )
            except NoReply as error:
                problem, taken = self._short(str(error)), error.sent
            except TooLong:
                raise HoldfastError(
                    f"The teacher at {self.name} answers with more than {ANSWER_BYTES + room:,} "
                    "bytes; check the address."
                ) from None
            except NoAddress as error:
                raise UsageError(f"{self.name} is no address of a service: {error}.") from None
            else:
                if 200 <= reply.status < 300:
                    return self._json(reply)
                if method == "GET" and reply.status in (404, 405, 501):
                    return None
                problem, wait = self._said(reply), reply.wait
                taken = reply.status == 408 or reply.status >= 500
                if reply.status not in (408, 425, 429) and reply.status < 500:
                    self._refused(reply.status, problem)
            # The jitter keeps several clients from coming back at once; no result depends on it.
            pause = min(PAUSE * 2**attempt, LONGEST_PAUSE) * random.uniform(0.5, 1.0)
            wait = max(wait, pause)
            late = time.monotonic() - begun + wait > PATIENCE
            if attempt == self.settings.retries or late:
                break
            logger.warning("%s: %s; trying again in %.1f s.", self.name, problem, wait)
            time.sleep(wait)
        tries = "1 try" if attempt == 0 else f"{attempt + 1} tries"
        later = f"; it asks to be left alone for {wait:.0f} s" if wait > LONGEST_PAUSE else ""
        raise (HoldfastError if taken else NotTaken)(
            f"The teacher at {self.name} does not answer ({problem}; {tries}{later}); see that it "
            "runs, or give it more time, then run the same command again to go on."
        )

    def _json(self, reply: Reply) -> Any:
        try:
            return json.loads(reply.content)
        except (ValueError, RecursionError):
            raise HoldfastError(
                f"The teacher at {self.name} answered with something else than JSON "
                f"({self._short(reply.text)!r}); check the address."
            ) from None

    def _refused(self, status: int, problem: str) -> NoReturn:
        hints = {
            401: "set OPENAI_API_KEY to its key",
            403: "set OPENAI_API_KEY to its key",
            404: "check the address (with or without /v1) and the model's name",
            413: "lower the batch, the number of images a request",
            422: "lower the batch, the number of images a request, or check the model's name",
        }
        hint = hints.get(status, "check the address and the model's name")
        raise NotTaken(f"The teacher at {self.name} refused: {problem}; {hint}.")

    def _said(self, reply: Reply) -> str:
        """Status and message of an error, in OpenAI's form, FastAPI's, or any other."""
        text = reply.text
        try:
            value = json.loads(reply.content)
            value = value.get("error", value.get("detail", text))
            value = value[0] if isinstance(value, list) else value
            value = value.get("message", value.get("msg")) if isinstance(value, dict) else value
            text = value if isinstance(value, str) else text
        except (ValueError, AttributeError, LookupError, RecursionError):
            pass
        phrases = {each.value: each.phrase for each in HTTPStatus}
        said = self._short(text) or phrases.get(reply.status, "no reason")
        return f"HTTP status {reply.status}: {said}"

    def _short(self, text: str) -> str:
        text = text.replace(self._key, "***") if self._key else text
        return shortened(text[:1000])


def plain(embedding: Any) -> Any:
    """An embedding; out of the list of one that some services put around it."""
    nested = isinstance(embedding, list) and len(embedding) == 1
    return embedding[0] if nested and isinstance(embedding[0], list) else embedding


def data_uri(view: View) -> str:
    """The picture of `view` as a data URI: the file itself where it shows the same, else PNG.

    Raises UnreadableImage.
    """
    picture = view.image()
    found = sendable(view.path) if view.parameters is None else None
    if found is None:  # a photo as PNG is many times as large
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
        found = "image/png", buffer.getvalue()
    kind, content = found
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
