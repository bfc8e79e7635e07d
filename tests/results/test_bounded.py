"""Results of very many classes: what is kept, that indices still fit, and the table of all."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.report.distill_example import distill_example
from tests.report.transfer_example import DIGITS, transfer_example

from holdfast.metrics import score
from holdfast.results import Evaluation, Scores, write_result
from holdfast.results.bounded import AT_EITHER_END, MOST_CELLS, SAMPLED, bound_scores, bounded

CLASSES = [f"class {n}" for n in range(2000)]


@pytest.fixture(scope="module")
def scores() -> dict[str, Scores]:
    """Of two models on four images of each class but the last."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(1999).repeat_interleave(4)
    found = {}
    for name, noise in (("zero-shot", 0.9), ("ensemble", 0.8)):
        said = torch.randint(2000, labels.shape, generator=generator)
        wrong = torch.rand(labels.shape, generator=generator) < noise * labels / 2000
        logits = torch.nn.functional.one_hot(torch.where(wrong, said, labels), 2000) * 9.0
        found[name] = score(logits, labels, CLASSES)
    return found


def test_the_best_the_worst_and_the_most_changed_are_kept(scores: dict[str, Scores]) -> None:
    small, table = bound_scores(scores)
    before, after = small.values()
    assert before.classes == after.classes
    whole = scores["ensemble"]
    assert len(after.classes) + after.more_classes == 2000 and after.more_classes > 1000
    places = {name: i for i, name in enumerate(whole.classes)}
    kept = [places[name] for name in after.classes]
    for model, full in scores.items():
        assert small[model].per_class == tuple(full.per_class[i] for i in kept)
        assert small[model].count == tuple(full.count[i] for i in kept)
        assert (small[model].top1, small[model].n) == (full.top1, full.n)
    right = [share for share in whole.per_class if share is not None]
    changes = [
        new - old
        for old, new in zip(scores["zero-shot"].per_class, whole.per_class, strict=True)
        if old is not None and new is not None
    ]
    of_kept = [new - old for old, new in zip(before.per_class, after.per_class, strict=True)]
    assert sorted(of_kept)[:AT_EITHER_END] == sorted(changes)[:AT_EITHER_END]
    assert sorted(of_kept)[-AT_EITHER_END:] == sorted(changes)[-AT_EITHER_END:]
    assert sorted(after.per_class)[:AT_EITHER_END] == sorted(right)[:AT_EITHER_END]
    assert table is not None and table[0] == ["class", "images", "zero-shot", "ensemble"]
    assert table[8] == ["class 7", 4, *(each.per_class[7] for each in scores.values())]
    assert table[-1] == ["class 1999", 0, None, None] and len(table) == 2001


def test_confusions_still_name_their_classes(scores: dict[str, Scores]) -> None:
    small = bound_scores(scores)[0]["ensemble"]
    whole = scores["ensemble"]
    names = {(whole.classes[t], whole.classes[s]): n for t, s, n in whole.confusion}
    assert small.confusion and len(small.confusion) < len(whole.confusion)
    assert all(
        names[small.classes[t], small.classes[s]] == images for t, s, images in small.confusion
    )
    most = max(images for true, said, images in whole.confusion if true != said)
    assert most in [images for true, said, images in small.confusion if true != said]


def test_up_to_a_thousand_classes_only_rare_cells_are_left_out(scores: dict[str, Scores]) -> None:
    cells = tuple((i // 100, i % 100, 1 + i % 7) for i in range(6000))
    one = replace(scores["ensemble"], classes=("a",) * 1000, confusion=cells)
    small, table = bound_scores({"only": one})
    assert table is None and small["only"].more_classes == 0
    assert len(small["only"].confusion) == MOST_CELLS
    assert sum(n for *_, n in small["only"].confusion) == sum(
        sorted((n for *_, n in cells), reverse=True)[:MOST_CELLS]
    )
    assert bound_scores({}) == ({}, None)


def test_few_classes_stay_as_they_are(tmp_path: Path) -> None:
    for result in (transfer_example(tmp_path, DIGITS), distill_example(tmp_path)):
        assert bounded(result) == (result, None)
        write_result(tmp_path / "result.json", result)
    assert not (tmp_path / "classes.csv").exists()


def test_an_evaluation_has_its_table_beside_its_file(
    scores: dict[str, Scores], tmp_path: Path
) -> None:
    run = transfer_example(tmp_path / "images", DIGITS)
    header = {
        key: getattr(run, key) for key in ("title", "created", "command", "settings", "environment")
    }
    found = Evaluation(**header, scores=scores["ensemble"], zero_shot=scores["zero-shot"])
    written = write_result(tmp_path / "photos.json", found)
    assert isinstance(written, Evaluation) and written.zero_shot is not None
    assert written.scores.classes == written.zero_shot.classes
    assert (tmp_path / "photos.json").stat().st_size < 300_000
    rows = list(csv.reader((tmp_path / "photos-classes.csv").open()))
    assert rows[0] == ["class", "images", "zero-shot", "classifier"] and len(rows) == 2001


def test_pictures_of_some_classes_are_kept(tmp_path: Path) -> None:
    run = transfer_example(tmp_path, DIGITS)
    samples = {"generated": {name: [f"{name}.png"] for name in CLASSES}, "real": {}}
    small, _ = bounded(replace(run, samples=samples))
    kept = list(small.samples["generated"])  # type: ignore[attr-defined]
    assert len(kept) == SAMPLED and kept[0] == "class 0" and kept[-1] == "class 1958"


def test_a_distillation_of_many_classes_keeps_those_at_the_ends(tmp_path: Path) -> None:
    classes = [f"class {n}" for n in range(1500)]
    whole = distill_example(tmp_path / "images", classes=classes)
    scores = {
        domain: replace(found, full=found.full and with_shares(found.full, classes))
        for domain, found in whole.trials[0].scores.items()
    }
    [trial] = whole.trials
    whole = replace(whole, trials=[replace(trial, scores=scores)])
    written = write_result(tmp_path / "result.json", whole)
    found = written.trials[0].scores["sketch"].full  # type: ignore[attr-defined]
    assert 2 * AT_EITHER_END <= len(found.per_class) < 500
    assert written.advice is not None  # type: ignore[attr-defined]
    assert len(written.advice.classes) == 2 * AT_EITHER_END  # type: ignore[attr-defined]
    assert (tmp_path / "result.json").stat().st_size < 400_000
    rows = list(csv.reader((tmp_path / "classes.csv").open()))
    assert ["0", "sketch", "sketch", "student", "class 3", str(3 / 1500)] in rows
    per_domain = len(rows) / 1500
    assert per_domain > 3


def with_shares(scores, classes):  # type: ignore[no-untyped-def]
    return replace(scores, per_class={name: i / len(classes) for i, name in enumerate(classes)})
