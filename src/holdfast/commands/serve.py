"""`holdfast serve`: the embeddings of any open_clip model over HTTP."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

from holdfast.commands.settings import ServeSettings
from holdfast.errors import UsageError, require
from holdfast.models.clip import load_clip
from holdfast.teachers import LocalTeacher


def serve(settings: ServeSettings) -> None:
    """Answer embeddings requests until an interrupt; see `holdfast.teachers.server`.

    Raises UsageError for a model or an address that cannot be used, and for an address that others
    reach where there is no secret.
    """
    for module in ("starlette", "uvicorn"):
        require(module, "serve")
    # Only here: the other commands need no server.
    from holdfast.teachers.server import application, listen, run

    key = os.environ.get("HOLDFAST_API_KEY", "")
    with listen(settings.host, settings.port) as at:
        if not key and not is_loopback(at.getsockname()[0]):
            raise UsageError(
                f"Everybody who reaches {settings.host} could use this service; set the variable "
                "HOLDFAST_API_KEY to a secret, or leave --host away to serve this machine only."
            )
        teacher = LocalTeacher(load_clip(settings.model, settings.pretrained, settings.device, 0))
        name = served_name(settings.model)
        service = application(teacher, name, settings, key)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        print(f"Serving {name} at http://{host}:{at.getsockname()[1]}/v1", flush=True)
        run(service, at)


def is_loopback(address: str) -> bool:
    """Whether an IP address is reachable from this machine only."""
    return ipaddress.ip_address(address).is_loopback


def served_name(model: str) -> str:
    """The name clients ask for: that of a model's folder, not the way to it."""
    if model.startswith("local-dir:"):
        return Path(model.removeprefix("local-dir:")).resolve().name
    return model.removeprefix("hf-hub:")
