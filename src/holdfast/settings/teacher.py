"""Settings of a teacher that is asked for embeddings, and of the service that answers for one."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.settings.base import INFINITY, Settings


@dataclass(frozen=True)
class TeacherSettings(Settings):
    """Where the embeddings of a vision-language teacher come from.

    Args:
        teacher: open_clip architecture, `local-dir:PATH`, `hf-hub:ID` or `pocket`; `file:PATH`, a
            file of embeddings; or the base URL of a service, such as `http://127.0.0.1:7997/v1`,
            whose key is read from the variable OPENAI_API_KEY.
        pretrained: open_clip's tag for an architecture's weights.
        model: name of the model to ask a service for; none takes the only one it has.
        revision: name of the service's weights, given by you. Stored embeddings are kept apart by
            it; none takes what the service says of itself.
        logit_scale: factor on cosine similarities; none takes the teacher's own, or 100 (CLIP's)
            where a service or file does not tell.
        batch: images or prompts a request, and a step of a local model (Infinity takes 32 images).
        retries: further tries when a service is busy, silent or failing, with longer and longer
            pauses.
        timeout: seconds that a service may take to answer.
    """

    limits = {
        "logit_scale": (1e-6, 1e6),
        "batch": (1, INFINITY),
        "retries": (0, 100),
        "timeout": (0.001, INFINITY),
    }

    teacher: str = "ViT-B-16"  # the paper's
    pretrained: str = "openai"
    model: str | None = None
    revision: str | None = None
    logit_scale: float | None = None
    batch: int = 32
    retries: int = 5
    timeout: float = 60.0


@dataclass(frozen=True)
class ServeSettings(Settings):
    """Answer the OpenAI-compatible embeddings request, with text or image data, for one model.

    Args:
        model: open_clip architecture, `local-dir:PATH`, `hf-hub:ID`, or `pocket`.
        pretrained: open_clip's tag for an architecture's weights.
        host: address to listen on; the default is reachable from this machine only. Elsewhere put
            a secret into the variable HOLDFAST_API_KEY, which each client must then show.
        port: port to listen on; 0 takes a free one.
        max_inputs: images or texts that one request may hold.
        max_request_mb: size that one request may have, in megabytes.
        device: `auto`, `cpu`, `cuda`, `mps`.
    """

    limits = {
        "port": (0, 65535),
        "max_inputs": (1, INFINITY),
        "max_request_mb": (0.001, 4096),
    }

    model: str
    pretrained: str = ""
    host: str = "127.0.0.1"
    port: int = 7997
    max_inputs: int = 256
    max_request_mb: float = 64.0
    device: str = "auto"
