"""One HTTP request and its whole answer, within a time and a size."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import anyio
import httpx2
from anyio.from_thread import start_blocking_portal


@dataclass(frozen=True)
class Reply:
    """What a service answered: the HTTP status, seconds that it asks to wait, and the body."""

    status: int
    wait: float
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", "replace")


class NoReply(Exception):  # noqa: N818 - reads better where it is caught
    """What came in place of an answer.

    problem: in words. sent: whether any of the request went out.
    """

    def __init__(self, problem: str, sent: bool) -> None:
        super().__init__(problem)
        self.sent = sent


class TooLong(Exception):  # noqa: N818 - reads better where it is caught
    """An answer of more bytes than it may have, which the next one would have too."""


class NoAddress(Exception):  # noqa: N818 - reads better where it is caught
    """An address that no request can be sent to."""


def exchange(
    method: str, url: str, body: Any, *, headers: Mapping[str, str], timeout: float, most: int
) -> Reply:
    """Send a request and take the whole answer.

    method: of HTTP. url: the address. body: sent as JSON; None is none. headers: to send.
    timeout: seconds for all of it, however slowly the answer drips. most: bytes of an answer.

    Raises NoReply where there is no whole answer in time, TooLong for one of more than `most`
    bytes, NoAddress for a bad `url`.
    """
    begun, sent = time.monotonic(), False

    async def note(event: str, info: object) -> None:
        nonlocal sent
        sent |= event.endswith("send_request_headers.started")

    async def whole() -> Reply:
        content = bytearray()
        # Redirects are not followed, since one would hand a key to another address.
        client = httpx2.AsyncClient(headers=headers, timeout=None, verify=tls())
        with anyio.fail_after(timeout):
            async with (
                client,
                client.stream(method, url, json=body, extensions={"trace": note}) as answer,
            ):
                async for part in answer.aiter_bytes():
                    content += part
                    if len(content) > most:
                        raise TooLong
        wait = retry_after(answer.headers.get("Retry-After", ""))
        return Reply(answer.status_code, wait, bytes(content))

    late = f"no whole answer within {timeout:g} s"
    try:
        # In a thread of its own: a notebook has an event loop in this one.
        with start_blocking_portal() as portal:
            return portal.call(whole)
    except TimeoutError:
        raise NoReply(late, sent) from None
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise NoAddress(str(error)) from None
    except httpx2.RequestError as error:
        # The end of the time can show as a connection that was closed.
        problem = late if time.monotonic() - begun >= timeout else first_cause(error)
        raise NoReply(problem, sent) from None


def first_cause(error: BaseException) -> str:
    """What an `error` comes from, in words: anyio says only that no attempt succeeded."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


@cache
def tls() -> ssl.SSLContext:
    """What certificates are checked with; it takes a while to read them."""
    return httpx2.create_ssl_context()


def retry_after(header: str) -> float:
    """Seconds that a Retry-After `header` asks for, as a number or a date; 0 for anything else."""
    try:
        seconds = float(header)
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if seconds < float("inf") else 0.0
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
