"""Two models on the same images -> a verdict, and what to know before it is followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from jaxtyping import Bool, Int
from torch import Tensor

from holdfast.metrics import Z_95, compare
from holdfast.results import Verdict

NEAR_ZERO = 0.1  # accuracy of a class that a model hardly ever names right
NAMED_CLASSES = 3  # classes that a sentence names


def decide(
    zero_shot_correct: Bool[Tensor, " n"],
    adapted_correct: Bool[Tensor, " n"],
    labels: Int[Tensor, " n"],
    classes: Sequence[str],
) -> Verdict:
    """Use the adapted model only where it is measurably better, by `holdfast.metrics.compare`.

    Where the interval holds zero the zero-shot model stays: it is the one that was not tuned, and
    it still knows everything else.

    zero_shot_correct: (n,) which images the zero-shot model gets right.
    adapted_correct: (n,) which the adapted model gets right, in the same order.
    labels: (n,) the true classes, in [0, C).
    classes: the C names.

    Raises HoldfastError for no images, ValueError for different shapes.
    """
    result = compare(zero_shot_correct, adapted_correct)
    before, after = (
        100 * correct.double().mean().item() for correct in (zero_shot_correct, adapted_correct)
    )
    points, low, high = (100 * value for value in (result.difference, result.low, result.high))
    images = f"{result.n:,} image{'' if result.n == 1 else 's'}"
    right = f"{after:.1f} % right against {before:.1f} %"
    keep = "keep the zero-shot model"
    if result.low > 0:
        text = (
            f"better than zero-shot by {points:.1f} points (95 % interval {low:.1f} to {high:.1f}) "
            f"on {images}, {right}: use the adapted model"
        )
    elif result.high < 0:
        text = (
            f"worse than zero-shot by {-points:.1f} points (95 % interval {-high:.1f} to "
            f"{-low:.1f}) on {images}, {right}: {keep}"
        )
    else:
        text = (
            f"not measurably better than zero-shot (difference {points:+.1f} points, "
            f"95 % interval {low:+.1f} to {high:+.1f}, on {images}, {right}): {keep}"
        )
    use = result.low > 0
    by_class = ByClass.of(zero_shot_correct, adapted_correct, labels, classes)
    return Verdict(
        **asdict(result),
        decision="use" if use else "keep",
        text=text,
        details=[
            *(["It is still wrong more often than right."] if use and after < 50 else []),
            *by_class.near_zero(use),
            *by_class.fell_most(),
            *(
                rests_on_one_class(zero_shot_correct, adapted_correct, labels, by_class)
                if use
                else []
            ),
        ],
    )


@dataclass(frozen=True)
class ByClass:
    """Images of each class, and how many of them the zero-shot and the adapted model get right.

    classes: the names; images, before, after: of each class.
    """

    classes: Sequence[str]
    images: Sequence[int]
    before: Sequence[int]
    after: Sequence[int]

    @classmethod
    def of(
        cls,
        zero_shot_correct: Bool[Tensor, " n"],
        adapted_correct: Bool[Tensor, " n"],
        labels: Int[Tensor, " n"],
        classes: Sequence[str],
    ) -> ByClass:
        """Count; the arguments are those of `decide`."""
        counts = [
            labels[some].bincount(minlength=len(classes)).tolist()
            for some in (labels >= 0, zero_shot_correct.bool(), adapted_correct.bool())
        ]
        return cls(classes, *counts)

    def near_zero(self, adapted: bool) -> list[str]:
        """A sentence on the classes that the model which is advised hardly ever names right."""
        right = self.after if adapted else self.before
        weak = [
            place
            for place, images in enumerate(self.images)
            if images and right[place] <= NEAR_ZERO * images
        ]
        weak.sort(key=lambda place: (right[place] / self.images[place], -self.images[place]))
        named = [
            f"{self.classes[i]} ({100 * right[i] / self.images[i]:.0f} % of {self.images[i]:,})"
            for i in weak
        ]
        who = "adapted" if adapted else "zero-shot"
        few = f"The {who} model names at most {NEAR_ZERO:.0%} of their images right:"
        return [f"{few} {first_few(named)}."] if named else []

    def fell_most(self) -> list[str]:
        """A sentence on the classes that lost most of their accuracy."""
        changes = {
            i: (self.after[i] - self.before[i]) / images
            for i, images in enumerate(self.images)
            if images
        }
        fell = sorted((i for i in changes if changes[i] < 0), key=lambda i: changes[i])
        named = [
            f"{self.classes[i]} {100 * self.before[i] / self.images[i]:.0f} % to "
            f"{100 * self.after[i] / self.images[i]:.0f} % (of {self.images[i]:,})"
            for i in fell
        ]
        return [f"Classes that fell most: {first_few(named)}."] if named else []


def rests_on_one_class(
    zero_shot_correct: Bool[Tensor, " n"],
    adapted_correct: Bool[Tensor, " n"],
    labels: Int[Tensor, " n"],
    by_class: ByClass,
) -> list[str]:
    """A sentence where one class has most of the gain, and without it none can be measured.

    by_class: of the same images; the other arguments are those of `decide`.
    """
    gained = [after - before for before, after in zip(by_class.before, by_class.after, strict=True)]
    most = max(range(len(gained)), key=lambda place: gained[place])
    others = labels != most
    if not others.any():
        return []
    rest = compare(zero_shot_correct[others], adapted_correct[others])
    if rest.low > 0 or 2 * gained[most] <= sum(gained):
        return []
    points, low, high = (100 * value for value in (rest.difference, rest.low, rest.high))
    return [
        f"The gain rests on one class: without {by_class.classes[most]} the difference is "
        f"{points:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})."
    ]


def first_few(named: Sequence[str]) -> str:
    """The first few of many, and how many more there are."""
    more = f" and {len(named) - NAMED_CLASSES:,} more" if len(named) > NAMED_CLASSES else ""
    return ", ".join(named[:NAMED_CLASSES]) + more


def mean_change(
    before: Sequence[float], after: Sequence[float], images: Sequence[int]
) -> tuple[float, float, float]:
    """The mean change of accuracies over sets of images, with its 95 % interval: (mean, low, high).

    Of each set only the two accuracies are known, so they are taken as measured on different images
    (Agresti and Caffo 2000: one success and one failure are added to either). As both are of the
    same images, the interval is too wide rather than too narrow.

    before, after: accuracies in [0, 1] of each set; images: number of images of each set.
    """
    count = len(images)
    mean = sum(new - old for old, new in zip(before, after, strict=True)) / count
    variance = centre = 0.0
    for old, new, n in zip(before, after, images, strict=True):
        shares = [(share * n + 1) / (n + 2) for share in (old, new)]
        centre += (shares[1] - shares[0]) / count
        variance += sum(share * (1 - share) / (n + 2) for share in shares) / count**2
    margin = Z_95 * variance**0.5
    return mean, min(mean, centre - margin), max(mean, centre + margin)


def change_since_learnt(
    learnt: Sequence[Sequence[float | None]], images: Sequence[int]
) -> tuple[float, float, float] | None:
    """The mean change of a task's accuracy from right after it was learnt to the end.

    Of all tasks but the last, as `mean_change` has it: below zero where tasks were forgotten. None
    for a single task, without a model after each task, and where an accuracy is missing.

    learnt: (T, T) accuracy on each task (column) after each task (row); images: of each task.
    """
    count = len(images) - 1
    if count < 1 or len(learnt) != len(images):
        return None
    after = [value for i in range(count) if (value := learnt[i][i]) is not None]
    last = [value for value in learnt[-1][:count] if value is not None]
    if not len(after) == len(last) == count:
        return None
    return mean_change(after, last, images[:count])
