"""Images that stand for what a model knows: drawn, or the user's own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from holdfast import builtin, names
from holdfast.archives import state_of
from holdfast.data.captions import read_pairs
from holdfast.data.replay import BASE, Source, coverage, draw_prompts, images_of
from holdfast.errors import UsageError
from holdfast.files import derive_seed
from holdfast.generation import generate_images
from holdfast.generation.sources import find_pipelines
from holdfast.prompts import expand_templates, imagenet_names
from holdfast.published import published_names
from holdfast.results import ReplayInfo, ReplaySample, SourceCoverage
from holdfast.seen import SEEN
from holdfast.settings import ReplaySettings
from holdfast.task_history import TaskHistory

SAMPLES = 6  # images of each source that a result names


@dataclass(frozen=True)
class ReplayImages:
    """Images, the prompt of each, and where the prompts come from."""

    paths: list[Path]
    prompts: list[str]
    sources: list[Source]
    redrawn: int = 0
    missing: int = 0

    def info(self) -> ReplayInfo:
        """What there is to say about them."""
        digest = hashlib.sha256()
        for path, prompt in zip(self.paths, self.prompts, strict=True):
            digest.update(f"{state_of(path)[0]}\0{prompt}\n".encode())
        return ReplayInfo(
            images=len(self.paths),
            prompts=len(set(self.prompts)),
            redrawn=self.redrawn,
            missing=self.missing,
            sha256=digest.hexdigest(),
            coverage=[SourceCoverage(**row) for row in coverage(self.sources, self.prompts)],
        )

    def samples(self) -> list[ReplaySample]:
        """A few images of each source, evenly spaced, with their prompts."""
        found = []
        for source in self.sources:
            places = list(images_of(source, self.prompts))
            for place in places[:: -(-len(places) // SAMPLES) or 1]:
                path, prompt = str(self.paths[place]), self.prompts[place]
                found.append(ReplaySample(path=path, prompt=prompt, source=source.origin))
        return found


def base_names(given: str) -> tuple[str, ...]:
    """Names of ImageNet, a built-in world, a data set (`names:…`) or a file. Raises UsageError."""
    if given == "imagenet":
        return tuple(imagenet_names())
    if (listed := published_names(given)) is not None:
        return tuple(listed.values())
    known = builtin.pretraining_names(given)
    if known is None and not Path(given).is_file():
        raise UsageError(f"The names {given!r} are no file; give one, or `imagenet` or `pocket`.")
    return known or names.read_names(Path(given)).names


def base_source(settings: ReplaySettings) -> Source:
    """The names that stand for pre-training, with their prompts."""
    base = base_names(settings.base)
    [template, *_] = expand_templates(settings.template)
    return Source(BASE, base, tuple(template.replace("{}", name) for name in base))


def known_sources(history: TaskHistory, settings: ReplaySettings) -> list[Source]:
    """Names that stand for pre-training, then those of each task learnt so far."""
    tasks = (Source(t.name, t.classes, t.training_prompts()) for t in history.tasks)
    return [base_source(settings), *tasks]


def count(settings: ReplaySettings) -> int:
    """How many replayed images there will be. Raises UsageError for an unusable folder."""
    if settings.folder is None or settings.images == 0:
        return settings.images
    return min(settings.images, len(read_pairs(settings.folder)))


def pairs_digest(settings: ReplaySettings) -> str:
    """SHA-256 of the user's images and captions, "" without such a folder."""
    if settings.folder is None:
        return ""
    pairs = [(str(path), SEEN.digest(path), text) for path, text in read_pairs(settings.folder)]
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def replay_images(
    sources: list[Source],
    settings: ReplaySettings,
    generator: str,
    device: str,
    seed: int,
    out: Path,
) -> ReplayImages:
    """Draw images for the prompts of `sources`, or take those of the user's folder.

    Images that were drawn before with the same settings, in `out` or in the cache, are used again.
    """
    if settings.folder is not None:
        pairs = chosen_pairs(settings, seed)
        return ReplayImages([path for path, _ in pairs], [text for _, text in pairs], sources)
    draw = draw_prompts(sources, settings.images, settings.sampling, derive_seed(seed, "prompts"))
    folder = out / "replay"
    if settings.cache is not None:
        what = [draw.prompts, draw.counts, [str(s) for s in find_pipelines(generator)], seed]
        what += [settings.guidance, settings.steps, settings.size, settings.precision]
        what += ["safety checker"] if settings.safety_checker else []
        what += [settings.resize] if settings.resize else []
        folder = settings.cache / hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    manifest = generate_images(
        names.from_names(draw.prompts),
        [[prompt] for prompt in draw.prompts],
        draw.counts,
        folder,
        generator,
        settings,
        seed=derive_seed(seed, "images"),
        device=device,
    )
    prompts = [record.prompt for record in manifest.records]
    missing = len(manifest.missing)
    return ReplayImages(manifest.paths, prompts, sources, manifest.redraws, missing)


def chosen_pairs(settings: ReplaySettings, seed: int) -> list[tuple[Path, str]]:
    """`settings.images` pairs of the user's folder, drawn without replacement; all if fewer."""
    assert settings.folder is not None
    pairs = read_pairs(settings.folder)
    if len(pairs) <= settings.images:
        return pairs
    order = np.random.default_rng(derive_seed(seed, "pairs")).permutation(len(pairs))
    return [pairs[i] for i in sorted(order[: settings.images].tolist())]
