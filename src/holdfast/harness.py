"""What every method of distillation is trained in: the same splits, draws, views and validation.

A `World` is what the trainings of a run share; a `Fold` is one of them: a seed and the domains it
may learn from. A method asks its fold for a student and batches and runs its stages there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from holdfast.averaging import (
    BestTracker,
    RunningAverage,
    SWADTracker,
    Validate,
    Validation,
    WeightTracker,
    evaluating,
)
from holdfast.data.batches import CACHE_BYTES
from holdfast.data.domains import DomainBatches, Domains
from holdfast.data.teacher_batches import Ask, CachedFeatures, FeatureBatches, ViewBatches, numbered
from holdfast.data.views import Renderer, View, Views
from holdfast.files import atomic_write, derive_seed
from holdfast.losses import cross_entropy
from holdfast.models.classifier import Classifier, Head
from holdfast.models.student import Student
from holdfast.models.tower import Tower
from holdfast.progress import progress
from holdfast.runs import Records
from holdfast.settings import DistillSettings, StageSettings
from holdfast.train import Batches

BATCH = 128  # images at once where nothing learns


@dataclass
class World:
    """What the trainings of a run share.

    ask: the teacher's embeddings of views; tower: a new student, with a projection to a width or
    without one; first: one as it comes, none where nothing is trained; text: the teacher's
    embeddings of the classes, (classes, dim), on the device.
    """

    settings: DistillSettings
    domains: Domains
    views: Views
    ask: Ask
    text: Tensor
    logit_scale: float
    tower: Callable[[int | None, int], Tower]
    first: Tower | None
    known: dict[tuple[int, int, bool], CachedFeatures] = field(default_factory=dict)
    prepared: dict[tuple[int, int], list[Tensor]] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.text.device

    @cached_property
    def renderer(self) -> Renderer:
        """Views under the student's own preprocessing."""
        assert self.first is not None
        return Renderer(self.first.preprocess, self.settings.workers)

    @cached_property
    def labels(self) -> Tensor:
        """Of all images, (n,)."""
        return torch.tensor(self.domains.images.labels)

    def forget(self, seed: int) -> None:
        """Drop what is remembered of other seeds, whose splits do not come back."""
        self.known = {key: value for key, value in self.known.items() if key[0] == seed}
        self.prepared = {key: value for key, value in self.prepared.items() if key[0] == seed}

    def images(self, indices: Sequence[int], label: str = "") -> Iterator[Tensor]:
        """Images as they are, under the student's preprocessing, a batch at a time."""
        seen = [self.views.whole(index) for index in indices]
        return self.rendered(seen, label)

    def rendered(self, seen: Sequence[View], label: str = "") -> Iterator[Tensor]:
        """Views under the student's preprocessing, a batch at a time."""
        parts = [seen[start : start + BATCH] for start in range(0, len(seen), BATCH)]
        shown = progress(label, len(seen)) if label else nullcontext(lambda _: None)
        with shown as advance:
            for part, images in self.renderer.batches((part, part) for part in parts):
                yield images.to(self.device)
                advance(len(part))


