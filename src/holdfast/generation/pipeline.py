"""Text-to-image pipelines of diffusers: find, pin, load, draw."""

from __future__ import annotations

import gc
import hashlib
import inspect
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from holdfast import builtin
from holdfast.device import pick_device
from holdfast.errors import HoldfastError, UsageError, shortened
from holdfast.files import read_json
from holdfast.generation.weight_files import fetch, only_variant
from holdfast.settings import DrawSettings

logger = logging.getLogger(__name__)

# Pixels lie between 0 and 1; a picture that varies less than this around its mean shows nothing.
FLAT = 2 / 255
EXCERPT = 80  # characters of a prompt in a warning


@dataclass(frozen=True)
class PipelineSource:
    """A pipeline and the version of it that is used.

    place: a folder, or a hub id. name: what the manifest calls it; of a folder its own name, so
    that it may be moved. revision: the commit, or a hash of the folder's files.
    """

    place: str
    name: str
    revision: str

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}"


@dataclass
class Pipeline:
    """A loaded diffusers pipeline.

    source: where it is from. run: diffusers' own object.
    """

    source: PipelineSource
    run: Any

    @property
    def scheduler(self) -> str:
        """The name of its scheduler's class."""
        return type(getattr(self.run, "scheduler", None)).__name__

    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], settings: DrawSettings
    ) -> list[np.ndarray]:
        """One picture (height, width, 3) in 0..1 for each prompt.

        prompts: the texts. seeds: of each picture's own random generator. settings: guidance,
        steps and size. Raises HoldfastError if memory runs out or the pipeline refuses the
        settings.
        """
        # On the CPU, so that every device starts from the same noise.
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        size = {"height": settings.size, "width": settings.size} if settings.size else {}
        try:
            with _errors_only():  # what it cuts and blanks is counted and said once, by us
                return list(
                    self.run(
                        prompt=list(prompts),
                        generator=generators,
                        guidance_scale=settings.guidance,
                        num_inference_steps=settings.steps,
                        output_type="np",
                        **size,
                    ).images
                )
        except torch.OutOfMemoryError:
            raise HoldfastError(
                f"{self.source.name} ran out of memory with {len(prompts)} images at once; lower "
                "batch_size of the drawing (or its size)."
            ) from None
        except (ValueError, TypeError) as error:
            raise HoldfastError(
                f"{self.source.name} refuses the settings: {_first_line(error)}"
            ) from None

    def warn_of_cuts(self, prompts: Sequence[str]) -> None:
        """Warn of prompts of which no text encoder reads the end, with their count and an example.

        prompts: all that will be drawn.
        """
        limits = _token_limits(self.run)
        if not limits:
            return
        different = list(dict.fromkeys(prompts))
        rows = [
            [len(ids) > limit for ids in tokenizer(different, verbose=False).input_ids]
            for tokenizer, limit in limits
        ]
        cut = [prompt for prompt, *row in zip(different, *rows, strict=True) if all(row)]
        if cut:
            logger.warning(
                "%d of %d prompts are longer than the %d tokens that %s reads, and their ends are "
                "cut, such as %r; shorten them.",
                len(cut),
                len(different),
                max(limit for _, limit in limits),
                self.source.name,
                cut[0] if len(cut[0]) <= EXCERPT else f"{cut[0][:EXCERPT]}...",
            )


def _token_limits(run: Any) -> list[tuple[Any, int]]:
    """The tokenizers of a pipeline, and how many tokens of a prompt each text encoder reads."""
    # Pipelines cut for T5 where this argument says, and for CLIP where its tokenizer does.
    given = inspect.signature(run.__call__).parameters.get("max_sequence_length")
    limits = []
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        tokenizer = getattr(run, name, None)
        if tokenizer is None:
            continue
        limit = tokenizer.model_max_length
        if given and isinstance(given.default, int) and "CLIP" not in type(tokenizer).__name__:
            limit = min(limit, given.default)
        limits.append((tokenizer, limit))
    return limits


def find_pipelines(generator: str) -> list[PipelineSource]:
    """The pipelines named in a comma-separated list, pinned but not loaded.

    generator: folders, hub ids (`id@revision` pins one) and built-in names.
    Raises UsageError for what is neither a folder nor a hub id, HoldfastError for what is missing.
    """
    whole = Path(generator).expanduser().is_dir()  # a folder's name may hold a comma
    parts = [generator] if whole and generator else generator.split(",")
    places = [part.strip() for part in parts if part.strip()]
    if not places:
        raise UsageError("No generator is named; give the hub id or folder of a pipeline.")
    return [_find_one(place) for place in places]


def _find_one(place: str) -> PipelineSource:
    place = builtin.generator(place) or place
    folder = Path(place).expanduser()
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise UsageError(
                f"The folder {place} holds no diffusers pipeline: it lacks a model_index.json."
            )
        return PipelineSource(str(folder), folder.resolve().name, folder_hash(folder))
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?", place) or place.startswith("."):
        raise UsageError(f"The generator {place!r} is no folder here and no hub id (owner/name).")
    from huggingface_hub import hf_hub_download

    hub_id, _, revision = place.partition("@")
    try:
        index = hf_hub_download(hub_id, "model_index.json", revision=revision or None)
    except Exception as error:
        raise _missing(hub_id, revision, error) from None
    # The cache keeps each commit in snapshots/<commit>/.
    return PipelineSource(hub_id, hub_id, Path(index).parent.name)


