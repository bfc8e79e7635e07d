"""One training of a method of distillation: a new student through the phases of the method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from holdfast import averaging
from holdfast.anchors.base import Memory, Need, WeightAverage
from holdfast.anchors.weight_ensemble import FISHER_IMAGES, WeightEnsemble, label_information
from holdfast.data.domains import DomainBatches, evenly
from holdfast.data.teacher_batches import (
    FeatureBatches,
    ViewBatches,
)
from holdfast.device import attention
from holdfast.experiment import Experiment
from holdfast.files import derive_seed
from holdfast.learners import HeadLearner
from holdfast.methods.base import Composition, Phase, phases_of
from holdfast.models.classifier import Classifier, Head, head_of
from holdfast.models.student import Student
from holdfast.models.tower import Tower
from holdfast.results import StageResult
from holdfast.settings import StageSettings
from holdfast.stages import Stage
from holdfast.swad import SWAD
from holdfast.train import fit, objective


class TrainingRun:
    """One training of one method: from `sources`, with the split of `seed`, kept in `folder`.

    stages: what each phase kept. accuracy: of the result, on the validation images.
    """

    def __init__(
        self, experiment: Experiment, seed: int, sources: Sequence[int], folder: Path
    ) -> None:
        self.experiment, self.settings = experiment, experiment.settings
        self.seed, self.sources, self.folder = seed, tuple(sources), folder
        self.stages: dict[str, StageResult] = {}
        self.accuracy = 0.0

    def split(self, domain: int) -> tuple[list[int], list[int]]:
        """Places of a domain's (held-out, training) images."""
        return self.experiment.domains.split(domain, self.seed)

    def train(self, composition: Composition) -> Classifier:
        """Take a new student through the phases of a method; those that are done are loaded.

        A weight ensemble averages the result with the weights at the start of the last phase.
        """
        experiment = self.experiment
        tower, learner = self.new_learner(composition)

        def snapshot() -> dict[str, Tensor]:
            return {name: tensor.clone() for name, tensor in learner.state_dict().items()}

        original = initial = snapshot()
        memory = Memory(initial=lambda: initial)
        for phase in phases_of(composition.method, self.settings.student):
            original = snapshot()
            self.train_phase(phase, composition, learner, memory)
        ensembles: list[WeightEnsemble] = composition.of(WeightEnsemble)
        for ensemble in ensembles:
            assert not isinstance(ensemble.alpha, str)
            images: list[Tensor] = []
            if ensemble.merge == "fisher":
                places = [index for domain in self.sources for index in self.split(domain)[1]]
                some = experiment.taught.images(evenly(places, FISHER_IMAGES))
                images = [image[None] for batch in some for image in batch.images]
            fisher = label_information(learner, images, self.seed)
            merged = ensemble.merging(original, snapshot(), fisher)(ensemble.alpha)
            learner.load_state_dict(merged)
            self.accuracy = experiment.validator(self.seed, self.sources, learner)().accuracy
        return Classifier(tower, learner.head, experiment.domains.images.classes).eval()

    def new_learner(self, composition: Composition) -> tuple[Tower, HeadLearner]:
        """A new student with the head that the method starts with.

        For a head of text embeddings the student is projected into their space; CLIP's own tower is
        there already, and has no part that only projects.
        """
        experiment, text = self.experiment, self.experiment.taught.text
        projected = composition.method.head != "new"
        tower = experiment.tower(
            text.shape[1] if projected else None, derive_seed(self.seed, "student")
        )
        visual = tower.visual
        student = visual if isinstance(visual, Student) else Student(visual, nn.Identity())
        if projected:
            head = head_of(text, experiment.logit_scale)
        else:
            some = experiment.taught.images(experiment.domains.indices(self.sources[0])[:1])
            width = experiment.outputs(student.eval(), some).rows[0].shape[1]
            torch.manual_seed(derive_seed(self.seed, "head"))
            head = Head(width, len(text), normalise=False).to(text.device)
        return tower, HeadLearner(student, head, experiment.logit_scale, text).eval()

    def train_phase(
        self, phase: Phase, composition: Composition, learner: HeadLearner, memory: Memory
    ) -> None:
        """Train the phase's part of the learner, in place, and take down what was kept.

        On stored views what lies before the part is computed once, and a step reads its features.
        """
        settings: StageSettings = getattr(self.settings, phase.draws)
        visual, head = learner.visual, learner.head
        assert isinstance(visual, Student)
        learner.requires_grad_(False)
        part: nn.Module = {
            "all": learner,
            "head": head,
            "projection": visual.projection,
            "backbone": visual.backbone,
        }[phase.part]
        part.requires_grad_(True)
        if composition.method.head == "fixed":
            head.requires_grad_(False)
        frozen: nn.Module | None = None
        if self.settings.views and phase.part in ("projection", "head"):
            rest: nn.Module = nn.Identity()
            frozen = visual
            if phase.part == "projection":
                frozen, rest = visual.backbone, Student(rest, visual.projection)
            learner = HeadLearner(rest, head, learner.logit_scale, learner.text)
        stage = Stage(self.folder, phase.name, self.settings.checkpoint_minutes)
        if not stage.load_finished(learner):
            with attention(self.experiment.device):
                fit(
                    learner,
                    self.batches(phase, settings, Need.TEACHER in composition.needs, frozen),
                    objective(composition, learner, memory),
                    settings,
                    seed=derive_seed(self.seed, phase.name),
                    stage=stage,
                    callback=self.tracker(phase, composition, learner, settings, frozen),
                    label=phase.label,
                )
        self.stages[phase.name] = stage.result()
        self.accuracy = self.stages[phase.name].kept.accuracy or 0.0

    def batches(
        self, phase: Phase, settings: StageSettings, asks: bool, frozen: nn.Module | None = None
    ) -> ViewBatches | FeatureBatches:
        """Batches of a phase, of images that are the same for every method.

        asks: whether they have the teacher's embeddings. frozen: what does not learn; the batches
        have its features of the stored views in the place of pixels.
        """
        taught, views = self.experiment.taught, self.settings.views
        groups = [self.split(domain)[1] for domain in self.sources]
        name = "align" if phase.draws == "align" else "distill"
        seed = derive_seed(self.seed, name, *self.sources)
        draws = DomainBatches(groups, settings.per_domain, settings.steps, views, seed)
        if frozen is None:
            return taught.batches(draws, asks)

        def encode(*seen: Any) -> Tensor:
            return self.experiment.outputs(frozen.eval(), *seen).rows[0]

        # Before anything was trained they are the same for all trainings with this seed.
        known = {} if self.stages else self.experiment.features
        for domain, indices in zip(self.sources, groups, strict=True):
            if (self.seed, domain) not in known:
                name = self.experiment.domains.names[domain]
                known[self.seed, domain] = taught.features(indices, views, encode, asks, name)
        rows = [known[self.seed, domain] for domain in self.sources]
        return FeatureBatches(draws, rows, taught.text, taught.labels)

    def tracker(
        self,
        phase: Phase,
        composition: Composition,
        learner: HeadLearner,
        settings: StageSettings,
        frozen: nn.Module | None = None,
    ) -> averaging.WeightTracker:
        """What is kept of a phase: an anchor's average, what the method wants, or the settings'.

        Where the best weights of an alignment are kept, the valley still ends it, as published.
        """
        average = self.settings.average
        place = (
            self.experiment.validator(self.seed, self.sources, learner, frozen),
            settings.validate_every,
            settings.steps,
        )
        for anchor in composition.of(WeightAverage):
            return averaging.ValidatedAverage(anchor.tracker(learner, settings.steps), *place)
        best = composition.method.keeps(phase) == "best"
        if average.kind == "valley":
            valley = average.converge, average.tolerance, average.ratio
            if best:
                return averaging.BestTracker(*place, SWAD(*valley))
            aligning = phase.part == "projection"
            goes_on = averaging.accumulates(average.segments, self.settings.student, aligning)
            return averaging.SWADTracker(*place, *valley, accumulate=goes_on)
        if average.kind == "running" and not best:
            return averaging.RunningAverage(*place, average.start)
        return averaging.BestTracker(*place)