class Fold:
    """One training of one method: from `sources`, with the split of `seed`, kept in `folder`."""

    def __init__(self, world: World, seed: int, sources: Sequence[int], folder: Path) -> None:
        self.world, self.seed, self.sources, self.folder = world, seed, tuple(sources), folder
        self.settings = world.settings
        self.stages: dict[str, dict[str, Any]] = {}

    def student(self, projected: bool) -> tuple[Tower, Student]:
        """A new student, as a tower and as its two parts; projected into the teacher's space.

        CLIP's own tower is in that space already: it has no part that only projects.
        """
        dim = self.world.text.shape[1] if projected else None
        tower = self.world.tower(dim, derive_seed(self.seed, "student"))
        visual = tower.visual
        return tower, visual if isinstance(visual, Student) else Student(visual, nn.Identity())

    def classifier(self, tower: Tower, head: Head) -> Classifier:
        """The student with a head over the classes."""
        images = self.world.domains.images
        return Classifier(tower, head.to(self.world.device), images.classes).eval()

    def draws(self, stage: str, settings: StageSettings) -> DomainBatches:
        """The images of each step of a stage, the same for every method."""
        groups = [self.world.domains.split(domain, self.seed)[1] for domain in self.sources]
        seed = derive_seed(self.seed, stage, *self.sources)
        views = self.settings.views
        return DomainBatches(groups, settings.per_domain, settings.steps, views, seed)

    def batches(
        self, stage: str, settings: StageSettings, asks: bool, frozen: nn.Module | None = None
    ) -> Batches:
        """Batches of a stage; with the teacher's answers if the method asks for them.

        frozen: a backbone that does not learn; the batches then hold its features on the stored
        views, computed once for all steps, in the place of pixels.
        """
        world, draws = self.world, self.draws(stage, settings)
        if frozen is not None:
            known = [self._known(domain, frozen, asks) for domain in self.sources]
            return FeatureBatches(draws, known, world.text, world.labels)
        ask = world.ask if asks else None
        return ViewBatches(draws, world.views, world.renderer, ask, world.text, world.labels)

    def _known(self, domain: int, backbone: nn.Module, asks: bool) -> CachedFeatures:
        """Of a domain's training images; always in the same batches, so to the bit the same."""
        key = (self.seed, domain, asks)
        if key not in self.world.known:
            indices = self.world.domains.split(domain, self.seed)[1]
            name = self.world.domains.names[domain]
            features, answers = [], []
            for number in range(self.settings.views):
                seen = [numbered(self.world.views, index, number) for index in indices]
                label = f"features of {name}, view {number + 1} of {self.settings.views}"
                rows = [run(backbone, x).cpu() for x in self.world.rendered(seen, label)]
                features.append(torch.cat(rows))
                # As exact as they are stored, in half the memory.
                if asks:
                    answers.append(self.world.ask(seen).half())
            known = CachedFeatures(
                torch.tensor(indices),
                torch.stack(features),
                torch.stack(answers) if asks else None,
            )
            self.world.known[key] = known
        return self.world.known[key]

    def validation_images(self, domain: int) -> Iterable[Tensor]:
        """The held-out fifth of a domain, preprocessed; kept in memory where it fits."""
        indices = self.world.domains.split(domain, self.seed)[0]
        key = (self.seed, domain)
        if key in self.world.prepared:
            return self.world.prepared[key]
        kept = sum(t.nbytes for parts in self.world.prepared.values() for t in parts)
        first = next(iter(self.world.images(indices[:1])))
        if kept + first.nbytes * len(indices) > CACHE_BYTES:
            return self.world.images(indices)
        self.world.prepared[key] = list(self.world.images(indices))
        return self.world.prepared[key]

    def validator(
        self, logits: Callable[[Tensor], Tensor], frozen: nn.Module | None = None
    ) -> Validate:
        """Accuracy and loss on the training domains' validation images, each domain alike.

        logits: of images; with a backbone that does not learn, of its features, computed once.
        """
        inputs: dict[int, list[Tensor]] = {}
        labels = self.world.labels.to(self.world.device)

        def inputs_of(domain: int) -> Iterable[Tensor]:
            if frozen is None:
                return self.validation_images(domain)
            if domain not in inputs:
                inputs[domain] = [run(frozen, x) for x in self.validation_images(domain)]
            return inputs[domain]

        def validate() -> Validation:
            found = []
            for domain in self.sources:
                rows = torch.cat([logits(x).float() for x in inputs_of(domain)])
                held_out = self.world.domains.split(domain, self.seed)[0]
                found.append(measured(rows, labels[held_out]))
            count = len(found)
            return Validation(
                sum(f.accuracy for f in found) / count, sum(f.loss for f in found) / count
            )

        return validate

    def accuracy(self, classifier: Classifier, domain: int) -> float:
        """On the training images of a domain that this fold does not learn from."""
        indices = self.world.domains.split(domain, self.seed)[1]
        images = self.world.images(indices, "testing")
        rows = torch.cat([classifier.head(run(classifier.visual, x)).detach() for x in images])
        return measured(rows, self.world.labels[indices].to(rows.device)).accuracy

    def stage(
        self,
        name: str,
        module: nn.Module,
        settings: StageSettings,
        validate: Validate,
        train: Callable[..., None],
    ) -> None:
        """Run a stage, or load what an earlier start made of it; `module` ends with what is kept.

        train: called with what `fit` wants to resume, follow and record; it trains `module`.
        """
        finished = self.folder / f"{name}.safetensors"
        checkpoint = self.folder / f"{name}.checkpoint.safetensors"
        if not finished.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            following = self.following(validate, settings)
            records = Records(self.folder / f"{name}.jsonl")
            every = max(1, settings.validate_every // 10)
            begun = time.monotonic()
            with attention(self.world.device):
                train(
                    seed=derive_seed(self.seed, name),
                    checkpoint=checkpoint,
                    checkpoint_minutes=self.settings.checkpoint_minutes,
                    callback=following,
                    # A synced line a step would cost more than a step on stored features.
                    record=lambda r: records.add(r) if r["step"] % every == 0 else None,
                )
            load(module, following.result())
            with attention(self.world.device), evaluating(module):
                kept = validate()
            about = {
                "kept": following.about() | {"accuracy": kept.accuracy, "loss": kept.loss},
                "validations": following.validations,
                "seconds_of_the_last_start": round(time.monotonic() - begun, 3),
            }
            with atomic_write(finished) as temporary:
                weights = {k: t.contiguous() for k, t in following.result().items()}
                save_file(weights, temporary, {"about": json.dumps(about)})
        with safe_open(finished, "pt") as file:
            self.stages[name] = json.loads(file.metadata()["about"])
            load(module, {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
        checkpoint.unlink(missing_ok=True)

    def following(self, validate: Validate, stage: StageSettings) -> WeightTracker:
        """What is kept of a stage, as the settings have it."""
        average, place = self.settings.average, (validate, stage.validate_every, stage.steps)
        if average.kind == "valley":
            return SWADTracker(*place, average.converge, average.tolerance, average.ratio)
        if average.kind == "running":
            return RunningAverage(*place, average.start)
        return BestTracker(*place)


def measured(logits: Tensor, labels: Tensor) -> Validation:
    """Accuracy and cross-entropy of logits (n, classes) against labels (n,)."""
    right = (logits.argmax(dim=1) == labels).float().mean().item()
    return Validation(right, cross_entropy(logits, labels).item())


@torch.no_grad()
def run(module: nn.Module, images: Tensor) -> Tensor:
    """What a module in evaluation mode makes of a batch."""
    with attention(images.device):
        return module.eval()(images)


def attention(device: torch.device) -> AbstractContextManager[Any]:
    """The plain kernel of attention on a CPU, which trains small transformers faster there."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def load(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put weights of some of a module's parameters into it."""
    unknown = module.load_state_dict(weights, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"the module has no parameters {unknown[:5]}")
