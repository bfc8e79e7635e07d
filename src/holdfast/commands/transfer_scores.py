"""What a name-only transfer is worth: scores on real images, alpha's curve, diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from holdfast.anchors.weight_ensemble import SWEEP, AlphaChoice, Merge
from holdfast.commands.evaluate import mistakes_of, not_measured
from holdfast.commands.transfer_keep import with_way_to_keep
from holdfast.commands.transfer_prepare import TransferPlan, evenly_spaced
from holdfast.data.batches import Batch
from holdfast.data.folders import LabelledImages
from holdfast.evaluation import CHUNK_BYTES, forward, sweep
from holdfast.feature_metrics import domain_gap, feature_diversity
from holdfast.metrics import is_correct, score
from holdfast.models.classifier import Classifier
from holdfast.results import AlphaPoint, AlphaResult, Diagnostics, Mistake, Scores, Verdict
from holdfast.verdicts import decide

SAMPLES_PER_CLASS = 4
DIAGNOSED = 1000  # images of a kind that diagnostics look at


@dataclass(frozen=True)
class Measured:
    """What real images say of each alpha, and of the weights that were chosen."""

    by_alpha: Mapping[float, Scores] = field(default_factory=dict)
    verdict: Verdict | None = None
    mistakes: list[Mistake] = field(default_factory=list)
    diagnostics: Diagnostics | None = None
    notes: list[str] = field(default_factory=list)


def features_of(
    classifier: Classifier, merge: Merge, models: Mapping[str, float], batches: Iterable[Batch]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Features (n, dim), not normalised, and labels (n,) of the ensemble of each alpha."""

    def ensemble(alpha: float) -> Callable[[], Callable[[Tensor], Tensor]]:
        def start() -> Callable[[Tensor], Tensor]:
            classifier.load_state_dict(merge(alpha))
            return classifier.eval().visual

        return start

    passes = [ensemble(alpha) for alpha in models.values()]
    seen = forward(passes, batches, classifier.device, chunk_bytes=CHUNK_BYTES)
    return {model: (z, seen.labels) for model, z in zip(models, seen.rows, strict=True)}


def measure(
    classifier: Classifier,
    merge: Merge,
    alpha: float,
    real: LabelledImages,
    generated: LabelledImages,
    plan: TransferPlan,
) -> Measured:
    """Scores of all ensembles on real images, the verdict on that of `alpha`, diagnostics.

    merge: the weights of an alpha; the classifier takes them on. generated: the training images.
    """
    alphas = sorted({*SWEEP, alpha} if plan.ensemble else {0.0, 1.0})
    batches = plan.in_order(real, classifier.tower)
    precision = plan.settings.train.precision
    logits, labels, indices = sweep(
        classifier, merge, alphas, batches, total=len(real), precision=precision
    )
    notes = not_measured(real, indices.tolist())
    if set(real.paths) & set(generated.paths):
        notes.append("Some images were trained on and measured on: the scores are too high.")
    before, after = (is_correct(logits[each], labels) for each in (0.0, alpha))
    found = decide(before, after, labels, classifier.names)
    return Measured(
        {each: score(rows, labels, classifier.names) for each, rows in logits.items()},
        with_way_to_keep(found, plan.settings, plan.settings.out),
        mistakes_of(logits[alpha], labels, indices, real),
        diagnose(classifier, merge, plan.models(alpha), real, generated, plan),
        notes,
    )


def alpha_result(choice: AlphaChoice, by_alpha: Mapping[float, Scores]) -> AlphaResult:
    """The chosen alpha and the curve: what real images say of each, and what `auto` went by."""
    points = []
    for alpha in sorted(by_alpha or choice.proxy):
        found = by_alpha.get(alpha)
        points.append(
            AlphaPoint(
                alpha=alpha,
                proxy=choice.proxy.get(alpha),
                real_top1=found.top1 if found else None,
                real_mean_per_class=found.mean_per_class if found else None,
                ece=found.ece if found else None,
            )
        )
    return AlphaResult(chosen=choice.alpha, how=choice.how, why=choice.why, sweep=points)


def diagnose(
    classifier: Classifier,
    merge: Merge,
    models: Mapping[str, float],
    real: LabelledImages,
    generated: LabelledImages,
    plan: TransferPlan,
) -> Diagnostics:
    """Domain gap and feature diversity as RegFT looks at them, on some images of each kind.

    models: the alpha of each model. The gap is the original model's, the diversity that of all.
    """
    features: dict[str, tuple[Tensor, Tensor]] = {}
    for kind, data in (("real", real), ("generated", generated)):
        some = evenly_spaced(data, DIAGNOSED)
        seen = features_of(classifier, merge, models, plan.in_order(some, classifier.tower))
        features |= {f"{kind}, {model}": pair for model, pair in seen.items()}
    pair = features["real, zero-shot"][0], features["generated, zero-shot"][0]
    return Diagnostics(
        diversity={
            name: feature_diversity(*each) for name, each in features.items() if len(each[0]) > 1
        },
        gap=domain_gap(*pair, seed=0) if min(map(len, pair)) >= 4 else None,  # two halves of two
    )


def sample_paths(data: LabelledImages) -> dict[str, list[str]]:
    """The first few images of each class, for the report."""
    samples: dict[str, list[str]] = {name: [] for name in data.classes.names}
    for path, label in zip(data.paths, data.labels, strict=True):
        chosen = samples[data.classes.names[label]]
        if len(chosen) < SAMPLES_PER_CLASS:
            chosen.append(str(path))
    return samples
