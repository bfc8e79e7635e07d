import statistics
from types import SimpleNamespace

import pytest
import torch

from holdfast.commands.distill_scores import advise, conclude, gap_interval, summarise
from holdfast.results import (
    CompactScores,
    Comparison,
    DomainScores,
    TowerInfo,
    TrialResult,
)


def gap(difference, low=0.0, high=0.0, n=100):
    return Comparison(difference=difference, low=low, high=high, n=n, gained=10, lost=10)


def compact(top1, n=100):
    numbers = {"mean_per_class": top1, "ece": 0.1, "nll": 0.5, "per_class": {}}
    return CompactScores(n=n, top1=top1, **numbers)


def trial(seed, held_out, scores, classifier="model"):
    return TrialResult(
        seed=seed,
        held_out=held_out,
        sources=[name for name in scores if name != held_out],
        scores=scores,
        student=TowerInfo(parameters=50),
        classifier=classifier,
    )


def learnt(top1):
    return DomainScores(role="source", validation=compact(top1))


def unseen(top1, difference=None, low=0.0, high=0.0):
    known = None if difference is None else gap(difference, low, high)
    teacher = None if difference is None else compact(top1 - difference)
    return DomainScores(
        role="held-out",
        domainbed=compact(top1 + 0.01),
        full=compact(top1),
        teacher=teacher,
        gap=known,
    )


def test_a_verdict_rests_on_an_interval():
    """Of the images where there is one seed, of domains together if several; else of the seeds."""
    single = gap(0.1, 0.0, 0.2)
    assert gap_interval([single], [0.1]) == (0.0, 0.2)
    both = gap_interval([single, gap(0.3, 0.0, 0.2)], [0.2])
    assert both == pytest.approx((0.2 - 0.1 / 2**0.5, 0.2 + 0.1 / 2**0.5))
    seeds = gap_interval([single] * 2, [0.03, -0.01])  # t of one degree of freedom: 12.706
    assert seeds == pytest.approx((0.01 - 12.706 * 0.02, 0.01 + 12.706 * 0.02), abs=1e-4)


def test_means_over_trials_and_seeds_by_hand():
    """Two seeds, two domains left out in turn, and one that is in all trainings."""
    tops = {0: {"a": 0.5, "b": 0.7}, 1: {"a": 0.6, "b": 0.9}}
    trials = [
        trial(
            seed,
            left,
            {
                left: unseen(top, difference=top - 0.4),
                ("b" if left == "a" else "a"): learnt(0.8 + seed / 10),
                "c": learnt(0.9 if left == "a" else 0.7),
            },
        )
        for seed, row in tops.items()
        for left, top in row.items()
    ]
    found = summarise(["a", "b", "c"], trials)
    assert found.seeds == [0, 1]
    assert {k: s.values for k, s in found.in_domain.domains.items()} == {
        "a": [0.8, 0.9], "b": [0.8, 0.9], "c": pytest.approx([0.8, 0.8])
    }  # fmt: skip
    full = found.held_out["full"]
    assert full.domains["a"].values == [0.5, 0.6] and full.domains["b"].mean == pytest.approx(0.8)
    assert full.average.values == pytest.approx([0.6, 0.75])
    assert full.average.deviation == pytest.approx(statistics.stdev([0.6, 0.75]))
    assert full.worst.values == [0.5, 0.6] and full.worst.domain == "a"
    assert found.held_out["domainbed"].domains["a"].values == pytest.approx([0.51, 0.61])
    assert found.gap.values == pytest.approx([0.2, 0.35])


def test_there_is_no_gap_unless_all_trials_have_one():
    asked = trial(0, "a", {"a": unseen(0.5, 0.1), "b": learnt(0.8)})
    not_asked = trial(0, "b", {"b": unseen(0.5), "a": learnt(0.8)})
    assert summarise(["a", "b"], [asked]).gap.values == [pytest.approx(0.1)]
    assert summarise(["a", "b"], [asked, not_asked]).gap is None
    everything = trial(0, None, {"a": learnt(0.5), "b": learnt(0.7)})
    found = summarise(["a", "b"], [everything])
    assert found.gap is None and found.held_out == {}
    assert found.in_domain.worst.domain == "a"