def folder_hash(folder: Path) -> str:
    """12 hex digits of a hash over every file below `folder`: name, size, and 1 MiB of each end.

    The ends differ between two trainings of one architecture, and gigabytes need not be read.
    """
    end = 2**20
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        size = path.stat().st_size
        digest.update(f"{relative.as_posix()}\0{size}\0".encode())
        with path.open("rb") as handle:
            digest.update(handle.read(end))
            handle.seek(max(end, size - end))
            digest.update(handle.read())
    return digest.hexdigest()[:12]


@contextmanager
def loaded(
    source: PipelineSource, device: torch.device, precision: str, safety_checker: bool = False
) -> Iterator[Pipeline]:
    """Load the pipeline `source` on `device`; its memory is freed at the end.

    precision: `fp32`, `fp16` or `bf16`. safety_checker: keep the pipeline's own, if it has one.
    Raises HoldfastError if it cannot be fetched or loaded.
    """
    pipeline = Pipeline(source, _load(source, device, precision, safety_checker))
    try:
        yield pipeline
    finally:
        pipeline.run = None
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _load(
    source: PipelineSource, device: torch.device, precision: str, safety_checker: bool
) -> Any:
    from diffusers import AutoPipelineForText2Image

    dtypes = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    options: dict[str, Any] = {"dtype": dtypes[precision]}
    try:
        folder = Path(source.place)
        if not folder.is_dir():
            try:
                folder = fetch(source.place, source.revision)
            except Exception as error:
                raise _missing(source.place, source.revision, error) from None
        options["variant"] = only_variant(folder)
        if not safety_checker and "safety_checker" in read_json(folder / "model_index.json"):
            options |= {"safety_checker": None, "requires_safety_checker": False}
        with _quiet(), _errors_only(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of configurations of older versions
            run = AutoPipelineForText2Image.from_pretrained(folder, **options)
            run = run.to(device)
    except HoldfastError:
        raise
    except torch.OutOfMemoryError:
        raise HoldfastError(f"{source.name} does not fit into the memory of {device}.") from None
    except Exception as error:
        # Files written by others can fail in any way; the user needs the name and the reason.
        raise HoldfastError(
            f"{source.place} cannot be loaded as a text-to-image pipeline: {_first_line(error)}"
        ) from None
    run.set_progress_bar_config(disable=True)
    return run


def _missing(hub_id: str, revision: str, error: Exception) -> HoldfastError:
    pinned = f", revision={revision!r}" if revision else ""
    return HoldfastError(
        f"The generator {hub_id!r} is neither on this machine nor could it be fetched "
        f'({_first_line(error)}); on a machine with a network run python -c "from diffusers import '
        f"DiffusionPipeline; DiffusionPipeline.download('{hub_id}'{pinned})\", or name a folder "
        "that holds a diffusers pipeline, or `pocket` for the small one that comes along."
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shortened(lines[0] if lines else type(error).__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Loading without the bars of both libraries; downloads, outside of it, keep theirs."""
    from diffusers.utils import logging as ours
    from transformers.utils import logging as theirs

    before = [(log, log.is_progress_bar_enabled()) for log in (ours, theirs)]
    for log, _ in before:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, enabled in before:
            if enabled:
                log.enable_progress_bar()


@contextmanager
def _errors_only() -> Iterator[None]:
    """Both libraries without their warnings."""
    from diffusers.utils import logging as ours
    from transformers.utils import logging as theirs

    before = ours.get_verbosity(), theirs.get_verbosity()
    ours.set_verbosity_error()
    theirs.set_verbosity_error()
    try:
        yield
    finally:
        ours.set_verbosity(before[0])
        theirs.set_verbosity(before[1])


def flaw(picture: np.ndarray) -> str | None:
    """What is wrong with a `picture` (height, width, 3) in 0..1: NaN, black, flat; or None.

    Half precision can overflow into NaN, and safety checkers replace pictures by black ones.
    """
    if not np.isfinite(picture).all():
        return "not a number"
    if picture.max() < FLAT:
        return "black"
    return "flat" if picture.std(axis=(0, 1)).max() < FLAT else None


def pick(device: str, precision: str) -> tuple[torch.device, str]:
    """The device and the precision to draw with, without `auto`.

    device: `auto`, or as torch names it. precision: `auto`, `fp32`, `fp16` or `bf16`.
    Raises UsageError for what this machine cannot do.
    """
    chosen = pick_device(device)
    if precision == "auto":
        precision = "fp16" if chosen.type == "cuda" else "fp32"
    if precision == "fp16" and chosen.type == "cpu":
        raise UsageError("Drawing in precision fp16 needs a GPU; take fp32 or auto on the CPU.")
    return chosen, precision
