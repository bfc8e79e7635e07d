"""Prompts -> a folder of images that can be interrupted, finished and extended, bit by bit."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast import files
from holdfast.errors import HoldfastError, UsageError
from holdfast.generation.job import Job, Place
from holdfast.generation.manifest import (
    IMAGES,
    MANIFEST,
    MISSING,
    SETTINGS,
    GeneratedImage,
    Manifest,
    MissingImage,
    read_manifest,
    read_missing,
    read_records,
)
from holdfast.json_lines import append_lines, json_line
from holdfast.names import ClassNames
from holdfast.progress import progress
from holdfast.seen import SEEN
from holdfast.settings import DrawSettings

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from holdfast.generation.pipeline import Pipeline

WAITING = 32  # images that wait to be saved; 0.4 GB at 1024 px
GIVE_UP = 16  # missing images before the first that is not: no pipeline of any use does so

logger = logging.getLogger(__name__)


def generate_images(
    classes: ClassNames,
    prompts: Sequence[Sequence[str]],
    counts: Sequence[int],
    out: Path,
    generator: str,
    settings: DrawSettings,
    *,
    seed: int,
    device: str = "auto",
) -> Manifest:
    """Draw images of every class into a folder and record each in the manifest.

    classes: the classes. prompts: of each class; image i takes prompt i modulo their number.
    counts: images of each class. out: the folder.
    generator: diffusers text-to-image pipelines, folders or hub ids (`id@revision`), separated by
        commas; they take turns by image index.
    settings: of the pipelines. seed: of all images. device: `auto`, or as torch names it.

    An image that comes out flawed in all of its tries is recorded as missing, and the others are
    drawn. A folder with images of the same settings is finished or extended. If it has more images
    than asked for, the first of each class are used. A lost or changed image is drawn again. The
    images of an interrupted run are the same to the bit if counts, batch size and machine are the
    same, otherwise up to rounding.

    Raises UsageError when `out` was made with other settings, HoldfastError when a pipeline cannot
    be loaded or draws nothing at all.
    """
    from holdfast.generation import pipeline
    from holdfast.generation.sources import find_pipelines

    job = Job(classes, prompts, counts, settings, seed)
    chosen, precision = pipeline.pick(device, settings.precision)
    sources = find_pipelines(generator)
    fixed = _must_match(job, [str(source) for source in sources], precision)
    with files.locked(out), _remembering(out):
        done = _prepare(out, job, fixed)
        settled = done | _given_up(out, job)
        there = sum(index < counts[label] for label, index in settled)
        with progress("drawing images", sum(counts), done=there) as advance:
            for turn, source in enumerate(sources):
                missing = [b for b in job.batches(turn, len(sources)) if not settled.issuperset(b)]
                if not missing:
                    continue
                with (
                    pipeline.loaded(source, chosen, precision, settings.safety_checker) as pipe,
                    _saving(out, job, pipe, precision) as save,
                ):
                    pipe.warn_of_cuts([prompt for group in prompts for prompt in group])
                    for batch in missing:
                        for place, attempt, picture, flaw in _draw(job, pipe, batch):
                            if place in done:
                                continue
                            if flaw is None:
                                save(place, attempt, picture)
                                done.add(place)
                            else:
                                _note_missing(out, job, place, flaw)
                            if place not in settled:
                                settled.add(place)
                                advance(1)
                        if not done and len(settled) >= GIVE_UP:
                            raise _nothing_drawn(job, out)
        if settled and not done:
            raise _nothing_drawn(job, out)
    manifest = read_manifest(out)
    if manifest.missing_note:
        logger.warning("%s", manifest.missing_note)
    return manifest


def _given_up(out: Path, job: Job) -> set[Place]:
    """Places of images that came out flawed in as many tries as there are now."""
    labels = {class_id: label for label, class_id in enumerate(job.classes.ids)}
    return {
        (labels[image.class_id], image.index)
        for image in read_missing(out)
        if image.class_id in labels and image.tries > job.settings.redraws
    }


def _nothing_drawn(job: Job, out: Path) -> HoldfastError:
    """The error for a pipeline that draws nothing, with the first image as an example."""
    first = read_missing(out)[0]
    return HoldfastError(
        f"No image could be drawn: the first, of the class {first.name!r}, came out {first.flaw} "
        f"{first.tries} times in a row (prompt {first.prompt!r}); change the prompt or the "
        f"generator{', or turn the safety checker off' if job.settings.safety_checker else ''}."
    )


@contextmanager
def _remembering(out: Path) -> Iterator[None]:
    """Keep what is known of the images, so that the next start need not read them again."""
    SEEN.recall(out)
    try:
        yield
    finally:
        if (out / SETTINGS).exists():
            SEEN.keep(out)


def _must_match(job: Job, generators: list[str], precision: str) -> dict[str, Any]:
    """The settings that an image depends on; a folder holds images of one set of them."""
    return {
        "generators": generators,
        "seed": job.seed,
        "guidance": job.settings.guidance,
        "steps": job.settings.steps,
        "size": job.settings.size,
        "resize": job.settings.resize,
        "precision": precision,
        "safety_checker": job.settings.safety_checker,
        "classes": job.classes.to_json(),
        "prompts": hashlib.sha256(json.dumps([list(p) for p in job.prompts]).encode()).hexdigest(),
    }


def _prepare(out: Path, job: Job, fixed: dict[str, Any]) -> set[Place]:
    """Make `out` ready to draw into; the places of images that are there and whole."""
    path = out / SETTINGS
    if path.exists():
        # Other keys that earlier versions did not write say nothing.
        earlier = {"resize": None, **files.read_sealed(path)}
        changed = [key for key, value in fixed.items() if earlier.get(key, value) != value]
        if changed:
            raise UsageError(
                f"{out} holds images made with other settings ({_differences(earlier, fixed)}); "
                "choose another folder, or the same settings to go on."
            )
    elif (out / IMAGES).exists():
        raise UsageError(f"{out} holds a folder {IMAGES} that is not ours; choose another folder.")
    files.remove_leftovers(out)
    files.write_sealed(path, {"counts": list(job.counts), **fixed})
    job.classes.write(out / IMAGES)
    return _verified(out, job.classes)


def _differences(earlier: dict[str, Any], now: dict[str, Any]) -> str:
    long = ("classes", "prompts")  # their values say little
    return ", ".join(
        f"other {key}" if key in long else f"{key} {earlier.get(key)}, now {value}"
        for key, value in now.items()
        if earlier.get(key, value) != value
    )


def _unchanged(path: Path, digest: str) -> bool:
    try:
        return SEEN.digest(path) == digest
    except OSError:
        return False


def _verified(out: Path, classes: ClassNames) -> set[Place]:
    """Places of recorded images whose file is unchanged; the manifest is left with these alone."""
    labels = {class_id: label for label, class_id in enumerate(classes.ids)}
    whole: dict[Place, GeneratedImage] = {}
    for record in read_records(out, leave_out=True):
        label = labels.get(record.class_id)
        if label is not None and _unchanged(out / record.file, record.sha256):
            whole[label, record.index] = record
    content = b"".join(map(json_line, (r.to_json() for r in whole.values())))
    manifest = out / MANIFEST
    if manifest.exists() and manifest.read_bytes() != content:
        with files.atomic_write(manifest) as temporary:
            temporary.write_bytes(content)
    return set(whole)


def _draw(
    job: Job, pipe: Pipeline, batch: list[Place]
) -> Iterator[tuple[Place, int, np.ndarray, str | None]]:
    """Each image of a batch, the attempt that gave it, and what is wrong with it.

    Flawed ones are drawn again, `redraws` times at most.
    """
    from holdfast.generation.pipeline import flaw

    for attempt in range(job.settings.redraws + 1):
        seeds = [job.image_seed(place, attempt) for place in batch]
        pictures = pipe.draw([job.prompt(place) for place in batch], seeds, job.settings)
        again = []
        for place, picture in zip(batch, pictures, strict=True):
            wrong = flaw(picture)
            if wrong is None or attempt == job.settings.redraws:
                yield place, attempt, picture, wrong
            else:
                again.append(place)
        batch = again
        if not batch:
            return


def _note_missing(out: Path, job: Job, place: Place, flaw: str) -> None:
    label, index = place
    image = MissingImage(
        class_id=job.classes.ids[label],
        name=job.classes.names[label],
        index=index,
        prompt=job.prompt(place),
        flaw=flaw,
        tries=job.settings.redraws + 1,
    )
    append_lines(out / MISSING, [asdict(image)])


@contextmanager
def _saving(
    out: Path, job: Job, pipe: Pipeline, precision: str
) -> Iterator[Callable[[Place, int, np.ndarray], None]]:
    """A function that saves an image beside the drawing, in order, in a thread of its own.

    At the end all are saved. Raises what saving raises, at the next image or at the end.
    """
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as thread:

        def save(place: Place, attempt: int, picture: np.ndarray) -> None:
            while waiting and (waiting[0].done() or len(waiting) >= WAITING):
                waiting.popleft().result()
            waiting.append(thread.submit(_save, out, job, pipe, precision, place, attempt, picture))

        yield save
        for each in waiting:
            each.result()


def _save(
    out: Path,
    job: Job,
    pipe: Pipeline,
    precision: str,
    place: Place,
    attempt: int,
    picture: np.ndarray,
) -> None:
    """Write the image, then its line: a kill in between leaves a file that is drawn over."""
    label, index = place
    stored = as_stored(picture, job.settings.resize)
    png = encode_png(stored)
    record = GeneratedImage(
        class_id=job.classes.ids[label],
        name=job.classes.names[label],
        index=index,
        prompt=job.prompt(place),
        seed=job.image_seed(place, attempt),
        attempt=attempt,
        generator=pipe.source.name,
        revision=pipe.source.revision,
        scheduler=pipe.scheduler,
        guidance=job.settings.guidance,
        steps=job.settings.steps,
        width=stored.width,
        height=stored.height,
        precision=precision,
        sha256=hashlib.sha256(png).hexdigest(),
    )
    with files.atomic_write(out / record.file) as temporary:
        temporary.write_bytes(png)
    SEEN.note_digest(out / record.file, record.sha256)
    append_lines(out / MANIFEST, [record.to_json()])


def as_stored(picture: np.ndarray, resize: int | None) -> Image.Image:
    """A drawn `picture` (height, width, 3) in 0..1; resize: to so many pixels a side, or none."""
    from PIL import Image

    drawn = Image.fromarray((picture.clip(0, 1) * 255).round().astype("uint8"))
    return drawn.resize((resize, resize), Image.Resampling.BICUBIC) if resize else drawn


def encode_png(picture: Image.Image) -> bytes:
    """The PNG file of a `picture`, packed lightly: a fifth of the time, some percent more bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
