"""Text-to-image pipelines of diffusers: load, draw."""

from __future__ import annotations

import gc
import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from holdfast import foreign
from holdfast.device import pick_device
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import read_json
from holdfast.generation.checks import check_pipeline_folder
from holdfast.generation.sources import PipelineSource, first_line, not_at_hand
from holdfast.generation.weight_files import fetch, only_variant
from holdfast.settings import DrawSettings

logger = logging.getLogger(__name__)

# Pixels lie between 0 and 1; a picture that varies less than this around its mean shows nothing.
FLAT = 2 / 255
EXCERPT = 80  # characters of a prompt in a warning


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
                f"{self.source.name} refuses the settings: {first_line(error)}"
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
                raise not_at_hand(source.place, source.revision, error) from None
        check_pipeline_folder(folder)
        foreign.never_ask()
        options["variant"] = only_variant(folder)
        index = read_json(folder / "model_index.json", strict=False)
        if not safety_checker and "safety_checker" in index:
            options |= {"safety_checker": None, "requires_safety_checker": False}
        with _quiet(), _errors_only(), foreign.without_network(), warnings.catch_warnings():
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
            f"{source.place} cannot be loaded as a text-to-image pipeline: {first_line(error)}"
        ) from None
    run.set_progress_bar_config(disable=True)
    return run


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
