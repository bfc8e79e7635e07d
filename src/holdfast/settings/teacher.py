"""Settings of a teacher that is asked for embeddings, and of the service that answers for one."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.settings.base import Settings, setting


@dataclass(frozen=True)
class TeacherSettings(Settings):
    """Where the embeddings of a vision-language teacher come from."""

    teacher: str = setting(
        "ViT-B-16",  # the paper's
        "open_clip architecture, `local-dir:PATH`, `hf-hub:ID` or `pocket`; `file:PATH`, a file of "
        "embeddings; or the base URL of a service, such as http://127.0.0.1:7997/v1, whose key is "
        "read from the variable OPENAI_API_KEY.",
        free=True,  # where it is to be found; which one it is, the run's inputs know
        rank=True,
        place=True,
    )
    pretrained: str = setting(
        "openai",
        "open_clip's tag for an architecture's weights, or a file of them.",
        free=True,
        place=True,
    )
    model: str | None = setting(
        None, "Name of the model to ask a service for; none takes the only one it has.", free=True
    )
    revision: str | None = setting(
        None,
        "Name of the service's weights, given by you. Stored embeddings are kept apart by it; none "
        "takes what the service says of itself.",
        free=True,
    )
    logit_scale: float | None = setting(
        None,
        "Factor on cosine similarities; none takes the teacher's own, or 100 (CLIP's) where a "
        "service or file does not tell.",
        low=1e-6,
        high=1e6,
    )
    batch: int = setting(
        32,
        "Images or prompts a request, and a step of a local model (Infinity takes 32 images).",
        low=1,
        free=True,
    )
    retries: int = setting(
        5,
        "Further tries when a service is busy, silent or failing, with longer and longer pauses.",
        low=0,
        high=100,
        free=True,
    )
    timeout: float = setting(
        60.0, "Seconds that a service may take to answer.", low=0.001, free=True
    )


@dataclass(frozen=True)
class ServeSettings(Settings):
    """Answer the OpenAI-compatible embeddings request, with text or image data, for one model."""

    model: str = setting(
        help="open_clip architecture, `local-dir:PATH`, `hf-hub:ID`, or `pocket`.", place=True
    )
    pretrained: str = setting(
        "openai",
        "open_clip's tag for an architecture's weights, or a file of them.",
        rank=True,
        place=True,
    )
    host: str = setting(
        "127.0.0.1",
        "Address to listen on; the default is reachable from this machine only. Elsewhere a "
        "secret is needed in the variable HOLDFAST_API_KEY, which each client must then show.",
        rank=True,
    )
    port: int = setting(
        7997, "Port to listen on; 0 takes a free one.", low=0, high=65535, rank=True
    )
    max_inputs: int = setting(256, "Images or texts that one request may hold.", low=1)
    max_request_mb: float = setting(
        64.0, "Size that one request may have, in megabytes.", low=0.001, high=4096
    )
    max_megapixels: float = setting(
        512.0, "Pixels that the images of one request may have together, in millions.", low=0.001
    )
    device: str = setting("auto", "`auto`, `cpu`, `cuda`, `mps`.")
