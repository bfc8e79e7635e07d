"""The embedding service of `holdfast serve`: one local model behind the protocol of `http.py`.

    POST /v1/embeddings   {"input", "model", "modality", "encoding_format"} -> embeddings
    GET  /v1/models       the model, with identity, logit_scale and capabilities
    GET  /health

The first two also without `/v1`, which is where Infinity has them. Errors have OpenAI's form.
Images come as base64, in a data URI or plain; no address is ever fetched.
"""

from __future__ import annotations

import base64
import hmac
import io
import json
import math
import re
import socket
import threading
import time
from dataclasses import dataclass

import anyio
import anyio.to_thread
import torch
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from torch import Tensor

from holdfast.data.pictures import UnreadableImage, read_image
from holdfast.errors import HoldfastError, UsageError
from holdfast.settings import ServeSettings
from holdfast.teachers.guard import LOOPBACK, Protocol, is_stranger, pixels_of, while_listening
from holdfast.teachers.local import LocalTeacher

MAX_TEXT = 4096  # characters; CLIP reads some 77 tokens
MAX_DECODING = 4  # requests whose images are decoded at the same time
LARGE_BYTES = 2**20  # of a request; MAX_DECODING larger ones are held at a time
QUICK_PIXELS = 2**24  # of a request; one with more has to wait for others of its kind
ANY_MODEL = "default/not-specified"  # Infinity's
BODY_SECONDS = 60.0  # a client may take to send its request


