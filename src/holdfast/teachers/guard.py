"""What a service refuses before it works: strangers' hosts, slow headers, too many pixels.

A page in a browser can send requests to this machine, and can call it by any name. So a service
that only this machine reaches answers to its own names alone, and to no other page.
"""

from __future__ import annotations

import asyncio
import io
import threading
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from PIL import Image
from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from holdfast.data.pictures import formats

HEADER_SECONDS = 10.0  # a client may take to send the head of a request
MOST_CONNECTIONS = 512
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Protocol(H11Protocol):
    """Uvicorn's, which closes connections on which no request arrives, and those beyond a number.

    Half a head would otherwise keep its connection for ever.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, its `transport`, and look at it now and then."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.close()
            return
        self.loop.call_later(HEADER_SECONDS, self._look, self.cycle)

    def _look(self, seen: object) -> None:
        """Close the connection if nothing was asked since `seen`, the last request."""
        idle = self.cycle is None or self.cycle.response_complete
        if self.transport.is_closing():
            return
        if idle and self.cycle is seen:
            self.transport.close()
        else:
            self.loop.call_later(HEADER_SECONDS, self._look, self.cycle)


def is_stranger(request: Request, hosts: tuple[str, ...]) -> bool:
    """Whether a `request` calls the service by another name, or comes from another page.

    hosts: the names of the service; () is any, for one that asks for a key.
    """
    host = request.headers.get("host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    origin = request.headers.get("origin")
    foreign = origin is not None and origin not in (f"http://{host}", f"https://{host}")
    return foreign or (bool(hosts) and name.lower() not in hosts)


def pixels_of(content: bytes) -> int:
    """Pixels that an image file says it has; 0 for what is no image.

    content: of the file, of which only the head is read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the size, which is asked for here
            with Image.open(io.BytesIO(content), formats=formats()) as image:
                return image.width * image.height
    except Exception:  # a broken head makes decoders raise almost anything
        return 0


async def while_listening(
    request: Request, work: Callable[[threading.Event], Awaitable[Any]]
) -> Any:
    """What `work` comes to; the event that it takes is set when the client has left.

    request: whose body was read. Raises what `work` raises.
    """
    gone = threading.Event()
    found: list[Any] = []

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        try:
            found.append(await work(gone))
        except Exception as error:  # not within a group of them
            found.append(error)
        tasks.cancel_scope.cancel()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]