TEACHER = TowerInfo(parameters=200)


def verdict_on(trials, teacher=TEACHER):
    names = list(trials[0].scores)
    return conclude(trials, summarise(names, trials), trials[0].student, teacher)


@pytest.mark.parametrize(
    ("low", "high", "decision", "headline"),
    [
        (0.01, 0.2, "holds up", "Better than its zero-shot teacher"),
        (-0.1, 0.1, "holds up", "As good as its zero-shot teacher"),
        (-0.2, 0.0, "holds up", "As good as its zero-shot teacher"),  # an end at zero holds it
        (-0.3, -0.1, "falls short", "Keeps 80 % of its teacher's accuracy"),
    ],
)
def test_the_decision_follows_the_interval(low, high, decision, headline):
    difference = -0.1
    scores = {"a": unseen(0.4, difference, low, high), "b": learnt(0.9)}
    found = verdict_on([trial(0, "a", scores)])
    assert (found.decision, found.headline) == (decision, headline)
    assert found.gap == scores["a"].gap
    assert "On 100 images of a, which it never saw, the student names 40.0 % right and its " in (
        found.text
    )
    assert "teacher 50.0 %: -10.0 points" in found.text
    assert "It has 25 % of the parameters" in found.text
    alone = verdict_on([trial(0, "a", scores)], teacher=None)
    assert "parameters" not in alone.text


def test_several_domains_and_seeds_in_words():
    trials = [
        trial(seed, left, {left: unseen(0.5, 0.1 + seed / 100), other: learnt(0.9)})
        for seed in (0, 1)
        for left, other in (("a", "b"), ("b", "a"))
    ]
    found = verdict_on(trials)
    assert "On 400 images of 2 domains, each left out in turn," in found.text
    assert "over seeds" in found.text and found.gap is None


def test_what_was_not_measured_is_open():
    without = verdict_on([trial(0, "a", {"a": unseen(0.4), "b": learnt(0.9)})])
    assert without.decision == "open" and without.headline == "40.0 % on domains it never saw"
    assert "--teacher_scores all" in without.text
    everywhere = verdict_on([trial(0, None, {"a": learnt(0.5), "b": learnt(0.9)})])
    assert everywhere.headline == "Not measured on a new domain"
    assert "70.0 % right, and 50.0 % in the worst of them, a." in everywhere.text
    zero_shot = verdict_on([trial(0, None, {"a": learnt(0.5), "b": learnt(0.9)}, classifier=None)])
    assert zero_shot.headline == "The teacher, not a student"
    assert "names 70.0 % of the images right" in zero_shot.text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((), "It is right more often than wrong in every domain and class: distil."),
        ((4, 5, 6), "It is wrong more often than right in the domains two and in the classes cow:"),
        (range(5), "distilling teaches its mistakes"),
    ],
)
def test_advice_by_hand(wrong, message):
    """Images 0 to 3 are of the first domain, 4 to 7 of the second; even ones show an ant."""
    labels = [0, 1, 0, 1, 1, 1, 0, 1]
    images = SimpleNamespace(labels=labels, classes=SimpleNamespace(names=("ant", "cow")))
    domains = SimpleNamespace(images=images, names=("one", "two"), starts=(0, 4, 8))
    if list(wrong) == [4, 5, 6]:
        labels[:] = [0, 0, 0, 0, 1, 1, 1, 0]
    logits = torch.eye(2)[torch.tensor(labels)]
    for place in wrong:
        logits[place] = logits[place].flip(0)
    found = advise(domains, range(8), logits)
    assert message in found.text
    assert found.images == 8 and found.top1 == pytest.approx(1 - len(wrong) / 8)
    assert found.domains["one"].n == 4
    assert found.classes["ant"].n == labels.count(0)
    some = advise(domains, [5, 7], logits[[5, 7]])
    assert list(some.domains) == ["two"]