class RequestError(Exception):
    """What is wrong with a request.

    message: one sentence. status: of HTTP.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def application(
    teacher: LocalTeacher, name: str, settings: ServeSettings, key: str = ""
) -> Starlette:
    """The service.

    teacher: the model. name: what clients call it. settings: limits of a request.
    key: that each client must show; "" is none.
    """
    limit = int(settings.max_request_mb * 1e6)
    about = {
        "id": name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "holdfast",
        "capabilities": ["embed", "image_embed"],
        "identity": teacher.identity,
        "logit_scale": teacher.logit_scale,
    }
    workers = anyio.CapacityLimiter(MAX_DECODING)
    slow, large = anyio.CapacityLimiter(1), anyio.CapacityLimiter(MAX_DECODING)
    hosts = () if key else (*LOOPBACK, settings.host.lower())

    async def embeddings(request: Request) -> Response:
        admit(request, key, hosts)
        if said_bytes(request, limit) <= LARGE_BYTES:
            return await answered(request)
        async with large:  # without a size, too
            return await answered(request)

    async def answered(request: Request) -> Response:
        body = await receive(request, limit)

        async def work(gone: threading.Event) -> bytes:
            asked = await anyio.to_thread.run_sync(parsed, body, name, settings, limiter=workers)
            lane = workers if asked.pixels <= QUICK_PIXELS else slow
            return await anyio.to_thread.run_sync(embed, teacher, name, asked, gone, limiter=lane)

        answer = await while_listening(request, work)
        return Response(answer, media_type="application/json")

    async def models(request: Request) -> Response:
        admit(request, key, hosts)
        return JSONResponse({"object": "list", "data": [about]})

    async def health(request: Request) -> Response:
        admit(request, "", hosts)
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/health", health),
            *(Route(f"{prefix}/models", models) for prefix in ("", "/v1")),
            *(
                Route(f"{prefix}/embeddings", embeddings, methods=["POST"])
                for prefix in ("", "/v1")
            ),
        ],
        exception_handlers={
            RequestError: lambda _, error: failure(str(error), error.status),
            HTTPException: lambda _, error: failure(error.detail, error.status_code),
            HoldfastError: lambda _, error: failure(str(error), 500),
            ClientDisconnect: lambda *_: failure("gone", 499),
            Exception: lambda *_: failure("internal error", 500),
        },
    )


def failure(message: str, status: int) -> Response:
    """The response to a failed request, in OpenAI's form.

    message: what is wrong. status: of HTTP.
    """
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": None, "code": status}
    return JSONResponse({"error": error}, status)


def admit(request: Request, key: str, hosts: tuple[str, ...] = ()) -> None:
    """Raise RequestError for a `request` from another page, or without the `key`; "" is no key.

    hosts: the names that the service goes by; () is any.
    """
    if is_stranger(request, hosts):
        raise RequestError("the request is meant for another host, or comes from a web page", 403)
    shown = request.headers.get("authorization", "").encode()
    if key and not hmac.compare_digest(shown, f"Bearer {key}".encode()):
        raise RequestError("a key is needed: Authorization: Bearer KEY", 401)


def said_bytes(request: Request, limit: int) -> float:
    """How many bytes a `request` says its body has; infinite if it does not say.

    Raises RequestError for more than `limit`.
    """
    text = request.headers.get("content-length", "")
    if text.isdecimal() and int(text) > limit:
        raise RequestError(f"the request is larger than {limit / 1e6:g} MB", 413)
    return int(text) if text.isdecimal() else math.inf


async def receive(request: Request, limit: int) -> bytes:
    """The body of `request`. Raises RequestError if it is longer than `limit` bytes, or slow."""
    body = bytearray()
    with anyio.move_on_after(BODY_SECONDS) as patience:
        async for part in request.stream():
            body += part
            if len(body) > limit:
                raise RequestError(f"the request is larger than {limit / 1e6:g} MB", 413)
    if patience.cancelled_caught:
        raise RequestError(f"the request took longer than {BODY_SECONDS:g} s to arrive", 408)
    return bytes(body)


@dataclass(frozen=True)
class Asked:
    """An embeddings request: texts or image files, base64 or not, and the pixels in all."""

    texts: list[str]
    images: list[bytes]
    packed: bool
    pixels: int


def embed(teacher: LocalTeacher, name: str, asked: Asked, gone: threading.Event) -> bytes:
    """The JSON answer to an embeddings request.

    teacher: the model. name: what clients call it. asked: the request. gone: set when the client
    has left. Raises RequestError for a request that cannot be answered.
    """
    if not asked.images:
        rows = teacher.embed_text(asked.texts)
    else:
        parts = []
        for start in range(0, len(asked.images), teacher.batch):
            tensors = []
            # One picture at a time: a small file can decode to a quarter of a gigabyte.
            for place in range(start, min(start + teacher.batch, len(asked.images))):
                if gone.is_set():
                    raise RequestError("gone", 499)
                picture = decode_image(asked.images[place], place)
                tensors.append(teacher.clip.preprocess(picture))
            parts.append(teacher.encode(tensors))
        rows = torch.cat(parts)
    inputs = asked.images or asked.texts
    encode = packed if asked.packed else Tensor.tolist
    data = [
        {"object": "embedding", "index": index, "embedding": encode(row)}
        for index, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}  # inputs, not tokens
    return json.dumps({"object": "list", "model": name, "data": data, "usage": usage}).encode()


def parsed(body: bytes, name: str, settings: ServeSettings) -> Asked:
    """An embeddings request from its `body`.

    name: of the model. settings: limits of a request. Raises RequestError for anything else.
    """
    most = settings.max_inputs
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("the request is no JSON") from None
    if not isinstance(asked, dict):
        raise RequestError("the request is no JSON object")
    if asked.get("model", ANY_MODEL) not in (name, ANY_MODEL):
        raise RequestError(f"there is no model {asked['model']!r}; this service has {name!r}", 404)
    modality = asked.get("modality", "text")
    if modality not in ("text", "image"):
        raise RequestError("modality must be 'text' or 'image'")
    encoding = asked.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        raise RequestError("encoding_format must be 'float' or 'base64'")
    if asked.get("dimensions"):
        raise RequestError("dimensions cannot be chosen; leave it out")
    inputs = asked.get("input")
    inputs = [inputs] if isinstance(inputs, str) else inputs
    if not isinstance(inputs, list) or not all(isinstance(text, str) for text in inputs):
        raise RequestError("input must be text or a list of texts")
    if not 0 < len(inputs) <= most:
        raise RequestError(f"input must hold 1 to {most} items, not {len(inputs)}", 422)
    if modality == "text" and max(map(len, inputs)) > MAX_TEXT:
        raise RequestError(f"a text has more than {MAX_TEXT} characters")
    if modality == "text":
        return Asked(inputs, [], encoding == "base64", 0)
    images = [content_of(text, place) for place, text in enumerate(inputs)]
    pixels = sum(map(pixels_of, images))
    if pixels > settings.max_megapixels * 1e6:
        raise RequestError(f"the images have more than {settings.max_megapixels:g} megapixels", 413)
    return Asked([], images, encoding == "base64", pixels)


def content_of(text: str, place: int) -> bytes:
    """The file in the base64 `text`, a data URI or plain.

    place: number of the input, for messages. Raises RequestError if there is no file in it.
    """
    if re.match(r"[a-zA-Z]+://", text):
        raise RequestError(f"input {place} is an address, and none is fetched; send the image data")
    head, comma, data = text.partition(",")
    if comma and not (head.startswith("data:") and head.endswith(";base64")):
        raise RequestError(f"input {place} is no data URI of the form data:image/png;base64,...")
    try:
        return base64.b64decode(data if comma else head, validate=True)
    except ValueError:
        raise RequestError(f"input {place} is no valid base64") from None


def decode_image(content: bytes, place: int) -> Image.Image:
    """The RGB picture of an image file.

    content: of the file. place: number of the input, for messages. Raises RequestError for a file
    that is no image.
    """
    try:
        return read_image(io.BytesIO(content))
    except UnreadableImage as error:
        raise RequestError(f"input {place} is no image that can be read: {error.reason}") from None


def packed(row: Tensor) -> str:
    """base64 of the numbers of `row` (dim,) as little-endian float32."""
    return base64.b64encode(row.numpy().astype("<f4").tobytes()).decode()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at `host` and `port`; port 0 takes a free one.

    Raises UsageError for an address that is in use or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}; choose another "
            "--port or --host."
        ) from None


def run(service: Starlette, at: socket.socket) -> None:
    """Run `service` at the socket `at` until an interrupt or a terminate signal.

    Requests that are being answered are finished first.
    """
    config = uvicorn.Config(
        service,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        http=Protocol,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
    )
    uvicorn.Server(config).run(sockets=[at])
