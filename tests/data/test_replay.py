"""What replay images are drawn of."""

from collections import Counter

import pytest

from holdfast.data.replay import BASE, Source, coverage, draw_prompts, images_of, shares


def source(origin, *names):
    return Source(origin, names, tuple(f"a photo of a {name}." for name in names))


SOURCES = [
    source(BASE, *(f"thing {n}" for n in range(30)), "pug"),
    source("pets", "Pug", "beagle"),
    source("digits", *map(str, range(10))),
]


def per_source(draw):
    prompts = [p for p, n in zip(draw.prompts, draw.counts, strict=True) for _ in range(n)]
    return {row["source"]: row for row in coverage(SOURCES, prompts)}, prompts


def test_uniform_gives_every_name_the_same_chance():
    draw = draw_prompts(SOURCES, 42_000, "uniform", seed=1)
    assert sum(draw.counts) == 42_000 and len(draw.prompts) == len(set(draw.prompts)) == 42
    assert min(draw.counts) > 850 and max(draw.counts) < 1150  # 1,000 expected, deviation 31
    rows, _ = per_source(draw)
    assert rows["pets"]["share"] == pytest.approx(2 / 42, rel=0.1)
    assert rows["digits"]["share"] == pytest.approx(10 / 42, rel=0.05)


def test_balanced_gives_every_earlier_task_the_same_number():
    draw = draw_prompts(SOURCES, 1000, "balanced", seed=1)
    rows, prompts = per_source(draw)
    assert len(prompts) == 1000
    assert rows["digits"]["images"] == 250
    # The pug of pre-training counts for the pets too, and the pets' for pre-training.
    pugs = sum(prompt.lower() == "a photo of a pug." for prompt in prompts)
    beagles = sum("beagle" in prompt for prompt in prompts)
    assert rows["pets"]["images"] == pugs + beagles >= 250
    assert rows[BASE]["images"] == 1000 - 250 - beagles


def test_shares_by_hand():
    assert shares(1000, 0) == [1000]
    assert shares(1000, 1) == [500, 500]
    assert shares(1000, 3) == [500, 167, 167, 166]
    assert shares(7, 2) == [4, 2, 1]


def test_the_same_seed_draws_the_same_and_another_does_not():
    for how in ("uniform", "balanced"):
        first = draw_prompts(SOURCES, 50, how, seed=1)
        assert draw_prompts(SOURCES, 50, how, seed=1) == first
        assert draw_prompts(SOURCES, 50, how, seed=2) != first
        assert max(Counter(first.prompts).values()) == 1


def test_one_spelling_of_names_that_differ_in_case_only():
    prompts = draw_prompts(SOURCES, 5000, "uniform", seed=0).prompts
    assert [p for p in prompts if "pug" in p.lower()] == ["a photo of a pug."]


def test_coverage_and_labels_by_hand():
    prompts = ["a photo of a pug.", "a photo of a 3.", "a photo of a Pug.", "something else"]
    rows = coverage(SOURCES, prompts)
    assert [row["source"] for row in rows] == [BASE, "pets", "digits"]
    assert [row["names"] for row in rows] == [31, 2, 10]
    assert [row["images"] for row in rows] == [2, 2, 1]
    assert [row["names_drawn"] for row in rows] == [1, 1, 1]
    assert [row["share"] for row in rows] == [0.5, 0.5, 0.25]
    assert coverage(SOURCES, prompts[:1])[0]["share"] == 1.0
    assert [row["share"] for row in coverage(SOURCES, [])] == [0.0, 0.0, 0.0]
    assert images_of(SOURCES[1], prompts) == {0: 0, 2: 0}
    assert images_of(SOURCES[2], prompts) == {1: 3}
